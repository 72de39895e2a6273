# Everything a developer runs. `make help` lists it.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test bench lab build release-flags fmt lint unit path clients cluster soak

CLOUD ?= small
TARGET := $(or $(CARGO_TARGET_DIR),target)
# What is released goes by how often a hub at work runs which code (docs/decisions/0016-profile.md).
PROFILE := $(abspath $(TARGET))/hub.profdata
RELEASE_FLAGS = -Cprofile-use=$(PROFILE) -Cllvm-args=-no-pgo-warn-mismatch
# What the profile has never seen run lies apart (docs/decisions/0013-resident-memory.md): where that has been tried.
ifeq ($(shell uname -m),x86_64)
RELEASE_FLAGS += -Cllvm-args=-enable-split-machine-functions -Cllvm-args=-mfs-psi-cutoff=0
endif
build demo bench: export RUSTFLAGS := $(RUSTFLAGS) $(RELEASE_FLAGS)
build demo bench: $(PROFILE)
# Sets HOLDFAST_LAB and HOLDFAST_SAMPLE, building them if need be.
WITH_LAB = lab=$$(scripts/build-lab); export $$lab
# Sets HOLDFAST_CLIENT_GO and so on, building them if need be.
WITH_CLIENTS = clients=$$(scripts/build-clients); export $$clients

help: ## this list
	@echo "make demo              the story on this machine: no root, no Go, half a minute"
	@echo "make demo CLOUD=real   the same with a real control plane, kubelet and containerd (root, Go)"
	@echo "make test              everything that must hold before a change lands (root, Go, registries)"
	@echo "make bench             the figures, beside nginx and haproxy in the same run"
	@echo "make soak              many more random reads and cuts, beside a real kube-apiserver, and power losses (Go)"
	@echo "make build             the release binary, $(TARGET)/release/holdfast"
	@echo "parts of make test:    fmt  lint  unit  path  clients  cluster"
	@echo "make lab               the real servers for the cluster tests, and the lines that name them"

$(PROFILE): packaging/hub.profdata.gz
	@mkdir -p $(@D)
	@gzip -dc $< >$@.new && mv $@.new $@

release-flags: $(PROFILE)
	@echo $(RELEASE_FLAGS)

build:
	@scripts/need build
	cargo build --release --locked

# The hub is built by itself: together with others it would get their crates' features.
demo:
	@scripts/need $(if $(filter real,$(CLOUD)),real,demo)
	@cargo build --release --locked -p holdfast
	@cargo build --release --locked -p demo
ifeq ($(CLOUD),real)
	@$(WITH_LAB); exec $(TARGET)/release/demo real --hub $(TARGET)/release/holdfast
else
	@exec $(TARGET)/release/demo small --hub $(TARGET)/release/holdfast
endif

lab:
	@scripts/need lab
	@scripts/build-lab

# In this order, so that what is wrong shows early.
test:
	@scripts/need test
	@$(MAKE) --no-print-directory fmt lint unit path clients cluster
	@echo "make test: all parts passed"

fmt:
	cargo fmt --all --check
	test -z "$$(gofmt -l lab tests/clients/go | tee /dev/stderr)"

lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

unit: ## pure functions, stages, the store, its power losses, recorded answers, the fuzz targets' corpus, testkit's own
	cargo test --workspace --lib --bins --locked
	cargo test --locked --test architecture --test docs --test filter_fixtures --test fuzz --test crash

path: ## the real binary against the small API server, faults included, and the story of make demo
	cargo test --locked --test path --test promises
	cargo test --locked -p demo --test ends
	$(TARGET)/debug/demo small --hub $(TARGET)/debug/holdfast

clients: ## programs in Go, Python, Node, Java and Rust, and helm, cold and offline
	@$(WITH_LAB); $(WITH_CLIENTS); cargo test --locked --test clients -- --nocapture

cluster: ## the story on a real cluster, and that of make demo CLOUD=real
	@$(WITH_LAB); cargo test --locked --test filters --test exact --test cluster -- --nocapture && \
		cargo build --locked -p holdfast -p demo && $(TARGET)/debug/demo real --hub $(TARGET)/debug/holdfast

soak: ## many more random reads and cuts, beside a real kube-apiserver, and all that a power loss can leave
	HOLDFAST_SOAK=1 cargo test --locked --test crash -- --nocapture
	@$(WITH_LAB); HOLDFAST_REQUESTS=$${HOLDFAST_REQUESTS:-50000} HOLDFAST_CUTS=$${HOLDFAST_CUTS:-1000} \
		cargo test --locked --test exact -- --nocapture

# The kube-apiserver's and client-go's figures come from the lab; without Go there it says so.
bench:
	@scripts/need bench
	@cargo build --release --locked -p holdfast
	@cargo build --release --locked -p testkit
	@if command -v go >/dev/null; then $(WITH_LAB); fi; \
		$(TARGET)/release/bench --hub $(TARGET)/release/holdfast && cargo bench --locked --bench filters
