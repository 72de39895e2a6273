//! All that the client of a watch has been shown, before something else takes its place.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::Offline;
use super::answer::{offered, selection};
use super::fields::fields;
use super::presented::{Cursor, Form, Presented};
use crate::kube::list::Encoding;
use crate::kube::media;
use crate::kube::metadata;
use crate::kube::object;
use crate::kube::object::TypeMeta;
use crate::kube::selector::Fields;
use crate::request::context::Context;
use crate::request::filter::{By, Chain, Shown};
use crate::request::names;
use crate::state::hidden::Hidden;
use crate::state::link::Link;
use crate::store::{Happened, Header, Knowledge, Scope, StoreError};

/// So long a busy disk is waited for at least: no answer waits for it here, and a client of whom it is not known what it was
/// shown has to list again.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// What a client was shown, and what has happened since.
pub struct Stand {
    pub shown: Presented,
    /// What leads the client to what is shown there, in order and as it is to see it.
    pub lacks: Vec<Happened>,
    pub watched: Watched,
}

/// What it watches.
pub struct Watched {
    scope: Scope,
    fields: Fields,
}

/// `None`: that is not known exactly, for a client that was told everything up to this version.
pub async fn stand(offline: &Offline, link: &Link, context: &Context, encoding: Encoding, seen: u64) -> Option<Stand> {
    let knowledge = offline.knowledge.as_ref()?;
    tokio::select! {
        _ = knowledge.catch_up() => {}
        () = patience(link) => {}
    }
    let chain = offline.filters.chain(context).await.ok()?;
    // What it was shown is seen through the filters of now.
    offline.filters.may_resume(context, chain.as_ref(), By::Cloud).ok()?;
    let fields = fields(knowledge, &context.info, &selection(context).ok()?).await;
    let is_exact = |form: &Form| matches!(form, Form::Whole | Form::Metadata);
    let mut offered = offered(knowledge, context, chain.as_ref()).into_iter();
    let (media, form) = offered.find(|(media, form)| media.encoding == encoding && is_exact(form))?;
    let watched = Watched { scope: names::scope(&context.info, &media), fields };
    let known = watched.known(knowledge, (chain.as_ref(), &form), seen);
    if known.is_none() {
        let stands = knowledge.stands(&watched.scope);
        tracing::debug!(id = context.id, seen, ?stands, scope = ?watched.scope, "the node does not know what a watch was shown");
    }
    let (shown, lacks) = known?;
    Some(Stand::of(shown, lacks, watched))
}

/// While the link is down nobody could do more for the client than the busy disk can.
async fn patience(link: &Link) {
    sleep(BUSY).await;
    link.is_back().await;
}

impl Watched {
    /// A state that its client was shown at this version, or what leads it there.
    fn known(
        &self,
        knowledge: &Knowledge,
        (chain, form): (Option<&Chain>, &Form),
        seen: u64,
    ) -> Option<(Presented, Vec<Happened>)> {
        // Its own collection, if it can be: of that the next one of the same is told what has changed.
        let is_own = |header: &Header| header.scope == self.scope;
        let is_as_seen = |header: &Header| header.is_as_of(seen);
        [&is_own as &dyn Fn(&Header) -> bool, &is_as_seen].into_iter().find_map(|allowed| {
            let view = knowledge.covering(&self.scope, &self.fields, allowed, false).ok()??;
            let shown = Presented { view, chain: chain.cloned(), form: form.clone() };
            shown.since(knowledge, &self.scope, seen).map(|lacks| (shown, lacks))
        })
    }
    /// What is known of it by now and is as wanted, as it was shown before.
    async fn now(&self, offline: &Offline, before: &Presented, is_wanted: impl Fn(&Header) -> bool) -> Option<Presented> {
        let knowledge = offline.knowledge.as_ref()?;
        let _ = timeout(BUSY, knowledge.catch_up()).await;
        let is_it = |known: &Header| known.scope == self.scope && is_wanted(known);
        let view = knowledge.covering(&self.scope, &self.fields, is_it, false).ok()??;
        is_it(&view.header).then(|| Presented { view, chain: before.chain.clone(), form: before.form.clone() })
    }

    /// The same of just this version; `None` as well where the filters say something else of it by now.
    pub async fn at(&self, offline: &Offline, before: &Presented, version: u64) -> Option<Presented> {
        let now = self.now(offline, before, |known| known.is_as_of(version)).await?;
        let is_outdated = |chain: &Chain| chain.outdated().now_or_never().is_some();
        (!now.chain.as_ref().is_some_and(is_outdated)).then_some(now)
    }
}

impl Stand {
    /// It is needed only if the cloud does not know any more what has happened since.
    pub fn of(shown: Presented, lacks: Vec<Happened>, watched: Watched) -> Self {
        shown.is_kept();
        Self { shown, lacks, watched }
    }

    /// The head of the collection that was shown just as it is, if it was one.
    pub fn head(&self) -> Option<Header> {
        let head = &self.shown.view.header;
        (self.shown.chain.is_none() && head.scope == self.watched.scope).then(|| head.clone())
    }

    /// What is known of the same by now, if that is newer: its own collection, which what it watches then goes on from. Not
    /// where filters have a say in it: they note what a client is told.
    pub async fn newer(&self, offline: &Offline) -> Option<Presented> {
        if self.shown.chain.is_some() {
            return None;
        }
        let before = self.shown.version();
        let is_newer = |known: &Header| known.version_number() > before && !known.is_behind();
        self.watched.now(offline, &self.shown, is_newer).await
    }
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

    pub fn version(&self) -> u64 {
        self.view.header.version_number()
    }

    /// What an item calls itself.
    pub fn types(&self) -> TypeMeta {
        self.form.types(self.item_types())
    }

    /// What leads from a version to this state, as a client sees it; `None`: that is not known, or is for its filters to say,
    /// by what they have hidden from it.
    pub(super) fn since(&self, knowledge: &Knowledge, watched: &Scope, version: u64) -> Option<Vec<Happened>> {
        let header = &self.view.header;
        if header.is_as_of(version) {
            return Some(Vec::new());
        }
        // Of a wider collection it is not said here what its events mean to who sees a part of it.
        if header.scope != *watched {
            return None;
        }
        let mut seen =
            Seen { shown: self.chain.as_ref().map_or(Ok(None), |chain| chain.shown_at(version)).ok()?, presented: self };
        let mut told = Vec::new();
        for happened in knowledge.since(header, version)? {
            told.extend(seen.event(happened)?);
        }
        Some(told)
    }

    pub fn walk(self, offline: &Offline) -> Walk {
        let knowledge = offline.knowledge.clone().expect("what is shown is of the store");
        Walk { knowledge, shown: Some(self), cursor: Some(Cursor::ALL), page: Vec::new().into_iter() }
    }
}

/// What a client sees of what has happened.
struct Seen<'a> {
    presented: &'a Presented,
    /// What it was shown before, if anything may be hidden from it.
    shown: Option<Shown>,
}

impl Seen<'_> {
    /// `Some(None)`: nothing; `None`: it cannot be read.
    fn event(&mut self, Happened { kind, item }: Happened) -> Option<Option<Happened>> {
        let Presented { chain, form, .. } = self.presented;
        let (encoding, types) = (self.presented.encoding(), self.presented.item_types());
        let key = object::meta(encoding, &item).ok().map(|meta| Hidden::key(&(meta.namespace, meta.name)))?;
        let edited = form.of(chain.as_ref(), encoding, &types, item.clone()).ok()?;
        let kind = match &mut self.shown {
            None if edited.is_none() => return None,
            None => kind,
            Some(shown) => match shown.event(kind, key, edited.is_none()) {
                Some(kind) => kind,
                None => return Some(None),
            },
        };
        let item = match edited {
            Some(item) => item,
            None => form.of(None, encoding, &types, item).ok()??,
        };
        Some(Some(Happened { kind, item }))
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
