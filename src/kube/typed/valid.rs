//! What the kube-apiserver would not take for a new Event, in its own words.
//!
//! Sources, of k8s.io/kubernetes 1.34: `ValidateEventCreate` in pkg/apis/core/validation/events.go, and, of every object,
//! `BeforeCreate` in k8s.io/apiserver/pkg/registry/rest/create.go.

use super::{Record, SECOND, Typed, Value};
use crate::kube::name;
use crate::kube::status::Cause;

/// Bytes.
const WORD: usize = 128;
const NOTE: usize = 1024;
/// Go's `time.Time{}`, which stands for no time: the year 1.
const NO_TIME: i64 = -62_135_596_800 * SECOND;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                         must start and end with an alphanumeric character";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character, with an optional DNS subdomain prefix and '/'";

impl Typed {
    /// What is wrong with it as a new Event in `namespace`; `strictly`, as events.k8s.io/v1 looks at it.
    pub fn faults_of_event(&self, namespace: &str, strictly: bool) -> Vec<Cause> {
        let event = Event { record: &self.0, namespace };
        let mut faults = if event.has_time("eventTime") { event.faults_of_new() } else { event.faults_of_old() };
        faults.extend(unless(name::is_subdomain(namespace), || Cause::invalid("namespace", namespace, SUBDOMAIN)));
        if strictly {
            faults.extend(event.faults_of_name(true));
            faults.extend(event.faults_of_v1());
        }
        // Looked at only where the rest is well.
        if faults.is_empty() {
            faults.extend(event.faults_of_name(false));
        }
        faults
    }
}

struct Event<'a> {
    record: &'a Record,
    namespace: &'a str,
}

impl Event<'_> {
    fn text(&self, key: &str) -> &str {
        text(Some(self.record), key)
    }

    fn has_time(&self, key: &str) -> bool {
        has_time(self.record, key)
    }

    /// One with a time of its own, as events.k8s.io has them.
    fn faults_of_new(&self) -> Vec<Cause> {
        let homeless = self.about().is_empty() && !matches!(self.namespace, "default" | "kube-system");
        let controller = self.text("reportingComponent");
        let mut faults: Vec<Cause> = unless(!homeless, || self.is_elsewhere()).into_iter().collect();
        match controller {
            "" => faults.push(Cause::required("reportingController")),
            _ => faults
                .extend(unless(name::is_qualified(controller), || Cause::invalid("reportingController", controller, QUALIFIED))),
        }
        for key in ["reportingInstance", "action", "reason"] {
            faults.extend(unless(!self.text(key).is_empty(), || Cause::required(key)));
            faults.extend(self.too_long(key, WORD));
        }
        faults.extend(self.too_long("message", NOTE));
        faults
    }

    fn faults_of_old(&self) -> Vec<Cause> {
        let is_here = match self.about() {
            "" => self.namespace == "default",
            about => about == self.namespace,
        };
        unless(is_here, || self.is_elsewhere()).into_iter().collect()
    }

    /// The namespace of what it is about.
    fn about(&self) -> &str {
        text(inner(self.record, "involvedObject"), "namespace")
    }

    fn is_elsewhere(&self) -> Cause {
        Cause::invalid("involvedObject.namespace", self.about(), "does not match event.namespace")
    }

    fn too_long(&self, key: &str, limit: usize) -> Option<Cause> {
        unless(self.text(key).len() <= limit, || Cause::invalid(key, "", &format!("can have at most {limit} characters")))
    }

    fn faults_of_v1(&self) -> Vec<Cause> {
        let mut faults = self.faults_of_series();
        faults.extend(unless(self.has_time("eventTime"), || Cause::required("eventTime")));
        let kind = self.text("type");
        let is_known = matches!(kind, "Normal" | "Warning");
        faults.extend(unless(is_known, || Cause::invalid("type", "", &format!("has invalid value: {kind}"))));
        let source = inner(self.record, "source");
        let of_old = [
            ("firstTimestamp", self.has_time("firstTimestamp")),
            ("lastTimestamp", self.has_time("lastTimestamp")),
            ("count", number(self.record, "count") != 0),
            ("source", ["component", "host"].iter().any(|key| !text(source, key).is_empty())),
        ];
        faults.extend(of_old.iter().filter(|(_, is_set)| *is_set).map(|(key, _)| Cause::invalid(key, "", "needs to be unset")));
        faults
    }

    fn faults_of_series(&self) -> Vec<Cause> {
        let Some(series) = inner(self.record, "series") else { return Vec::new() };
        let counted = unless(number(series, "count") >= 2, || Cause::invalid("series.count", "", "should be at least 2"));
        let timed = unless(has_time(series, "lastObservedTime"), || Cause::required("series.lastObservedTime"));
        counted.into_iter().chain(timed).collect()
    }

    /// Of its metadata, as of any object's; strictly the name is a DNS subdomain.
    fn faults_of_name(&self, strictly: bool) -> Vec<Cause> {
        let metadata = inner(self.record, "metadata");
        let name = text(metadata, "name");
        let (is_name, why) = match strictly {
            true => (name::is_subdomain(name), SUBDOMAIN),
            false => (name::is_path_segment(name), "may not be '.' or '..', nor contain '/' or '%'"),
        };
        let mut faults: Vec<Cause> = unless(is_name, || Cause::invalid("metadata.name", name, why)).into_iter().collect();
        let pairs = |key: &str| metadata.and_then(|metadata| metadata.get(key)).into_iter().flat_map(pairs);
        for (key, value) in pairs("labels") {
            faults.extend(unless(name::is_qualified(key), || Cause::invalid("metadata.labels", key, QUALIFIED)));
            faults
                .extend(unless(name::is_label_value(value), || Cause::invalid("metadata.labels", value, "is no label's value")));
        }
        for (key, _) in pairs("annotations") {
            let is_key = name::is_qualified(&key.to_lowercase());
            faults.extend(unless(is_key, || Cause::invalid("metadata.annotations", key, QUALIFIED)));
        }
        faults
    }
}

fn unless(holds: bool, fault: impl FnOnce() -> Cause) -> Option<Cause> {
    (!holds).then(fault)
}

fn text<'a>(record: Option<&'a Record>, key: &str) -> &'a str {
    match record.and_then(|record| record.get(key)) {
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

fn number(record: &Record, key: &str) -> i64 {
    match record.get(key) {
        Some(Value::Number(number)) => *number,
        _ => 0,
    }
}

fn has_time(record: &Record, key: &str) -> bool {
    matches!(record.get(key), Some(Value::Time(time)) if *time != NO_TIME)
}

fn inner<'a>(record: &'a Record, key: &str) -> Option<&'a Record> {
    match record.get(key) {
        Some(Value::One(inner)) => Some(inner),
        _ => None,
    }
}

fn pairs(value: &Value) -> impl Iterator<Item = (&String, &String)> {
    let map = match value {
        Value::Map(map) => Some(map),
        _ => None,
    };
    map.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use crate::kube::list::Encoding;

    use super::*;

    const OLD: &str = r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod","namespace":"n"}}"#;
    const NEW: &str = r#"{"metadata":{"name":"e"},"regarding":{"kind":"Pod","namespace":"n"},"eventTime":"2026-01-01T00:00:00.000000Z","action":"A","reason":"R","reportingController":"k.io/c","reportingInstance":"c-1","type":"Normal"}"#;

    /// In both encodings.
    fn faults(group: &str, event: &str) -> Vec<String> {
        let of = super::super::of(group, "events").unwrap();
        let read = Typed::read(of, Encoding::Json, event.as_bytes()).unwrap();
        let protobuf = Typed::read(of, Encoding::Protobuf, &read.write(of, Encoding::Protobuf)).unwrap();
        let faults = read.faults_of_event("n", !group.is_empty());
        assert_eq!(protobuf.faults_of_event("n", !group.is_empty()), faults, "{event}");
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_good_one_has_no_fault() {
        assert_eq!(faults("", OLD), Vec::<String>::new());
        assert_eq!(faults("events.k8s.io", NEW), Vec::<String>::new());
        let upper = OLD.replace(r#""name":"e""#, r#""name":"Any Name""#);
        assert_eq!(faults("", &upper), Vec::<String>::new(), "core/v1 looks no closer");
        let elsewhere = NEW.replace(r#""namespace":"n""#, r#""namespace":"other""#);
        assert_eq!(faults("events.k8s.io", &elsewhere), Vec::<String>::new(), "nor does anybody of one with a time");
    }

    #[test]
    fn of_the_old_api_the_namespaces_agree() {
        for about in [r#""namespace":"other""#, r#""uid":"u""#] {
            let event = OLD.replace(r#""namespace":"n""#, about);
            let faults = faults("", &event);
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with("involvedObject.namespace: Invalid value: \""), "{faults:?}");
            assert!(faults[0].ends_with("\": does not match event.namespace"), "{faults:?}");
        }
        for (from, to, field) in [
            (r#""name":"e""#, r#""name":"a/b""#, "metadata.name"),
            (r#""name":"e""#, r#""name":"e","labels":{"-":"v"}"#, "metadata.labels"),
            (r#""name":"e""#, r#""name":"e","labels":{"k":"a b"}"#, "metadata.labels"),
            (r#""name":"e""#, r#""name":"e","annotations":{"a b":"v"}"#, "metadata.annotations"),
        ] {
            let faults = faults("", &OLD.replace(from, to));
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(&format!("{field}: Invalid value: ")), "{faults:?}");
        }
    }

    #[test]
    fn of_the_new_api_all_is_there_and_not_too_long() {
        let long = "x".repeat(129);
        for (key, value) in [("action", "A"), ("reason", "R"), ("reportingInstance", "c-1")] {
            let from = format!(r#""{key}":"{value}""#);
            assert_eq!(faults("events.k8s.io", &NEW.replace(&from, r#""x":"""#)), [format!("{key}: Required value")]);
            let too_long = faults("events.k8s.io", &NEW.replace(&from, &format!(r#""{key}":"{long}""#)));
            assert_eq!(too_long, [format!("{key}: Invalid value: \"\": can have at most 128 characters")]);
        }
        for (from, to, field) in [
            (r#""reportingController":"k.io/c""#, r#""x":"""#, "reportingController: Required value"),
            ("k.io/c", "k.io/c/d", "reportingController: Invalid value: \"k.io/c/d\""),
            (r#""type":"Normal""#, r#""type":"Odd""#, "type: Invalid value: \"\": has invalid value: Odd"),
            (r#""name":"e""#, r#""name":"Upper""#, "metadata.name: Invalid value: \"Upper\""),
            (r#""type""#, r#""deprecatedCount":2,"type""#, "count: Invalid value: \"\": needs to be unset"),
            (r#""type""#, r#""deprecatedSource":{"host":"h"},"type""#, "source: Invalid value"),
            (r#""type""#, r#""deprecatedLastTimestamp":"2026-01-01T00:00:00Z","type""#, "lastTimestamp: Invalid value"),
            (r#""type""#, r#""series":{"count":1,"lastObservedTime":"2026-01-01T00:00:00Z"},"type""#, "series.count: Invalid"),
            (r#""type""#, r#""series":{"count":2,"lastObservedTime":null},"type""#, "series.lastObservedTime: Required"),
        ] {
            let faults = faults("events.k8s.io", &NEW.replace(from, to));
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert!(faults[0].starts_with(field), "{faults:?}");
        }
        for none in ["null", r#""0001-01-01T00:00:00Z""#] {
            let faults = faults("events.k8s.io", &NEW.replace(r#""2026-01-01T00:00:00.000000Z""#, none));
            assert_eq!(faults, ["eventTime: Required value"]);
        }
    }
}
