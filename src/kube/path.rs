//! A place in a JSON object: a JSON pointer (RFC 6901), in which `*` stands for each element of a list.
//!
//! A number is an element's place in a list, from 0, and the name of a member in an object. A list is not made longer:
//! through a place behind its end leads no way, and none through a number where neither is there yet.
//!
//! Receives an object as text; promises it back with the values at the place changed and every other byte as it was.

use std::borrow::Cow;

use super::json::{self, Outline};
use super::message::{Edit, MessageError, splice, with_member, without};

/// One step from a value into it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    /// A member, or an element by its place.
    Place(String, usize),
    Elements,
}

/// At least one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<Step>);

/// What is done with the values at a place.
pub trait Editor<E> {
    /// Whether an element of the last list on the way is gone into.
    fn enters(&mut self, element: &[u8]) -> Result<bool, E>;
    /// What becomes of the value, `None` if there is none.
    fn value(&mut self, value: Option<&[u8]>) -> Edit;
}

const STEPS: usize = 16;

impl Path {
    /// Reads a pointer; the error says what is allowed.
    pub fn parse(pointer: &str) -> Result<Self, String> {
        let Some(steps) = pointer.strip_prefix('/').filter(|steps| !steps.is_empty()) else {
            return Err("a JSON pointer to a field, like /spec/ports/*/nodePort".into());
        };
        let steps = steps.split('/').map(step).collect::<Result<Vec<_>, _>>()?;
        if steps.len() > STEPS {
            return Err(format!("at most {STEPS} steps"));
        }
        Ok(Self(steps))
    }

    /// From names alone.
    pub fn of(names: &[&str]) -> Self {
        Self(names.iter().map(|name| Step::Member((*name).to_owned())).collect())
    }

    /// Whether it leads through the elements of a list.
    pub fn has_elements(&self) -> bool {
        self.0.contains(&Step::Elements)
    }

    /// Whether it leads into the member of this name.
    pub fn begins_with(&self, name: &str) -> bool {
        matches!(self.0.first(), Some(Step::Member(first)) if first == name)
    }

    /// `object` as the editor wants it; `None`: nothing changes. A value that is missing with its parents is made with
    /// them; through a list that is missing leads no way.
    pub fn edit<E: From<MessageError>>(
        &self,
        object: &mut Outline<'_>,
        editor: &mut dyn Editor<E>,
    ) -> Result<Option<Vec<u8>>, E> {
        let edited = match &*self.0 {
            [Step::Member(name) | Step::Place(name, _), rest @ ..] => member(object, name, rest, editor),
            steps => within(object.text(), steps, editor),
        };
        match edited? {
            Edit::Replace(object) => Ok(Some(object)),
            Edit::Keep | Edit::Remove => Ok(None),
        }
    }
}

fn step(text: &str) -> Result<Step, String> {
    if text == "*" {
        return Ok(Step::Elements);
    }
    if text.matches('~').count() != text.matches("~0").count() + text.matches("~1").count() {
        return Err(format!("{text}: '~' is written ~0, and '/' ~1"));
    }
    // As RFC 6901 has it: digits without a leading zero.
    let is_place = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    match text.parse() {
        Ok(place) if is_place => Ok(Step::Place(text.to_owned(), place)),
        _ => Ok(Step::Member(text.replace("~1", "/").replace("~0", "~"))),
    }
}

fn within<E: From<MessageError>>(value: &[u8], steps: &[Step], editor: &mut dyn Editor<E>) -> Result<Edit, E> {
    match steps {
        [] => Ok(editor.value(Some(value))),
        // As good as not there.
        _ if value == b"null" => Ok(missing(steps, editor).map_or(Edit::Keep, Edit::Replace)),
        [Step::Place(_, place), rest @ ..] if value.starts_with(b"[") => element(value, *place, rest, editor),
        [Step::Member(name) | Step::Place(name, _), rest @ ..] => member(&mut Outline::new(value), name, rest, editor),
        [Step::Elements, rest @ ..] => elements(value, rest, editor),
    }
}

fn member<E: From<MessageError>>(
    object: &mut Outline<'_>,
    name: &str,
    rest: &[Step],
    editor: &mut dyn Editor<E>,
) -> Result<Edit, E> {
    let text = object.text();
    if !text.starts_with(b"{") {
        return Err(MessageError::Shape("an object on the way").into());
    }
    let Some(at) = object.find(name).map_err(MessageError::from)? else {
        return Ok(match missing(rest, editor) {
            Some(value) => Edit::Replace(with_member(text, name, &value)?),
            None => Edit::Keep,
        });
    };
    Ok(match within(&text[at.clone()], rest, editor)? {
        Edit::Keep => Edit::Keep,
        Edit::Replace(value) => Edit::Replace(splice(text, &[(at, value)])),
        Edit::Remove => Edit::Replace(without(text, |member| member.value == at)?),
    })
}

fn element<E: From<MessageError>>(array: &[u8], place: usize, rest: &[Step], editor: &mut dyn Editor<E>) -> Result<Edit, E> {
    let elements = json::elements(array).collect::<Result<Vec<_>, _>>().map_err(MessageError::from)?;
    let Some(at) = elements.get(place).cloned() else { return Ok(Edit::Keep) };
    Ok(match within(&array[at.clone()], rest, editor)? {
        Edit::Keep => Edit::Keep,
        Edit::Replace(value) => Edit::Replace(splice(array, &[(at, value)])),
        Edit::Remove => {
            let kept = elements.into_iter().enumerate().filter(|(number, _)| *number != place);
            let kept: Vec<_> = kept.map(|(_, element)| &array[element]).collect();
            Edit::Replace([b"[", kept.join(&b","[..]).as_slice(), b"]"].concat())
        }
    })
}

fn elements<E: From<MessageError>>(array: &[u8], rest: &[Step], editor: &mut dyn Editor<E>) -> Result<Edit, E> {
    if !array.starts_with(b"[") {
        return Err(MessageError::Shape("a list on the way").into());
    }
    let is_last = !rest.contains(&Step::Elements);
    let (mut kept, mut changed): (Vec<Cow<'_, [u8]>>, _) = (Vec::new(), false);
    for element in json::elements(array) {
        let element = &array[element.map_err(MessageError::from)?];
        let enters = !is_last || editor.enters(element)?;
        match if enters { within(element, rest, editor)? } else { Edit::Keep } {
            Edit::Keep => kept.push(Cow::Borrowed(element)),
            Edit::Replace(new) => {
                changed = true;
                kept.push(Cow::Owned(new));
            }
            Edit::Remove => changed = true,
        }
    }
    Ok(if changed { Edit::Replace([b"[", kept.join(&b","[..]).as_slice(), b"]"].concat()) } else { Edit::Keep })
}

/// What stands behind the steps where nothing is yet, with the objects on the way to it.
fn missing<E>(steps: &[Step], editor: &mut dyn Editor<E>) -> Option<Vec<u8>> {
    // Whether a list or an object is missing before a number, nobody can tell.
    if steps.iter().any(|step| !matches!(step, Step::Member(_))) {
        return None;
    }
    let Edit::Replace(mut value) = editor.value(None) else { return None };
    for step in steps.iter().rev() {
        if let Step::Member(name) = step {
            let mut object = b"{".to_vec();
            json::write_string(&mut object, name);
            value = [object.as_slice(), b":", &value, b"}"].concat();
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    struct Act {
        value: Option<&'static str>,
        only: &'static [u8],
    }

    impl Editor<MessageError> for Act {
        fn enters(&mut self, element: &[u8]) -> Result<bool, MessageError> {
            Ok(self.only.is_empty() || element.windows(self.only.len()).any(|part| part == self.only))
        }

        fn value(&mut self, value: Option<&[u8]>) -> Edit {
            match (self.value, value) {
                (Some(new), _) => Edit::Replace(new.into()),
                (None, Some(_)) => Edit::Remove,
                (None, None) => Edit::Keep,
            }
        }
    }

    fn edited(object: &str, path: &str, value: Option<&'static str>) -> Option<String> {
        let new = Path::parse(path).unwrap().edit(&mut Outline::new(object.as_bytes()), &mut Act { value, only: b"" }).unwrap();
        new.map(|new| String::from_utf8(new).unwrap())
    }

    #[test]
    fn only_the_place_changes() {
        let object = r#"{ "a" : {"b":[1, 2],"c":null}, "x~/y":"z" }"#;
        for (path, value, expected) in [
            ("/a/b", Some("7"), Some(r#"{ "a" : {"b":7,"c":null}, "x~/y":"z" }"#)),
            ("/a/b", None, Some(r#"{ "a" : {"c":null}, "x~/y":"z" }"#)),
            ("/a/b/*", Some("7"), Some(r#"{ "a" : {"b":[7,7],"c":null}, "x~/y":"z" }"#)),
            ("/a/b/*", None, Some(r#"{ "a" : {"b":[],"c":null}, "x~/y":"z" }"#)),
            ("/a/c/d", Some("7"), Some(r#"{ "a" : {"b":[1, 2],"c":{"d":7}}, "x~/y":"z" }"#)),
            ("/a/new/er", Some("7"), Some(r#"{ "a" : {"b":[1, 2],"c":null,"new":{"er":7}}, "x~/y":"z" }"#)),
            ("/x~0~1y", Some("7"), Some(r#"{ "a" : {"b":[1, 2],"c":null}, "x~/y":7 }"#)),
            ("/a/new/er", None, None),
            ("/a/new/*", Some("7"), None),
            ("/a/c/*/d", Some("7"), None),
            ("/a/b/0", Some("7"), Some(r#"{ "a" : {"b":[7, 2],"c":null}, "x~/y":"z" }"#)),
            ("/a/b/0", None, Some(r#"{ "a" : {"b":[2],"c":null}, "x~/y":"z" }"#)),
            ("/a/b/1", None, Some(r#"{ "a" : {"b":[1],"c":null}, "x~/y":"z" }"#)),
            ("/a/b/2", Some("7"), None),
            ("/a/b/2", None, None),
            ("/a/0", Some("7"), Some(r#"{ "a" : {"b":[1, 2],"c":null,"0":7}, "x~/y":"z" }"#)),
            ("/a/new/0", Some("7"), None),
            ("/a/c/0", Some("7"), None),
        ] {
            assert_eq!(edited(object, path, value).as_deref(), expected, "{path} {value:?}");
        }
        assert_eq!(edited("{}", "/a", Some("1")).as_deref(), Some(r#"{"a":1}"#));
    }

    #[test]
    fn an_element_has_a_place() {
        let object = r#"{"list":[{"n":1,"m":[1]},{"n":2}]}"#;
        for (path, value, expected) in [
            ("/list/0/n", None, Some(r#"{"list":[{"m":[1]},{"n":2}]}"#)),
            ("/list/1/m", Some("0"), Some(r#"{"list":[{"n":1,"m":[1]},{"n":2,"m":0}]}"#)),
            ("/list/*/m/0", Some("0"), Some(r#"{"list":[{"n":1,"m":[0]},{"n":2}]}"#)),
            ("/list/9/n", None, None),
        ] {
            assert_eq!(edited(object, path, value).as_deref(), expected, "{path} {value:?}");
        }
        // A name that is a number is no place.
        let made = Path::of(&["a", "0"]).edit(&mut Outline::new(b"{}"), &mut Act { value: Some("1"), only: b"" }).unwrap();
        assert_eq!(made.unwrap(), br#"{"a":{"0":1}}"#);
    }

    #[test]
    fn an_element_is_entered_or_stays_as_it_is() {
        let object = br#"{"list":[{"n": 1}, {"n":2} ]}"#;
        let path = Path::parse("/list/*").unwrap();
        let kept = path.edit(&mut Outline::new(object), &mut Act { value: None, only: b"2" }).unwrap().unwrap();
        assert_eq!(kept, br#"{"list":[{"n": 1}]}"#);
        assert_eq!(path.edit(&mut Outline::new(object), &mut Act { value: None, only: b"3" }).unwrap(), None);
        let path = Path::parse("/list/*/m").unwrap();
        let more = path.edit(&mut Outline::new(object), &mut Act { value: Some("0"), only: b"2" }).unwrap().unwrap();
        assert_eq!(more, br#"{"list":[{"n": 1},{"n":2,"m":0}]}"#);
    }

    #[test]
    fn what_leads_nowhere_is_an_error() {
        for path in ["", "/", "a", "a/b", "/a~2", "/a/~", "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17"] {
            assert!(Path::parse(path).is_err(), "{path}");
        }
        for path in ["/a/b", "/a/*", "/a/0", "/l/b", "/l/00", "/l/-"] {
            let result = Path::parse(path)
                .unwrap()
                .edit(&mut Outline::new(br#"{"a":"text","l":[]}"#), &mut Act { value: Some("1"), only: b"" });
            assert!(result.is_err(), "{path}");
        }
    }

    fn objects() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i32>().prop_map(Value::from), "[a-c\\\\\"]{0,3}".prop_map(Value::from)];
        let value = leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        });
        proptest::collection::btree_map("[a-c]", value, 0..4).prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        /// A value that was set is there, alone, and setting it again changes nothing.
        #[test]
        fn what_is_set_is_there(object in objects(), steps in proptest::collection::vec("[a-c]", 1..4)) {
            let path = format!("/{}", steps.join("/"));
            let place = Path::parse(&path).unwrap();
            let mut act = Act { value: Some("\"set\""), only: b"" };
            if let Ok(Some(text)) = place.edit(&mut Outline::new(object.to_string().as_bytes()), &mut act) {
                let new: Value = serde_json::from_slice(&text).unwrap();
                prop_assert_eq!(new.pointer(&path), Some(&json!("set")));
                prop_assert_eq!(place.edit(&mut Outline::new(&text), &mut act).unwrap().unwrap(), text.clone());
                let mut gone = Act { value: None, only: b"" };
                let text = place.edit(&mut Outline::new(&text), &mut gone).unwrap().unwrap();
                let new: Value = serde_json::from_slice(&text).unwrap();
                prop_assert_eq!(new.pointer(&path), None);
            }
        }

        #[test]
        fn garbage_is_no_panic(text in proptest::collection::vec(any::<u8>(), 0..64), path in "(/[a-c*01]){1,4}") {
            let mut object = b"{".to_vec();
            object.extend(text);
            let _ = Path::parse(&path).unwrap().edit(&mut Outline::new(&object), &mut Act { value: Some("1"), only: b"" });
        }
    }
}
