//! Content negotiation: what a client accepts and what an answer is.
//!
//! Pure. An unparsable `Accept` is treated as `*/*`, as the kube-apiserver treats an
//! empty one.

use std::borrow::Cow;

use super::list::Encoding;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// How an object is presented: `as=Table`, `as=PartialObjectMetadata(List)` or whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Form {
    Full,
    /// Any `as=`; the parameter text (`as;g;v`) tells them apart.
    As(String),
}

/// One acceptable representation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Media {
    pub encoding: Encoding,
    pub form: Form,
}

impl Media {
    /// As a client asks for it.
    pub fn accept(&self) -> String {
        let base = self.content_type(false);
        match &self.form {
            Form::Full => base,
            Form::As(form) => {
                let parameters = ["as", "g", "v"].iter().zip(form.split(';'));
                parameters.fold(base, |accept, (name, value)| format!("{accept};{name}={value}"))
            }
        }
    }

    pub fn content_type(&self, watch: bool) -> String {
        let base = match self.encoding {
            Encoding::Json => "application/json",
            Encoding::Protobuf => PROTOBUF,
        };
        // Only protobuf watches name their framing: apiserver answers plain
        // `application/json` for JSON ones.
        if watch && self.encoding == Encoding::Protobuf { format!("{base};stream=watch") } else { base.to_owned() }
    }
}

/// The representations an `Accept` header allows, best first: by quality, then named types before wildcards, as goautoneg
/// has it in the kube-apiserver. Types Holdfast cannot answer from its store (CBOR) are left out, and YAML but as the
/// first, where it is a [`Layout`](super::layout::Layout) of JSON; an absent header means JSON.
pub fn accepted(accept: Option<&str>) -> Vec<Media> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else {
        return vec![Media { encoding: Encoding::Json, form: Form::Full }];
    };
    let mut list = Vec::new();
    for wanted in liked(accept) {
        let (kind, parameters) = wanted.split_once(';').unwrap_or((&wanted, ""));
        let encoding = match kind {
            "application/json" | "*/*" | "application/*" => Encoding::Json,
            PROTOBUF => Encoding::Protobuf,
            // JSON, laid out otherwise.
            "application/yaml" if list.is_empty() => Encoding::Json,
            _ => continue,
        };
        list.push(Media { encoding, form: form(parameters) });
    }
    list
}

/// The clauses of an `Accept` header, best first, as [`clause`] writes them; without what is refused by `q=0`.
pub(super) fn liked(accept: &str) -> Vec<Cow<'_, str>> {
    let mut clauses: Vec<(f32, Cow<'_, str>)> =
        accept.split(',').filter_map(clause).filter(|(quality, _)| *quality > 0.0).collect();
    let is_wildcard = |wanted: &str| matches!(wanted.split(';').next(), Some("*/*" | "application/*"));
    clauses.sort_by(|(q, one), (other_q, other)| other_q.total_cmp(q).then(is_wildcard(one).cmp(&is_wildcard(other))));
    clauses.into_iter().map(|(_, wanted)| wanted).collect()
}

/// Whether an `Accept` header names OpenAPI in a representation of its own.
pub fn names_openapi(accept: &str) -> bool {
    liked(accept).iter().any(|wanted| wanted.starts_with("application/com.github.proto-openapi."))
}

/// Of what there is, as content types, the one that an `Accept` header likes best; what is not said is JSON.
pub fn negotiated<'a>(accept: &str, there: &[&'a str]) -> Option<&'a str> {
    let says_nothing = accept.split(',').all(|clause| clause.trim().is_empty());
    let accept = if says_nothing { "*/*" } else { accept };
    // Where the kube-apiserver does not negotiate it answers with text.
    if let [only] = there
        && only.starts_with("text/plain")
    {
        return Some(only);
    }
    liked(accept).iter().find_map(|wanted| match &**wanted {
        "*/*" | "application/*" => there.iter().find(|kind| **kind == "application/json").or(there.first()).copied(),
        wanted => there.iter().find(|kind| is_same(kind, wanted)).copied(),
    })
}

/// Quality and type of a clause, its parameters in order.
fn clause(text: &str) -> Option<(f32, Cow<'_, str>)> {
    let text = text.trim();
    // Most are a type and nothing else, and every request has some.
    if !text.is_empty() && !text.contains([';', '@']) {
        return Some((1.0, Cow::Borrowed(text)));
    }
    let mut parts = text.split(';').map(str::trim);
    // The older name of the same.
    let kind = parts.next().filter(|kind| !kind.is_empty())?.replace('@', ".");
    let (mut quality, mut parameters) = (1.0, Vec::new());
    for parameter in parts.filter(|parameter| !parameter.is_empty()) {
        match parameter.strip_prefix("q=") {
            Some(value) => quality = value.parse().unwrap_or(0.0),
            None => parameters.push(parameter),
        }
    }
    parameters.sort_unstable();
    Some((quality, Cow::Owned([vec![&*kind], parameters].concat().join(";"))))
}

fn is_same(kind: &str, wanted: &str) -> bool {
    clause(kind).is_some_and(|(_, kind)| kind == wanted)
}

/// The clauses of an `Accept` header that JSON answers, as ones for JSON; `None`: there are none.
pub fn json_alone(accept: Option<&str>) -> Option<String> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Some("application/json".to_owned()) };
    let json = accept.split(',').filter_map(|clause| {
        let (kind, parameters) = parted(clause);
        is_json(kind).then(|| format!("application/json{parameters}"))
    });
    Some(json.collect::<Vec<_>>().join(",")).filter(|json| !json.is_empty())
}

/// The clauses of an `Accept` header that an [`Encoding`] answers; `None`: none of them is accepted.
pub fn read_alone(accept: &str) -> Option<String> {
    let read = accept.split(',').filter(|clause| is_read(clause)).collect::<Vec<_>>().join(",");
    let is_accepted = !read.is_empty() && !accepted(Some(&read)).is_empty();
    is_accepted.then_some(read)
}

/// Whether whatever an `Accept` header leads to is in an [`Encoding`].
pub fn are_read(accept: &str) -> bool {
    accept.split(',').all(|clause| clause.trim().is_empty() || is_read(clause))
}

fn is_read(clause: &str) -> bool {
    let (kind, _) = parted(clause);
    is_json(kind) || kind == PROTOBUF
}

/// Type and parameters of a clause.
fn parted(clause: &str) -> (&str, &str) {
    let (kind, parameters) = clause.split_at(clause.find(';').unwrap_or(clause.len()));
    (kind.trim(), parameters)
}

/// Whether the kube-apiserver answers this type with JSON.
fn is_json(kind: &str) -> bool {
    matches!(kind, "application/json" | "*/*" | "application/*")
}

fn form(parameters: &str) -> Form {
    let mut parts = [""; 3];
    for parameter in parameters.split(';') {
        match parameter.trim().split_once('=') {
            Some(("as", value)) => parts[0] = value,
            Some(("g", value)) => parts[1] = value,
            Some(("v", value)) => parts[2] = value,
            _ => {}
        }
    }
    if parts[0].is_empty() { Form::Full } else { Form::As(parts.join(";")) }
}

/// The encoding that a `Content-Type` names, if it is one that Holdfast reads.
pub fn encoding_of(content_type: &str) -> Option<Encoding> {
    match content_type.split(';').next().map(str::trim) {
        Some("application/json") => Some(Encoding::Json),
        Some(PROTOBUF) => Some(Encoding::Protobuf),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_likes_best_of_what_there_is() {
        let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
        let openapi = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        let there = [openapi, "application/json", aggregated];
        for (accept, best) in [
            ("", Some("application/json")),
            ("*/*", Some("application/json")),
            ("application/json, */*", Some("application/json")),
            ("application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io,application/json", Some(aggregated)),
            ("application/json;g=x;v=v3;as=Y , application/json", Some("application/json")),
            ("application/json;q=0.1,application/com.github.proto-openapi.spec.v2@v1.0+protobuf;q=0.9", Some(openapi)),
            ("application/yaml", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(negotiated(accept, &there), best, "{accept}");
        }
        assert_eq!(negotiated("application/json", &["text/plain; charset=utf-8"]), Some("text/plain; charset=utf-8"));
        assert_eq!(negotiated("*/*", &[]), None);
    }

    #[test]
    fn client_go_kubectl_and_browsers() {
        let full = |encoding| Media { encoding, form: Form::Full };
        assert_eq!(accepted(None), [full(Encoding::Json)]);
        assert_eq!(
            accepted(Some("application/vnd.kubernetes.protobuf,application/json")),
            [full(Encoding::Protobuf), full(Encoding::Json)]
        );
        let table = accepted(Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"));
        assert_eq!(table[0].form, Form::As("Table;meta.k8s.io;v1".into()));
        assert_eq!(table[1].form, Form::Full);
        assert!(accepted(Some("application/cbor")).is_empty());
    }

    #[test]
    fn what_is_liked_better_comes_first_and_what_is_refused_not_at_all() {
        let (json, protobuf) = (Encoding::Json, Encoding::Protobuf);
        for (accept, encodings) in [
            ("application/json;q=0.1,application/vnd.kubernetes.protobuf;q=0.9", vec![protobuf, json]),
            ("application/json;q=0.5, application/vnd.kubernetes.protobuf", vec![protobuf, json]),
            ("application/json; q=0,application/vnd.kubernetes.protobuf", vec![protobuf]),
            ("*/*,application/vnd.kubernetes.protobuf", vec![protobuf, json]),
            ("application/vnd.kubernetes.protobuf;q=0.1,application/yaml", vec![json, protobuf]),
            ("application/json;q=0", vec![]),
        ] {
            let accepted: Vec<Encoding> = accepted(Some(accept)).iter().map(|media| media.encoding).collect();
            assert_eq!(accepted, encodings, "{accept}");
        }
        let table = accepted(Some("application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9"));
        assert_eq!(table[0].form, Form::As("Table;meta.k8s.io;v1".into()));
    }

    #[test]
    fn what_is_read_is_asked_for_alone_where_it_is_taken() {
        for (accept, read) in [
            ("application/yaml, application/json", Some(" application/json")),
            (
                "application/cbor,application/vnd.kubernetes.protobuf;q=0.5,*/*;q=0.1",
                Some("application/vnd.kubernetes.protobuf;q=0.5,*/*;q=0.1"),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"),
            ),
            ("application/yaml", None),
            ("application/cbor-seq,application/json;q=0", None),
            ("", None),
        ] {
            assert_eq!(read_alone(accept).as_deref(), read, "{accept}");
        }
    }
}
