//! What must be different at the edge: filters on the way out to the client.
//!
//! Which filters serve a request is decided once for it ([`Filters::chain`]); the
//! same chain rewrites the cloud's answers as they stream and the store's items one
//! by one, so both read alike. The store itself keeps the cloud's bytes.

mod body;
pub mod masterservice;

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

pub(super) use body::{Filtered, Transform};
use masterservice::{FilterError, MasterService};

use crate::kube::list::Encoding;
use crate::kube::media::{self, Form};
use crate::request::context::Context;
use crate::state::rules::RuleSet;

/// All filters of the hub.
#[derive(Clone, Default)]
pub struct Filters {
    /// `None`: switched off.
    pub masterservice: Option<Arc<MasterService>>,
}

/// The filters that serve one request.
#[derive(Clone, Default)]
pub struct Chain {
    masterservice: Option<Arc<MasterService>>,
}

impl Filters {
    /// Decides for one request, by component, resource and verb.
    pub fn chain(&self, rules: &RuleSet, context: &Context) -> Chain {
        let info = &context.info;
        let read = info.is_read() && context.method == http::Method::GET;
        let services = read && info.api_group.is_empty() && info.resource == "services";
        let whole = context.accepts.iter().all(|media| media.form == Form::Full);
        let serves = services && whole && rules.masterservice.contains(&context.component);
        Chain { masterservice: self.masterservice.clone().filter(|_| serves) }
    }
}

impl Chain {
    pub fn is_empty(&self) -> bool {
        self.masterservice.is_none()
    }

    /// The item as the client is to see it; `None`: as it is.
    pub fn rewrite(&self, encoding: Encoding, item: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
        match &self.masterservice {
            Some(filter) => filter.rewrite(encoding, item),
            None => Ok(None),
        }
    }

    /// The transformation of a streaming answer, if any filter serves it.
    pub(super) fn transform(self, context: &Context, parts: &http::response::Parts) -> Option<Transform> {
        if self.is_empty() || !parts.status.is_success() {
            return None;
        }
        let content_type = parts.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let encoding = media::encoding_of(content_type)?;
        let gzip = parts.headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == "gzip");
        Some(Transform::new(self, encoding, &context.info.verb, gzip))
    }
}
