//! Which codings of an answer a client takes: `Accept-Encoding`. Pure.
//!
//! Source: RFC 9110, 12.4.2 and 12.5.3.

/// What a client takes. One that says nothing, or what cannot be read, takes an answer as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codings {
    pub gzip: bool,
    /// An answer as it is.
    pub identity: bool,
}

impl Codings {
    /// Of all fields of that name.
    pub fn of<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let (mut gzip, mut identity, mut others) = (None, None, None);
        for (coding, taken) in fields.flat_map(|field| field.split(',')).filter_map(taken) {
            let is = |name| coding.eq_ignore_ascii_case(name);
            let known = match coding {
                _ if is("gzip") || is("x-gzip") => &mut gzip,
                _ if is("identity") => &mut identity,
                "*" => &mut others,
                _ => continue,
            };
            // Where it is said twice, what is allowed counts.
            *known = Some(known.unwrap_or(false) || taken);
        }
        Self { gzip: gzip.or(others).unwrap_or(false), identity: identity.or(others).unwrap_or(true) }
    }

    /// Whether an answer has to be compressed.
    pub fn must_be_gzip(self) -> bool {
        self.gzip && !self.identity
    }
}

/// A coding, and whether its weight is above zero; `None`: this is no element of the list.
fn taken(element: &str) -> Option<(&str, bool)> {
    let (coding, parameters) = element.split_once(';').map_or((element, None), |(coding, rest)| (coding, Some(rest)));
    let coding = coding.trim();
    let is_token = !coding.is_empty() && coding.bytes().all(|byte| byte.is_ascii_graphic());
    let weight = parameters.map_or(Some(1000), weight)?;
    is_token.then_some((coding, weight > 0))
}

/// `q=0.5` in thousandths.
fn weight(parameter: &str) -> Option<u32> {
    let (name, value) = parameter.trim().split_once('=')?;
    if !name.eq_ignore_ascii_case("q") {
        return None;
    }
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let whole = ["0", "1"].iter().position(|digit| *digit == whole).filter(|_| is_number)?;
    let weight = whole as u32 * 1000 + format!("{fraction:0<3}").parse::<u32>().ok()?;
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::Codings;

    #[test]
    fn only_who_refuses_it_as_it_is_and_takes_gzip_gets_gzip() {
        for (field, expected) in [
            ("", false),
            ("gzip", false),
            ("gzip, deflate, br", false),
            ("*", false),
            ("identity;q=0", false),
            ("gzip, identity;q=0", true),
            ("identity;q=0, gzip", true),
            ("gzip;q=0.001, identity; q=0.000", true),
            ("gzip, *;q=0", true),
            ("GZIP, Identity;Q=0", true),
            ("x-gzip,identity;q=0", true),
            ("  gzip ;  q=1.0 ,\t identity ; q=0 ", true),
            ("gzip, identity;q=0.", true),
            // Anything but identity, and nothing at all.
            ("*, identity;q=0", true),
            ("*;q=0", false),
            ("*;q=0, identity", false),
            ("gzip, *;q=0, identity;q=0.1", false),
            ("gzip;q=0, *;q=0", false),
            ("gzip;q=0, identity;q=0, *", false),
            ("br, identity;q=0", false),
            ("gzip, identity;q=0.5", false),
            ("gzip, identity;q=0, identity", false),
            // Malformed elements say nothing.
            ("gzip, identity;q=", false),
            ("gzip, identity;q=x", false),
            ("gzip, identity;q=0.0000", false),
            ("gzip, identity;q=-0", false),
            ("gzip, identity;q", false),
            ("gzip, identity;v=0", false),
            ("gzip, ;q=0, identity;q=0", true),
            ("gzip;q=1.5, identity;q=0", false),
            (",,gzip,,identity;q=0,,", true),
        ] {
            assert_eq!(Codings::of([field].into_iter()).must_be_gzip(), expected, "{field:?}");
        }
        let both = Codings::of(["gzip", "identity;q=0"].into_iter());
        assert!(both.must_be_gzip(), "fields of one name are one list");
    }

    #[test]
    fn who_takes_gzip() {
        for (field, expected) in
            [("", false), ("gzip", true), ("br", false), ("*", true), ("gzip;q=0, *", false), ("br, gzip;q=0.1", true)]
        {
            assert_eq!(Codings::of([field].into_iter()), Codings { gzip: expected, identity: true }, "{field:?}");
        }
    }
}
