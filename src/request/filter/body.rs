//! A body that is filtered as it streams: one item in memory, never a list.

use std::collections::VecDeque;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};

use super::Chain;
use super::masterservice::FilterError;
use crate::kube::list::{Encoding, Limits, Rewriter};
use crate::kube::object;
use crate::kube::watch::{self, EventType, Framer};
use crate::request::context::BodyError;
use crate::runtime::metrics::Metrics;

const LIMITS: Limits = Limits { max_item: 8 << 20, max_head: 64 * 1024 };

type RewriteItem = Box<dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>, FilterError> + Send>;

/// How the bytes of one answer change.
pub(in crate::request) struct Transform {
    gzip: Option<flate2::write::GzDecoder<Vec<u8>>>,
    shape: Shape,
}

enum Shape {
    List(Option<Box<Rewriter<RewriteItem>>>),
    Watch { chain: Chain, encoding: Encoding, framer: Framer },
    Get { chain: Chain, encoding: Encoding, whole: Vec<u8> },
}

impl Transform {
    pub(super) fn new(chain: Chain, encoding: Encoding, verb: &str, gzip: bool) -> Self {
        let shape = match verb {
            "list" => {
                let rewrite: RewriteItem = Box::new(move |item| chain.rewrite(encoding, item));
                Shape::List(Some(Box::new(Rewriter::new(encoding, LIMITS, rewrite))))
            }
            "watch" => Shape::Watch { chain, encoding, framer: Framer::new(encoding, LIMITS.max_item) },
            _ => Shape::Get { chain, encoding, whole: Vec::new() },
        };
        Self { gzip: gzip.then(|| flate2::write::GzDecoder::new(Vec::new())), shape }
    }

    fn feed(&mut self, data: Bytes, out: &mut Vec<Bytes>) -> Result<(), String> {
        let data = match &mut self.gzip {
            None => data,
            Some(gzip) => {
                gzip.write_all(&data).map_err(|error| error.to_string())?;
                Bytes::from(std::mem::take(gzip.get_mut()))
            }
        };
        self.shape.feed(data, out)
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), String> {
        if let Some(gzip) = self.gzip.take() {
            let rest = gzip.finish().map_err(|error| error.to_string())?;
            self.shape.feed(Bytes::from(rest), out)?;
        }
        self.shape.finish(out)
    }
}

impl Shape {
    fn feed(&mut self, data: Bytes, out: &mut Vec<Bytes>) -> Result<(), String> {
        if data.is_empty() {
            return Ok(());
        }
        match self {
            Self::List(Some(rewriter)) => rewriter.feed(data, out).map_err(|error| error.to_string()),
            Self::List(None) => Ok(()),
            Self::Watch { chain, encoding, framer } => {
                let mut frames = Vec::new();
                framer.feed(data, &mut frames).map_err(|error| error.to_string())?;
                for frame in frames {
                    out.push(event(chain, *encoding, frame).map_err(|error| error.to_string())?);
                }
                Ok(())
            }
            Self::Get { whole, .. } => {
                if whole.len() + data.len() > LIMITS.max_item {
                    return Err("the object is too large".to_owned());
                }
                whole.extend_from_slice(&data);
                Ok(())
            }
        }
    }

    fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), String> {
        match self {
            Self::List(rewriter) => match rewriter.take() {
                Some(rewriter) => rewriter.finish().map(drop).map_err(|error| error.to_string()),
                None => Ok(()),
            },
            // What a cut left of an event is not passed on.
            Self::Watch { .. } => Ok(()),
            Self::Get { chain, encoding, whole } => {
                let whole = std::mem::take(whole);
                let rewritten = full(chain, *encoding, &whole).map_err(|error| error.to_string())?;
                out.push(Bytes::from(rewritten.unwrap_or(whole)));
                Ok(())
            }
        }
    }
}

fn event(chain: &Chain, encoding: Encoding, frame: watch::Frame) -> Result<Bytes, FilterError> {
    if !matches!(frame.event.kind, EventType::Added | EventType::Modified | EventType::Deleted) {
        return Ok(frame.raw);
    }
    Ok(match full(chain, encoding, &frame.event.object)? {
        Some(object) => watch::encode(encoding, frame.event.kind, &object),
        None => frame.raw,
    })
}

/// An object in full form, rewritten; `None`: as it is.
fn full(chain: &Chain, encoding: Encoding, full: &[u8]) -> Result<Option<Vec<u8>>, FilterError> {
    let (types, item) = object::into_item(encoding, full)?;
    Ok(chain.rewrite(encoding, &item)?.map(|item| {
        let mut rewritten = object::from_item(encoding, &types, &item);
        if full.ends_with(b"\n") && encoding == Encoding::Json {
            rewritten.push(b'\n');
        }
        rewritten
    }))
}

/// A teed body with its transformation.
pub(in crate::request) struct Filtered<B> {
    body: B,
    /// `None` once the end has been written.
    transform: Option<Transform>,
    ready: VecDeque<Bytes>,
    metrics: Arc<Metrics>,
}

impl<B> Filtered<B> {
    pub(in crate::request) fn new(body: B, transform: Transform, metrics: Arc<Metrics>) -> Self {
        Self { body, transform: Some(transform), ready: VecDeque::new(), metrics }
    }

    fn failed(&mut self, error: String) -> BodyError {
        self.metrics.filter_errors.inc();
        self.transform = None;
        BodyError::Filter(error)
    }
}

impl<B> HttpBody for Filtered<B>
where
    B: HttpBody<Data = Bytes, Error = crate::upstream::Error> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let this = &mut *self;
            let Some(transform) = &mut this.transform else { return Poll::Ready(None) };
            let mut out = Vec::new();
            let result = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => transform.feed(data, &mut out),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                None => {
                    let result = transform.finish(&mut out);
                    this.transform = None;
                    result
                }
            };
            if let Err(error) = result {
                return Poll::Ready(Some(Err(this.failed(error))));
            }
            this.ready.extend(out.into_iter().filter(|bytes| !bytes.is_empty()));
        }
    }
}
