//! The report: text, tables, and targets, as Markdown.

use std::fmt::Write as _;
use std::time::Duration;

/// Collects what is printed at the end, targets last.
#[derive(Default)]
pub(crate) struct Report {
    text: String,
    targets: Vec<[String; 4]>,
}

impl Report {
    pub(crate) fn text(&mut self, paragraph: &str) {
        let _ = write!(self.text, "{paragraph}\n\n");
    }

    /// A table; the first row is its head.
    pub(crate) fn table(&mut self, title: &str, rows: &[Vec<String>]) {
        self.text(&format!("### {title}"));
        self.text.push_str(&render(rows));
        self.text.push('\n');
    }

    /// A figure, and what it is to be at most.
    pub(crate) fn at_most(&mut self, what: &str, figure: f64, target: f64, unit: &str) {
        let verdict = if figure <= target { "ok" } else { "over" };
        self.targets.push([what.to_owned(), format!("{figure:.2} {unit}"), format!("{target:.2} {unit}"), verdict.to_owned()]);
    }

    /// The whole report.
    pub(crate) fn finish(mut self) -> String {
        let mut rows = vec![["figure", "measured", "target, at most", ""].map(str::to_owned).to_vec()];
        rows.extend(self.targets.drain(..).map(Vec::from));
        self.table("Targets", &rows);
        self.text
    }
}

fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for (index, row) in rows.iter().enumerate() {
        let cell = |(column, cell): (usize, &String)| {
            let width = widths[column];
            if column == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") }
        };
        let _ = writeln!(out, "{}|", row.iter().enumerate().map(cell).collect::<String>());
        if index == 0 {
            let line = |(column, width): (usize, &usize)| {
                if column == 0 { format!("|:{}-", "-".repeat(*width)) } else { format!("|-{}:", "-".repeat(*width)) }
            };
            let _ = writeln!(out, "{}|", widths.iter().enumerate().map(line).collect::<String>());
        }
    }
    out
}

pub(crate) fn head(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Bytes in the MB of the targets.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
