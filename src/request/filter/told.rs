//! Under what clients are told what there is, and whether their watches may go on from that.

use std::sync::Arc;

use http::StatusCode;

use super::chain::Unknown;
use super::{Chain, Filters, OUTDATED, Shown};
use crate::request::context::{Context, Refusal, Whose};
use crate::state::mark;

/// Who tells a client what there is.
#[derive(Debug, Clone, Copy)]
pub(in crate::request) enum By {
    Cloud,
    /// The node, with what was written here and the cloud may not have, of which so much was gone already.
    Node {
        gone: u64,
    },
}

/// From what a watch goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::request) enum Basis {
    /// From what the cloud has told, and nothing else.
    Cloud,
    /// From what was written here as well.
    Local,
}

/// Why what the node has shown of its own writes is no place to go on from.
pub(in crate::request) const OVERTAKEN: &str =
    "What was written on this node while the link was down is not what the cloud has, or may not be: list again.";

/// Why one that does not read is told no more.
pub(in crate::request) const LEFT_BEHIND: &str = "This client has read too slowly what several share: list again.";

/// Notes later what the client of an open watch is told.
pub(in crate::request) struct Note {
    filters: Arc<Filters>,
    client: u64,
    told: Under,
}

/// Under what a client is told.
pub(super) struct Under {
    mark: Option<u64>,
    may_be_written_here: bool,
}

impl Note {
    pub(in crate::request) fn told(&self, by: By) {
        self.filters.told.note(self.client, self.told.by(by));
    }

    fn went_on(&self, by: By) {
        self.filters.told.went_on(self.client, self.told.by(by));
    }
}

impl Under {
    pub(super) fn new(group: &str, resource: &str, mark: Option<u64>) -> Self {
        Self { mark, may_be_written_here: may_be_written_here(group, resource) }
    }

    /// The same, told by somebody.
    pub(super) fn by(&self, by: By) -> Option<u64> {
        let By::Node { gone } = by else { return self.mark };
        if !self.may_be_written_here {
            return self.mark;
        }
        Some(mark::of(&(self.mark, gone)))
    }
}

/// Whether some of it may be written on this node while the link is down.
fn may_be_written_here(group: &str, resource: &str) -> bool {
    matches!((group, resource), ("" | "events.k8s.io", "events") | ("coordination.k8s.io", "leases"))
}

/// Whether a watch goes on from a version.
pub(in crate::request) fn resumes(context: &Context) -> bool {
    context.info.query.goes_on()
}

/// Its client has what was written here, and nobody leads it back from that.
pub(in crate::request) fn overtaken() -> Refusal {
    gone(OVERTAKEN)
}

/// Its client is to list again.
fn gone(why: &str) -> Refusal {
    Refusal::new(StatusCode::GONE, "Expired", Whose::Client, why)
}

fn under(context: &Context, chain: Option<&Chain>) -> Under {
    Under::new(&context.info.api_group, &context.info.resource, chain.and_then(Chain::mark))
}

impl Filters {
    /// Notes that the client of a list, or of a watch that begins anew, is told what there is, under what and by whom.
    /// A list is told under what its first page is; one of which a later page is told under something else is nobody's.
    pub(in crate::request) fn told(self: &Arc<Self>, context: &Context, chain: Option<&Chain>, by: By) {
        if context.method == http::Method::HEAD {
            return;
        }
        // Made for these alone: each request comes by here.
        let note = || self.note(context, chain);
        match context.info.verb.as_str() {
            "list" if context.info.query.continue_token.is_empty() => note().told(by),
            "list" => note().went_on(by),
            "watch" if !resumes(context) => note().told(by),
            _ if matches!(by, By::Node { .. }) => note().told(by),
            _ => {}
        }
    }

    /// For a watch that is told more while it is open.
    pub(in crate::request) fn note(self: &Arc<Self>, context: &Context, chain: Option<&Chain>) -> Note {
        Note { filters: self.clone(), client: self.client(context), told: under(context, chain) }
    }

    /// Refuses a watch that goes on from what its client was told under something else, or by somebody who does not
    /// answer now, with the 410 that makes it list again.
    ///
    /// The cloud leads nobody away from what the node has shown; the node goes on from what the cloud has told, and from its
    /// own words as long as nothing of them is gone. Of one that the hub asks for again it is known where it stands, and not
    /// only what was told to clients like its own.
    pub(in crate::request) fn may_resume(&self, context: &Context, chain: Option<&Chain>, by: By) -> Result<Basis, Refusal> {
        if context.info.verb != "watch" || !resumes(context) {
            return Ok(Basis::Cloud);
        }
        let told = under(context, chain);
        let basis = match &context.stood {
            Some(stood) => stood.basis(told.mark.into(), by),
            None => {
                let client = self.client(context);
                let was = |by| self.told.was(client, told.by(by));
                was(By::Cloud).then_some(Basis::Cloud).or_else(|| was(by).then_some(Basis::Local))
            }
        };
        let why = if told.may_be_written_here { OVERTAKEN } else { OUTDATED };
        basis.ok_or_else(|| gone(why))
    }

    /// What the client of a watch has been shown, if anything may be hidden from it. Where nobody knows, the watch is refused
    /// with the 410 that makes its client list.
    pub(in crate::request) fn shown(context: &Context, chain: &Chain) -> Result<Option<Shown>, Refusal> {
        let query = &context.info.query;
        if query.goes_on() {
            let version = query.resource_version.parse().unwrap_or(0);
            return chain.shown_at(version).map_err(|Unknown| gone(OUTDATED));
        }
        let first = if query.begins_with_all() { Shown::default() } else { Shown::nothing() };
        Ok(chain.hides().then_some(first))
    }
}
