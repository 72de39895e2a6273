//! Who may do what while the cloud cannot be asked: what it has granted before.
//!
//! A token is known by its digest once the cloud has accepted or issued it; a grant
//! is one (user, verb, thing) that the cloud has allowed. Both are forgotten when the
//! cloud says 401 or 403.

use std::hash::Hash;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{Knowledge, StoreError, keys};
use crate::kube::media;
use crate::kube::token::{self, TokenDigest};

/// The node's own identity as a user.
pub const NODE: &str = "node";

/// One thing the cloud may grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Issuer and subject of a token, or [`NODE`].
    pub user: String,
    pub verb: String,
    /// group, resource[/subresource], namespace, name, label selector, field selector;
    /// or the path of a non-resource request.
    pub thing: String,
}

/// A token that the cloud has accepted or issued.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Known {
    pub user: String,
    /// Unix seconds.
    pub expires: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct GrantRecord {
    pub(super) user: String,
    verb: String,
    thing: String,
    /// Unix seconds of the last time it was granted, or refused.
    pub(super) at: u64,
    #[serde(default)]
    denied: bool,
}

/// Grants are written again only when older than this, in seconds.
const REFRESH: u64 = 3600;

/// The token in the opened row of an issued one.
pub(super) fn issued_token(key: &[u8], mut row: Vec<u8>) -> Option<String> {
    let document: super::Document = super::object::split(key, &mut row).ok()?;
    token::issued(media::encoding_of(&document.content_type)?, &row)
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

impl Grant {
    fn key(&self) -> Vec<u8> {
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for part in [&self.user, "\0", &self.verb, "\0", &self.thing] {
            digest.update(part.as_bytes());
        }
        keys::raw(keys::GRANT, &digest.finish().as_ref()[..16])
    }

    fn row(&self, denied: bool) -> Vec<u8> {
        let Self { user, verb, thing } = self.clone();
        serde_json::to_vec(&GrantRecord { user, verb, thing, at: now(), denied }).expect("a plain struct")
    }
}

impl Knowledge {
    /// Notes that the cloud granted this. Cheap when it is known already.
    pub fn grant(&self, grant: &Grant) {
        if self.first_in(grant, REFRESH, now()) && !self.put(grant.key(), &grant.row(false)) {
            self.recent.forget(grant);
        }
    }

    /// The cloud refuses what everybody else may: that is remembered as well.
    pub fn deny(&self, grant: &Grant) {
        self.recent.forget(grant);
        self.put(grant.key(), &grant.row(true));
    }

    /// The cloud refuses this now.
    pub fn revoke(&self, grant: &Grant) {
        let is_written = self.recent.forget(grant);
        self.delete(grant.key(), is_written);
    }

    /// Whether the cloud has granted this before; `None`: it was not asked.
    pub fn answer_to(&self, grant: &Grant) -> Result<Option<bool>, StoreError> {
        let key = grant.key();
        let Some(row) = self.snapshot()?.read(&key)? else { return Ok(None) };
        let record: GrantRecord = self.open_right(&key, row, grant)?;
        let same = record.user == grant.user && record.verb == grant.verb && record.thing == grant.thing;
        Ok(same.then_some(!record.denied))
    }

    /// Whether the cloud has granted this before.
    pub fn granted(&self, grant: &Grant) -> Result<bool, StoreError> {
        Ok(self.answer_to(grant)? == Some(true))
    }

    /// Notes that the cloud accepted or issued a token.
    pub fn know_token(&self, digest: TokenDigest, user: &str, expires: Option<u64>) {
        if !self.first_in(&digest, REFRESH, now()) {
            return;
        }
        let row = serde_json::to_vec(&Known { user: user.to_owned(), expires }).expect("a plain struct");
        if !self.put(keys::raw(keys::TOKEN, &digest.0), &row) {
            self.recent.forget(&digest);
        }
    }

    /// The cloud does not accept the token any more.
    pub fn forget_token(&self, digest: TokenDigest) {
        let is_written = self.recent.forget(&digest);
        self.delete(keys::raw(keys::TOKEN, &digest.0), is_written);
    }

    /// Whose token it is; `None`: the cloud has never said, or it has expired.
    pub fn token(&self, digest: TokenDigest) -> Result<Option<Known>, StoreError> {
        let key = keys::raw(keys::TOKEN, &digest.0);
        let Some(row) = self.snapshot()?.read(&key)? else { return Ok(None) };
        let known: Known = self.open_right(&key, row, &digest)?;
        Ok(Some(known).filter(|known| known.expires.is_none_or(|expires| now() < expires)))
    }

    /// A damaged one stays, for what it says is not known, which is another thing than no right; and is written anew when
    /// the cloud says it again.
    fn open_right<R: for<'de> Deserialize<'de>>(&self, key: &[u8], row: Vec<u8>, right: &impl Hash) -> Result<R, StoreError> {
        let damaged = |_| StoreError::Damaged { key: keys::printable(key) };
        let opened = self.sealer().open_row(key, row).and_then(|row| serde_json::from_slice(&row).map_err(damaged));
        if opened.is_err() {
            self.recent.forget(right);
        }
        opened
    }

    /// Keeps the answer to a TokenRequest under a fingerprint of the request, and the
    /// token's owner. Acknowledged to nobody, so it may be lost with the last second.
    pub fn keep_issued(&self, fingerprint: &[u8; 32], document: &super::Document) {
        let row = super::object::join(document, &document.body);
        self.put(keys::raw(keys::ISSUED, fingerprint), &row);
    }

    /// Tokens of `user` that the cloud has issued to kubelet through this hub and that have
    /// not expired, the youngest first; at most four.
    pub fn issued_to(&self, user: &str) -> Result<Vec<String>, StoreError> {
        let mut tokens = Vec::new();
        self.snapshot()?.scan(&[keys::ISSUED], &mut |key, row| {
            tokens.extend(self.sealer().open_row(key, row.to_vec()).ok().and_then(|row| issued_token(key, row)));
            true
        })?;
        let now = now();
        let mut own: Vec<_> = tokens
            .into_iter()
            .filter_map(|token| token::claims(&token).map(|claims| (claims.expires.unwrap_or(u64::MAX), claims.user, token)))
            .filter(|(expires, owner, _)| owner == user && now < *expires)
            .collect();
        own.sort_unstable_by_key(|(expires, ..)| std::cmp::Reverse(*expires));
        Ok(own.into_iter().take(4).map(|(_, _, token)| token).collect())
    }

    pub fn issued(&self, fingerprint: &[u8; 32]) -> Result<Option<super::Document>, StoreError> {
        let key = keys::raw(keys::ISSUED, fingerprint);
        let Some(row) = self.snapshot()?.read(&key)? else { return Ok(None) };
        let mut row = self.sealer().open_row(&key, row)?;
        let mut document: super::Document = super::object::split(&key, &mut row)?;
        document.body = row;
        Ok(Some(document))
    }
}
