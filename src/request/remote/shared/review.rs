//! Whether the cloud would let somebody in: a SelfSubjectAccessReview with its own credential, and again after a time.
//!
//! Only a yes is kept. Whoever gets none asks for itself, and is told by the cloud.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, Limited};
use tokio::time::{Instant, timeout};

use crate::kube::review;
use crate::kube::token::TokenDigest;
use crate::request::context::{Bearer, Caller, Context};
use crate::runtime::metrics::{Metrics, Why};
use crate::state::credentials::Identity;
use crate::state::link::Link;
use crate::upstream::{RequestBody, Server};

/// How long one may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of its answer.
const ANSWER: usize = 64 * 1024;
/// Answers that are kept.
const KEPT: usize = 4096;

pub(super) struct Reviews {
    servers: Vec<Arc<Server>>,
    link: Arc<Link>,
    metrics: Arc<Metrics>,
    /// How long a yes counts at most.
    period: Duration,
    granted: Mutex<HashMap<Known, Instant>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Known {
    /// `None`: the node.
    whose: Option<TokenDigest>,
    asked: Bytes,
}

/// What one who reads asks for, now and again.
#[derive(Clone)]
pub(super) struct Question {
    bearer: Option<Arc<Bearer>>,
    asked: Bytes,
}

impl Question {
    /// `None`: nobody of whom it can be asked.
    pub(super) fn of(context: &Context) -> Option<Self> {
        let bearer = match &context.caller {
            Caller::Bearer(bearer) => Some(bearer.clone()),
            Caller::Node => None,
            Caller::Nobody | Caller::Other => return None,
        };
        Some(Self { bearer, asked: review::of(&context.info).into() })
    }

    pub(super) fn known(&self) -> Known {
        Known { whose: self.bearer.as_ref().map(|bearer| bearer.digest), asked: self.asked.clone() }
    }

    fn request(&self) -> Option<http::request::Parts> {
        let mut request = Request::post(review::PATH)
            .header(USER_AGENT, concat!("holdfast/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        if let Some(bearer) = &self.bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {}", bearer.token)).ok()?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(()).ok().map(|request| request.into_parts().0)
    }
}

impl Reviews {
    pub(super) fn new(servers: Vec<Arc<Server>>, link: Arc<Link>, metrics: Arc<Metrics>, period: Duration) -> Self {
        Self { servers, link, metrics, period, granted: Mutex::default() }
    }

    /// Until when it need not be asked again; `None`: it is not granted, or nobody says so.
    pub(super) async fn granted(&self, question: &Question) -> Option<Instant> {
        let known = question.known();
        let until = self.granted.lock().unwrap_or_else(PoisonError::into_inner).get(&known).copied();
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            return Some(until);
        }
        let is_granted = timeout(TIMEOUT, self.ask(question)).await.ok().flatten();
        let reason = match is_granted {
            Some(true) => "granted",
            Some(false) => "not granted",
            None => "no answer",
        };
        self.metrics.access_reviews.get_or_create(&Why { reason }).inc();
        is_granted?.then(|| self.keep(known))
    }

    async fn ask(&self, question: &Question) -> Option<bool> {
        let head = question.request()?;
        let identity = if question.bearer.is_some() { Identity::Caller } else { Identity::Node };
        for server in self.servers.iter().filter(|server| self.link.server_is_up(server.index)) {
            let body: RequestBody = Box::pin(Full::new(question.asked.clone()).map_err(|never| match never {}));
            let Ok(answer) = server.send(identity, &head, &mut Some(body)).await else { continue };
            if answer.status().is_server_error() {
                continue;
            }
            let answer = Limited::new(answer.into_body(), ANSWER).collect().await.ok()?;
            return Some(review::is_allowed(&answer.to_bytes()));
        }
        None
    }

    /// Of a yes: until when it counts. Not all of a node's are asked again at the same time.
    pub(super) fn keep(&self, known: Known) -> Instant {
        let mut hasher = DefaultHasher::new();
        known.hash(&mut hasher);
        let part = hasher.finish() % 1024;
        let now = Instant::now();
        let until = now + self.period.mul_f64(0.5 + part as f64 / 2048.0);
        let mut granted = self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted.len() >= KEPT {
            granted.retain(|_, until| *until > now);
        }
        if granted.len() < KEPT {
            granted.insert(known, until);
        }
        until
    }
}

/// Asks when it is polled, and again when it is polled once more.
pub(super) struct Asking {
    reviews: Arc<Reviews>,
    question: Question,
    asked: Option<Pin<Box<dyn Future<Output = Option<Instant>> + Send>>>,
}

impl Asking {
    pub(super) fn new(reviews: Arc<Reviews>, question: Question) -> Self {
        Self { reviews, question, asked: None }
    }

    pub(super) fn poll(&mut self, cx: &mut Task<'_>) -> Poll<Option<Instant>> {
        let ask = || {
            let (reviews, question) = (self.reviews.clone(), self.question.clone());
            Box::pin(async move { reviews.granted(&question).await }) as Pin<Box<dyn Future<Output = Option<Instant>> + Send>>
        };
        let granted = ready!(self.asked.get_or_insert_with(ask).as_mut().poll(cx));
        self.asked = None;
        Poll::Ready(granted)
    }
}
