//! The shapes of what is stored as JSON, apart from the domain's types, so that those may change without the format.

use std::collections::BTreeMap;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::domain::alert::{Alert, EndedBy, Identity, Line, Observed, Slot, State, Told};
use crate::domain::coverage::{Coverage, DaySpan};
use crate::domain::directory::{Doubt, OrganizationInfo, Presence, Workspace};
use crate::domain::money::Usd;
use crate::domain::notification::{Contributor, Fact, Reason};
use crate::domain::rule::{Severity, Watch};
use crate::domain::span::{Day, Span};
use crate::domain::subject::{Subject, SubjectKind};
use crate::store::error::RowError;

/// A shape as the text of a column.
pub fn to_text(shape: &impl Serialize) -> String {
    serde_json::to_string(shape).expect("maps have text keys, and nothing else can fail")
}

/// A shape from the text of a column.
pub fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, RowError> {
    serde_json::from_str(text).map_err(|error| RowError::Shape(error.to_string()))
}

fn word<T>(parsed: Option<T>, text: &str) -> Result<T, RowError> {
    parsed.ok_or_else(|| RowError::Shape(format!("unknown word `{text}`")))
}

fn number<T: FromStr>(text: &str) -> Result<T, RowError> {
    text.parse()
        .map_err(|_| RowError::Shape(format!("`{text}` is not a number")))
}

/// See [`Coverage`].
#[derive(Serialize, Deserialize)]
pub struct CoverageShape {
    first_seen: Timestamp,
    as_of: Option<Timestamp>,
    hours_from: Option<i32>,
    days: Option<(i32, i32)>,
    corrected_at: Option<Timestamp>,
    recheck: Vec<i32>,
}

impl From<&Coverage> for CoverageShape {
    fn from(coverage: &Coverage) -> CoverageShape {
        CoverageShape {
            first_seen: coverage.first_seen,
            as_of: coverage.as_of,
            hours_from: coverage.hours_from.map(Day::count),
            days: coverage
                .days
                .map(|days| (days.start.count(), days.end.count())),
            corrected_at: coverage.corrected_at,
            recheck: coverage.recheck.iter().map(|day| day.count()).collect(),
        }
    }
}

impl From<CoverageShape> for Coverage {
    fn from(shape: CoverageShape) -> Coverage {
        let span = |(start, end)| DaySpan {
            start: Day::from_count(start),
            end: Day::from_count(end),
        };
        Coverage {
            first_seen: shape.first_seen,
            as_of: shape.as_of,
            hours_from: shape.hours_from.map(Day::from_count),
            days: shape.days.map(span),
            corrected_at: shape.corrected_at,
            recheck: shape.recheck.into_iter().map(Day::from_count).collect(),
        }
    }
}

/// A workspace and whether it is listed.
#[derive(Serialize, Deserialize, PartialEq)]
pub struct WorkspaceShape {
    name: String,
    monthly_limit: Option<String>,
    requests_per_minute: Option<u64>,
    missing: Option<(Timestamp, u32)>,
    is_gone: bool,
}

impl WorkspaceShape {
    /// Of a workspace.
    pub fn new(workspace: &Workspace, presence: Presence) -> WorkspaceShape {
        WorkspaceShape {
            name: workspace.name.clone(),
            monthly_limit: workspace.monthly_limit.map(|limit| limit.to_string()),
            requests_per_minute: workspace.requests_per_minute,
            missing: match presence {
                Presence::Missing(doubt) => Some((doubt.since, doubt.n_answers)),
                Presence::Listed | Presence::Gone => None,
            },
            is_gone: presence == Presence::Gone,
        }
    }

    /// Back again.
    pub fn into_workspace(self, id: &str) -> Result<(Workspace, Presence), RowError> {
        let presence = match self.missing {
            Some((since, n_answers)) => Presence::Missing(Doubt { since, n_answers }),
            None if self.is_gone => Presence::Gone,
            None => Presence::Listed,
        };
        let workspace = Workspace {
            id: id.into(),
            name: self.name,
            monthly_limit: self.monthly_limit.as_deref().map(usd).transpose()?,
            requests_per_minute: self.requests_per_minute,
        };
        Ok((workspace, presence))
    }
}

/// The directory but for its workspaces.
#[derive(Serialize, Deserialize, Default)]
pub struct DirectoryShape {
    /// When the list was read.
    pub listed_at: Option<Timestamp>,
    organization: Option<OrganizationShape>,
}

#[derive(Serialize, Deserialize)]
struct OrganizationShape {
    id: String,
    name: String,
    usage_limit: Option<String>,
    current_month_usage: Option<String>,
}

impl DirectoryShape {
    /// Of an organization's own data.
    pub fn new(
        listed_at: Option<Timestamp>,
        organization: Option<&OrganizationInfo>,
    ) -> DirectoryShape {
        let shape = |info: &OrganizationInfo| OrganizationShape {
            id: info.id.clone(),
            name: info.name.clone(),
            usage_limit: info.usage_limit.map(|usd| usd.to_string()),
            current_month_usage: info.current_month_usage.map(|usd| usd.to_string()),
        };
        DirectoryShape {
            listed_at,
            organization: organization.map(shape),
        }
    }

    /// Back again.
    pub fn into_info(self) -> Result<Option<OrganizationInfo>, RowError> {
        let Some(shape) = self.organization else {
            return Ok(None);
        };
        Ok(Some(OrganizationInfo {
            id: shape.id,
            name: shape.name,
            usage_limit: shape.usage_limit.as_deref().map(usd).transpose()?,
            current_month_usage: shape.current_month_usage.as_deref().map(usd).transpose()?,
        }))
    }
}

fn usd(text: &str) -> Result<Usd, RowError> {
    Usd::parse(text).map_err(|error| RowError::Shape(format!("amount `{text}`: {error}")))
}

#[derive(Serialize, Deserialize, Clone)]
struct LineShape {
    quantity: String,
    severity: String,
    text: String,
}

impl From<&Line> for LineShape {
    fn from(line: &Line) -> LineShape {
        LineShape {
            quantity: line.quantity.to_string(),
            severity: line.severity.as_str().to_owned(),
            text: line.text.to_string(),
        }
    }
}

impl LineShape {
    fn into_line(self) -> Result<Line, RowError> {
        Ok(Line {
            quantity: number(&self.quantity)?,
            severity: word(Severity::parse(&self.severity), &self.severity)?,
            text: self.text.into(),
        })
    }
}

fn into_lines(shapes: Vec<LineShape>) -> Result<Vec<Line>, RowError> {
    shapes.into_iter().map(LineShape::into_line).collect()
}

#[derive(Serialize, Deserialize)]
struct IdentityShape {
    organization: String,
    rule: String,
    subject_kind: String,
    subject_id: String,
    period: Option<String>,
    started_at: Timestamp,
}

impl From<&Identity> for IdentityShape {
    fn from(identity: &Identity) -> IdentityShape {
        IdentityShape {
            organization: identity.organization.to_string(),
            rule: identity.slot.rule.to_string(),
            subject_kind: identity.slot.subject.kind.as_str().to_owned(),
            subject_id: identity.slot.subject.id.to_string(),
            period: identity.slot.period.as_deref().map(str::to_owned),
            started_at: identity.started_at,
        }
    }
}

impl IdentityShape {
    fn into_identity(self) -> Result<Identity, RowError> {
        let kind = word(SubjectKind::parse(&self.subject_kind), &self.subject_kind)?;
        Ok(Identity {
            organization: self.organization.as_str().into(),
            slot: Slot {
                rule: self.rule.as_str().into(),
                subject: Subject::new(kind, self.subject_id),
                period: self.period.map(Into::into),
            },
            started_at: self.started_at,
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
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
        line: LineShape,
        by: String,
        at: Timestamp,
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
                line: line.into(),
                by: by.as_str().to_owned(),
                at: *at,
            },
        }
    }
}

impl StateShape {
    fn into_state(self) -> Result<State, RowError> {
        Ok(match self {
            StateShape::Pending { line, since } => State::Pending {
                line: line.into_line()?,
                since: Observed(since),
            },
            StateShape::Firing {
                line,
                clearing_since,
            } => State::Firing {
                line: line.into_line()?,
                clearing_since: clearing_since.map(Observed),
            },
            StateShape::Ended { line, by, at } => State::Ended {
                line: line.into_line()?,
                by: word(EndedBy::parse(&by), &by)?,
                at,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ToldShape {
    showing: Option<LineShape>,
    raised: Vec<LineShape>,
    lowered: Vec<LineShape>,
    at: u64,
}

/// See [`Alert`].
#[derive(Serialize, Deserialize)]
pub struct AlertShape {
    identity: IdentityShape,
    watch: String,
    span: (Timestamp, Timestamp),
    state: StateShape,
    sequence: u64,
    firing_since: Option<Timestamp>,
    is_late: bool,
    is_silenced: bool,
    value: String,
    limit: Option<String>,
    told: BTreeMap<String, ToldShape>,
}

impl From<&Alert> for AlertShape {
    fn from(alert: &Alert) -> AlertShape {
        let told = |told: &Told| ToldShape {
            showing: told.showing.as_ref().map(LineShape::from),
            raised: told.raised.iter().map(LineShape::from).collect(),
            lowered: told.lowered.iter().map(LineShape::from).collect(),
            at: told.at.0,
        };
        AlertShape {
            identity: (&alert.identity).into(),
            watch: alert.watch.as_str().to_owned(),
            span: (alert.span.start, alert.span.end),
            state: (&alert.state).into(),
            sequence: alert.sequence,
            firing_since: alert.firing_since,
            is_late: alert.is_late,
            is_silenced: alert.is_silenced,
            value: alert.value.to_string(),
            limit: alert.limit.map(|limit| limit.to_string()),
            told: alert
                .told
                .iter()
                .map(|(name, state)| (name.to_string(), told(state)))
                .collect(),
        }
    }
}

impl AlertShape {
    /// Back again.
    pub fn into_alert(self) -> Result<Alert, RowError> {
        let mut told = BTreeMap::new();
        for (name, shape) in self.told {
            let state = Told {
                showing: shape.showing.map(LineShape::into_line).transpose()?,
                raised: into_lines(shape.raised)?,
                lowered: into_lines(shape.lowered)?,
                at: Observed(shape.at),
            };
            told.insert(name.as_str().into(), state);
        }
        Ok(Alert {
            identity: self.identity.into_identity()?,
            watch: word(Watch::parse(&self.watch), &self.watch)?,
            span: Span {
                start: self.span.0,
                end: self.span.1,
            },
            state: self.state.into_state()?,
            sequence: self.sequence,
            firing_since: self.firing_since,
            is_late: self.is_late,
            is_silenced: self.is_silenced,
            value: number(&self.value)?,
            limit: self.limit.as_deref().map(number).transpose()?,
            told,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct ContributorShape {
    workspace_id: String,
    workspace: String,
    model: String,
    value: String,
    before: Option<String>,
}

/// See [`Fact`].
#[derive(Serialize, Deserialize)]
pub struct FactShape {
    identity: IdentityShape,
    sequence: u64,
    reason: String,
    ended_by: Option<String>,
    is_late: bool,
    is_fired_and_resolved: bool,
    subject_name: String,
    watch: String,
    span: (Timestamp, Timestamp),
    zone_name: String,
    value: String,
    is_lower_bound: bool,
    limit: Option<String>,
    line: LineShape,
    firing_since: Timestamp,
    ended_at: Option<Timestamp>,
    decided_at: Timestamp,
    as_of: Option<Timestamp>,
    labels: BTreeMap<String, String>,
    top: Vec<ContributorShape>,
    forecast: Option<String>,
}

impl From<&Fact> for FactShape {
    fn from(fact: &Fact) -> FactShape {
        let contributor = |top: &Contributor| ContributorShape {
            workspace_id: top.workspace_id.to_string(),
            workspace: top.workspace.clone(),
            model: top.model.to_string(),
            value: top.value.to_string(),
            before: top.before.map(|before| before.to_string()),
        };
        FactShape {
            identity: (&fact.identity).into(),
            sequence: fact.sequence,
            reason: fact.reason.as_str().to_owned(),
            ended_by: fact.ended_by.map(|by| by.as_str().to_owned()),
            is_late: fact.is_late,
            is_fired_and_resolved: fact.is_fired_and_resolved,
            subject_name: fact.subject_name.clone(),
            watch: fact.watch.as_str().to_owned(),
            span: (fact.span.start, fact.span.end),
            zone_name: fact.zone_name.clone(),
            value: fact.value.to_string(),
            is_lower_bound: fact.is_lower_bound,
            limit: fact.limit.map(|limit| limit.to_string()),
            line: (&fact.line).into(),
            firing_since: fact.firing_since,
            ended_at: fact.ended_at,
            decided_at: fact.decided_at,
            as_of: fact.as_of,
            labels: fact.labels.clone(),
            top: fact.top.iter().map(contributor).collect(),
            forecast: fact.forecast.map(|usd| usd.to_string()),
        }
    }
}

impl FactShape {
    /// Back again.
    pub fn into_fact(self) -> Result<Fact, RowError> {
        let contributor = |shape: ContributorShape| {
            Ok::<_, RowError>(Contributor {
                workspace_id: shape.workspace_id.as_str().into(),
                workspace: shape.workspace,
                model: shape.model.as_str().into(),
                value: number(&shape.value)?,
                before: shape.before.as_deref().map(number).transpose()?,
            })
        };
        Ok(Fact {
            identity: self.identity.into_identity()?,
            sequence: self.sequence,
            reason: word(Reason::parse(&self.reason), &self.reason)?,
            ended_by: self
                .ended_by
                .map(|by| word(EndedBy::parse(&by), &by))
                .transpose()?,
            is_late: self.is_late,
            is_fired_and_resolved: self.is_fired_and_resolved,
            subject_name: self.subject_name,
            watch: word(Watch::parse(&self.watch), &self.watch)?,
            span: Span {
                start: self.span.0,
                end: self.span.1,
            },
            zone_name: self.zone_name,
            value: number(&self.value)?,
            is_lower_bound: self.is_lower_bound,
            limit: self.limit.as_deref().map(number).transpose()?,
            line: self.line.into_line()?,
            firing_since: self.firing_since,
            ended_at: self.ended_at,
            decided_at: self.decided_at,
            as_of: self.as_of,
            labels: self.labels,
            top: self
                .top
                .into_iter()
                .map(contributor)
                .collect::<Result<_, _>>()?,
            forecast: self.forecast.as_deref().map(usd).transpose()?,
        })
    }
}

/// Facts as the text of a column.
pub fn facts_to_text(facts: &[Fact]) -> String {
    to_text(&facts.iter().map(FactShape::from).collect::<Vec<_>>())
}

/// Facts from the text of a column.
pub fn facts_from_text(text: &str) -> Result<Vec<Fact>, RowError> {
    from_text::<Vec<FactShape>>(text)?
        .into_iter()
        .map(FactShape::into_fact)
        .collect()
}
