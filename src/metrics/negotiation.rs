//! Which format and encoding a scraper wants: pure, from two request headers.
//!
//! Source: RFC 9110 §12.5; what Prometheus sends. On anything else the answer is text 0.0.4, never 406.

use crate::metrics::text::Format;

/// What an answer is sent as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Of the text.
    pub format: Format,
    /// Compressed.
    pub is_gzip: bool,
}

/// From the headers `accept` and `accept-encoding`.
pub fn negotiate(accept: Option<&str>, accept_encoding: Option<&str>) -> Wanted {
    Wanted {
        format: format(accept.unwrap_or_default()),
        is_gzip: is_gzip(accept_encoding.unwrap_or_default()),
    }
}

/// The `content-type` of an answer.
pub const fn content_type(format: Format) -> &'static str {
    match format {
        Format::Text => "text/plain; version=0.0.4; charset=utf-8",
        Format::OpenMetrics => {
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        }
    }
}

/// Thousandths; a weight that cannot be read counts as 0.
type Weight = u16;

fn format(accept: &str) -> Format {
    let mut best: Option<(Weight, Format)> = None;
    for item in accept.split(',') {
        let Some((weight, format)) = offer(item) else {
            continue;
        };
        // On a tie the first one that was named.
        if weight > 0 && best.is_none_or(|(known, _)| weight > known) {
            best = Some((weight, format));
        }
    }
    best.map_or(Format::Text, |(_, format)| format)
}

/// What one item of `accept` would be answered with.
fn offer(item: &str) -> Option<(Weight, Format)> {
    let mut parts = item.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let parameters: Vec<(String, &str)> = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| {
            (
                name.trim().to_ascii_lowercase(),
                value.trim().trim_matches('"'),
            )
        })
        .collect();
    let of = |name: &str| {
        parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| *value)
    };
    let weight = of("q").map_or(1000, weight);
    let format = match (kind.as_str(), of("version")) {
        ("application/openmetrics-text", Some("1.0.0") | None) => Format::OpenMetrics,
        ("text/plain", Some("0.0.4") | None) | ("text/*" | "*/*", _) => Format::Text,
        _ => return None,
    };
    Some((weight, format))
}

fn is_gzip(accept_encoding: &str) -> bool {
    let mut any = 0;
    for item in accept_encoding.split(',') {
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(1000, weight);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            return weight > 0;
        }
        if name == "*" {
            any = weight;
        }
    }
    any > 0
}

fn weight(text: &str) -> Weight {
    let (whole, decimals) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let digits = format!("{decimals:0<3}");
    match (
        whole,
        digits
            .get(..3)
            .and_then(|digits| digits.parse::<Weight>().ok()),
    ) {
        ("1", Some(_)) => 1000,
        ("0" | "", Some(thousandths)) => thousandths,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, encoding: &str, format: Format, is_gzip: bool) {
        let wanted = negotiate(Some(accept), Some(encoding));
        assert_eq!(wanted, Wanted { format, is_gzip }, "{accept} | {encoding}");
    }

    #[test]
    fn the_heaviest_known_format_wins() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(prometheus, "gzip", Format::OpenMetrics, true);
        check(
            "text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5",
            "",
            Format::Text,
            false,
        );
        check(
            "application/openmetrics-text; version=\"1.0.0\"; q=0.5, text/plain; q=0.1",
            "",
            Format::OpenMetrics,
            false,
        );
        check(
            "application/openmetrics-text;version=1.0.0;q=0",
            "",
            Format::Text,
            false,
        );
        check(
            "application/openmetrics-text;version=2.0.0",
            "",
            Format::Text,
            false,
        );
        for odd in [
            "",
            "*/*",
            "text/html",
            "application/json",
            ";;;,,q=",
            "text/*",
            "application/openmetrics-text;q=x",
        ] {
            check(odd, "", Format::Text, false);
        }
        assert_eq!(
            negotiate(None, None),
            Wanted {
                format: Format::Text,
                is_gzip: false
            }
        );
    }

    #[test]
    fn gzip_is_sent_to_whoever_takes_it() {
        for (encoding, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, *", false),
            ("*", true),
            ("*;q=0", false),
            ("br, zstd", false),
            ("identity", false),
        ] {
            check("*/*", encoding, Format::Text, expected);
        }
    }
}
