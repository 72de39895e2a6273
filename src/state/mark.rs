//! A number that stands for what something is, the same in each process of the hub.
//!
//! Receives any value and promises the same number for what looks the same to `Debug`. Two versions of the hub may see the
//! same value differently; whoever goes by marks takes that for a change. Sets and maps are to be in an order.

use std::fmt::{self, Debug, Write as _};

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};

/// The mark of a value.
pub fn of(value: &dyn Debug) -> u64 {
    let mut text = Text(Context::new(&SHA256));
    // Only the value itself may fail, and has the mark of what it has written until then.
    let _ = write!(text, "{value:?}");
    first(&text.0.finish())
}

/// The mark of bytes: the same in every version of the hub.
pub fn of_bytes(bytes: &[u8]) -> u64 {
    first(&digest(&SHA256, bytes))
}

struct Text(Context);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

fn first(digest: &Digest) -> u64 {
    let (first, _) = digest.as_ref().split_first_chunk().expect("32 bytes");
    u64::from_be_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_beginning_of_the_sha_256_of_what_a_value_looks_like() {
        // printf '("a", 1)' | sha256sum
        assert_eq!(of(&("a", 1)), of_bytes(br#"("a", 1)"#));
        assert_eq!(of_bytes(b"abc"), 0xba78_16bf_8f01_cfea, "FIPS 180-2, appendix B.1");
        assert_ne!(of(&("a", "b")), of(&("a\", \"b", "")));
    }
}
