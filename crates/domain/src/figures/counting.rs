//! Which usage a rule counts (by organization, workspace, team, model, key and user), and in which unit.

use crate::figures::snapshot::{OrganizationSnapshot, PartInfo, PartTable};
use crate::figures::totals::Figures;
use crate::org::teams;
use crate::rules::rule::Rule;
use crate::rules::watch::{Quantity, Watch};
use crate::units::ids::{HIDDEN, UNATTRIBUTED};
use crate::units::money::Usd;
use crate::units::privacy::UserNaming;
use crate::units::subject::{Subject, SubjectKind};
use crate::usage::bucket::{Amounts, UsageKey};

/// Returns whether usage of a workspace counts for one subject of a rule.
pub fn is_counted_for(
    rule: &Rule,
    subject: &Subject,
    snapshot: &OrganizationSnapshot<'_>,
    workspace_id: &str,
    usage_key: &UsageKey,
) -> bool {
    let may_be_subject = match subject.kind {
        SubjectKind::Organization | SubjectKind::Team => true,
        SubjectKind::Workspace => *subject.id == *workspace_id,
        SubjectKind::Model => *subject.id == *usage_key.model.as_str(),
        SubjectKind::ApiKey => *subject.id == *key_of(usage_key),
        SubjectKind::User => *subject.id == *user_of(usage_key, snapshot.privacy.in_messages()),
    };
    if !may_be_subject {
        return false;
    }
    let name = snapshot.directory.name_of(workspace_id);
    let team = teams::for_usage(snapshot.teams, snapshot.directory, workspace_id, usage_key);
    let is_subject = subject.kind != SubjectKind::Team || *subject.id == *team;
    is_subject
        && is_team_counted(rule, team)
        && is_part_counted(rule, workspace_id, name)
        && is_cell_counted(rule, snapshot, usage_key)
}

/// Returns the API key that usage counts for, or `unattributed`.
pub fn key_of(usage_key: &UsageKey) -> &str {
    usage_key
        .api_key
        .as_ref()
        .map_or(UNATTRIBUTED, |key| key.as_str())
}

/// Returns the user that usage counts for, `unattributed`, or `hidden`.
pub fn user_of(usage_key: &UsageKey, people: UserNaming) -> &str {
    match (&usage_key.user, people) {
        (None, _) => UNATTRIBUTED,
        (Some(_), UserNaming::Hidden) => HIDDEN,
        (Some(user), UserNaming::Email | UserNaming::Id) => user.as_str(),
    }
}

/// Converts amounts to the unit of a watch.
pub fn quantity(watch: Watch, amounts: &Amounts) -> Quantity {
    match watch {
        Watch::Spend | Watch::BurnRate => amounts.spend.pico(),
        Watch::Tokens => Quantity::from(amounts.tokens.sum()),
        Watch::Requests => Quantity::from(amounts.requests),
        // Unbilled usage has the same spend as its estimate, so it adds no gap.
        Watch::ReconciliationUsd | Watch::ReconciliationPercent => {
            (amounts.spend - amounts.priced).pico()
        }
        Watch::DataAge | Watch::Lifecycle => 0,
    }
}

/// Returns the billed spend and the estimate of the same usage.
pub fn billed_and_estimated(amounts: &Amounts) -> (Usd, Usd) {
    (
        amounts.spend - amounts.estimated,
        amounts.priced - amounts.estimated,
    )
}

/// Returns whether a rule covers this organization.
pub fn covers_organization(rule: &Rule, snapshot: &OrganizationSnapshot<'_>) -> bool {
    rule.matcher
        .organization
        .as_ref()
        .is_none_or(|glob| glob.matches(snapshot.organization.as_str()))
}

/// Returns whether a rule counts a workspace, or the remainder, by id or name.
pub fn is_part_counted(rule: &Rule, id: &str, name: &str) -> bool {
    let glob = rule.matcher.workspace.as_ref();
    glob.is_none_or(|glob| glob.matches(name) || glob.matches(id))
}

/// Returns whether a rule counts a team.
pub fn is_team_counted(rule: &Rule, team: &str) -> bool {
    let glob = rule.matcher.team.as_ref();
    glob.is_none_or(|glob| glob.matches(team))
}

/// Returns whether a rule counts a model.
pub fn is_model_counted(rule: &Rule, model: &str) -> bool {
    let glob = rule.matcher.model.as_ref();
    glob.is_none_or(|glob| glob.matches(model))
}

/// Returns whether a rule counts an API key, by id or name.
pub fn is_key_counted(rule: &Rule, id: &str, snapshot: &OrganizationSnapshot<'_>) -> bool {
    let glob = rule.matcher.api_key.as_ref();
    glob.is_none_or(|glob| glob.matches(id) || glob.matches(snapshot.directory.key_name(id)))
}

/// Returns whether a rule counts a user, by id, email or name.
pub fn is_user_counted(rule: &Rule, id: &str, snapshot: &OrganizationSnapshot<'_>) -> bool {
    rule.matcher.user.as_ref().is_none_or(|glob| {
        let user = snapshot.directory.users.get(id);
        let is_named =
            user.is_some_and(|user| glob.matches(&user.email) || glob.matches(&user.name));
        is_named || glob.matches(id)
    })
}

/// Returns whether a rule counts usage by its model, key and user.
pub fn is_cell_counted(
    rule: &Rule,
    snapshot: &OrganizationSnapshot<'_>,
    usage_key: &UsageKey,
) -> bool {
    let user = usage_key.user.as_ref();
    is_model_counted(rule, usage_key.model.as_str())
        && is_key_counted(rule, key_of(usage_key), snapshot)
        && is_user_counted(
            rule,
            user.map_or(UNATTRIBUTED, |user| user.as_str()),
            snapshot,
        )
}

/// The usage that a rule counts, with its globs matched once for all parts.
#[derive(Debug)]
pub struct UsageFilter<'a> {
    rule: &'a Rule,
    /// By usage key index; `None` if all are counted.
    cells: Option<Vec<bool>>,
    part_table: &'a PartTable<'a>,
}

impl<'a> UsageFilter<'a> {
    /// Matches the globs of a rule.
    pub fn new(
        rule: &'a Rule,
        snapshot: &OrganizationSnapshot<'_>,
        part_table: &'a PartTable<'a>,
    ) -> UsageFilter<'a> {
        let matcher = &rule.matcher;
        let is_narrowed =
            matcher.model.is_some() || matcher.api_key.is_some() || matcher.user.is_some();
        UsageFilter {
            rule,
            cells: is_narrowed.then(|| counted_cells(rule, snapshot, snapshot.figures)),
            part_table,
        }
    }

    /// Returns whether any usage of a part may count.
    pub fn has_part(&self, member: &PartInfo<'_>) -> bool {
        is_part_counted(self.rule, member.id, member.name)
            && (self.part_table.has_key_teams() || is_team_counted(self.rule, member.team))
    }

    /// Returns whether a part's usage under a usage key index counts.
    pub fn has(&self, member: &PartInfo<'_>, usage_key: u32) -> bool {
        let is_counted = self
            .cells
            .as_ref()
            .is_none_or(|counted| counted[usage_key as usize]);
        is_counted && is_team_counted(self.rule, self.part_table.team(member, usage_key))
    }
}

fn counted_cells(rule: &Rule, snapshot: &OrganizationSnapshot<'_>, figures: &Figures) -> Vec<bool> {
    let cells = figures.usage_keys().iter();
    cells
        .map(|usage_key| is_cell_counted(rule, snapshot, usage_key))
        .collect()
}
