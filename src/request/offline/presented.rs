//! A collection as one client is to see it, a page of it in memory at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::kube::list::{self, Encoding};
use crate::kube::message::{Edit, MessageError};
use crate::kube::object::TypeMeta;
use crate::kube::table::Table;
use crate::kube::{metadata, table};
use crate::request::filter::{Chain, FilterError};
use crate::state::hidden::MOST;
use crate::store::{Knowledge, ListView, StoreError};

/// Bytes read from the store at a time.
pub(super) const PAGE: usize = 128 * 1024;

/// How long a client may take nothing.
const STALLED: Duration = Duration::from_secs(60);
/// And how long it may take for all of it.
const LONGEST: Duration = Duration::from_secs(600);

/// With a client that is told a state: as long as it is, the disk can free nothing of what has changed since.
pub struct Patience(Instant);

pub struct Presented {
    pub(super) view: ListView,
    pub(super) chain: Option<Chain>,
    pub(super) form: Form,
}

/// Of what is made of each item.
#[derive(Debug, Clone)]
pub(super) enum Form {
    Whole,
    Metadata,
    /// Rows of one Table.
    Rows(Arc<Table>),
    /// A Table each, the columns left out.
    Tables(Arc<Table>),
}

/// Where to go on.
#[derive(Clone)]
pub(super) struct Cursor {
    /// Behind this key; `None`: at the beginning.
    pub after: Option<Vec<u8>>,
    /// So many items yet, hidden ones included.
    pub left: u64,
}

/// Some items, in the cloud's order.
pub(super) struct Page {
    pub shown: Presented,
    pub items: Vec<Vec<u8>>,
    /// `None`: these were the last.
    pub next: Option<Cursor>,
    /// The last item's key, hidden or not, and how many there were.
    last: Option<Vec<u8>>,
    judged: u64,
    /// Keys of the hidden ones.
    hidden: Vec<u64>,
}

/// What a list will be, before any of it is said.
pub(super) struct Measured {
    pub shown: Presented,
    /// Of the items in protobuf with their frames.
    pub bytes: u64,
    /// How many there are, hidden ones included.
    pub items: u64,
    /// The last item's key, hidden or not; `None`: there is none.
    pub last: Option<Vec<u8>>,
}

impl Patience {
    pub const TOO_SLOW: &'static str = "the client took nothing for a minute, or ten for the whole";

    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Waits until the client has taken something; `None`: not in time.
    pub async fn with<T>(&self, taking: impl Future<Output = T>) -> Option<T> {
        timeout_at((Instant::now() + STALLED).min(self.0 + LONGEST), taking).await.ok()
    }
}

impl Cursor {
    /// All there is.
    pub(super) const ALL: Self = Self { after: None, left: u64::MAX };
}

impl Form {
    /// An item that is a `types` as a whole, as the client is to see it; `None`: it is hidden.
    pub(super) fn of(
        &self,
        chain: Option<&Chain>,
        encoding: Encoding,
        types: &TypeMeta,
        item: Vec<u8>,
    ) -> Result<Option<Vec<u8>>, FilterError> {
        // A whole object is whole, whatever it is called. Rows are made of what has been filtered.
        let whole = |item| filtered(chain, encoding, "", item);
        match self {
            Self::Whole => whole(item),
            Self::Metadata => filtered(chain, encoding, &metadata::types().kind, metadata::of_item(encoding, types, &item)?),
            Self::Rows(table) => Ok(whole(item)?.map(|item| table.row(types, &item)).transpose()?),
            Self::Tables(table) => Ok(whole(item)?.map(|item| table.of_one(types, &item)).transpose()?),
        }
    }

    /// The first of several that come one by one: with the columns that all of them have.
    pub(super) fn first(&self, item: Vec<u8>) -> Result<Vec<u8>, MessageError> {
        match self {
            Self::Tables(table) => table.headed(&item),
            _ => Ok(item),
        }
    }

    /// The same for what comes later: how long ago something was is said as of now.
    pub(super) fn again(&self) -> Self {
        match self {
            Self::Tables(table) => Self::Tables(Arc::new(table.again())),
            other => other.clone(),
        }
    }

    /// Whether its list has no array where there is nothing.
    pub(super) fn is_null_without_items(&self) -> bool {
        match self {
            Self::Metadata => true,
            Self::Rows(table) => table.is_null_without_rows(),
            _ => false,
        }
    }

    /// What an item calls itself that is a `types` as a whole.
    pub(super) fn types(&self, types: TypeMeta) -> TypeMeta {
        match self {
            Self::Whole => types,
            Self::Metadata => metadata::types(),
            Self::Rows(_) | Self::Tables(_) => table::types(),
        }
    }
}

fn unfiltered(error: FilterError) -> StoreError {
    StoreError::Backend(format!("filter: {error}"))
}

/// The item as the filters leave it; `None`: it is hidden.
fn filtered(chain: Option<&Chain>, encoding: Encoding, kind: &str, item: Vec<u8>) -> Result<Option<Vec<u8>>, FilterError> {
    Ok(match chain.map_or(Ok(Edit::Keep), |chain| chain.item(encoding, kind, &item))? {
        Edit::Keep => Some(item),
        Edit::Replace(item) => Some(item),
        Edit::Remove => None,
    })
}

/// The collection, if it has all its items; else it is taken out. Counts where it may
/// block.
pub(super) async fn checked(knowledge: &Arc<Knowledge>, view: ListView) -> Result<ListView, StoreError> {
    let header = view.header.clone();
    let count = move || view.whole().map(|()| view);
    let counted = tokio::task::spawn_blocking(count).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())));
    if matches!(counted, Err(StoreError::Damaged { .. })) {
        knowledge.discard(&header).await;
    }
    counted
}

impl Presented {
    /// What the list calls itself.
    pub(super) fn list_types(&self) -> TypeMeta {
        let header = &self.view.header;
        match self.form {
            Form::Whole => TypeMeta { api_version: header.api_version.clone(), kind: header.kind.clone() },
            Form::Metadata => metadata::list_types(),
            Form::Rows(_) | Form::Tables(_) => table::types(),
        }
    }

    /// What its items are as a whole. Where that is not known, either there are none or they say it themselves.
    pub(super) fn item_types(&self) -> TypeMeta {
        let header = &self.view.header;
        TypeMeta { api_version: header.api_version.clone(), kind: header.item_kind().unwrap_or_default().to_owned() }
    }

    /// As long as it is only kept nobody waits for it.
    pub fn is_kept(&self) {
        self.view.is_kept();
    }

    /// What stands at a place, `namespace/name`; `None`: nothing that a client would see. May block.
    pub fn at(&self, knowledge: &Knowledge, place: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(item) = self.view.at(knowledge, place)? else { return Ok(None) };
        let encoding = self.view.header.scope.encoding();
        self.form.of(self.chain.as_ref(), encoding, &self.item_types(), item).map_err(unfiltered)
    }

    /// The next items; runs where it may block.
    pub(super) async fn page(self, knowledge: &Arc<Knowledge>, from: Cursor) -> Result<Page, StoreError> {
        let knowledge = knowledge.clone();
        let read = move || self.read(&knowledge, from);
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(StoreError::Backend(error.to_string())))
    }

    fn read(self, knowledge: &Knowledge, from: Cursor) -> Result<Page, StoreError> {
        let encoding = self.view.header.scope.encoding();
        let types = self.item_types();
        let Cursor { after, left: before } = from;
        let mut left = before;
        let (mut items, mut hidden, mut bytes, mut last, mut failed) = (Vec::new(), Vec::new(), 0, None, None);
        let mut each = |key: &[u8], item: Vec<u8>| {
            (bytes, left, last) = (bytes + item.len(), left - 1, Some(key.to_vec()));
            match self.form.of(self.chain.as_ref(), encoding, &types, item) {
                Ok(Some(item)) => items.push(item),
                Ok(None) => hidden.extend(self.chain.as_ref().map(|chain| chain.key(&self.view.name(key)))),
                Err(error) => failed = Some(unfiltered(error)),
            }
            bytes < PAGE && left > 0 && failed.is_none()
        };
        self.view.visit(knowledge, after.as_deref(), &mut each)?;
        if let Some(error) = failed {
            return Err(error);
        }
        let next = (bytes >= PAGE && left > 0).then(|| Cursor { after: last.clone(), left });
        Ok(Page { shown: self, items, next, last, judged: before - left, hidden })
    }

    /// Reads everything once, before any of it is said, and notes what of it is hidden. A damaged collection is taken out.
    pub(super) async fn measure(self, knowledge: &Arc<Knowledge>, from: Cursor) -> Result<Measured, StoreError> {
        let header = self.view.header.clone();
        let view = checked(knowledge, self.view).await?;
        let measured = Self { view, ..self }.sum(knowledge, from).await;
        if matches!(measured, Err(StoreError::Damaged { .. })) {
            knowledge.discard(&header).await;
        }
        measured
    }

    async fn sum(self, knowledge: &Arc<Knowledge>, from: Cursor) -> Result<Measured, StoreError> {
        let (mut shown, mut cursor, mut bytes, mut items, mut last) = (self, from, 0, 0, None);
        let mut hidden = Vec::new();
        loop {
            let page = shown.page(knowledge, cursor).await?;
            let framed = |item: &Vec<u8>| (list::proto_item_frame(item.len()).len() + item.len()) as u64;
            bytes += page.items.iter().map(framed).sum::<u64>();
            (shown, last) = (page.shown, page.last.or(last));
            items += page.judged;
            hidden.extend(page.hidden.into_iter().take(MOST - hidden.len()));
            match page.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        if let Some(chain) = shown.chain.as_ref().filter(|chain| chain.hides()) {
            chain.hides_at(shown.view.header.version_number(), hidden);
        }
        Ok(Measured { shown, bytes, items, last })
    }
}
