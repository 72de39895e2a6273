//! `v1.Status`: what the real server answers when something is wrong, word for word.
//!
//! Wording follows `k8s.io/apimachinery/pkg/api/errors`.

use super::json::write_string;
use super::resource::Resource;

/// An error answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    /// Present when there are details, even empty ones.
    pub(crate) details: Option<Box<Details>>,
    /// `metadata.continue`, given with an expired page token.
    pub(crate) resume: String,
}

/// `v1.StatusDetails`; `kind` holds the resource's plural, as the real server has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) uid: String,
    /// (reason, message)
    pub(crate) cause: Option<(String, String)>,
    pub(crate) retry_after: u32,
}

impl Details {
    fn of(resource: &Resource, name: &str) -> Option<Box<Self>> {
        let (group, kind) = (resource.group.clone(), resource.plural.clone());
        Some(Box::new(Self { name: name.to_owned(), group, kind, ..Self::default() }))
    }
}

impl Failure {
    fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), ..Self::default() }
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource.qualified());
        Self { details: Details::of(resource, name), ..Self::new(404, "NotFound", message) }
    }

    pub(crate) fn unknown_resource() -> Self {
        let message = "the server could not find the requested resource";
        Self { details: Some(Box::default()), ..Self::new(404, "NotFound", message) }
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource.qualified());
        Self { details: Details::of(resource, name), ..Self::new(409, "AlreadyExists", message) }
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", resource.qualified());
        Self { details: Details::of(resource, name), ..Self::new(409, "Conflict", message) }
    }

    pub(crate) fn stale(resource: &Resource, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    pub(crate) fn forbidden(resource: Option<(&Resource, &str)>, why: &str) -> Self {
        let (message, details) = match resource {
            None => (format!("forbidden: {why}"), Some(Box::default())),
            Some((resource, "")) => (format!("{} is forbidden: {why}", resource.qualified()), Details::of(resource, "")),
            Some((resource, name)) => {
                (format!("{} \"{name}\" is forbidden: {why}", resource.qualified()), Details::of(resource, name))
            }
        };
        Self { details, ..Self::new(403, "Forbidden", message) }
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn expired_token(resume: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
        Self { resume, ..Self::expired(message) }
    }

    /// A watch or list from a version that is yet to come.
    pub(crate) fn too_large(asked: u64, current: u64) -> Self {
        let cause = ("ResourceVersionTooLarge".to_owned(), "Too large resource version".to_owned());
        let details = Details { cause: Some(cause), retry_after: 1, ..Details::default() };
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self { details: Some(Box::new(details)), ..Self::new(504, "Timeout", message) }
    }

    pub(crate) fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", message)
    }

    /// A form that is not the one of what is asked for.
    pub(crate) fn of_another_shape(form: &str, what: &str) -> Self {
        Self::new(406, "NotAcceptable", format!("you requested {form}, but the requested object is {what}"))
    }

    pub(crate) fn unsupported_media(got: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: application/json, not {got}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self { details: Some(Box::default()), ..Self::new(405, "MethodNotAllowed", message) }
    }

    pub(crate) fn invalid(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {why}", resource.kind());
        Self { details: Details::of(resource, name), ..Self::new(422, "Invalid", message) }
    }

    /// What the server says with any code, for the fault of the same name.
    pub(crate) fn of_code(code: u16) -> Self {
        let (reason, message) = match code {
            401 => return Self::unauthorized(),
            403 => ("Forbidden", "forbidden: fault injected"),
            404 => return Self::unknown_resource(),
            410 => ("Expired", "The resourceVersion for the provided watch is too old."),
            429 => ("TooManyRequests", "Too many requests, please try again later."),
            500 => ("InternalError", "Internal error occurred: fault injected"),
            503 => ("ServiceUnavailable", "apiserver not ready"),
            504 => ("Timeout", "Timeout: request did not complete within requested timeout"),
            _ => ("", "fault injected"),
        };
        let retry_after = u32::from(code == 429);
        let details = Some(Box::new(Details { retry_after, ..Details::default() }));
        Self { details, ..Self::new(code, reason, message) }
    }

    /// The answer's bytes, without the newline at the end.
    pub(crate) fn json(&self) -> Vec<u8> {
        let mut out = b"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{".to_vec();
        string_field(&mut out, "continue", &self.resume);
        out.extend_from_slice(b"},\"status\":");
        write_string(&mut out, if self.code < 400 { "Success" } else { "Failure" });
        string_field(&mut out, "message", &self.message);
        string_field(&mut out, "reason", &self.reason);
        if let Some(details) = &self.details {
            comma(&mut out);
            out.extend_from_slice(b"\"details\":{");
            details.write(&mut out);
            out.push(b'}');
        }
        if self.code >= 400 {
            comma(&mut out);
            out.extend_from_slice(format!("\"code\":{}", self.code).as_bytes());
        }
        out.push(b'}');
        out
    }
}

impl Details {
    fn write(&self, out: &mut Vec<u8>) {
        for (key, value) in [("name", &self.name), ("group", &self.group), ("kind", &self.kind), ("uid", &self.uid)] {
            string_field(out, key, value);
        }
        if let Some((reason, message)) = &self.cause {
            comma(out);
            out.extend_from_slice(b"\"causes\":[{");
            string_field(out, "reason", reason);
            string_field(out, "message", message);
            out.extend_from_slice(b"}]");
        }
        if self.retry_after > 0 {
            comma(out);
            out.extend_from_slice(format!("\"retryAfterSeconds\":{}", self.retry_after).as_bytes());
        }
    }
}

/// The answer to a deletion.
pub(crate) fn deleted(resource: &Resource, name: &str, uid: &str) -> Failure {
    let mut details = Details::of(resource, name);
    details.iter_mut().for_each(|details| uid.clone_into(&mut details.uid));
    Failure { code: 200, details, ..Failure::default() }
}

/// Writes the field and the comma before it; nothing for an empty value (`omitempty`).
fn string_field(out: &mut Vec<u8>, key: &str, value: &str) {
    if !value.is_empty() {
        comma(out);
        write_string(out, key);
        out.push(b':');
        write_string(out, value);
    }
}

fn comma(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}
