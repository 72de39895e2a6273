//! All that the client of a watch has been shown, before something else takes its place.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::answer::{offered, selection};
use super::fields::fields;
use super::presented::{Cursor, Form, Presented};
use super::{FLUSH_OR_REFUSE, Offline};
use crate::kube::list::{Encoding, Envelope};
use crate::kube::media;
use crate::kube::metadata;
use crate::kube::object::{self, TypeMeta};
use crate::kube::selector::Fields;
use crate::kube::watch;
use crate::request::context::Context;
use crate::request::filter::Chain;
use crate::request::names;
use crate::store::{Happened, Header, Knowledge, Scope, StoreError};

/// What a client was shown, and what has happened since.
pub struct Stand {
    pub shown: Presented,
    /// Events that lead the client to what is shown there, in order.
    pub lacks: Vec<Bytes>,
    watched: Watched,
}

/// What it watches.
pub struct Watched {
    scope: Scope,
    fields: Fields,
}

/// `None`: that is not known exactly, for a client that was told everything up to this version.
pub async fn stand(offline: &Offline, context: &Context, encoding: Encoding, seen: u64) -> Option<Stand> {
    let knowledge = offline.knowledge.as_ref()?;
    let _ = timeout(FLUSH_OR_REFUSE, knowledge.catch_up()).await;
    let chain = offline.filters.chain(context).await.ok()?;
    let fields = fields(knowledge, &context.info, &selection(context).ok()?).await;
    let is_exact = |form: &Form| matches!(form, Form::Whole | Form::Metadata);
    let mut offered = offered(knowledge, context, chain.as_ref()).into_iter();
    let (media, form) = offered.find(|(media, form)| media.encoding == encoding && is_exact(form))?;
    let scope = names::scope(&context.info, &media);
    let is_known = |header: &Header| since(knowledge, header, &scope, seen).is_some();
    // Its own collection, if it can be: of that the next one of the same is told what has changed.
    let is_own = |header: &Header| header.scope == scope && is_known(header);
    let own = knowledge.covering(&scope, &fields, is_own, false).ok()?.filter(|view| is_own(&view.header));
    let view = match own {
        Some(own) => own,
        None => knowledge.covering(&scope, &fields, is_known, false).ok()??,
    };
    let shown = Presented { view, chain, form };
    let known = &shown.view.header;
    let Some(lacks) = shown.since(knowledge, &scope, seen) else {
        tracing::debug!(
            id = context.id,
            seen,
            known = known.resource_version,
            changed = known.changed,
            ?scope,
            "the node does not know what a watch was shown"
        );
        return None;
    };
    Some(Stand { shown, lacks, watched: Watched { scope, fields } })
}

impl Stand {
    pub fn of(shown: Presented, lacks: Vec<Bytes>, watched: Watched) -> Self {
        Self { shown, lacks, watched }
    }

    /// The head of the collection that was shown just as it is, if it was one.
    pub fn head(&self) -> Option<Header> {
        let head = &self.shown.view.header;
        (self.shown.chain.is_none() && head.scope == self.watched.scope).then(|| head.clone())
    }

    /// What was shown, item by item, and the rest of it.
    pub fn walk(self, offline: &Offline) -> (Walk, Vec<Bytes>, Watched) {
        (self.shown.walk(offline), self.lacks, self.watched)
    }

    /// What is known of the same by now, if that is newer. Not where filters have a say in it: they note what a client is told.
    pub async fn newer(&self, offline: &Offline) -> Option<Presented> {
        let (Some(knowledge), None) = (&offline.knowledge, &self.shown.chain) else { return None };
        let _ = timeout(FLUSH_OR_REFUSE, knowledge.catch_up()).await;
        let before = self.shown.view.header.version_number();
        let is_newer = |known: &Header| known.version_number() > before && !known.is_behind();
        let view = knowledge.covering(&self.watched.scope, &self.watched.fields, is_newer, false).ok()??;
        is_newer(&view.header).then(|| Presented { view, chain: None, form: self.shown.form.again() })
    }
}

/// What has happened to a collection since then, for who watches this.
fn since(knowledge: &Knowledge, header: &Header, watched: &Scope, version: u64) -> Option<Vec<Happened>> {
    if header.is_as_of(version) {
        return Some(Vec::new());
    }
    // Of a wider one it is not said here what its events mean to who sees a part of it.
    knowledge.since(header, version).filter(|_| header.scope == *watched)
}

/// What was shown, item by item.
pub struct Walk {
    knowledge: Arc<Knowledge>,
    /// `None`: the store could not be read.
    shown: Option<Presented>,
    /// Where the next page begins; `None`: there is none.
    cursor: Option<Cursor>,
    page: std::vec::IntoIter<Vec<u8>>,
}

impl Presented {
    pub fn encoding(&self) -> Encoding {
        self.view.header.scope.encoding()
    }

    /// As its list is asked for.
    pub fn media_form(&self) -> media::Form {
        match self.form {
            Form::Metadata => media::Form::As(metadata::list_form().to_owned()),
            _ => media::Form::Full,
        }
    }

    /// What a list of it says of itself.
    pub fn envelope(&self) -> Envelope {
        self.view.header.envelope()
    }

    /// What an item calls itself.
    pub fn types(&self) -> TypeMeta {
        self.form.types(self.item_types())
    }

    /// The events that lead from a version to this state; `None`: they are not known.
    pub(super) fn since(&self, knowledge: &Knowledge, watched: &Scope, version: u64) -> Option<Vec<Bytes>> {
        let happened = since(knowledge, &self.view.header, watched, version)?;
        happened.into_iter().map(|happened| self.event(happened)).collect()
    }

    /// As the client would have been told it; `None`: that is for its filters to say, by what they have hidden from it.
    fn event(&self, Happened { kind, item }: Happened) -> Option<Bytes> {
        let (encoding, chain) = (self.encoding(), self.chain.as_ref());
        if chain.is_some_and(Chain::hides) {
            return None;
        }
        let item = self.form.of(chain, encoding, &self.item_types(), item).ok()??;
        Some(watch::encode(encoding, kind, &object::from_item(encoding, &self.types(), &item)))
    }

    pub fn walk(self, offline: &Offline) -> Walk {
        let knowledge = offline.knowledge.clone().expect("what is shown is of the store");
        Walk { knowledge, shown: Some(self), cursor: Some(Cursor::ALL), page: Vec::new().into_iter() }
    }
}

impl Walk {
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            let Some(cursor) = self.cursor.take() else { return Ok(None) };
            let Some(shown) = self.shown.take() else { return Ok(None) };
            let page = shown.page(&self.knowledge, cursor).await?;
            (self.shown, self.cursor, self.page) = (Some(page.shown), page.next, page.items.into_iter());
        }
    }

    /// From the beginning.
    pub fn again(self) -> Option<Presented> {
        self.shown
    }
}
