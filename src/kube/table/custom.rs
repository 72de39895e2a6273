//! Custom resources, by what their definition says (`additionalPrinterColumns`).

use serde::Deserialize;
use serde_json::Value;

use super::age::{Now, human, time};
use super::column::{CREATED_IS, Column, NAME, definitions};
use super::path::Path;
use super::value;

/// The columns of one version behind the name.
#[derive(Debug)]
pub(super) struct Columns {
    /// With the name's.
    columns: Vec<Column<String>>,
    /// Without.
    paths: Vec<Path>,
}

#[derive(Deserialize)]
struct Definition {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    versions: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: String,
    #[serde(default)]
    additional_printer_columns: Vec<Additional>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Additional {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    priority: i64,
    json_path: String,
}

impl Additional {
    /// What stands there where a definition says nothing.
    fn age() -> Self {
        Self {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: CREATED_IS.to_owned(),
            priority: 0,
            json_path: ".metadata.creationTimestamp".to_owned(),
        }
    }

    fn column(self) -> Column<String> {
        let described = format!("Custom resource definition column (in JSONPath format): {}", self.json_path);
        let description = if self.description.is_empty() { described } else { self.description };
        Column { name: self.name, kind: self.kind, format: self.format, description, priority: self.priority }
    }
}

impl Columns {
    pub(super) fn of(definition: &[u8], version: &str) -> Option<Self> {
        let definition: Definition = serde_json::from_slice(definition).ok()?;
        let version = definition.spec.versions.into_iter().find(|one| one.name == version)?;
        let mut additional = version.additional_printer_columns;
        if additional.is_empty() {
            additional.push(Additional::age());
        }
        let paths = additional.iter().map(|one| Path::parse(&one.json_path)).collect::<Option<_>>()?;
        let Column { name, kind, format, description, priority } = NAME;
        let [name, kind, format, description] = [name, kind, format, description].map(str::to_owned);
        let mut columns = vec![Column { name, kind, format, description, priority }];
        columns.extend(additional.into_iter().map(Additional::column));
        Some(Self { columns, paths })
    }

    pub(super) fn definitions(&self) -> Vec<u8> {
        definitions(&self.columns)
    }

    pub(super) fn cells(&self, object: &Value, now: Now) -> Vec<Value> {
        let columns = self.columns[1..].iter().zip(&self.paths);
        let additional =
            columns.map(|(column, path)| path.first(object).map_or(Value::Null, |found| cell(&column.kind, found, now)));
        std::iter::once(value::name(object)).chain(additional).collect()
    }
}

/// What is found, as a column of this type has it; null: it is something else.
fn cell(kind: &str, found: &Value, now: Now) -> Value {
    match (kind, found) {
        ("string", found) => text(found).into(),
        ("integer", Value::Number(number)) => {
            #[expect(clippy::cast_possible_truncation, reason = "as Go does it")]
            let whole = number.as_i64().or_else(|| number.as_f64().map(|float| float as i64));
            whole.into()
        }
        ("number", Value::Number(number)) => number.as_f64().into(),
        ("boolean", Value::Bool(_)) => found.clone(),
        ("date", Value::String(date)) if date.is_empty() || date == "null" => "<unknown>".into(),
        ("date", Value::String(date)) => time(date).map_or_else(|| "<invalid>".to_owned(), |at| human(now.0 - at)).into(),
        _ => Value::Null,
    }
}

/// As Go prints it.
fn text(found: &Value) -> String {
    match found {
        Value::String(text) => text.clone(),
        Value::Null => "<no value>".to_owned(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, float),
        other => {
            let mut out = Vec::new();
            value::write(&mut out, other);
            String::from_utf8_lossy(&out).into_owned()
        }
    }
}

/// The shortest digits, with an exponent where that is below -4 or above 5 (`%v`).
fn float(float: f64) -> String {
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..=5 => float.to_string(),
        exponent => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
    }
}
