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

fn is_part(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.bytes().all(inside) && has_no_sign_at_its_ends(text)
}

/// Letters, digits, `-`, `_` and `.`, the first and the last no sign.
fn is_word(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= 63 && text.bytes().all(inside) && has_no_sign_at_its_ends(text)
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
