//! The webhook: JSON in the format of Alertmanager's webhook (version 4), signed by Standard Webhooks.
//!
//! Receivers may keep state, so no alert is omitted: a message with too many alerts is sent as several posts, each with an id
//! that stays the same on every retry. A template renders another body from the same data.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::advice::advise;
use crate::digest::{self, DigestEnvelope};
use crate::envelope::{Envelope, Links};
use crate::formatting;
use crate::outcome::{Delivery, SettingsError};
use crate::post::{self, Address, PostRequest, PostResponse, ResponseClass};
use crate::signature::{self, SigningKey};
use crate::wording;
use spendwatch_base::secret::Secret;
use spendwatch_base::template::{Template, TemplateError};
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{Contributor, Fact, Reason};
use spendwatch_domain::digest::{
    DataGap, Digest, IdleKey, LimitUse, OpenAlert, SpendBreakdown, SubjectSpend, Truncated,
};
use spendwatch_domain::org::events::Event;
use spendwatch_domain::rules::rule::{GapUnit, Quantity, Watch};
use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::money::{Usd, overage_percent, percent_digits};
use spendwatch_domain::units::subject::SubjectKind;

/// Maximum alerts per post, well below the size limits of receivers and proxies (often one megabyte).
pub const MAX_ALERTS: usize = 100;
/// Maximum alerts per post with a template, whose output is limited.
const MAX_ALERTS_PER_TEMPLATE: usize = 25;
const MAX_LABEL_CHARS: usize = 1024;
/// Alertmanager's `endsAt` of an alert that has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";
/// Headers that spendwatch or HTTP sets.
const RESERVED: [&str; 8] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "user-agent",
];

/// Settings of a webhook notifier.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Secret,
    /// `whsec_…`; several during rotation, none for unsigned posts.
    pub signing_secrets: Vec<Secret>,
    /// Added to each request, for example `Authorization`.
    pub headers: Vec<(String, Secret)>,
    /// Renders the body instead of the standard JSON.
    pub template: Option<Template>,
}

/// A receiver of JSON posts.
#[derive(Debug, Clone)]
pub struct Webhook {
    client: Client,
    address: Address,
    keys: Vec<SigningKey>,
    headers: HeaderMap,
    secrets: Vec<Secret>,
    template: Option<Template>,
}

impl Webhook {
    /// Validates address, secrets and headers. The client must not follow redirects and must have timeouts.
    pub fn new(client: Client, settings: Settings) -> Result<Webhook, SettingsError> {
        let address = Address::new(settings.url)?;
        let keys = settings
            .signing_secrets
            .iter()
            .enumerate()
            .map(|(index, secret)| {
                SigningKey::new(secret).ok_or(SettingsError::SigningSecret { index: index + 1 })
            })
            .collect::<Result<_, _>>()?;
        let headers = headers(&settings.headers)?;
        if settings.template.is_none() && headers.contains_key(CONTENT_TYPE) {
            return Err(SettingsError::ReservedHeader {
                name: CONTENT_TYPE.to_string(),
            });
        }
        let values = settings.headers.into_iter().map(|(_, value)| value);
        let secrets = settings.signing_secrets.into_iter().chain(values).collect();
        Ok(Webhook {
            client,
            address,
            keys,
            headers,
            secrets,
            template: settings.template,
        })
    }

    /// Returns the settings that identify the receiver, secrets included.
    pub fn settings(&self) -> Vec<&str> {
        let mut settings = vec!["webhook", self.address.secret().expose()];
        settings.extend(self.headers.keys().map(HeaderName::as_str));
        settings.extend(self.secrets.iter().map(Secret::expose));
        settings.extend(self.template.iter().map(Template::text));
        settings
    }

    /// Sends the next post of the message. A rejected post does not block the others.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let n_alerts = match self.template {
            Some(_) => MAX_ALERTS_PER_TEMPLATE,
            None => MAX_ALERTS,
        };
        let index = usize::try_from(envelope.n_posted).unwrap_or(usize::MAX);
        let mut rest = envelope.facts.chunks(n_alerts).skip(index);
        let Some(facts) = rest.next() else {
            return Delivery::Delivered;
        };
        let id = part_id(envelope.id, index);
        let delivery = match self.body(&payload(envelope, facts)) {
            Ok(body) => self.post(&id, body.into_bytes(), envelope.now).await,
            Err(error) => Delivery::drop_message(template_error(&error)),
        };
        delivery.for_post(rest.next().is_none())
    }

    pub async fn send_digest(&self, envelope: &DigestEnvelope<'_>) -> Delivery {
        match self.body(&digest_payload(envelope)) {
            Ok(body) => {
                self.post(envelope.id, body.into_bytes(), envelope.now)
                    .await
            }
            Err(error) => Delivery::drop_message(template_error(&error)),
        }
    }

    fn body(&self, payload: &Value) -> Result<String, TemplateError> {
        match &self.template {
            Some(template) => template.render(payload),
            None => Ok(payload.to_string()),
        }
    }

    async fn post(&self, id: &str, body: Vec<u8>, now: Timestamp) -> Delivery {
        let signature = signature::sign(&self.keys, id, now.as_second(), &body);
        let mut headers = self.headers.clone();
        let timestamp = now.as_second().to_string();
        let own = [
            ("webhook-id", Some(id.to_owned())),
            ("webhook-timestamp", Some(timestamp)),
            ("webhook-signature", signature),
        ];
        for (name, value) in own {
            let Some(value) = value else { continue };
            match HeaderValue::try_from(value) {
                Ok(value) => headers.insert(HeaderName::from_static(name), value),
                Err(_) => {
                    return Delivery::drop_message(format!("header `{name}` has an invalid value"));
                }
            };
        }
        let post = PostRequest {
            address: &self.address,
            headers,
            body,
            secrets: self.secrets.iter().collect(),
            now,
        };
        post::post(&self.client, post, classify).await
    }
}

fn template_error(error: &TemplateError) -> String {
    let error = formatting::single_line(&error.to_string());
    format!("cannot render the template: {error}")
}

/// The first post has the id of the message.
fn part_id(id: &str, index: usize) -> String {
    match index {
        0 => id.to_owned(),
        later => format!("{id}-{}", later + 1),
    }
}

fn classify(response: &PostResponse) -> ResponseClass {
    match response.status {
        200..=299 => ResponseClass::Delivered,
        408 | 421 | 425 | 429 | 500..=599 => ResponseClass::Retry,
        // Payment, authentication, URL, headers, protocol or legal reasons: not about this message.
        300..=399 | 401..=405 | 407 | 426 | 431 | 451 => ResponseClass::Park,
        410 => ResponseClass::ParkForGood,
        _ => ResponseClass::Drop,
    }
}

/// Parses additional headers. None may replace a header of ours.
pub fn headers(settings: &[(String, Secret)]) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    for (name, value) in settings {
        let unusable = || SettingsError::Header { name: name.clone() };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
        if RESERVED.contains(&header.as_str()) {
            return Err(SettingsError::ReservedHeader { name: name.clone() });
        }
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

/// Returns the JSON body for some facts of an envelope.
pub fn payload(envelope: &Envelope<'_>, facts: &[Fact]) -> Value {
    let is_firing = facts.iter().any(|fact| fact.reason != Reason::Resolved);
    let labels: Vec<Texts> = facts.iter().map(labels).collect();
    let annotations: Vec<Texts> = facts
        .iter()
        .map(|fact| annotations(fact, envelope.links))
        .collect();
    let common_labels = common(&labels);
    let group_labels: Texts = common_labels
        .iter()
        .filter(|(name, _)| matches!(name.as_str(), "alertname" | "organization"))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let alerts: Vec<Value> = facts
        .iter()
        .zip(labels.iter().zip(&annotations))
        .map(|(fact, (labels, annotations))| {
            let page = envelope
                .links
                .alert_page(&fact.identity)
                .unwrap_or_default();
            alert(fact, labels, annotations, &page)
        })
        .collect();
    json!({
        "version": "4",
        "groupKey": group_key(&group_labels),
        "truncatedAlerts": 0,
        "status": status(is_firing),
        "receiver": envelope.notifier.as_str(),
        "groupLabels": group_labels,
        "commonLabels": common_labels,
        "commonAnnotations": common(&annotations),
        "externalURL": envelope.links.external_url.as_deref().unwrap_or_default(),
        "alerts": alerts,
        "spendwatch": {
            "id": envelope.id,
            "created_at": envelope.created_at.to_string(),
            "is_replay": envelope.is_replay,
        },
    })
}

/// Returns the JSON body of a digest: status `digest`, no alerts, and the figures.
pub fn digest_payload(envelope: &DigestEnvelope<'_>) -> Value {
    let report = digest::render(envelope);
    json!({
        "version": "4",
        "status": "digest",
        "receiver": envelope.notifier.as_str(),
        "externalURL": envelope.links.external_url.as_deref().unwrap_or_default(),
        "alerts": [],
        "digest": digest_figures(envelope.digest),
        "title": report.title,
        "summary": report.summary,
        "notes": report.notes,
        "spendwatch": {
            "id": envelope.id,
            "created_at": envelope.created_at.to_string(),
            "is_replay": envelope.is_replay,
        },
    })
}

fn digest_figures(digest: &Digest) -> Value {
    let piece =
        |(label, spend): &(String, Usd)| json!({ "label": label, "spend_usd": spend.to_string() });
    json!({
        "organization": digest.organization.as_str(),
        "name": digest.name,
        "period": digest.label,
        "starts_at": digest.span.start.to_string(),
        "ends_at": digest.span.end.to_string(),
        "time_zone": digest.zone_name,
        "made_at": digest.created_at.to_string(),
        "spend_usd": (!digest::is_spend_unknown(digest)).then(|| digest.spend.to_string()),
        "before_usd": digest.before.map(|usd| usd.to_string()),
        "series": digest.series.iter().map(piece).collect::<Vec<_>>(),
        "workspaces": breakdown_figures(&digest.workspaces),
        "movers": breakdown_figures(&digest.movers),
        "teams": breakdown_figures(&digest.teams),
        "models": breakdown_figures(&digest.models),
        "limits": digest.limits.first.iter().map(limit_figures).collect::<Vec<_>>(),
        "n_more_limits": digest.limits.n_more,
        "open_alerts": digest.alerts.first.iter().map(open_figures).collect::<Vec<_>>(),
        "n_more_open_alerts": digest.alerts.n_more,
        "forecast": digest.forecast.as_ref().map(|forecast| json!({
            "period": forecast.label,
            "spend_usd": forecast.spend.to_string(),
            "so_far_usd": forecast.so_far.to_string(),
        })),
        "idle_keys": digest.idle_keys.as_ref().map(idle_figures),
        "n_more_idle_keys": digest.idle_keys.as_ref().map(|keys| keys.n_more),
        "gaps": digest.gaps.iter().map(gap_figures).collect::<Vec<_>>(),
        "audit": digest.audit.as_ref().map(|anchor| json!({
            "entry": anchor.entry,
            "hash": anchor.hash,
        })),
    })
}

fn breakdown_figures(breakdown: &SpendBreakdown) -> Value {
    let text = |usd: Usd| usd.to_string();
    let line = |line: &SubjectSpend| {
        json!({
            "name": line.name,
            "spend_usd": text(line.spend),
            "before_usd": line.before.map(text),
        })
    };
    json!({
        "lines": breakdown.lines.iter().map(line).collect::<Vec<_>>(),
        "rest": breakdown.rest.map(|rest| json!({
            "n": rest.n,
            "spend_usd": text(rest.spend),
            "before_usd": rest.before.map(text),
        })),
    })
}

fn limit_figures(used: &LimitUse) -> Value {
    json!({
        "rule": used.rule.as_str(),
        "subject_kind": used.subject.kind.as_str(),
        "subject_id": &*used.subject.id,
        "name": used.name,
        "spend_usd": used.value.to_string(),
        "is_lower_bound": used.is_lower_bound,
        "limit_usd": used.limit.to_string(),
    })
}

fn open_figures(alert: &OpenAlert) -> Value {
    json!({
        "rule": alert.rule.as_str(),
        "subject_kind": alert.subject.kind.as_str(),
        "subject_id": &*alert.subject.id,
        "name": alert.name,
        "severity": alert.severity.as_str(),
        "threshold": alert.threshold,
        "event": alert.event.map(Event::as_str),
        "firing_since": alert.since.map(|at| at.to_string()),
    })
}

fn idle_figures(keys: &Truncated<IdleKey>) -> Value {
    let key = |key: &IdleKey| {
        json!({
            "api_key_id": key.id.as_str(),
            "api_key": key.name,
            "workspace": key.workspace,
            "idle_since": key.since.to_string(),
        })
    };
    keys.first.iter().map(key).collect()
}

fn gap_figures(gap: &DataGap) -> Value {
    match gap {
        DataGap::Unread { n, n_all } => json!({ "kind": "unread", "n": n, "n_all": n_all }),
        DataGap::Stale { name, as_of } => {
            json!({ "kind": "stale", "name": name, "as_of": as_of.to_string() })
        }
        DataGap::MoreStale { n } => json!({ "kind": "more_stale", "n": n }),
        DataGap::KnownFrom { at } => json!({ "kind": "known_from", "at": at.to_string() }),
        DataGap::Estimated { spend } => {
            json!({ "kind": "estimated", "spend_usd": spend.to_string() })
        }
        DataGap::Unpriced { n_tokens } => json!({ "kind": "unpriced", "n_tokens": n_tokens }),
    }
}

type Texts = BTreeMap<String, String>;

fn status(is_firing: bool) -> &'static str {
    if is_firing { "firing" } else { "resolved" }
}

fn group_key(labels: &Texts) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    format!("{{}}:{{{}}}", labels.join(", "))
}

/// Returns the entries that all maps share.
fn common(all: &[Texts]) -> Texts {
    let Some((first, rest)) = all.split_first() else {
        return Texts::new();
    };
    let mut common = first.clone();
    common.retain(|name, value| rest.iter().all(|texts| texts.get(name) == Some(value)));
    common
}

fn alert(fact: &Fact, labels: &Texts, annotations: &Texts, page: &str) -> Value {
    let is_firing = fact.reason != Reason::Resolved;
    let ended_at = match fact.ended_at {
        _ if is_firing => NOT_ENDED.to_owned(),
        Some(at) => at.to_string(),
        None => fact.decided_at.to_string(),
    };
    json!({
        "status": status(is_firing),
        "labels": labels,
        "annotations": annotations,
        "startsAt": fact.firing_since.to_string(),
        "endsAt": ended_at,
        "generatorURL": page,
        "fingerprint": fact.identity.fingerprint(),
        "spendwatch": figures(fact),
    })
}

/// The rule's labels never replace ours. Empty labels are omitted, as in Alertmanager.
fn labels(fact: &Fact) -> Texts {
    let slot = &fact.identity.slot;
    let mut labels = fact.labels.clone();
    let mut set = |name: &str, value: &str| {
        let value: String = value.chars().take(MAX_LABEL_CHARS).collect();
        labels.insert(name.to_owned(), value);
    };
    set("alertname", slot.rule.as_str());
    set("organization", fact.identity.organization.as_str());
    set("subject_kind", slot.subject.kind.as_str());
    set("subject_id", &slot.subject.id);
    match slot.subject.kind {
        SubjectKind::Organization => {}
        SubjectKind::Workspace => {
            set("workspace_id", &slot.subject.id);
            set("workspace", &fact.subject_name);
        }
        SubjectKind::Model => set("model", &slot.subject.id),
        SubjectKind::ApiKey => {
            set("api_key_id", &slot.subject.id);
            set("api_key", &fact.subject_name);
        }
        SubjectKind::User => {
            set("user_id", &slot.subject.id);
            set("user", &fact.subject_name);
        }
        SubjectKind::Team => set("team", &slot.subject.id),
    }
    match (fact.watch, &slot.period) {
        (Watch::DataAge | Watch::Lifecycle, _) => {}
        (
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::Reconciliation(_),
            Some(label),
        ) => {
            set("period", label);
        }
        (
            Watch::Spend
            | Watch::BurnRate
            | Watch::Tokens
            | Watch::Requests
            | Watch::Reconciliation(_),
            None,
        ) => {
            set("period", &formatting::rolling_label(fact));
        }
    }
    if let Some(event) = slot.event {
        set("event", event.as_str());
    }
    set("severity", fact.threshold.severity.as_str());
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// Returns the texts for people: summary, description and advice.
pub fn annotations(fact: &Fact, links: &Links) -> Texts {
    let mut description: Vec<String> = wording::fields(fact)
        .iter()
        .map(|figure| format!("{}: {}", figure.name, figure.value))
        .collect();
    description.extend(wording::contributors(fact));
    let advice: Vec<String> = advise(fact, links)
        .into_iter()
        .map(|advice| match advice.link {
            Some(link) => format!("{}: {link}", advice.text),
            None => advice.text,
        })
        .collect();
    let summary = format!("{}: {}", wording::title(fact), wording::summary(fact));
    let texts = [
        ("summary", summary),
        ("description", description.join("\n")),
        ("advice", advice.join("\n")),
    ];
    texts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(name, text)| (name.to_owned(), text))
        .collect()
}

/// The decimal figures, as decimal strings.
pub fn figures(fact: &Fact) -> Value {
    let mut figures = Map::new();
    let limit = fact.limit.filter(|_| fact.event().is_none());
    let overage = limit.and_then(|limit| overage_percent(limit, fact.value));
    match fact.event() {
        Some((event, moment)) => {
            let moment = moment.map(|at| at.to_string());
            figures.insert("event".to_owned(), event.as_str().into());
            figures.insert("moment".to_owned(), moment.into());
            figures.insert("made_by".to_owned(), fact.creator.clone().into());
        }
        None => {
            let names = names(fact.watch);
            let limit = decimal_or_null(fact.watch, limit);
            figures.insert(names.value.to_owned(), decimal(fact.watch, fact.value));
            figures.insert(names.limit.to_owned(), limit);
        }
    }
    let rest = json!({
        "watch": fact.watch.as_str(),
        "is_lower_bound": fact.is_lower_bound,
        "is_late": fact.is_late,
        "is_fired_and_resolved": fact.is_fired_and_resolved,
        "threshold": &*fact.threshold.text,
        "overage_percent": overage,
        "forecast_usd": fact.forecast.map(|usd| usd.to_string()),
        "sequence": fact.sequence,
        "reason": fact.public_reason().as_str(),
        "ended_by": fact.ended_by.map(EndedBy::as_str),
        "decided_at": fact.decided_at.to_string(),
        "as_of": fact.as_of.map(|at| at.to_string()),
        "period_start": fact.span.start.to_string(),
        "period_end": fact.span.end.to_string(),
        "time_zone": fact.zone_name,
        "top": fact.top.iter().map(|part| contributor(fact.watch, part)).collect::<Vec<_>>(),
    });
    if let Value::Object(rest) = rest {
        figures.extend(rest);
    }
    if let Some(absent) = &fact.in_place_of {
        figures.insert("in_place_of".to_owned(), absent.as_str().into());
    }
    if let Some(sides) = &fact.reconciled {
        let unpriced: Vec<&str> = sides.unpriced.iter().map(ModelName::as_str).collect();
        figures.insert("billed_usd".to_owned(), sides.billed.to_string().into());
        figures.insert(
            "estimated_usd".to_owned(),
            sides.estimated.to_string().into(),
        );
        figures.insert(
            "uncertain_usd".to_owned(),
            sides.uncertain.to_string().into(),
        );
        figures.insert("unpriced_models".to_owned(), unpriced.into());
    }
    Value::Object(figures)
}

/// JSON names of a watch's figures.
struct FieldNames {
    value: &'static str,
    limit: &'static str,
    before: &'static str,
    growth: &'static str,
}

fn names(watch: Watch) -> FieldNames {
    let name = |value, limit, before, growth| FieldNames {
        value,
        limit,
        before,
        growth,
    };
    match watch {
        Watch::Spend => name("spend_usd", "limit_usd", "before_usd", "growth_usd"),
        Watch::BurnRate => name("pace_usd", "limit_usd", "before_usd", "growth_usd"),
        Watch::Tokens => name("tokens", "limit_tokens", "before_tokens", "growth_tokens"),
        Watch::Requests => name(
            "requests",
            "limit_requests",
            "before_requests",
            "growth_requests",
        ),
        Watch::Reconciliation(GapUnit::Usd) => {
            name("gap_usd", "limit_usd", "before_usd", "growth_usd")
        }
        Watch::Reconciliation(GapUnit::Percent) => name(
            "gap_percent",
            "limit_percent",
            "before_percent",
            "growth_percent_points",
        ),
        Watch::DataAge => name(
            "age_seconds",
            "limit_seconds",
            "before_seconds",
            "growth_seconds",
        ),
        Watch::Lifecycle => name("value", "limit", "before", "growth"),
    }
}

fn decimal(watch: Watch, quantity: Quantity) -> Value {
    Value::String(match watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(GapUnit::Usd) => {
            Usd::from_pico(quantity).to_string()
        }
        Watch::Reconciliation(GapUnit::Percent) => percent_digits(quantity),
        Watch::Tokens | Watch::Requests | Watch::DataAge | Watch::Lifecycle => quantity.to_string(),
    })
}

fn decimal_or_null(watch: Watch, quantity: Option<Quantity>) -> Value {
    quantity.map_or(Value::Null, |quantity| decimal(watch, quantity))
}

fn contributor(watch: Watch, part: &Contributor) -> Value {
    // A burn rate is derived from spend, and its contributors are sums of spend.
    let watch = match watch {
        Watch::BurnRate => Watch::Spend,
        Watch::Spend
        | Watch::Tokens
        | Watch::Requests
        | Watch::DataAge
        | Watch::Reconciliation(_)
        | Watch::Lifecycle => watch,
    };
    let names = names(watch);
    let growth = part.before.map(|before| part.value - before);
    let percent = part
        .before
        .and_then(|before| overage_percent(before, part.value));
    let mut json = json!({
        "workspace_id": part.workspace_id.as_str(),
        "workspace": part.workspace,
        // Empty for all models, as in metrics.
        "model": part.model.as_ref().map_or("", ModelName::as_str),
        names.value: decimal(watch, part.value),
        names.before: decimal_or_null(watch, part.before),
        names.growth: decimal_or_null(watch, growth),
        "growth_percent": percent,
    });
    if let Some(key) = &part.api_key {
        json["api_key_id"] = json!(key.id.as_str());
        json["api_key"] = json!(key.name);
    }
    if let Some(person) = &part.person {
        json["user"] = json!(person);
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{fact, with_envelope};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn below_minimum_severity_is_resolved_with_reason_lowered() {
        let mut below = fact(Reason::Resolved);
        below.ended_by = None;
        let facts = [below];
        with_envelope(&facts, |envelope| {
            let body = payload(&envelope, &facts);
            let alert = &body["alerts"][0];
            assert_eq!(
                (&body["status"], &alert["status"]),
                (&"resolved".into(), &"resolved".into())
            );
            assert_eq!(alert["spendwatch"]["reason"], "lowered");
            assert_eq!(alert["spendwatch"]["ended_by"], Value::Null);
            let summary = alert["annotations"]["summary"].as_str().unwrap();
            assert!(
                summary.starts_with("No longer critical: workspace Search dropped"),
                "{summary}"
            );
        });
    }

    #[test]
    fn configured_headers_never_replace_ours() {
        let refused = |name: &str, value: &str| {
            headers(&[(name.to_owned(), secret(value))]).map_err(|error| error.to_string())
        };
        for name in ["Webhook-Id", "webhook-signature", "Content-Length", "host"] {
            let expected = format!("header `{name}` is set by spendwatch itself");
            assert_eq!(refused(name, "x"), Err(expected));
        }
        assert!(refused("a b", "x").is_err());
        assert!(refused("x-a", "canary\r\nb: c").is_err_and(|error| !error.contains("canary")));
        let headers = refused("Authorization", "Bearer canary").unwrap();
        assert!(!format!("{headers:?}").contains("canary"));
    }

    #[test]
    fn rule_labels_never_replace_ours() {
        let mut fact = fact(Reason::First);
        fact.labels
            .insert("alertname".to_owned(), "mine".to_owned());
        fact.labels.insert("severity".to_owned(), "none".to_owned());
        fact.labels.insert("empty".to_owned(), String::new());
        let labels = labels(&fact);
        assert_eq!(labels["alertname"], "workspace-month");
        assert_eq!(labels["severity"], "critical");
        assert!(!labels.contains_key("empty"));
    }

    #[test]
    fn responses_are_classified() {
        let verdict = |status| {
            classify(&PostResponse {
                status,
                media_type: String::new(),
                body: String::new(),
                is_whole: true,
            })
        };
        for (expected, statuses) in [
            (ResponseClass::Delivered, &[200, 201, 202, 204][..]),
            (ResponseClass::Retry, &[408, 425, 429, 500, 502, 503, 504]),
            (
                ResponseClass::Park,
                &[301, 302, 307, 401, 402, 403, 404, 405, 426, 431, 451],
            ),
            (ResponseClass::ParkForGood, &[410]),
            (ResponseClass::Drop, &[400, 409, 413, 422]),
        ] {
            for status in statuses {
                assert_eq!(verdict(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn later_posts_have_their_own_ids() {
        assert_eq!(part_id("id-1", 0), "id-1");
        assert_eq!(part_id("id-1", 1), "id-1-2");
    }
}
