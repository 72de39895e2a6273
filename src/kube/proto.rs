//! The protobuf wire format, without any schema.
//!
//! Receives the bytes of one message. Promises to hand out its fields in order, with the exact range of bytes each
//! one takes (so that a caller can copy what it does not know), and to write fields, and the `runtime.Unknown` around
//! every body, the way the API server's gogo-generated code does. Damaged input is an error with the offset; nothing here panics and nothing allocates
//! more than it is asked to write.
//!
//! Invariants: the ranges handed out are adjacent and together cover the message up to the first error.
//! Groups (wire types 3 and 4) are refused: Kubernetes has none.

use std::ops::Range;

/// What every protobuf body of Kubernetes begins with; a `runtime.Unknown` follows.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// The most bytes a varint may take; Go's generated decoders loop while `shift < 64`.
pub const MAX_VARINT: usize = 10;

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtoFault {
    #[error("a varint of more than 64 bits")]
    VarintTooLong,
    #[error("field number 0 or above 2^29-1")]
    FieldNumber,
    #[error("wire type {0}")]
    WireType(u8),
    #[error("a field that reaches beyond its message")]
    Overrun,
    #[error("text that is not UTF-8")]
    NotUtf8,
    #[error("wrong wire type for field {0}")]
    UnexpectedType(u32),
    #[error("no k8s protobuf prefix")]
    NoMagic,
}

/// A fault and the byte of the message at which it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at byte {at}")]
pub struct ProtoError {
    pub fault: ProtoFault,
    pub at: usize,
}

/// The value of one field, as the wire spells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    /// A string, bytes, an embedded message or a packed list.
    Bytes(&'a [u8]),
    Fixed32(u32),
}

/// One field of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub value: Value<'a>,
    /// The whole field within the message, tag included.
    pub range: Range<usize>,
}

impl<'a> Field<'a> {
    /// The payload of a length-delimited field; any other wire type is an error.
    pub fn bytes(&self) -> Result<&'a [u8], ProtoError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.error(ProtoFault::UnexpectedType(self.number))),
        }
    }

    /// The text of a string field.
    pub fn text(&self) -> Result<&'a str, ProtoError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.error(ProtoFault::NotUtf8))
    }

    /// The number of a varint field.
    pub fn varint(&self) -> Result<u64, ProtoError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.error(ProtoFault::UnexpectedType(self.number))),
        }
    }

    fn error(&self, fault: ProtoFault) -> ProtoError {
        ProtoError { fault, at: self.range.start }
    }
}

/// Walks over the fields of a message; ends after the first error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

/// A varint that arrives in pieces.
#[derive(Debug, Clone, Copy, Default)]
pub struct Varint {
    value: u64,
    bytes: u8,
}

impl Varint {
    /// Takes the next byte; the value once it is complete, after which a new varint may begin.
    pub fn push(&mut self, byte: u8) -> Result<Option<u64>, ProtoFault> {
        let shift = u32::from(self.bytes) * 7;
        if shift > 63 || (shift == 63 && byte > 1) {
            return Err(ProtoFault::VarintTooLong);
        }
        self.value |= u64::from(byte & 0x7f) << shift;
        self.bytes += 1;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        Ok(Some(std::mem::take(self).value))
    }
}

/// Reads the varint at the front of `bytes`: its value and how many bytes it takes.
pub fn read_varint(bytes: &[u8]) -> Result<(u64, usize), ProtoFault> {
    let mut varint = Varint::default();
    for (at, byte) in bytes.iter().enumerate() {
        if let Some(value) = varint.push(*byte)? {
            return Ok((value, at + 1));
        }
    }
    Err(ProtoFault::Overrun)
}

/// Splits a tag into field number and wire type.
pub fn split_tag(tag: u64) -> Result<(u32, u8), ProtoFault> {
    let number = u32::try_from(tag >> 3).map_err(|_| ProtoFault::FieldNumber)?;
    if number == 0 || number >= 1 << 29 {
        return Err(ProtoFault::FieldNumber);
    }
    Ok((number, (tag & 7) as u8))
}

/// The fields of `message`, in the order of the bytes.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0 }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, ProtoError> {
        let start = self.at;
        let (number, wire) = split_tag(self.varint()?).map_err(|fault| ProtoError { fault, at: start })?;
        let value = match wire {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            other => {
                return Err(ProtoError { fault: ProtoFault::WireType(other), at: start });
            }
        };
        Ok(Field { number, value, range: start..self.at })
    }

    fn varint(&mut self) -> Result<u64, ProtoError> {
        let rest = self.message.get(self.at..).unwrap_or_default();
        let (value, taken) = read_varint(rest).map_err(|fault| ProtoError { fault, at: self.at })?;
        self.at += taken;
        Ok(value)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], ProtoError> {
        let overrun = ProtoError { fault: ProtoFault::Overrun, at: self.at };
        let length = usize::try_from(length).map_err(|_| overrun)?;
        let end = self.at.checked_add(length).ok_or(overrun)?;
        let taken = self.message.get(self.at..end).ok_or(overrun)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let at = self.at;
        let taken = self.take(N as u64)?;
        taken.try_into().map_err(|_| ProtoError { fault: ProtoFault::Overrun, at })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ProtoError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

/// How many bytes `value` takes as a varint.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends `value` in as few bytes as possible.
pub fn write_varint(out: &mut Vec<u8>, value: u64) {
    write_varint_padded(out, value, 1);
}

/// Appends `value` in at least `width` bytes (at most [`MAX_VARINT`]), the missing ones made up by leading zero
/// groups: a longer spelling of the same number.
pub fn write_varint_padded(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let width = width.min(MAX_VARINT);
    let mut written = 1;
    while value >= 0x80 || written < width {
        out.push(value as u8 & 0x7f | 0x80);
        value >>= 7;
        written += 1;
    }
    out.push(value as u8);
}

/// Appends a length-delimited field.
pub fn write_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    write_varint(out, u64::from(number) << 3 | 2);
    write_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field.
pub fn write_number(out: &mut Vec<u8>, number: u32, value: u64) {
    write_varint(out, u64::from(number) << 3);
    write_varint(out, value);
}

/// apiVersion and kind of a `runtime.TypeMeta`.
pub fn read_type_meta(type_meta: &[u8]) -> Result<(String, String), ProtoError> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    for field in fields(type_meta) {
        let field = field?;
        match field.number {
            1 => api_version = field.text()?.to_owned(),
            2 => kind = field.text()?.to_owned(),
            _ => {}
        }
    }
    Ok((api_version, kind))
}

/// Appends `Unknown.typeMeta`, field 1 of every body.
pub fn write_type_meta(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    let mut type_meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    write_bytes(&mut type_meta, 1, api_version.as_bytes());
    write_bytes(&mut type_meta, 2, kind.as_bytes());
    write_bytes(out, 1, &type_meta);
}

/// A whole protobuf body around the message `raw`, with the two empty strings (contentEncoding, contentType) that
/// the API server writes after it.
pub fn envelop(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24);
    out.extend_from_slice(&MAGIC);
    write_type_meta(&mut out, api_version, kind);
    write_bytes(&mut out, 2, raw);
    write_bytes(&mut out, 3, b"");
    write_bytes(&mut out, 4, b"");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_wire_type() {
        let mut message = Vec::new();
        write_number(&mut message, 1, 300);
        message.extend_from_slice(&[0x11, 1, 0, 0, 0, 0, 0, 0, 0]);
        write_bytes(&mut message, 18, b"text");
        message.extend_from_slice(&[0x25, 2, 0, 0, 0]);
        let read: Vec<_> = fields(&message).map(|field| field.expect("well formed")).collect();
        assert_eq!(
            read.iter().map(|field| (field.number, field.value)).collect::<Vec<_>>(),
            [(1, Value::Varint(300)), (2, Value::Fixed64(1)), (18, Value::Bytes(b"text")), (4, Value::Fixed32(2))]
        );
        assert_eq!(read[2].text(), Ok("text"));
        assert!(read[2].varint().is_err());
    }

    #[test]
    fn refuses_damage() {
        for (bytes, fault) in [
            (&[0x0a_u8, 5, 1][..], ProtoFault::Overrun),
            (&[0x00, 1], ProtoFault::FieldNumber),
            (&[0x0b], ProtoFault::WireType(3)),
            (&[0x08], ProtoFault::Overrun),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], ProtoFault::VarintTooLong),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], ProtoFault::Overrun),
            (&[0x09, 1, 2], ProtoFault::Overrun),
        ] {
            let found = fields(bytes).find_map(Result::err).map(|error| error.fault);
            assert_eq!(found, Some(fault), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn varints_return(value: u64, width in 0_usize..=12) {
            let mut bytes = Vec::new();
            write_varint_padded(&mut bytes, value, width);
            prop_assert_eq!(bytes.len(), varint_len(value).max(width.clamp(1, MAX_VARINT)));
            prop_assert_eq!(read_varint(&bytes), Ok((value, bytes.len())));
        }

        #[test]
        fn ranges_cover_the_message(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut end = 0;
            for field in fields(&bytes) {
                let Ok(field) = field else { return Ok(()) };
                prop_assert_eq!(field.range.start, end);
                end = field.range.end;
            }
            prop_assert_eq!(end, bytes.len());
        }
    }
}
