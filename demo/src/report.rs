//! What the user sees: a line for each step, its evidence beneath, a table at the end.
//! Output that nobody reads any more is no error.

use std::io::Write as _;
use std::time::Duration;

/// One step, played or not.
pub struct Row {
    pub what: String,
    pub outcome: Outcome,
}

/// What became of a step.
pub enum Outcome {
    Held { took: Duration, summary: String },
    Failed { took: Duration },
    NotPlayed,
}

const WHAT: usize = 58;

/// One line on standard output.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One line on standard error.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The beginning of a step's line.
pub fn begin(number: usize, what: &str) {
    let mut out = std::io::stdout();
    let _ = write!(out, "{number:>2}  {what:<WHAT$}  ").and_then(|()| out.flush());
}

/// Its end, and the evidence beneath.
pub fn end(summary: &str, evidence: &[String]) {
    say(summary);
    for line in evidence.iter().flat_map(|text| text.lines()) {
        say(&format!("      {line}"));
    }
}

/// The table of all steps.
pub fn table(rows: &[Row]) {
    say("");
    say(&format!("{:>2}  {:<WHAT$}  {:<10}  {:>8}  shown by", "#", "step", "held", "took"));
    for (index, row) in rows.iter().enumerate() {
        let (held, took, summary) = match &row.outcome {
            Outcome::Held { took, summary } => ("yes", time(*took), summary.as_str()),
            Outcome::Failed { took } => ("NO", time(*took), "see above"),
            Outcome::NotPlayed => ("not played", String::new(), ""),
        };
        let line = format!("{:>2}  {:<WHAT$}  {held:<10}  {took:>8}  {summary}", index + 1, row.what);
        say(line.trim_end());
    }
    say("");
}

/// A duration as people say it.
pub fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 0.1 => format!("{:.1} ms", seconds * 1000.0),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds => format!("{seconds:.1} s"),
    }
}
