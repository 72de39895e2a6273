//! An object whose members several readers look for.
//!
//! Receives an object's text. Promises where a member is, by a walk that no two readers pay for twice: it stands where the
//! last one has found what it looked for. Of a member that is there twice the first one counts. A fault stays a fault.

use std::ops::Range;

use super::{JsonError, Member, Members, members};

pub struct Outline<'a> {
    text: &'a [u8],
    rest: Members<'a>,
    seen: Vec<Member<'a>>,
    fault: Option<JsonError>,
}

impl<'a> Outline<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, rest: members(text), seen: Vec::new(), fault: None }
    }

    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Where the value of member `name` is.
    pub fn find(&mut self, name: &str) -> Result<Option<Range<usize>>, JsonError> {
        if let Some(member) = self.seen.iter().find(|member| member.is(name)) {
            return Ok(Some(member.value.clone()));
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        for member in self.rest.by_ref() {
            let member = member.inspect_err(|fault| self.fault = Some(*fault))?;
            let found = member.is(name).then(|| member.value.clone());
            self.seen.push(member);
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_in_any_order_and_a_fault_is_no_absence() {
        let mut outline = Outline::new(br#"{"a":1,"b":[2],"a":3}"#);
        let mut find = |name| outline.find(name).unwrap().map(|at| &outline.text()[at]);
        let found = ["b", "a", "c", "b"].map(&mut find);
        assert_eq!(found, [Some(b"[2]".as_slice()), Some(b"1"), None, Some(b"[2]")]);
        let mut broken = Outline::new(br#"{"a":1,"b":]}"#);
        for _ in 0..2 {
            assert!(broken.find("a").unwrap().is_some());
            assert!(broken.find("c").is_err());
        }
    }
}
