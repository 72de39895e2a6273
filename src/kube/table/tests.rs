use serde_json::{Value, json};

use super::*;

fn table(printer: Printer, include: Include) -> Table {
    Table { printer, include, now: Now(age::time("2026-01-01T00:00:00Z").unwrap()) }
}

fn built_in(group: &str, resource: &str) -> Table {
    table(Printer::built_in(group, "v1", resource).unwrap(), Include::Nothing)
}

/// An object that was created five minutes ago.
fn cells(table: &Table, mut object: Value) -> Value {
    object["metadata"]["name"] = "n".into();
    object["metadata"]["creationTimestamp"] = "2025-12-31T23:55:00Z".into();
    let row: Value = serde_json::from_slice(&table.row(&TypeMeta::default(), object.to_string().as_bytes()).unwrap()).unwrap();
    let columns: Value = serde_json::from_slice(&table.columns()).unwrap();
    assert_eq!(row["cells"].as_array().unwrap().len(), columns.as_array().unwrap().len());
    row["cells"].clone()
}
