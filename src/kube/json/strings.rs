//! Where strings are in a container's text, 64 bytes at a time.
//!
//! Receives blocks of the text, one behind the other, of which the first begins outside strings. Promises a bit for each byte
//! that says something of the container: those within strings do not, nor do commas and colons. The way of simdjson
//! (Langdale and Lemire, Parsing Gigabytes of JSON per Second, 2019), with no more of it than that takes.

use wide::u8x16;

use super::State;

const EVEN: u64 = 0x5555_5555_5555_5555;

/// What a block begins with.
#[derive(Debug, Default)]
pub(super) struct Strings {
    /// All bits: the text before ends within a string.
    inside: u64,
    /// One: it ends with a backslash, and that is no escaped one.
    escapes: u64,
}

/// A bit for each byte, the first one's the lowest.
#[derive(Default)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    separators: u64,
}

impl Strings {
    /// Which bytes are outside strings and neither a quote nor a comma or a colon.
    #[inline]
    pub(super) fn left_of(&mut self, block: &[u8; 64]) -> u64 {
        let Masks { quotes, backslashes, separators } = Masks::of(block);
        let quotes = quotes & !self.escaped(backslashes);
        // From each quote that opens a string up to the one that closes it.
        let inside = up_to(quotes) ^ self.inside;
        self.inside = 0_u64.wrapping_sub(inside >> 63);
        !(inside | quotes | separators)
    }

    /// The bytes behind a backslash that is not escaped itself.
    #[inline]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        if backslashes == 0 {
            return std::mem::take(&mut self.escapes);
        }
        // The first of each run counts, unless it is escaped. Whether a run's last one is escaped goes by where the run begins:
        // a sum carries each beginning at an odd place out of its run.
        let backslashes = backslashes & !self.escapes;
        let follows = backslashes << 1 | self.escapes;
        let odd_beginnings = backslashes & !EVEN & !follows;
        let (even_sum, overflows) = odd_beginnings.overflowing_add(backslashes);
        self.escapes = u64::from(overflows);
        (EVEN ^ (even_sum << 1)) & follows
    }

    /// Where the text behind the blocks stands.
    pub(super) fn state(&self) -> State {
        match (self.inside, self.escapes) {
            (0, _) => State::Container,
            (_, 0) => State::String,
            _ => State::Escape,
        }
    }
}

impl Masks {
    #[inline]
    fn of(block: &[u8; 64]) -> Self {
        let mut masks = Self::default();
        for (number, part) in block.as_chunks::<16>().0.iter().enumerate() {
            let bytes = u8x16::new(*part);
            let are = |byte: u8| bytes.simd_eq(u8x16::splat(byte));
            let bits = |bytes: u8x16| u64::from(bytes.to_bitmask()) << (16 * number);
            masks.quotes |= bits(are(b'"'));
            masks.backslashes |= bits(are(b'\\'));
            masks.separators |= bits(are(b',') | are(b':'));
        }
        masks
    }
}

/// The parity of the bits up to each: from every odd one on until the next.
#[inline]
fn up_to(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}
