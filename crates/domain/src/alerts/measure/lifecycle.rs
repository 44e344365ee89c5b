//! Lifecycle events of keys, users, workspaces and limits. Only events that hold, or that have an open alert, are measured.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::alerts::alert::Slot;
use crate::alerts::measure::Measurement;
use crate::alerts::measure::lifecycle_subjects::{covers_subject, is_of_removed_user};
use crate::figures::figure::Figure;
use crate::figures::snapshot::{EvalContext, OrganizationSnapshot};
use crate::org::directory::Presence;
use crate::org::events::{Event, RequiredLists};
use crate::org::inventory::InventoryKey;
use crate::rules::rule::{EventRule, Rule};
use crate::units::ids::{ActorId, ApiKeyId, WorkspaceId};
use crate::units::span::Span;
use crate::units::subject::{Subject, SubjectKind};

/// Status of one event for one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventStatus {
    Holds(Span),
    /// It held, and its span has ended.
    Ended,
    Absent,
    Unknown,
}

/// Measures the events that hold for subjects of a rule, and the events of `open_slots` whatever their status. Keys and
/// workspaces created before `began` are not reported.
pub(super) fn measure(
    index: usize,
    rule: &Rule,
    events: &[EventRule],
    eval_context: &EvalContext<'_>,
    open_slots: &[&Slot],
    began: Timestamp,
) -> Vec<Measurement> {
    let snapshot = &eval_context.snapshot;
    let context = |rule| EventContext {
        rule,
        snapshot,
        now: eval_context.now,
        began,
    };
    let measurement = |event_rule: &EventRule, subject, status| {
        let (figure, span) = match status {
            EventStatus::Holds(span) => (Figure::Known(event_rule.severity.rank()), Some(span)),
            EventStatus::Ended | EventStatus::Absent => (Figure::Known(0), None),
            EventStatus::Unknown => (Figure::Unknown, None),
        };
        Measurement {
            rule: index,
            subject,
            figure,
            limit: Some(event_rule.severity.rank()),
            label: None,
            event: Some(event_rule.event),
            span: span.unwrap_or(Span {
                start: eval_context.now,
                end: eval_context.now,
            }),
            // Such an end is not sent.
            is_closed: status == EventStatus::Ended,
            is_corrected_down: false,
            as_of: (status != EventStatus::Unknown).then_some(eval_context.now),
            sides: None,
        }
    };
    let mut measurements = Vec::new();
    for event_rule in events {
        for subject in candidates(event_rule.event, snapshot) {
            let status = context(event_rule).status(&subject);
            let holds = matches!(status, EventStatus::Holds(_));
            if holds && covers_subject(rule, &subject, snapshot) {
                measurements.push(measurement(event_rule, subject, status));
            }
        }
    }
    for slot in open_slots {
        let Some(event_rule) = slot.event.and_then(|event| rule.event(event)) else {
            continue;
        };
        let status = context(event_rule).status(&slot.subject);
        if !matches!(status, EventStatus::Holds(_)) {
            measurements.push(measurement(event_rule, slot.subject.clone(), status));
        }
    }
    measurements
}

/// Returns whether all lists that the events of a rule are derived from were read once.
pub(super) fn is_ready(events: &[EventRule], snapshot: &OrganizationSnapshot<'_>) -> bool {
    let is_listed = |event_rule: &EventRule| {
        let RequiredLists { keys, users } = event_rule.event.required_lists();
        let uses_directory = !keys && !users;
        (!keys || snapshot.inventory.keys.is_some())
            && (!users || snapshot.inventory.users.is_some())
            && (!uses_directory || snapshot.directory.listed_at.is_some())
    };
    events.iter().all(is_listed)
}

/// Returns every subject that may have an event, whether or not a rule covers it.
fn candidates(event: Event, snapshot: &OrganizationSnapshot<'_>) -> Vec<Subject> {
    let (directory, inventory) = (snapshot.directory, snapshot.inventory);
    let workspace = |id: &WorkspaceId| Subject::new(SubjectKind::Workspace, id.shared());
    match event {
        Event::WorkspaceCreated => directory.workspaces.keys().map(workspace).collect(),
        Event::KeyCreated | Event::KeyIdle | Event::KeyOfRemovedUser | Event::KeyExpiring => {
            let keys = inventory.keys.iter().flat_map(BTreeMap::keys);
            keys.map(|id: &ApiKeyId| Subject::new(SubjectKind::ApiKey, id.shared()))
                .collect()
        }
        Event::UserIdle => {
            let users = inventory.users.iter().flat_map(BTreeMap::keys);
            users
                .map(|id: &ActorId| Subject::new(SubjectKind::User, id.shared()))
                .collect()
        }
        Event::LimitRemoved => {
            let organization = || {
                let name = snapshot.organization.shared();
                Subject::new(SubjectKind::Organization, name)
            };
            let ids = directory.limits_removed.keys();
            ids.map(|id| id.as_ref().map_or_else(organization, workspace))
                .collect()
        }
    }
}

/// One event of a rule.
struct EventContext<'a> {
    rule: &'a EventRule,
    snapshot: &'a OrganizationSnapshot<'a>,
    now: Timestamp,
    began: Timestamp,
}

impl EventContext<'_> {
    fn status(&self, subject: &Subject) -> EventStatus {
        let (id, snapshot) = (&*subject.id, self.snapshot);
        match self.rule.event {
            Event::WorkspaceCreated => {
                let known = snapshot.directory.workspaces.get(id);
                known.map_or(EventStatus::Unknown, |(workspace, presence)| {
                    if_listed(presence, || self.created(workspace.created_at))
                })
            }
            Event::KeyCreated | Event::KeyIdle | Event::KeyOfRemovedUser | Event::KeyExpiring => {
                let keys = snapshot.inventory.keys.as_ref();
                keys.map_or(EventStatus::Unknown, |keys| {
                    keys.get(id).map_or(EventStatus::Absent, |key| {
                        if_listed(&key.presence, || self.key(key))
                    })
                })
            }
            Event::UserIdle => {
                let users = snapshot.inventory.users.as_ref();
                users.map_or(EventStatus::Unknown, |users| {
                    users.get(id).map_or(EventStatus::Absent, |user| {
                        let listed_at = snapshot.inventory.users_at;
                        if_listed(&user.presence, || self.idle(user.idle_since, listed_at))
                    })
                })
            }
            Event::LimitRemoved => self.removed_limit(subject),
        }
    }

    fn key(&self, key: &InventoryKey) -> EventStatus {
        match self.rule.event {
            Event::KeyCreated => self.created(key.created_at),
            Event::KeyExpiring => self.expiring(key),
            Event::KeyIdle if key.is_active => {
                self.idle(key.idle_since, self.snapshot.inventory.keys_at)
            }
            Event::KeyOfRemovedUser if key.is_active => {
                match is_of_removed_user(key, self.snapshot) {
                    Some(true) => self.holds(self.now),
                    Some(false) => EventStatus::Absent,
                    None => EventStatus::Unknown,
                }
            }
            Event::KeyIdle
            | Event::KeyOfRemovedUser
            | Event::WorkspaceCreated
            | Event::UserIdle
            | Event::LimitRemoved => EventStatus::Absent,
        }
    }

    fn removed_limit(&self, subject: &Subject) -> EventStatus {
        let directory = self.snapshot.directory;
        let (id, is_known) = match subject.kind {
            SubjectKind::Workspace => {
                let id = WorkspaceId::new(&*subject.id);
                let known = directory.workspaces.get(&id);
                let is_listed = matches!(known, Some((_, Presence::Listed)));
                (Some(id), is_listed)
            }
            SubjectKind::Organization => (None, directory.organization.is_some()),
            SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
                return EventStatus::Absent;
            }
        };
        match directory.limits_removed.get(&id) {
            _ if !is_known => EventStatus::Unknown,
            Some(at) => self.recent(*at),
            None => EventStatus::Absent,
        }
    }

    fn created(&self, at: Option<Timestamp>) -> EventStatus {
        match at {
            None => EventStatus::Unknown,
            Some(at) if at < self.began => EventStatus::Absent,
            Some(at) => self.recent(at),
        }
    }

    fn recent(&self, at: Timestamp) -> EventStatus {
        if self.now.duration_since(at) < self.rule.time {
            self.holds(at)
        } else {
            EventStatus::Ended
        }
    }

    /// Uses after `listed` are unknown.
    fn idle(&self, since: Option<Timestamp>, listed: Option<Timestamp>) -> EventStatus {
        let Some((since, listed)) = since.zip(listed) else {
            return EventStatus::Unknown;
        };
        let reaches = |until: Timestamp| until.duration_since(since) >= self.rule.time;
        if reaches(listed) {
            self.holds(since)
        } else if reaches(self.now) {
            EventStatus::Unknown
        } else {
            EventStatus::Absent
        }
    }

    fn expiring(&self, key: &InventoryKey) -> EventStatus {
        let Some(at) = key.expires_at else {
            return EventStatus::Absent;
        };
        let left = at.duration_since(self.now);
        if left <= SignedDuration::ZERO {
            EventStatus::Ended
        } else if key.is_active && left <= self.rule.time {
            self.holds(at)
        } else {
            EventStatus::Absent
        }
    }

    fn holds(&self, moment: Timestamp) -> EventStatus {
        EventStatus::Holds(self.rule.event.span(moment, self.rule.time, self.now))
    }
}

/// Returns a status that is known only while its subject is listed.
fn if_listed(presence: &Presence, status: impl FnOnce() -> EventStatus) -> EventStatus {
    match presence {
        Presence::Listed => status(),
        Presence::Missing(_) => EventStatus::Unknown,
        Presence::Removed => EventStatus::Absent,
    }
}
