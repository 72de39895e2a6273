//! How long ago, for people.
//!
//! Source: `HumanDuration` of k8s.io/apimachinery/pkg/util/duration.

use std::time::{SystemTime, UNIX_EPOCH};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::value::at;

const SECOND: i64 = 1_000_000;

/// When a Table is made, in microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now(pub i64);

impl Now {
    pub(super) fn current() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    /// How long ago the time at `path` is; `<unknown>`: it is not set.
    pub(super) fn since(self, object: &Value, path: &str) -> String {
        since(self, object, path).unwrap_or_else(|| "<unknown>".to_owned())
    }

    /// The same of an object's creation.
    pub(super) fn age(self, object: &Value) -> Value {
        self.since(object, "metadata.creationTimestamp").into()
    }
}

/// `None`: it is not set.
pub(super) fn since(now: Now, object: &Value, path: &str) -> Option<String> {
    Some(human(now.0 - time(at(object, path).as_str()?)?))
}

/// Microseconds as people say them.
pub(super) fn human(micros: i64) -> String {
    // What is but two seconds in the future is a matter of clocks; Go counts up to 292 years.
    let seconds = micros.min(i64::MAX / 1000) / SECOND;
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let two = |first: i64, unit: char, second: i64, small: char| match second {
        0 => format!("{first}{unit}"),
        _ => format!("{first}{unit}{second}{small}"),
    };
    match () {
        () if seconds < -1 => "<invalid>".to_owned(),
        () if seconds < 0 => "0s".to_owned(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => two(days, 'd', hours % 24, 'h'),
        () if hours < 24 * 365 * 2 => format!("{days}d"),
        () if hours < 24 * 365 * 8 => two(years, 'y', days % 365, 'd'),
        () => format!("{years}y"),
    }
}

/// A time of RFC 3339, `2026-01-31T23:59:59Z` with or without a fraction, in microseconds since 1970. (ISO 8601, which
/// jiff reads as well, may leave out more.)
pub(in crate::kube) fn time(text: &str) -> Option<i64> {
    let has = |(place, mark): (usize, u8)| text.as_bytes().get(place) == Some(&mark);
    let is_whole = [(10, b'T'), (13, b':'), (16, b':')].into_iter().all(has);
    is_whole.then(|| text.parse::<Timestamp>().ok()).flatten().map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_how_long_ago_they_are() {
        assert_eq!(time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(time("2000-02-29T12:34:56Z"), Some(951_827_696 * SECOND));
        assert_eq!(time("2026-10-18T00:00:01.25Z"), Some(1_792_281_601 * SECOND + 250_000));
        assert_eq!(time("1970-01-01T02:30:00+02:30"), Some(0));
        for wrong in [
            "",
            "x",
            "2026-01-01",
            "2026-13-01T00:00:00Z",
            "2026-01-01T00:00Z",
            "2026-01-01T00:00:00.xZ",
            "2026-02-29T00:00:00Z",
            "2026-1-01T00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T99:00:00Z",
            "\u{e9}\u{e9}\u{e9}+0",
        ] {
            assert_eq!(time(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn as_people_say_it() {
        for (seconds, said) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (599, "9m59s"),
            (600, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (5 * 3600 + 120, "5h2m"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (49 * 3600, "2d1h"),
            (8 * 86400, "8d"),
            (2 * 365 * 86400, "2y"),
            (2 * 365 * 86400 + 86400, "2y1d"),
            (9 * 365 * 86400, "9y"),
            (1000 * 365 * 86400, "292y"),
        ] {
            assert_eq!(human(seconds * SECOND), said);
        }
    }
}
