//! Two answers to one request.
//!
//! What may differ: ages in Tables; the keys' order and the quotes in YAML; of a bookmark, what a Go type says of fields that
//! are empty. Of refusals nothing; a 503, a 403 or a 410 by what this node knows has no counterpart, and is no answer here.

use holdfast::kube::watch::{EventType, Framer};
use holdfast::kube::{media, object};
use testkit::client::Response;

use crate::requests::{Asked, TABLE, YAML};

pub const INITIAL_EVENTS_END: &[u8] = b"k8s.io/initial-events-end";

/// What counts of an answer.
pub struct Answer {
    pub status: u16,
    content_type: String,
    body: Vec<u8>,
    /// The token with which the list goes on.
    pub continues: Option<String>,
}

impl Answer {
    pub fn of(response: Response) -> Self {
        let continues = match response.header("content-type") {
            "application/json" => value(&response.body)["metadata"]["continue"].as_str().map(str::to_owned),
            YAML => value(&response.body)["metadata"]["continue"].as_str().map(str::to_owned),
            // Protobuf has it as text behind the resourceVersion.
            _ => token_in(&response.body),
        };
        Self {
            status: response.status.as_u16(),
            content_type: response.header("content-type").to_owned(),
            continues: continues.filter(|token| !token.is_empty()),
            body: response.body.to_vec(),
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        text.chars().take(400).collect()
    }
}

/// Of JSON or YAML.
fn value(text: &[u8]) -> serde_json::Value {
    serde_json::from_slice(text).or_else(|_| serde_saphyr::from_slice(text)).unwrap_or_default()
}

/// All tokens are JSON that begins with `{"v":"meta.k8s.io/v1"`.
fn token_in(body: &[u8]) -> Option<String> {
    let beginning = b"eyJ2IjoibWV0YS5rOHMuaW8vdjEi";
    let at = body.windows(beginning.len()).take(400).position(|bytes| bytes == beginning)?;
    let length = usize::from(body[at - 1]);
    Some(String::from_utf8(body[at..at + length].to_vec()).unwrap())
}

/// The values, with one space for any: the kube-apiserver breaks a line at U+2028 as YAML 1.1 has it, and 1.2 reads blanks.
fn words(text: &[u8]) -> String {
    let text = value(text).to_string().replace('\u{2028}', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A Table with one word for any time that has passed (`"5m3s"`, and within `"2 (5m ago)"`): it goes on.
fn without_ages(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let age = |word: &str| {
        let word = word.strip_suffix(" ago)").and_then(|word| word.split_once(" (")).map_or(word, |(_, age)| age);
        let units = word.chars().filter(|letter| "smhdy".contains(*letter)).count();
        word.starts_with(|first: char| first.is_ascii_digit())
            && word.ends_with(['s', 'm', 'h', 'd', 'y'])
            && word.chars().all(|letter| letter.is_ascii_digit() || "smhdy".contains(letter))
            && units <= 2
    };
    let words: Vec<&str> = text.split('"').collect();
    let words = words.into_iter().map(|word| match word.split_once(" (") {
        _ if !age(word) => word.to_owned(),
        Some((before, _)) => format!("{before} (AGE ago)"),
        None => "AGE".to_owned(),
    });
    words.collect::<Vec<_>>().join("\"").into_bytes()
}

/// A stream of events, of whose bookmarks counts what they say: an object of Go's types says of each field that must not
/// be missing that it is empty, too.
fn told_in_bookmarks(content_type: &str, body: &[u8]) -> Vec<u8> {
    let Some(encoding) = media::encoding_of(content_type) else { return body.to_vec() };
    let mut frames = Vec::new();
    Framer::new(encoding, 8 << 20).feed(body.to_vec().into(), &mut frames).unwrap();
    let told = frames.into_iter().map(|frame| {
        let object = &frame.event.object;
        if frame.event.kind != EventType::Bookmark {
            return frame.raw.to_vec();
        }
        let (types, item) = object::into_item(encoding, object).unwrap();
        let version = object::meta(encoding, &item).unwrap().resource_version;
        let is_end = object.windows(INITIAL_EVENTS_END.len()).any(|bytes| bytes == INITIAL_EVENTS_END);
        format!("BOOKMARK {types:?} {version} {is_end}").into_bytes()
    });
    told.collect::<Vec<_>>().concat()
}

/// Says how they differ, if they do. A list is compared whole: its items and what it says of itself; so is a refusal: its
/// code, reason, message and details, in the client's representation.
pub fn difference(asked: &Asked, online: &Answer, offline: &Answer) -> Option<String> {
    let told = |what: String| Some(format!("{} {}: {what}", asked.target, asked.accept));
    if online.status != offline.status {
        return told(format!("{} online, {} offline:\n  {}\n  {}", online.status, offline.status, online.text(), offline.text()));
    }
    if online.content_type != offline.content_type {
        return told(format!("{:?} online, {:?} offline", online.content_type, offline.content_type));
    }
    let is_table = asked.accept == TABLE;
    let as_compared = |body: &[u8]| match () {
        () if online.status != 200 => body.to_vec(),
        () if is_table => without_ages(body),
        () if asked.target.contains("watch=") => told_in_bookmarks(&online.content_type, body),
        () => body.to_vec(),
    };
    let (one, other) = (&as_compared(&online.body), &as_compared(&offline.body));
    // In YAML keys have another order, and strings other quotes.
    if online.content_type == YAML {
        let same = words(one) == words(other) && !value(one).is_null();
        return if same { None } else { told(format!("{}\n  {}", words(one), words(other))) };
    }
    if one != other {
        let at = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        let near = |body: &[u8]| String::from_utf8_lossy(&body[at.saturating_sub(60)..body.len().min(at + 100)]).into_owned();
        return told(format!("bodies differ at byte {at}:\n  {}\n  {}", near(one), near(other)));
    }
    None
}
