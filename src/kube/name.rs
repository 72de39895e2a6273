//! What names may be.
//!
//! Source: apimachinery's `util/validation`, and `api/validation/path` for the segment of a path.

/// A DNS label (RFC 1123), as a namespace's name is one.
pub fn is_label(text: &str) -> bool {
    text.len() <= 63 && is_part(text)
}

/// Labels with dots between, as most objects' names are.
pub fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_part)
}

/// `[prefix/]name`, the prefix a DNS subdomain: what labels and annotations are called.
pub fn is_qualified(text: &str) -> bool {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
    is_word(name) && prefix.is_none_or(is_subdomain)
}

/// A label's value.
pub fn is_label_value(text: &str) -> bool {
    text.is_empty() || is_word(text)
}

/// What every object's name is at least: one segment of a path.
pub fn is_path_segment(text: &str) -> bool {
    !matches!(text, "." | "..") && !text.contains(['/', '%'])
}

const WORD: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const OF_WORD: &str =
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";
const PART: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// Why it is not [qualified](is_qualified), in Kubernetes' words.
pub fn faults_of_qualified(text: &str) -> Vec<String> {
    let words = |what: &str| of_pattern(&format!("{what} {OF_WORD}"), WORD, "'MyName',  or 'my.name',  or '123-abc'");
    let (prefix, name) = match text.split('/').collect::<Vec<_>>().as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            let example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("{} {example}", words("a qualified name"))];
        }
    };
    let prefix_faults = prefix.map(faults_of_subdomain).unwrap_or_default();
    let mut faults: Vec<String> = prefix_faults.into_iter().map(|fault| format!("prefix part {fault}")).collect();
    match name.len() {
        0 => faults.push("name part must be non-empty".to_owned()),
        64.. => faults.push(format!("name part {}", too_long(63))),
        _ => {}
    }
    if !has_shape_of_word(name) {
        faults.push(words("name part"));
    }
    faults
}

/// Why it is no [label's value](is_label_value), in Kubernetes' words.
pub fn faults_of_label_value(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if text.len() > 63 {
        faults.push(too_long(63));
    }
    if !text.is_empty() && !has_shape_of_word(text) {
        let what = format!("a valid label must be an empty string or{}", OF_WORD.trim_start_matches("must"));
        faults.push(of_pattern(&what, &format!("({WORD})?"), "'MyValue',  or 'my_value',  or '12345'"));
    }
    faults
}

fn faults_of_subdomain(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["must be non-empty".to_owned()];
    }
    let mut faults = Vec::new();
    if text.len() > 253 {
        faults.push(too_long(253));
    }
    if !text.split('.').all(is_part) {
        let what = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
                    start and end with an alphanumeric character";
        faults.push(of_pattern(what, &format!(r"{PART}(\.{PART})*"), "'example.com'"));
    }
    faults
}

fn of_pattern(what: &str, pattern: &str, examples: &str) -> String {
    format!("{what} (e.g. {examples}, regex used for validation is '{pattern}')")
}

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn is_part(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inside) && has_no_sign_at_its_ends(text)
}

/// Letters, digits, `-`, `_` and `.`, the first and the last no sign.
fn is_word(text: &str) -> bool {
    text.len() <= 63 && has_shape_of_word(text)
}

fn has_shape_of_word(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.bytes().all(inside) && has_no_sign_at_its_ends(text)
}

fn has_no_sign_at_its_ends(text: &str) -> bool {
    let bytes = text.as_bytes();
    [bytes.first(), bytes.last()].into_iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kubernetes_takes() {
        let long = "a".repeat(64);
        for (text, label, subdomain, qualified) in [
            ("a", true, true, true),
            ("kube-system", true, true, true),
            ("a.b", false, true, true),
            ("A.b_c", false, false, true),
            ("x.y/A", false, false, true),
            ("X/a", false, false, false),
            ("/a", false, false, false),
            ("a/b/c", false, false, false),
            ("-a", false, false, false),
            ("a-", false, false, false),
            ("a..b", false, false, true),
            ("", false, false, false),
            ("\u{e9}", false, false, false),
            (&long, false, true, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text), is_qualified(text)), (label, subdomain, qualified), "{text:?}");
        }
        assert!(is_label_value("") && is_path_segment("A b") && !is_path_segment("a/b") && !is_path_segment(".."));
    }
}
