//! The daemon's own series, written at each scrape: what happened in this process, and how delivery fares.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domain::ids::{NotifierName, OrganizationName};
use crate::metrics::counters::Counters;
use crate::metrics::exposition::Exposition;
use crate::metrics::families::Place;
use crate::metrics::parts::FAMILIES;
use crate::metrics::requests::RequestCounts;
use crate::metrics::text::{Family, Format, bare};

const API_REQUESTS: Family = Family::counter(
    "spendwatch_api_requests_total",
    "Requests to the Admin API, by endpoint and by how they ended.",
);
const PENDING: Family = Family::gauge(
    "spendwatch_notifications_pending",
    "Messages that wait for delivery.",
);
const DEAD: Family = Family::gauge(
    "spendwatch_notifications_dead",
    "Messages that were given up and can be replayed.",
);
const DROPPED: Family = Family::gauge(
    "spendwatch_metrics_dropped_series",
    "Series that max_series summed away under the id other.",
);

/// How one notifier's messages fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Post {
    /// Messages that wait.
    pub n_waiting: u64,
    /// Dead letters.
    pub n_dead: u64,
}

/// All of it.
pub fn render(
    counters: &Counters,
    requests: &BTreeMap<OrganizationName, Arc<RequestCounts>>,
    posts: &BTreeMap<NotifierName, Post>,
    exposition: &Exposition,
    format: Format,
) -> String {
    let mut out = match format {
        Format::Text => counters.render(),
        Format::OpenMetrics => renamed(&counters.render()),
    };
    out.push_str(&API_REQUESTS.header(format));
    for (organization, counts) in requests {
        for ((endpoint, code), n) in counts.all() {
            let code = code.to_string();
            let labels = [
                ("organization", organization.as_str()),
                ("endpoint", endpoint.label()),
                ("code", &code),
            ];
            API_REQUESTS.sample(&mut out, &labels, n);
        }
    }
    for (family, value) in [
        (PENDING, (|post| post.n_waiting) as fn(&Post) -> u64),
        (DEAD, |post| post.n_dead),
    ] {
        out.push_str(&family.header(format));
        for (notifier, post) in posts {
            family.sample(&mut out, &[("notifier", notifier.as_str())], value(post));
        }
    }
    out.push_str(&DROPPED.header(format));
    for place in FAMILIES
        .map(|(place, _)| place)
        .into_iter()
        .chain([Place::UserSpend])
    {
        let n = exposition
            .n_dropped()
            .get(&place)
            .copied()
            .unwrap_or_default();
        DROPPED.sample(&mut out, &[("metric", place.family().name)], n);
    }
    counters.process().render(&mut out, format);
    out
}

/// OpenMetrics names a counter's family without `_total`; the samples keep it.
fn renamed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word), Some(name), Some(rest)) => {
                out.push_str(&format!("# {word} {} {rest}", bare(name)));
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_family_is_named_without_total_in_openmetrics() {
        let text = "# HELP x_total Things.\n# TYPE x_total counter\nx_total{a=\"b c d\"} 1\n";
        let expected = "# HELP x Things.\n# TYPE x counter\nx_total{a=\"b c d\"} 1\n";
        assert_eq!(renamed(text), expected);
    }
}
