//! A list on its way to the client: each item as the filters leave it.
//!
//! Receives the bytes of the list. Promises those of the items that are shown, and that at the end of all it is noted what
//! was hidden: the client's watch goes on from there. A list that breaks off is none to go on from.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::broken;
use crate::kube::list::{Encoding, Limits, RewriteError, Rewriter};
use crate::kube::message::Edit;
use crate::request::filter::FilterError;
use crate::request::filter::chain::Chain;
use crate::request::filter::whole::name_in_list;
use crate::state::hidden::MOST;
use crate::store::version_number;

type EditItem = Box<dyn FnMut(&str, &[u8]) -> Result<Edit, FilterError> + Send>;

pub(super) struct List {
    rewriter: Box<Rewriter<EditItem>>,
    chain: Arc<Chain>,
    hidden: Keys,
}

/// Of what is hidden; the rewriter's function has them too.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<Vec<u64>>>);

impl List {
    pub(super) fn new(chain: Chain, encoding: Encoding) -> Self {
        let (chain, hidden) = (Arc::new(chain), Keys::default());
        let edit = edit(chain.clone(), encoding, hidden.clone());
        Self { rewriter: Box::new(Rewriter::new(encoding, Limits::ANSWER, chain.reserve(), edit)), chain, hidden }
    }

    pub(super) fn feed(&mut self, data: Bytes, out: &mut Vec<Bytes>) -> Result<(), FilterError> {
        self.rewriter.feed(data, out).map_err(of_list)
    }

    pub(super) fn finish(self) -> Result<(), FilterError> {
        let list = self.rewriter.finish().map_err(of_list)?;
        if self.chain.hides() {
            self.chain.hides_at(version_number(&list.resource_version), self.hidden.take());
        }
        Ok(())
    }
}

fn edit(chain: Arc<Chain>, encoding: Encoding, hidden: Keys) -> EditItem {
    Box::new(move |kind, item| {
        let edit = chain.item(encoding, kind, item)?;
        // What has no name that can be read is nothing that a watch could tell of.
        if edit == Edit::Remove
            && let Ok(name) = name_in_list(encoding, kind, item)
        {
            hidden.push(chain.key(&name));
        }
        Ok(edit)
    })
}

impl Keys {
    fn push(&self, key: u64) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < MOST {
            keys.push(key);
        }
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn of_list(error: RewriteError<FilterError>) -> FilterError {
    match error {
        RewriteError::Item(error) => error,
        error => broken(&error),
    }
}
