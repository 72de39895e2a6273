//! The JSONPaths of printer columns, as far as they are common: names, indexes, all elements, and elements by one of
//! their texts (`.status.conditions[?(@.type=="Ready")].status`).
//!
//! Source: k8s.io/client-go/util/jsonpath. What is written otherwise is no [`Path`]: it is not guessed at.

use serde_json::Value;

use super::value::text;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(i64),
    All,
    With { path: Vec<String>, text: String },
}

impl Path {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (mut steps, mut rest) = (Vec::new(), text);
        while !rest.is_empty() {
            let step;
            (step, rest) = match rest.strip_prefix('.') {
                Some(behind) => name(behind)?,
                None => bracket(rest.strip_prefix('[')?)?,
            };
            steps.push(step);
        }
        Some(Self(steps))
    }

    /// The first of what is there.
    pub(super) fn first<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        let mut found = vec![object];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| step.of(value)).collect();
        }
        found.first().copied()
    }
}

/// Up to the next step; a backslash takes what follows it as it is.
fn name(text: &str) -> Option<(Step, &str)> {
    let (mut name, mut letters) = (String::new(), text.char_indices());
    let end = loop {
        match letters.next() {
            None => break text.len(),
            Some((_, '\\')) => name.push(letters.next()?.1),
            Some((at, '.' | '[')) => break at,
            Some((_, letter)) if letter.is_whitespace() || "]{}()*,:'\"?@|".contains(letter) => return None,
            Some((_, letter)) => name.push(letter),
        }
    };
    (!name.is_empty()).then(|| (Step::Name(name), &text[end..]))
}

fn quoted(text: &str) -> Option<&str> {
    let inside = ['"', '\''].into_iter().find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))?;
    (!inside.contains(['"', '\'', '\\'])).then_some(inside)
}

fn bracket(text: &str) -> Option<(Step, &str)> {
    if let Some(filter) = text.strip_prefix("?(@.") {
        let (test, rest) = filter.split_once(")]")?;
        let (path, wanted) = test.split_once("==")?;
        let path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
        let simple =
            |name: &String| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
        let text = quoted(wanted.trim())?.to_owned();
        return path.iter().all(simple).then_some((Step::With { path, text }, rest));
    }
    let (inside, rest) = text.split_once(']')?;
    let step = match inside {
        "*" => Step::All,
        _ => match quoted(inside) {
            Some(name) => Step::Name(name.to_owned()),
            None => Step::Index(inside.parse().ok()?),
        },
    };
    Some((step, rest))
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::Name(name) => value.get(name).into_iter().collect(),
            Self::All => elements.iter().collect(),
            Self::With { path, text: wanted } => {
                let path = path.join(".");
                elements.iter().filter(|element| text(element, &path) == wanted).collect()
            }
            Self::Index(index) => {
                let place = usize::try_from(if *index < 0 { index + elements.len() as i64 } else { *index });
                place.ok().and_then(|place| elements.get(place)).into_iter().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_paths_find() {
        let object = json!({"spec": {"a.b/c": 1, "list": [{"type": "A", "v": 2}, {"type": "B", "v": 3}]}});
        for (path, found) in [
            (".spec.a\\.b/c", json!(1)),
            (".spec['a.b/c']", json!(1)),
            (".spec.list[1].v", json!(3)),
            (".spec.list[-1].v", json!(3)),
            (".spec.list[*].v", json!(2)),
            (r#".spec.list[?(@.type=="B")].v"#, json!(3)),
            (".spec.list[?(@.type == 'C')].v", Value::Null),
            (".spec.list[7].v", Value::Null),
            (".spec.list.v", Value::Null),
        ] {
            assert_eq!(Path::parse(path).unwrap().first(&object).cloned().unwrap_or_default(), found, "{path}");
        }
        for unknown in ["spec", ".", "..v", ".spec[", ".spec[0:1]", ".a[?(@.b>1)]", ".a b", ".a[?(@.b==1)]", ".*"] {
            assert_eq!(Path::parse(unknown), None, "{unknown}");
        }
    }
}
