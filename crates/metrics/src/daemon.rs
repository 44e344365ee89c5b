//! The daemon's own series, rendered at each scrape: counters of this process and delivery gauges.

use std::collections::BTreeMap;

use crate::counters::Counters;
use crate::exposition::Exposition;
use crate::families::Metric;
use crate::parts::FAMILIES;
use crate::text::{ExpositionFormat, Family, without_total};
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};

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

/// Requests to the Admin API by one organization's client: one sample of `spendwatch_api_requests_total`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestCount {
    pub organization: OrganizationName,
    pub endpoint: &'static str,
    /// HTTP status, `timeout` or `network`.
    pub code: String,
    pub n: u64,
}

/// Delivery state of one notifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeliveryGauges {
    pub n_waiting: u64,
    pub n_dead: u64,
}

/// Renders all daemon series.
pub fn render(
    counters: &Counters,
    requests: &[RequestCount],
    deliveries: &BTreeMap<NotifierName, DeliveryGauges>,
    exposition: &Exposition,
    format: ExpositionFormat,
) -> String {
    let mut out = match format {
        ExpositionFormat::Text => counters.render(),
        ExpositionFormat::OpenMetrics => with_openmetrics_names(&counters.render()),
    };
    out.push_str(&API_REQUESTS.header(format));
    for count in requests {
        let labels = [
            ("organization", count.organization.as_str()),
            ("endpoint", count.endpoint),
            ("code", &count.code),
        ];
        API_REQUESTS.sample(&mut out, &labels, count.n);
    }
    for (family, value) in [
        (
            PENDING,
            (|delivery| delivery.n_waiting) as fn(&DeliveryGauges) -> u64,
        ),
        (DEAD, |delivery| delivery.n_dead),
    ] {
        out.push_str(&family.header(format));
        for (notifier, delivery) in deliveries {
            family.sample(
                &mut out,
                &[("notifier", notifier.as_str())],
                value(delivery),
            );
        }
    }
    out.push_str(&DROPPED.header(format));
    for metric in FAMILIES
        .map(|(metric, _)| metric)
        .into_iter()
        .chain([Metric::UserSpend])
    {
        let n = exposition
            .n_dropped()
            .get(&metric)
            .copied()
            .unwrap_or_default();
        DROPPED.sample(&mut out, &[("metric", metric.family().name)], n);
    }
    counters.process().render(&mut out, format);
    out
}

/// Removes `_total` from the names of counter families, as OpenMetrics requires; samples keep it.
fn with_openmetrics_names(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ');
        match (fields.next(), fields.next(), fields.next(), fields.next()) {
            (Some("#"), Some(word), Some(name), Some(rest)) => {
                out.push_str(&format!("# {word} {} {rest}", without_total(name)));
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
        assert_eq!(with_openmetrics_names(text), expected);
    }
}
