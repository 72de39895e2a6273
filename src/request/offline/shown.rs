//! All that the client of a watch has been shown, before something else takes its place.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use super::answer::{offered, selection};
use super::fields::fields;
use super::presented::{Cursor, Form, Presented};
use super::{FLUSH_OR_REFUSE, Offline};
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::metadata;
use crate::kube::object::{self, TypeMeta};
use crate::kube::watch;
use crate::request::context::Context;
use crate::request::filter::Chain;
use crate::request::names;
use crate::store::{Happened, Header, Knowledge, StoreError};

/// What a client was shown, and what has happened since.
pub struct Stand {
    pub shown: Presented,
    /// Events that lead the client to what is shown there, in order.
    pub lacks: Vec<Bytes>,
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
    // Of a wider collection it is not said here what its events mean to who sees a part of it.
    let leads_on = |header: &Header| header.scope == scope && knowledge.since(header, seen).is_some();
    let is_known = |header: &Header| header.is_as_of(seen) || leads_on(header);
    let view = knowledge.covering(&scope, &fields, is_known, false).ok()??;
    let shown = Presented { view, chain, form };
    let happened = match &shown.view.header {
        header if header.is_as_of(seen) => Vec::new(),
        header if header.scope == scope => knowledge.since(header, seen)?,
        _ => return None,
    };
    let lacks = happened.into_iter().map(|happened| shown.event(happened)).collect::<Option<_>>()?;
    Some(Stand { shown, lacks })
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

    /// What an item calls itself.
    pub fn types(&self) -> TypeMeta {
        self.form.types(self.item_types())
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
