// Package image writes an OCI image archive with one layer of static files:
// what `ctr images import` needs, where no registry can be reached.
// Layout and media types: github.com/opencontainers/image-spec v1.
package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Main writes the archive that the arguments describe:
//
//	--name REF --out FILE --entrypoint CMD,ARG... PATH=SOURCE...
func Main(args []string) int {
	flags := flag.NewFlagSet("image", flag.ExitOnError)
	name := flags.String("name", "", "reference of the image, as in docker.io/library/sample:1")
	out := flags.String("out", "", "archive to write")
	entrypoint := flags.String("entrypoint", "", "comma list: command and arguments")
	_ = flags.Parse(args)
	if *name == "" || *out == "" || *entrypoint == "" || flags.NArg() == 0 {
		flags.Usage()
		return 64
	}
	if err := write(*name, *out, strings.Split(*entrypoint, ","), flags.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		return 1
	}
	return 0
}

func write(name, out string, entrypoint, files []string) error {
	layer, err := layer(files)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Entrypoint": entrypoint},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": describe("application/vnd.oci.image.config.v1+json", config),
		"layers": []descriptor{describe("application/vnd.oci.image.layer.v1.tar", layer)},
	})
	if err != nil {
		return err
	}
	top := describe("application/vnd.oci.image.manifest.v1+json", manifest)
	top.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": []descriptor{top}})
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, blob := range [][]byte{layer, config, manifest} {
		if err := add(w, "blobs/sha256/"+strings.TrimPrefix(digest(blob), "sha256:"), 0o644, blob); err != nil {
			return err
		}
	}
	if err := add(w, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := add(w, "index.json", 0o644, index); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return f.Close()
}

func layer(files []string) ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, file := range files {
		target, source, ok := strings.Cut(file, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not PATH=SOURCE", file)
		}
		f, err := os.Open(source)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, err
		}
		if err := add(w, strings.TrimPrefix(path.Clean(target), "/"), 0o755, content); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

func add(w *tar.Writer, name string, mode int64, content []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func describe(mediaType string, content []byte) descriptor {
	return descriptor{MediaType: mediaType, Digest: digest(content), Size: len(content)}
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
