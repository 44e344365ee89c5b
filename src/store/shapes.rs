//! How alerts, what was told of them, and the facts of a message are stored: as JSON, each shape written out here.
//!
//! Quantities are decimal strings (a JSON number would lose digits) and instants are text. A field that is added later
//! needs a default, so that what older versions wrote can be read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::alert::{Alert, EndedBy, Identity, Line, Observed, Slot, State, Told};
use crate::domain::directory::OrganizationInfo;
use crate::domain::ids::NotifierName;
use crate::domain::money::Usd;
use crate::domain::notification::{Contributor, Fact, Reason};
use crate::domain::rule::{Quantity, Severity, Watch};
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::store::error::Cause;

/// A value as text.
pub(super) fn to_json(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).expect("shapes have text keys only")
}

/// A text as a value; what does not fit is named with `what`.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, what: &str) -> Result<T, Cause> {
    serde_json::from_str(text).map_err(|error| Cause::Corrupt(format!("{what}: {error}")))
}

/// A value that stands as text: written by `Display` or `as_str`, read by its parser.
trait Text: Sized {
    fn write(&self) -> String;
    fn read(text: &str) -> Option<Self>;
}

impl Text for Quantity {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Quantity> {
        text.parse().ok()
    }
}

impl Text for Timestamp {
    fn write(&self) -> String {
        self.to_string()
    }
    fn read(text: &str) -> Option<Timestamp> {
        text.parse().ok()
    }
}

impl Text for Usd {
    fn write(&self) -> String {
        self.pico().to_string()
    }
    fn read(text: &str) -> Option<Usd> {
        text.parse().ok().map(Usd::from_pico)
    }
}

macro_rules! words {
    ($($kind:ty)+) => {$(
        impl Text for $kind {
            fn write(&self) -> String {
                self.as_str().to_owned()
            }
            fn read(text: &str) -> Option<$kind> {
                <$kind>::parse(text)
            }
        }
    )+};
}

words! { Severity Watch SubjectKind EndedBy Reason }

/// Any such value, in a shape.
#[derive(Debug)]
struct AsText<T>(T);

impl<T: Text> Serialize for AsText<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.write())
    }
}

impl<'de, T: Text> Deserialize<'de> for AsText<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<AsText<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text)
            .map(AsText)
            .ok_or_else(|| D::Error::custom(format!("unknown value `{text}`")))
    }
}

/// A stored line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LineShape {
    quantity: AsText<Quantity>,
    severity: AsText<Severity>,
    text: String,
}

impl From<&Line> for LineShape {
    fn from(line: &Line) -> LineShape {
        LineShape {
            quantity: AsText(line.quantity),
            severity: AsText(line.severity),
            text: line.text.to_string(),
        }
    }
}

impl From<LineShape> for Line {
    fn from(shape: LineShape) -> Line {
        Line {
            quantity: shape.quantity.0,
            severity: shape.severity.0,
            text: shape.text.into(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct SpanShape {
    start: AsText<Timestamp>,
    end: AsText<Timestamp>,
}

impl From<Span> for SpanShape {
    fn from(span: Span) -> SpanShape {
        SpanShape {
            start: AsText(span.start),
            end: AsText(span.end),
        }
    }
}

impl From<SpanShape> for Span {
    fn from(shape: SpanShape) -> Span {
        Span {
            start: shape.start.0,
            end: shape.end.0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct IdentityShape {
    organization: String,
    rule: String,
    subject_kind: AsText<SubjectKind>,
    subject_id: String,
    period: Option<String>,
    started_at: AsText<Timestamp>,
}

impl From<&Identity> for IdentityShape {
    fn from(identity: &Identity) -> IdentityShape {
        let slot = &identity.slot;
        IdentityShape {
            organization: identity.organization.to_string(),
            rule: slot.rule.to_string(),
            subject_kind: AsText(slot.subject.kind),
            subject_id: slot.subject.id.to_string(),
            period: slot.period.as_deref().map(str::to_owned),
            started_at: AsText(identity.started_at),
        }
    }
}

impl From<IdentityShape> for Identity {
    fn from(shape: IdentityShape) -> Identity {
        Identity {
            organization: shape.organization.as_str().into(),
            slot: Slot {
                rule: shape.rule.as_str().into(),
                subject: Subject::new(shape.subject_kind.0, shape.subject_id),
                period: shape.period.map(Into::into),
            },
            started_at: shape.started_at.0,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
enum StateShape {
    Pending {
        line: LineShape,
        since: u64,
    },
    Firing {
        line: LineShape,
        clearing_since: Option<u64>,
    },
    Ended {
        by: AsText<EndedBy>,
        at: AsText<Timestamp>,
        line: LineShape,
    },
}

impl From<&State> for StateShape {
    fn from(state: &State) -> StateShape {
        match state {
            State::Pending { line, since } => StateShape::Pending {
                line: line.into(),
                since: since.0,
            },
            State::Firing {
                line,
                clearing_since,
            } => StateShape::Firing {
                line: line.into(),
                clearing_since: clearing_since.map(|since| since.0),
            },
            State::Ended { by, at, line } => StateShape::Ended {
                by: AsText(*by),
                at: AsText(*at),
                line: line.into(),
            },
        }
    }
}

impl From<StateShape> for State {
    fn from(shape: StateShape) -> State {
        match shape {
            StateShape::Pending { line, since } => State::Pending {
                line: line.into(),
                since: Observed(since),
            },
            StateShape::Firing {
                line,
                clearing_since,
            } => State::Firing {
                line: line.into(),
                clearing_since: clearing_since.map(Observed),
            },
            StateShape::Ended { by, at, line } => State::Ended {
                by: by.0,
                at: at.0,
                line: line.into(),
            },
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ToldShape {
    showing: Option<LineShape>,
    raised: Vec<LineShape>,
    lowered: Vec<LineShape>,
    at: u64,
}

impl From<&Told> for ToldShape {
    fn from(told: &Told) -> ToldShape {
        ToldShape {
            showing: told.showing.as_ref().map(Into::into),
            raised: told.raised.iter().map(Into::into).collect(),
            lowered: told.lowered.iter().map(Into::into).collect(),
            at: told.at.0,
        }
    }
}

impl From<ToldShape> for Told {
    fn from(shape: ToldShape) -> Told {
        Told {
            showing: shape.showing.map(Into::into),
            raised: shape.raised.into_iter().map(Into::into).collect(),
            lowered: shape.lowered.into_iter().map(Into::into).collect(),
            at: Observed(shape.at),
        }
    }
}

/// A stored alert.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AlertShape {
    identity: IdentityShape,
    span: SpanShape,
    state: StateShape,
    sequence: u64,
    firing_since: Option<AsText<Timestamp>>,
    is_late: bool,
    is_silenced: bool,
    value: AsText<Quantity>,
    limit: Option<AsText<Quantity>>,
    told: BTreeMap<String, ToldShape>,
}

impl From<&Alert> for AlertShape {
    fn from(alert: &Alert) -> AlertShape {
        AlertShape {
            identity: (&alert.identity).into(),
            span: alert.span.into(),
            state: (&alert.state).into(),
            sequence: alert.sequence,
            firing_since: alert.firing_since.map(AsText),
            is_late: alert.is_late,
            is_silenced: alert.is_silenced,
            value: AsText(alert.value),
            limit: alert.limit.map(AsText),
            told: alert
                .told
                .iter()
                .map(|(notifier, told)| (notifier.to_string(), told.into()))
                .collect(),
        }
    }
}

impl From<AlertShape> for Alert {
    fn from(shape: AlertShape) -> Alert {
        let told = shape.told.into_iter();
        Alert {
            identity: shape.identity.into(),
            span: shape.span.into(),
            state: shape.state.into(),
            sequence: shape.sequence,
            firing_since: shape.firing_since.map(|at| at.0),
            is_late: shape.is_late,
            is_silenced: shape.is_silenced,
            value: shape.value.0,
            limit: shape.limit.map(|limit| limit.0),
            told: told
                .map(|(notifier, told)| (NotifierName::new(notifier), told.into()))
                .collect(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct ContributorShape {
    workspace_id: String,
    workspace: String,
    model: String,
    value: AsText<Quantity>,
    before: Option<AsText<Quantity>>,
}

impl From<&Contributor> for ContributorShape {
    fn from(contributor: &Contributor) -> ContributorShape {
        ContributorShape {
            workspace_id: contributor.workspace_id.to_string(),
            workspace: contributor.workspace.clone(),
            model: contributor.model.to_string(),
            value: AsText(contributor.value),
            before: contributor.before.map(AsText),
        }
    }
}

impl From<ContributorShape> for Contributor {
    fn from(shape: ContributorShape) -> Contributor {
        Contributor {
            workspace_id: shape.workspace_id.as_str().into(),
            workspace: shape.workspace,
            model: shape.model.as_str().into(),
            value: shape.value.0,
            before: shape.before.map(|before| before.0),
        }
    }
}

/// A stored fact.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FactShape {
    identity: IdentityShape,
    sequence: u64,
    reason: AsText<Reason>,
    ended_by: Option<AsText<EndedBy>>,
    is_late: bool,
    is_fired_and_resolved: bool,
    subject_name: String,
    watch: AsText<Watch>,
    span: SpanShape,
    zone_name: String,
    value: AsText<Quantity>,
    is_lower_bound: bool,
    limit: Option<AsText<Quantity>>,
    line: LineShape,
    firing_since: AsText<Timestamp>,
    ended_at: Option<AsText<Timestamp>>,
    decided_at: AsText<Timestamp>,
    as_of: Option<AsText<Timestamp>>,
    labels: BTreeMap<String, String>,
    top: Vec<ContributorShape>,
    forecast: Option<AsText<Usd>>,
}

impl From<&Fact> for FactShape {
    fn from(fact: &Fact) -> FactShape {
        FactShape {
            identity: (&fact.identity).into(),
            sequence: fact.sequence,
            reason: AsText(fact.reason),
            ended_by: fact.ended_by.map(AsText),
            is_late: fact.is_late,
            is_fired_and_resolved: fact.is_fired_and_resolved,
            subject_name: fact.subject_name.clone(),
            watch: AsText(fact.watch),
            span: fact.span.into(),
            zone_name: fact.zone_name.clone(),
            value: AsText(fact.value),
            is_lower_bound: fact.is_lower_bound,
            limit: fact.limit.map(AsText),
            line: (&fact.line).into(),
            firing_since: AsText(fact.firing_since),
            ended_at: fact.ended_at.map(AsText),
            decided_at: AsText(fact.decided_at),
            as_of: fact.as_of.map(AsText),
            labels: fact.labels.clone(),
            top: fact.top.iter().map(Into::into).collect(),
            forecast: fact.forecast.map(AsText),
        }
    }
}

impl From<FactShape> for Fact {
    fn from(shape: FactShape) -> Fact {
        Fact {
            identity: shape.identity.into(),
            sequence: shape.sequence,
            reason: shape.reason.0,
            ended_by: shape.ended_by.map(|by| by.0),
            is_late: shape.is_late,
            is_fired_and_resolved: shape.is_fired_and_resolved,
            subject_name: shape.subject_name,
            watch: shape.watch.0,
            span: shape.span.into(),
            zone_name: shape.zone_name,
            value: shape.value.0,
            is_lower_bound: shape.is_lower_bound,
            limit: shape.limit.map(|limit| limit.0),
            line: shape.line.into(),
            firing_since: shape.firing_since.0,
            ended_at: shape.ended_at.map(|at| at.0),
            decided_at: shape.decided_at.0,
            as_of: shape.as_of.map(|at| at.0),
            labels: shape.labels,
            top: shape.top.into_iter().map(Into::into).collect(),
            forecast: shape.forecast.map(|forecast| forecast.0),
        }
    }
}

/// One step in an alert's life, as `alerts show` tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChangeShape {
    pub(super) sequence: u64,
    pub(super) phase: String,
    ended_by: Option<AsText<EndedBy>>,
    pub(super) line: LineShape,
    value: AsText<Quantity>,
    limit: Option<AsText<Quantity>>,
    told: Vec<(String, AsText<Reason>)>,
}

impl ChangeShape {
    /// Of an alert as it is now, and whom it is told to.
    pub(super) fn new(alert: &Alert, phase: &str, told: &[(NotifierName, Reason)]) -> ChangeShape {
        let ended_by = match &alert.state {
            State::Ended { by, .. } => Some(AsText(*by)),
            State::Pending { .. } | State::Firing { .. } => None,
        };
        ChangeShape {
            sequence: alert.sequence,
            phase: phase.to_owned(),
            ended_by,
            line: alert.line().into(),
            value: AsText(alert.value),
            limit: alert.limit.map(AsText),
            told: told
                .iter()
                .map(|(notifier, reason)| (notifier.to_string(), AsText(*reason)))
                .collect(),
        }
    }

    /// Why it ended, the figure and the limit.
    pub(super) fn figures(&self) -> (Option<EndedBy>, Quantity, Option<Quantity>) {
        let limit = self.limit.as_ref().map(|limit| limit.0);
        (self.ended_by.as_ref().map(|by| by.0), self.value.0, limit)
    }

    /// Whom it was told to, and why.
    pub(super) fn told(&self) -> Vec<(NotifierName, Reason)> {
        self.told
            .iter()
            .map(|(notifier, reason)| (notifier.as_str().into(), reason.0))
            .collect()
    }
}

/// What the API says about an organization.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct InfoShape {
    id: String,
    name: String,
    usage_limit: Option<AsText<Usd>>,
    current_month_usage: Option<AsText<Usd>>,
}

impl From<&OrganizationInfo> for InfoShape {
    fn from(info: &OrganizationInfo) -> InfoShape {
        InfoShape {
            id: info.id.clone(),
            name: info.name.clone(),
            usage_limit: info.usage_limit.map(AsText),
            current_month_usage: info.current_month_usage.map(AsText),
        }
    }
}

impl From<InfoShape> for OrganizationInfo {
    fn from(shape: InfoShape) -> OrganizationInfo {
        OrganizationInfo {
            id: shape.id,
            name: shape.name,
            usage_limit: shape.usage_limit.map(|usd| usd.0),
            current_month_usage: shape.current_month_usage.map(|usd| usd.0),
        }
    }
}

/// Facts as they stand in the outbox.
pub(super) fn facts_to_json(facts: &[Fact]) -> String {
    to_json(&facts.iter().map(FactShape::from).collect::<Vec<_>>())
}

/// Facts of the outbox.
pub(super) fn facts_from_json(text: &str) -> Result<Vec<Fact>, Cause> {
    let shapes: Vec<FactShape> = from_json(text, "the facts of a message")?;
    Ok(shapes.into_iter().map(Fact::from).collect())
}

/// An alert as it is stored.
pub(super) fn alert_to_json(alert: &Alert) -> String {
    to_json(&AlertShape::from(alert))
}

/// A stored alert.
pub(super) fn alert_from_json(text: &str) -> Result<Alert, Cause> {
    from_json::<AlertShape>(text, "an alert").map(Alert::from)
}
