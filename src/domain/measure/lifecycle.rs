//! Events in the life of keys, people, workspaces and limits: which of them stand at a moment. Only those do have a
//! measurement, and those that have an open alert.

use jiff::{SignedDuration, Timestamp};

use crate::domain::alert::Slot;
use crate::domain::census::{CountedKey, CountedPerson};
use crate::domain::counting::{is_part_counted, is_team_counted, looks_at_organization};
use crate::domain::directory::Presence;
use crate::domain::event::{Event, Lists};
use crate::domain::ground::{OrganizationSnapshot, Survey};
use crate::domain::ids::{ActorId, ApiKeyId, UNASSIGNED, WorkspaceId};
use crate::domain::knowledge::Figure;
use crate::domain::matcher::Glob;
use crate::domain::measure::Measurement;
use crate::domain::privacy::People;
use crate::domain::rule::{EventRule, Rule};
use crate::domain::span::Span;
use crate::domain::subject::{Subject, SubjectKind};
use crate::domain::teams;

/// How it is with one event of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It is so, in this time.
    Stands(Span),
    /// It was, and its time is over.
    Over,
    Not,
    Unknown,
}

/// What stands of all subjects that a rule looks at, and whatever it is with slots that are `awaited`. What was made before
/// the rule `began` is no news.
pub(super) fn measure(
    index: usize,
    rule: &Rule,
    survey: &Survey<'_>,
    awaited: &[&Slot],
    began: Timestamp,
) -> Vec<Measurement> {
    let ground = &survey.ground;
    if !looks_at_organization(rule, ground) {
        return Vec::new();
    }
    let look = Look {
        ground,
        now: survey.now,
        began,
    };
    let measurement = |of: &EventRule, subject, standing| {
        let (figure, span) = match standing {
            Standing::Stands(span) => (Figure::Known(of.severity.rank()), Some(span)),
            Standing::Over | Standing::Not => (Figure::Known(0), None),
            Standing::Unknown => (Figure::Unknown, None),
        };
        Measurement {
            rule: index,
            subject,
            figure,
            limit: Some(of.severity.rank()),
            label: None,
            event: Some(of.event),
            span: span.unwrap_or(Span {
                start: survey.now,
                end: survey.now,
            }),
            // Its end is no news.
            is_closed: standing == Standing::Over,
            fell: false,
            as_of: (standing != Standing::Unknown).then_some(survey.now),
            sides: None,
        }
    };
    let mut measurements = Vec::new();
    for of in &rule.events {
        let standing = look.standing(of);
        measurements.extend(
            standing
                .into_iter()
                .filter(|(subject, _)| looks_at(rule, subject, ground))
                .map(|(subject, span)| measurement(of, subject, Standing::Stands(span))),
        );
    }
    for slot in awaited {
        let Some(of) = slot.event.and_then(|event| rule.event(event)) else {
            continue;
        };
        match look.of_subject(of, &slot.subject) {
            Standing::Stands(_) => {}
            standing @ (Standing::Over | Standing::Not | Standing::Unknown) => {
                measurements.push(measurement(of, slot.subject.clone(), standing));
            }
        }
    }
    measurements
}

/// Whether all lists that tell of a rule's events were read once.
pub(super) fn is_ready(rule: &Rule, ground: &OrganizationSnapshot<'_>) -> bool {
    let is_listed = |of: &EventRule| {
        let Lists { keys, people } = of.event.lists();
        let is_of_others = !keys && !people;
        (!keys || ground.census.keys.is_some())
            && (!people || ground.census.people.is_some())
            && (!is_of_others || ground.directory.listed_at.is_some())
    };
    rule.events.iter().all(is_listed)
}

/// Whether a rule on events looks at a subject. What is not known of it does not exclude it.
pub fn looks_at(rule: &Rule, subject: &Subject, ground: &OrganizationSnapshot<'_>) -> bool {
    let (matcher, id) = (&rule.matcher, &*subject.id);
    let is_of_parts = matcher.workspace.is_some() || matcher.team.is_some();
    match subject.kind {
        SubjectKind::Organization => {
            !is_of_parts && matcher.api_key.is_none() && matcher.user.is_none()
        }
        SubjectKind::Workspace => {
            matcher.api_key.is_none() && matcher.user.is_none() && has_workspace(rule, id, ground)
        }
        SubjectKind::ApiKey => {
            let name = ground.directory.key_name(id);
            let is_named = is_met(matcher.api_key.as_ref(), |glob| {
                glob.matches(id) || glob.matches(name)
            });
            let keys = ground.census.keys.as_ref();
            is_named && keys.is_none_or(|keys| is_key_within(rule, subject, keys.get(id), ground))
        }
        SubjectKind::User => {
            let is_told = ground.privacy.in_messages() != People::Hidden;
            let is_named = is_met(matcher.user.as_ref(), |glob| is_person(glob, id, ground));
            is_told && !is_of_parts && matcher.api_key.is_none() && is_named
        }
        SubjectKind::Model | SubjectKind::Team => false,
    }
}

fn is_key_within(
    rule: &Rule,
    subject: &Subject,
    key: Option<&CountedKey>,
    ground: &OrganizationSnapshot<'_>,
) -> bool {
    let matcher = &rule.matcher;
    let workspace = key
        .and_then(|key| key.workspace.as_ref())
        .map(WorkspaceId::as_str);
    let team = teams::of_subject(ground.teams, ground.directory, subject)
        .map(|team| team.name.as_str())
        .or_else(|| teams::of_workspace(ground.teams, ground.directory, workspace?))
        .unwrap_or(UNASSIGNED);
    let is_there = |glob: &Glob| {
        workspace.is_some_and(|id| glob.matches(id) || glob.matches(ground.directory.name_of(id)))
    };
    let is_theirs = |glob: &Glob| {
        let maker = key.and_then(|key| key.created_by.as_ref());
        maker.is_some_and(|maker| is_person(glob, maker.as_str(), ground))
    };
    is_met(matcher.workspace.as_ref(), is_there)
        && is_met(matcher.user.as_ref(), is_theirs)
        && is_team_counted(rule, team)
}

fn has_workspace(rule: &Rule, id: &str, ground: &OrganizationSnapshot<'_>) -> bool {
    let team = teams::of_workspace(ground.teams, ground.directory, id).unwrap_or(UNASSIGNED);
    is_part_counted(rule, id, ground.directory.name_of(id)) && is_team_counted(rule, team)
}

fn is_met(glob: Option<&Glob>, is_met: impl Fn(&Glob) -> bool) -> bool {
    glob.is_none_or(is_met)
}

fn is_person(glob: &Glob, id: &str, ground: &OrganizationSnapshot<'_>) -> bool {
    let person = ground.directory.people.get(id);
    glob.matches(id) || person.is_some_and(|of| glob.matches(&of.email) || glob.matches(&of.name))
}

/// Whether a subject exists no more, as far as the lists tell. Who stands in no list that was read whole is gone.
pub fn is_gone(subject: &Subject, ground: &OrganizationSnapshot<'_>) -> bool {
    let is_no_more = |presence: Option<Presence>| match presence {
        None | Some(Presence::Gone) => true,
        Some(Presence::Listed | Presence::Missing(_)) => false,
    };
    let id = &*subject.id;
    let census = ground.census;
    match subject.kind {
        SubjectKind::Workspace => {
            let known = ground.directory.workspaces.get(id);
            known.is_some_and(|(_, presence)| is_no_more(Some(*presence)))
        }
        SubjectKind::ApiKey => {
            let keys = census.keys.as_ref();
            keys.is_some_and(|keys| is_no_more(keys.get(id).map(|key| key.presence)))
        }
        SubjectKind::User => {
            let people = census.people.as_ref();
            people.is_some_and(|people| is_no_more(people.get(id).map(|of| of.presence)))
        }
        SubjectKind::Organization | SubjectKind::Model | SubjectKind::Team => false,
    }
}

/// Who made a key, where that is somebody who is no more in the organization.
pub fn removed_maker<'a>(key: &str, ground: &OrganizationSnapshot<'a>) -> Option<&'a ActorId> {
    let key = ground.census.keys.as_ref()?.get(key)?;
    key.created_by
        .as_ref()
        .filter(|_| is_of_removed_user(key, ground) == Some(true))
}

/// `None` where nobody knows. Who came after people were listed is in no list, and may have made a key that is.
fn is_of_removed_user(key: &CountedKey, ground: &OrganizationSnapshot<'_>) -> Option<bool> {
    let census = ground.census;
    let Some(maker) = &key.created_by else {
        return Some(false);
    };
    match census.people.as_ref()?.get(maker) {
        None => {
            let is_older = key
                .created_at
                .zip(census.people_at)
                .is_some_and(|(made, listed)| listed.duration_since(made) >= CLOCKS_DIFFER);
            (is_older || census.people_at >= census.keys_at).then_some(true)
        }
        Some(person) => match person.presence {
            Presence::Gone => Some(true),
            Presence::Listed => Some(false),
            Presence::Missing(_) => None,
        },
    }
}

/// The clock of the service and ours do not lie further apart than this.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_hours(1);

struct Look<'a> {
    ground: &'a OrganizationSnapshot<'a>,
    now: Timestamp,
    began: Timestamp,
}

impl Look<'_> {
    /// Every subject of which an event stands, whether or not the rule looks at it.
    fn standing(&self, of: &EventRule) -> Vec<(Subject, Span)> {
        let (directory, census) = (self.ground.directory, self.ground.census);
        let stands = |standing| match standing {
            Standing::Stands(span) => Some(span),
            Standing::Over | Standing::Not | Standing::Unknown => None,
        };
        let keys = census.keys.iter().flatten();
        let people = census.people.iter().flatten();
        match of.event {
            Event::WorkspaceCreated => directory
                .workspaces
                .keys()
                .filter_map(|id| {
                    let span = stands(self.of_new_workspace(of, id.as_str()))?;
                    Some((Subject::new(SubjectKind::Workspace, id.shared()), span))
                })
                .collect(),
            Event::KeyCreated | Event::KeyIdle | Event::KeyOfRemovedUser | Event::KeyExpiring => {
                keys.filter_map(|(id, key): (&ApiKeyId, _)| {
                    let span = stands(self.of_key(of, key))?;
                    Some((Subject::new(SubjectKind::ApiKey, id.shared()), span))
                })
                .collect()
            }
            Event::UserIdle => people
                .filter_map(|(id, person): (&ActorId, _)| {
                    let span = stands(self.of_person(of, person))?;
                    Some((Subject::new(SubjectKind::User, id.shared()), span))
                })
                .collect(),
            Event::LimitRemoved => directory
                .limits_removed
                .keys()
                .filter_map(|id| {
                    let subject = match id {
                        Some(id) => Subject::new(SubjectKind::Workspace, id.shared()),
                        None => {
                            let name = self.ground.organization.shared();
                            Subject::new(SubjectKind::Organization, name)
                        }
                    };
                    let span = stands(self.of_limit(of, &subject))?;
                    Some((subject, span))
                })
                .collect(),
        }
    }

    fn of_subject(&self, of: &EventRule, subject: &Subject) -> Standing {
        let (id, census) = (&*subject.id, self.ground.census);
        match of.event {
            Event::WorkspaceCreated => self.of_new_workspace(of, id),
            Event::KeyCreated | Event::KeyIdle | Event::KeyOfRemovedUser | Event::KeyExpiring => {
                match &census.keys {
                    Some(keys) => keys
                        .get(id)
                        .map_or(Standing::Not, |key| self.of_key(of, key)),
                    None => Standing::Unknown,
                }
            }
            Event::UserIdle => match &census.people {
                Some(people) => people
                    .get(id)
                    .map_or(Standing::Not, |person| self.of_person(of, person)),
                None => Standing::Unknown,
            },
            Event::LimitRemoved => self.of_limit(of, subject),
        }
    }

    fn of_new_workspace(&self, of: &EventRule, id: &str) -> Standing {
        match self.ground.directory.workspaces.get(id) {
            Some((workspace, Presence::Listed)) => self.made(of, workspace.created_at),
            Some((_, Presence::Missing(_))) | None => Standing::Unknown,
            Some((_, Presence::Gone)) => Standing::Not,
        }
    }

    fn of_key(&self, of: &EventRule, key: &CountedKey) -> Standing {
        match key.presence {
            Presence::Listed => {}
            Presence::Missing(_) => return Standing::Unknown,
            Presence::Gone => return Standing::Not,
        }
        match of.event {
            Event::KeyCreated => self.made(of, key.created_at),
            Event::KeyExpiring => self.expiring(of, key),
            Event::KeyIdle if key.is_active => {
                self.idle(of, key.idle_since, self.ground.census.keys_at)
            }
            Event::KeyOfRemovedUser if key.is_active => {
                match is_of_removed_user(key, self.ground) {
                    Some(true) => self.stands(of, self.now),
                    Some(false) => Standing::Not,
                    None => Standing::Unknown,
                }
            }
            Event::KeyIdle
            | Event::KeyOfRemovedUser
            | Event::WorkspaceCreated
            | Event::UserIdle
            | Event::LimitRemoved => Standing::Not,
        }
    }

    fn of_person(&self, of: &EventRule, person: &CountedPerson) -> Standing {
        match person.presence {
            Presence::Listed => self.idle(of, person.idle_since, self.ground.census.people_at),
            Presence::Missing(_) => Standing::Unknown,
            Presence::Gone => Standing::Not,
        }
    }

    fn of_limit(&self, of: &EventRule, subject: &Subject) -> Standing {
        let directory = self.ground.directory;
        let (id, is_known) = match subject.kind {
            SubjectKind::Workspace => {
                let id = WorkspaceId::new(&*subject.id);
                let known = directory.workspaces.get(&id);
                let is_listed = matches!(known, Some((_, Presence::Listed)));
                (Some(id), is_listed)
            }
            SubjectKind::Organization => (None, directory.organization.is_some()),
            SubjectKind::Model | SubjectKind::ApiKey | SubjectKind::User | SubjectKind::Team => {
                return Standing::Not;
            }
        };
        match directory.limits_removed.get(&id) {
            _ if !is_known => Standing::Unknown,
            Some(at) => self.recent(of, *at),
            None => Standing::Not,
        }
    }

    fn made(&self, of: &EventRule, at: Option<Timestamp>) -> Standing {
        match at {
            None => Standing::Unknown,
            Some(at) if at < self.began => Standing::Not,
            Some(at) => self.recent(of, at),
        }
    }

    fn recent(&self, of: &EventRule, at: Timestamp) -> Standing {
        let age = self.now.duration_since(at);
        if age < of.time {
            self.stands(of, at)
        } else {
            Standing::Over
        }
    }

    /// Since something was `listed` it may have been used: for that time nobody knows.
    fn idle(
        &self,
        of: &EventRule,
        since: Option<Timestamp>,
        listed: Option<Timestamp>,
    ) -> Standing {
        let Some((since, listed)) = since.zip(listed) else {
            return Standing::Unknown;
        };
        let reaches = |until: Timestamp| until.duration_since(since) >= of.time;
        if reaches(listed) {
            self.stands(of, since)
        } else if reaches(self.now) {
            Standing::Unknown
        } else {
            Standing::Not
        }
    }

    fn expiring(&self, of: &EventRule, key: &CountedKey) -> Standing {
        let Some(at) = key.expires_at else {
            return Standing::Not;
        };
        let left = at.duration_since(self.now);
        if left <= SignedDuration::ZERO {
            Standing::Over
        } else if key.is_active && left <= of.time {
            self.stands(of, at)
        } else {
            Standing::Not
        }
    }

    fn stands(&self, of: &EventRule, moment: Timestamp) -> Standing {
        Standing::Stands(of.event.span(moment, of.time, self.now))
    }
}
