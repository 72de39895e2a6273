//! Small answers that count only as a whole are gathered, and looked at once they have
//! ended: one that was remembered a moment ago costs no task and no write.
//!
//! Receives the body's bytes as they pass; what is gathered counts as queued until it
//! is handed on or dropped.

use std::sync::Arc;

use bytes::Bytes;

use super::Subject;
use super::queue::{End, Sender};
use crate::store::Knowledge;
use crate::store::grant::now;

/// Bytes and frames beyond which a body is taken apart as it comes.
const BYTES: usize = 64 * 1024;
const PARTS: usize = 64;

pub(super) struct Gathered {
    subject: Subject,
    gzip: bool,
    parts: Vec<Bytes>,
    bytes: usize,
    knowledge: Arc<Knowledge>,
}

impl Gathered {
    pub(super) fn new(subject: Subject, gzip: bool, knowledge: Arc<Knowledge>) -> Self {
        Self { subject, gzip, parts: Vec::new(), bytes: 0, knowledge }
    }

    pub(super) fn push(&mut self, data: Bytes) {
        self.bytes += data.len();
        self.parts.push(data);
    }

    pub(super) fn is_large(&self) -> bool {
        self.bytes > BYTES || self.parts.len() > PARTS
    }

    /// The body goes on: what there is of it, and what comes, is taken apart from now on.
    pub(super) fn stream(mut self) -> Sender {
        let sender = self.knowledge.begin(self.subject.clone(), self.gzip);
        for data in self.parts.drain(..) {
            self.bytes -= data.len();
            sender.push(data);
        }
        sender
    }

    pub(super) fn give_up(self) {
        self.knowledge.not_remembered("store behind");
    }

    /// The body has ended as it should.
    pub(super) fn finish(self) {
        let row = self.subject.row();
        let epoch = self.knowledge.writer().epoch();
        if row.is_some_and(|row| self.knowledge.repeats.is_repeat(&row, &self.parts, epoch, now())) {
            return;
        }
        self.stream().end(End::Whole);
    }
}

impl Drop for Gathered {
    fn drop(&mut self) {
        self.knowledge.queued.give_back(self.bytes);
    }
}
