//! Negotiates format and encoding of a scrape from its request headers.
//!
//! Source: RFC 9110 §12.5 and the headers that Prometheus sends. The default is text 0.0.4, never 406.

use crate::text::ExpositionFormat;

/// Format and encoding of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NegotiatedFormat {
    pub format: ExpositionFormat,
    pub is_gzip: bool,
}

/// Parses the headers `accept` and `accept-encoding`.
pub fn negotiate(accept: Option<&str>, accept_encoding: Option<&str>) -> NegotiatedFormat {
    NegotiatedFormat {
        format: format(accept.unwrap_or_default()),
        is_gzip: is_gzip(accept_encoding.unwrap_or_default()),
    }
}

/// Returns the `content-type` of a format.
pub const fn content_type(format: ExpositionFormat) -> &'static str {
    match format {
        ExpositionFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
        ExpositionFormat::OpenMetrics => {
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
        }
    }
}

/// In thousandths; an invalid weight counts as 0.
type Weight = u16;

fn format(accept: &str) -> ExpositionFormat {
    let mut best: Option<(Weight, ExpositionFormat)> = None;
    for item in accept.split(',') {
        let Some((weight, format)) = parse_item(item) else {
            continue;
        };
        // On a tie, the first item wins.
        if weight > 0 && best.is_none_or(|(known, _)| weight > known) {
            best = Some((weight, format));
        }
    }
    best.map_or(ExpositionFormat::Text, |(_, format)| format)
}

/// Returns weight and format of one item of `accept`.
fn parse_item(item: &str) -> Option<(Weight, ExpositionFormat)> {
    let mut parts = item.split(';').map(str::trim);
    let kind = parts.next()?.to_ascii_lowercase();
    let parameters = parts.filter_map(|part| part.split_once('='));
    let parameter = |name: &str| {
        let mut parameters = parameters.clone();
        let (_, value) = parameters.find(|(known, _)| known.trim().eq_ignore_ascii_case(name))?;
        Some(value.trim().trim_matches('"'))
    };
    let weight = parameter("q").map_or(1000, weight);
    let format = match (kind.as_str(), parameter("version")) {
        ("application/openmetrics-text", Some("1.0.0") | None) => ExpositionFormat::OpenMetrics,
        ("text/plain", Some("0.0.4") | None) | ("text/*" | "*/*", _) => ExpositionFormat::Text,
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
    fn check(accept: &str, encoding: &str, format: ExpositionFormat, is_gzip: bool) {
        let negotiated = negotiate(Some(accept), Some(encoding));
        assert_eq!(
            negotiated,
            NegotiatedFormat { format, is_gzip },
            "{accept} | {encoding}"
        );
    }

    #[test]
    fn the_supported_format_with_the_highest_weight_wins() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        check(prometheus, "gzip", ExpositionFormat::OpenMetrics, true);
        check(
            "text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5",
            "",
            ExpositionFormat::Text,
            false,
        );
        check(
            "application/openmetrics-text; version=\"1.0.0\"; q=0.5, text/plain; q=0.1",
            "",
            ExpositionFormat::OpenMetrics,
            false,
        );
        check(
            "application/openmetrics-text;version=1.0.0;q=0",
            "",
            ExpositionFormat::Text,
            false,
        );
        check(
            "application/openmetrics-text;version=2.0.0",
            "",
            ExpositionFormat::Text,
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
            check(odd, "", ExpositionFormat::Text, false);
        }
        assert_eq!(
            negotiate(None, None),
            NegotiatedFormat {
                format: ExpositionFormat::Text,
                is_gzip: false
            }
        );
    }

    #[test]
    fn gzip_is_used_if_accepted() {
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
            check("*/*", encoding, ExpositionFormat::Text, expected);
        }
    }
}
