//! The webhook: JSON in the shape of Alertmanager's (version 4), signed by Standard Webhooks.
//!
//! Receivers may hold state, so no alert is ever left out: a message with more alerts than one post should carry goes
//! out as several posts, each with an id of its own that is the same on every retry. A template makes another body of the
//! same facts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use crate::domain::digest::{
    Breakdown, Digest, IdleKey, LimitUse, Line, Listed, Missing, OpenAlert,
};
use crate::domain::event::Event;
use crate::domain::ids::ModelName;
use crate::domain::money::{Usd, overage_percent, percent_digits};
use crate::domain::notification::{Contributor, Fact, Reason};
use crate::domain::rule::{Gap, Quantity, Watch};
use crate::domain::subject::SubjectKind;
use crate::notify::advice::advise;
use crate::notify::digest::{self, Letter};
use crate::notify::envelope::{Envelope, Links};
use crate::notify::outcome::{Delivery, SettingsError};
use crate::notify::post::{self, Address, Answer, Post, Verdict};
use crate::notify::signature::{self, SigningKey};
use crate::notify::wording;
use crate::notify::formatting;
use crate::secret::Secret;
use crate::template::{Template, TemplateError};

/// Alerts in one post: well below what receivers and the proxies before them take (a megabyte, often).
pub const MAX_ALERTS: usize = 100;
/// The same where a template makes the body: it may put everything into it, and its length is limited.
const MAX_ALERTS_OF_A_TEMPLATE: usize = 25;
/// Characters of a label's value.
const MAX_LABEL: usize = 1024;
/// How Alertmanager writes that something has not ended.
const NOT_ENDED: &str = "0001-01-01T00:00:00Z";
/// Set by us or by HTTP itself.
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

/// What a webhook notifier is built from.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Secret,
    /// `whsec_…`; several while rotating; none: unsigned.
    pub signing_secrets: Vec<Secret>,
    /// Sent along, as `Authorization` is.
    pub headers: Vec<(String, Secret)>,
    /// What makes the body instead.
    pub template: Option<Template>,
}

/// A webhook.
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
    /// Checks address, secrets and headers. The client must follow no redirects and have time limits.
    pub fn new(client: Client, settings: Settings) -> Result<Webhook, SettingsError> {
        let address = Address::new(settings.url)?;
        let keys = settings
            .signing_secrets
            .iter()
            .enumerate()
            .map(|(place, secret)| {
                SigningKey::new(secret).ok_or(SettingsError::SigningSecret { index: place + 1 })
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

    /// For the mark.
    pub fn settings(&self) -> Vec<&str> {
        let mut settings = vec!["webhook", self.address.secret().expose()];
        settings.extend(self.headers.keys().map(HeaderName::as_str));
        settings.extend(self.secrets.iter().map(Secret::expose));
        settings.extend(self.template.iter().map(Template::text));
        settings
    }

    /// Sends the next post of the message. One that will never be accepted holds up none of the others.
    pub async fn send(&self, envelope: &Envelope<'_>) -> Delivery {
        let n_alerts = match self.template {
            Some(_) => MAX_ALERTS_OF_A_TEMPLATE,
            None => MAX_ALERTS,
        };
        let place = usize::try_from(envelope.n_posted).unwrap_or(usize::MAX);
        let mut rest = envelope.facts.chunks(n_alerts).skip(place);
        let Some(facts) = rest.next() else {
            return Delivery::Delivered;
        };
        let id = part_id(envelope.id, place);
        let delivery = match self.body(&payload(envelope, facts)) {
            Ok(body) => self.post(&id, body.into_bytes(), envelope.now).await,
            Err(error) => Delivery::drop_message(unfilled(&error)),
        };
        delivery.of_part(rest.next().is_none())
    }

    /// Sends a digest once.
    pub async fn send_digest(&self, letter: &Letter<'_>) -> Delivery {
        match self.body(&digest_payload(letter)) {
            Ok(body) => self.post(letter.id, body.into_bytes(), letter.now).await,
            Err(error) => Delivery::drop_message(unfilled(&error)),
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
                Err(_) => return Delivery::drop_message(format!("header {name} cannot be sent")),
            };
        }
        let post = Post {
            address: &self.address,
            headers,
            body,
            secrets: self.secrets.iter().collect(),
            now,
        };
        post::post(&self.client, post, judge).await
    }
}

fn unfilled(error: &TemplateError) -> String {
    let error = formatting::line(&error.to_string());
    format!("the template cannot be filled in: {error}")
}

/// The first post has the message's own id.
fn part_id(id: &str, place: usize) -> String {
    match place {
        0 => id.to_owned(),
        later => format!("{id}-{}", later + 1),
    }
}

fn judge(answer: &Answer) -> Verdict {
    match answer.status {
        200..=299 => Verdict::Delivered,
        408 | 421 | 425 | 429 | 500..=599 => Verdict::Retry,
        // Money, the login, the address, the headers, the protocol or the law: none of it is this message's.
        300..=399 | 401..=405 | 407 | 426 | 431 | 451 => Verdict::Park,
        410 => Verdict::ParkForGood,
        _ => Verdict::Drop,
    }
}

/// Headers to be sent along. None may be one of ours.
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

/// The JSON to post for some of an envelope's facts.
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
            let page = envelope.links.page_of(&fact.identity).unwrap_or_default();
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

/// The JSON to post of a digest: the same frame with a status of its own, no alerts, and the figures.
pub fn digest_payload(letter: &Letter<'_>) -> Value {
    let report = digest::render(letter);
    json!({
        "version": "4",
        "status": "digest",
        "receiver": letter.notifier.as_str(),
        "externalURL": letter.links.external_url.as_deref().unwrap_or_default(),
        "alerts": [],
        "digest": digest_figures(letter.digest),
        "title": report.title,
        "summary": report.summary,
        "notes": report.notes,
        "spendwatch": {
            "id": letter.id,
            "created_at": letter.created_at.to_string(),
            "is_replay": letter.is_replay,
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
        "made_at": digest.made_at.to_string(),
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

fn breakdown_figures(breakdown: &Breakdown) -> Value {
    let text = |usd: Usd| usd.to_string();
    let line = |line: &Line| {
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

fn idle_figures(keys: &Listed<IdleKey>) -> Value {
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

fn gap_figures(gap: &Missing) -> Value {
    match gap {
        Missing::Unread { n, n_all } => json!({ "kind": "unread", "n": n, "n_all": n_all }),
        Missing::Stale { name, as_of } => {
            json!({ "kind": "stale", "name": name, "as_of": as_of.to_string() })
        }
        Missing::MoreStale { n } => json!({ "kind": "more_stale", "n": n }),
        Missing::KnownFrom { at } => json!({ "kind": "known_from", "at": at.to_string() }),
        Missing::Estimated { spend } => {
            json!({ "kind": "estimated", "spend_usd": spend.to_string() })
        }
        Missing::Unpriced { n_tokens } => json!({ "kind": "unpriced", "n_tokens": n_tokens }),
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

/// What all have in common.
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

/// The rule's own labels never replace ours. What is empty is left out, as Alertmanager would.
fn labels(fact: &Fact) -> Texts {
    let slot = &fact.identity.slot;
    let mut labels = fact.labels.clone();
    let mut set = |name: &str, value: &str| {
        let value: String = value.chars().take(MAX_LABEL).collect();
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
            set("period", &formatting::rolling_word(fact));
        }
    }
    if let Some(event) = slot.event {
        set("event", event.as_str());
    }
    set("severity", fact.line.severity.as_str());
    labels.retain(|_, value| !value.is_empty());
    labels
}

/// What people read: a summary, the figures, what to do.
pub fn annotations(fact: &Fact, links: &Links) -> Texts {
    let mut description: Vec<String> = wording::figures(fact)
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

/// The exact figures, as decimal strings.
pub fn figures(fact: &Fact) -> Value {
    let mut figures = Map::new();
    let limit = fact.limit.filter(|_| fact.event().is_none());
    let overage = limit.and_then(|limit| overage_percent(limit, fact.value));
    match fact.event() {
        Some((event, moment)) => {
            let moment = moment.map(|at| at.to_string());
            figures.insert("event".to_owned(), event.as_str().into());
            figures.insert("moment".to_owned(), moment.into());
            figures.insert("made_by".to_owned(), fact.maker.clone().into());
        }
        None => {
            let names = names(fact.watch);
            let limit = exact_or_null(fact.watch, limit);
            figures.insert(names.value.to_owned(), exact(fact.watch, fact.value));
            figures.insert(names.limit.to_owned(), limit);
        }
    }
    let rest = json!({
        "watch": fact.watch.as_str(),
        "is_lower_bound": fact.is_lower_bound,
        "is_late": fact.is_late,
        "is_fired_and_resolved": fact.is_fired_and_resolved,
        "threshold": &*fact.line.text,
        "overage_percent": overage,
        "forecast_usd": fact.forecast.map(|usd| usd.to_string()),
        "sequence": fact.sequence,
        "reason": fact.public_reason().as_str(),
        "ended_by": fact.ended_by.map(super::super::domain::alert::EndedBy::as_str),
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

/// What a watch's figures are called.
struct Names {
    value: &'static str,
    limit: &'static str,
    before: &'static str,
    growth: &'static str,
}

fn names(watch: Watch) -> Names {
    let name = |value, limit, before, growth| Names {
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
        Watch::Reconciliation(Gap::Usd) => name("gap_usd", "limit_usd", "before_usd", "growth_usd"),
        Watch::Reconciliation(Gap::Percent) => name(
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

fn exact(watch: Watch, quantity: Quantity) -> Value {
    Value::String(match watch {
        Watch::Spend | Watch::BurnRate | Watch::Reconciliation(Gap::Usd) => {
            Usd::from_pico(quantity).to_string()
        }
        Watch::Reconciliation(Gap::Percent) => percent_digits(quantity),
        Watch::Tokens | Watch::Requests | Watch::DataAge | Watch::Lifecycle => quantity.to_string(),
    })
}

fn exact_or_null(watch: Watch, quantity: Option<Quantity>) -> Value {
    quantity.map_or(Value::Null, |quantity| exact(watch, quantity))
}

fn contributor(watch: Watch, part: &Contributor) -> Value {
    // Who causes a pace has spent money, in the hours that it is told from.
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
    let mut told = json!({
        "workspace_id": part.workspace_id.as_str(),
        "workspace": part.workspace,
        // As in metrics, empty for the sum of all models.
        "model": part.model.as_ref().map_or("", ModelName::as_str),
        names.value: exact(watch, part.value),
        names.before: exact_or_null(watch, part.before),
        names.growth: exact_or_null(watch, growth),
        "growth_percent": percent,
    });
    if let Some(key) = &part.api_key {
        told["api_key_id"] = json!(key.id.as_str());
        told["api_key"] = json!(key.name);
    }
    if let Some(person) = &part.person {
        told["user"] = json!(person);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples::{fact, with_envelope};

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn below_the_minimum_severity_an_alert_is_resolved_for_the_receiver_with_reason_lowered() {
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
                summary.starts_with("No longer critical: workspace Search"),
                "{summary}"
            );
        });
    }

    #[test]
    fn headers_of_the_settings_never_replace_ours() {
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
    fn labels_of_the_rule_never_replace_ours() {
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
    fn answers() {
        let verdict = |status| {
            judge(&Answer {
                status,
                media_type: String::new(),
                body: String::new(),
                is_whole: true,
            })
        };
        for (expected, statuses) in [
            (Verdict::Delivered, &[200, 201, 202, 204][..]),
            (Verdict::Retry, &[408, 425, 429, 500, 502, 503, 504]),
            (
                Verdict::Park,
                &[301, 302, 307, 401, 402, 403, 404, 405, 426, 431, 451],
            ),
            (Verdict::ParkForGood, &[410]),
            (Verdict::Drop, &[400, 409, 413, 422]),
        ] {
            for status in statuses {
                assert_eq!(verdict(*status), expected, "{status}");
            }
        }
    }

    #[test]
    fn later_posts_of_one_message_have_ids_of_their_own() {
        assert_eq!(part_id("id-1", 0), "id-1");
        assert_eq!(part_id("id-1", 1), "id-1-2");
    }
}
