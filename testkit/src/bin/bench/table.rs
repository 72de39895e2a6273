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

    /// Multiples of a rival's figure, one for each round, that are to be at most 1: their median, in brackets where
    /// it lies for 95 of 100 such runs. `even` where this includes 1 and the median is above.
    pub(crate) fn no_more_than(&mut self, what: &str, ratios: &[f64]) {
        let (low, middle, high) = interval(ratios);
        let verdict = if middle <= 1.0 {
            "ok"
        } else if low <= 1.0 {
            "even"
        } else {
            "over"
        };
        let measured = format!("{middle:.2} ({low:.2}-{high:.2})");
        self.targets.push([what.to_owned(), measured, "1.00".to_owned(), verdict.to_owned()]);
    }

    /// The whole report.
    pub(crate) fn finish(mut self) -> String {
        let mut rows = vec![["figure", "measured", "target, at most", ""].map(str::to_owned).to_vec()];
        rows.extend(self.targets.drain(..).map(Vec::from));
        self.table("Targets", &rows);
        self.text
    }
}

/// The median, between the ends of its interval of confidence: the values whose ranks lie 0.98 times the root of
/// their number away from the middle (the sign test's, at 95 %).
fn interval(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return (f64::NAN, f64::NAN, f64::NAN) };
    let low = (sorted.len() as f64 / 2.0 - 0.98 * (sorted.len() as f64).sqrt()).max(0.0) as usize;
    (sorted[low], sorted[sorted.len() / 2], sorted[last - low])
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
