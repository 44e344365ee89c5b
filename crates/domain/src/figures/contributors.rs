//! Contributors to a figure, grouped so that few of them explain most of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::rules::watch::Quantity;
use crate::units::ids::{ActorId, ApiKeyId, ModelName, UNATTRIBUTED};
use crate::units::subject::SubjectKind;
use crate::usage::bucket::UsageKey;

/// A contributor is narrowed to a model, key or user that explains at least this many percent of it.
const EXPLAINS_PERCENT: Quantity = 80;

/// What one workspace used in one usage key, in the rule's unit.
#[derive(Debug, Clone, Copy)]
pub struct UsagePiece<'a> {
    /// Workspace id, or `unattributed`.
    pub workspace: &'a str,
    pub usage_key: &'a UsageKey,
    pub value: Quantity,
    /// At the same point of the previous period.
    pub before: Quantity,
}

/// What a contributor consists of; `None` means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContributorKey<'a> {
    /// Workspace id, or `unattributed`.
    pub workspace: &'a str,
    /// May be `unattributed`.
    pub model: Option<&'a ModelName>,
    /// Set only if the key is known.
    pub api_key: Option<&'a ApiKeyId>,
    /// Set only if the user is known.
    pub user: Option<&'a ActorId>,
}

/// Usage of one contributor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContributorSum<'a> {
    pub group: ContributorKey<'a>,
    pub value: Quantity,
    /// At the same point of the previous period; `None` if unknown.
    pub before: Option<Quantity>,
}

impl ContributorSum<'_> {
    /// Returns the increase from the previous period, or 0 if that is unknown.
    pub fn growth(&self) -> Quantity {
        self.before.map_or(0, |before| self.value - before)
    }
}

/// The usage that one figure consists of.
#[derive(Debug, Clone, Copy)]
pub struct ContributingUsage<'a, 'b> {
    /// Kind of the figure's subject, which determines the grouping: by model for a workspace or key, otherwise by workspace.
    pub kind: SubjectKind,
    pub names_users: bool,
    pub all: &'b [UsagePiece<'a>],
}

impl<'a> ContributingUsage<'a, '_> {
    /// Returns the top contributor, then the largest others; at most `n`. The top contributor grew most, or is the largest if
    /// none grew or any previous period is unknown.
    pub fn top(self, n: usize, is_before_known: impl Fn(&str) -> bool) -> Vec<ContributorSum<'a>> {
        let mut sums: BTreeMap<ContributorKey<'a>, (Quantity, Quantity)> = BTreeMap::new();
        for piece in self.all {
            let (value, before) = sums.entry(self.group_of(piece)).or_default();
            *value += piece.value;
            *before += piece.before;
        }
        let contributor = |(group, (value, before)): (ContributorKey<'a>, _)| ContributorSum {
            group,
            value,
            before: is_before_known(group.workspace).then_some(before),
        };
        let mut contributors: Vec<ContributorSum<'a>> = sums.into_iter().map(contributor).collect();
        contributors.retain(|contributor| contributor.value > 0);
        contributors.sort_by_key(|contributor| Reverse(contributor.value));
        let is_known = contributors
            .iter()
            .all(|contributor| contributor.before.is_some());
        let grown = contributors
            .iter()
            .enumerate()
            .filter(|(_, contributor)| contributor.growth() > 0);
        let top = grown.max_by_key(|(place, contributor)| (contributor.growth(), Reverse(*place)));
        if let Some((place, _)) = top.filter(|_| is_known) {
            contributors[..=place].rotate_right(1);
        }
        contributors.truncate(n);
        contributors
            .into_iter()
            .map(|contributor| self.narrowed(contributor, is_known))
            .collect()
    }

    fn group_of(self, piece: &UsagePiece<'a>) -> ContributorKey<'a> {
        let (has_model, has_key, has_user) = match self.kind {
            SubjectKind::Organization | SubjectKind::Team => (false, false, false),
            SubjectKind::Workspace | SubjectKind::Model => (true, false, false),
            SubjectKind::ApiKey => (true, true, false),
            SubjectKind::User => (false, false, self.names_users),
        };
        let usage_key = piece.usage_key;
        ContributorKey {
            workspace: piece.workspace,
            model: Some(&usage_key.model).filter(|_| has_model),
            api_key: usage_key.api_key.as_ref().filter(|_| has_key),
            user: usage_key.user.as_ref().filter(|_| has_user),
        }
    }

    /// Narrows a contributor to a model, then a key, then a user, if one of them explains most of it.
    fn narrowed(self, contributor: ContributorSum<'a>, is_known: bool) -> ContributorSum<'a> {
        let by_growth = is_known && contributor.growth() > 0;
        let weight = |contributor: &ContributorSum<'_>| {
            if by_growth {
                contributor.growth()
            } else {
                contributor.value
            }
        };
        let enough = weight(&contributor) * EXPLAINS_PERCENT;
        let mut narrow = contributor;
        let with_model = |mut group: ContributorKey<'a>, usage_key: &'a UsageKey| {
            let is_free = group.model.is_none() && usage_key.model.as_str() != UNATTRIBUTED;
            group.model = Some(&usage_key.model);
            is_free.then_some(group)
        };
        let with_key = |mut group: ContributorKey<'a>, usage_key: &'a UsageKey| {
            let key = usage_key
                .api_key
                .as_ref()
                .filter(|_| group.api_key.is_none())?;
            group.api_key = Some(key);
            Some(group)
        };
        let with_user = |mut group: ContributorKey<'a>, usage_key: &'a UsageKey| {
            let user = usage_key.user.as_ref().filter(|_| group.user.is_none())?;
            group.user = Some(user);
            Some(group).filter(|_| self.names_users && self.kind != SubjectKind::User)
        };
        let steps: [&dyn Fn(ContributorKey<'a>, &'a UsageKey) -> Option<ContributorKey<'a>>; 3] =
            [&with_model, &with_key, &with_user];
        for step in steps {
            let part = self.largest_part(narrow, step, weight);
            if let Some(part) = part.filter(|part| weight(part) * 100 >= enough) {
                narrow = part;
            }
        }
        narrow
    }

    fn largest_part(
        self,
        whole: ContributorSum<'a>,
        step: impl Fn(ContributorKey<'a>, &'a UsageKey) -> Option<ContributorKey<'a>>,
        weight: impl Fn(&ContributorSum<'_>) -> Quantity,
    ) -> Option<ContributorSum<'a>> {
        let mut parts: BTreeMap<ContributorKey<'a>, ContributorSum<'a>> = BTreeMap::new();
        for piece in self.all.iter().filter(|piece| whole.group.has(piece)) {
            let Some(group) = step(whole.group, piece.usage_key) else {
                continue;
            };
            let part = parts.entry(group).or_insert(ContributorSum {
                group,
                value: 0,
                before: whole.before.map(|_| 0),
            });
            part.value += piece.value;
            part.before = part.before.map(|before| before + piece.before);
        }
        let parts = parts.into_values().filter(|part| part.value > 0);
        parts.max_by_key(|part| (weight(part), Reverse(part.group)))
    }
}

impl ContributorKey<'_> {
    fn has(&self, piece: &UsagePiece<'_>) -> bool {
        let usage_key = piece.usage_key;
        self.workspace == piece.workspace
            && self.model.is_none_or(|model| *model == usage_key.model)
            && self
                .api_key
                .is_none_or(|key| usage_key.api_key.as_ref() == Some(key))
            && self
                .user
                .is_none_or(|user| usage_key.user.as_ref() == Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::bucket::UsageKeyFields;

    struct Used {
        workspace: String,
        usage_key: UsageKey,
        value: Quantity,
        before: Quantity,
    }

    fn used(workspace: &str, [model, key, user]: [&str; 3], value: i64, before: i64) -> Used {
        let known = |id: &str| (!id.is_empty()).then(|| id.to_owned());
        Used {
            workspace: workspace.to_owned(),
            usage_key: UsageKey::from(UsageKeyFields {
                model: model.into(),
                api_key: known(key).map(|key| key.as_str().into()),
                user: known(user).map(|user| ActorId::new(user.as_str())),
                is_apportioned: false,
            }),
            value: value.into(),
            before: before.into(),
        }
    }

    /// Contributors as `workspace/model/key/user value(before)`.
    #[track_caller]
    fn check(kind: SubjectKind, used: &[Used], is_known: bool, expected: &[&str]) {
        let all: Vec<UsagePiece<'_>> = used
            .iter()
            .map(|used| UsagePiece {
                workspace: &used.workspace,
                usage_key: &used.usage_key,
                value: used.value,
                before: used.before,
            })
            .collect();
        let pieces = ContributingUsage {
            kind,
            names_users: true,
            all: &all,
        };
        let text = |contributor: &ContributorSum<'_>| {
            let group = contributor.group;
            let model = group.model.map_or("", |model| model.as_str());
            let key = group.api_key.map_or("", |key| key.as_str());
            let user = group.user.map_or("", |user| user.as_str());
            let before = contributor
                .before
                .map_or("?".to_owned(), |before| before.to_string());
            format!(
                "{}/{model}/{key}/{user} {}({before})",
                group.workspace, contributor.value
            )
        };
        let top: Vec<String> = pieces.top(5, |_| is_known).iter().map(text).collect();
        assert_eq!(top, expected);
    }

    /// 40 workspaces with 3 keys and 3 models each. Each item uses 11, or `heavy` in the first two workspaces.
    fn many(heavy: i64) -> Vec<Used> {
        let mut all = Vec::new();
        for workspace in 0..40 {
            for key in 0..3 {
                for model in ["haiku", "opus", "sonnet"] {
                    let id = format!("w{workspace:02}");
                    let key = format!("k{workspace:02}{key}");
                    let value = if workspace < 2 { heavy - workspace } else { 11 };
                    all.push(used(&id, [model, &key, ""], value, 11));
                }
            }
        }
        all
    }

    #[test]
    fn workspaces_with_many_small_items_are_named() {
        let all = many(267);
        let sum: Quantity = all.iter().map(|used| used.value).sum();
        let largest = all.iter().map(|used| used.value).max().unwrap();
        assert!(largest * 100 / sum < 4 && (267 + 266) * 9 * 100 / sum >= 55);
        check(
            SubjectKind::Organization,
            &all,
            true,
            &[
                "w00/// 2403(99)",
                "w01/// 2394(99)",
                "w02/// 99(99)",
                "w03/// 99(99)",
                "w04/// 99(99)",
            ],
        );
    }

    #[test]
    fn the_top_contributor_grew_most_or_is_the_largest() {
        let all = || {
            vec![
                used("large", ["m", "a", ""], 5_000, 5_000),
                used("large", ["m", "b", ""], 4_000, 4_100),
                used("grown", ["m", "c", ""], 300, 100),
                used("grown", ["m", "d", ""], 300, 100),
                used("new", ["m", "e", ""], 150, 0),
            ]
        };
        check(
            SubjectKind::Organization,
            &all(),
            true,
            &[
                "grown/m// 600(200)",
                "large/m// 9000(9100)",
                "new/m/e/ 150(0)",
            ],
        );
        check(
            SubjectKind::Organization,
            &all(),
            false,
            &["large/m// 9000(?)", "grown/m// 600(?)", "new/m/e/ 150(?)"],
        );
        let mut shrunk = all();
        for used in &mut shrunk {
            used.before = used.value + 1;
        }
        check(
            SubjectKind::Team,
            &shrunk,
            true,
            &[
                "large/m// 9000(9002)",
                "grown/m// 600(602)",
                "new/m/e/ 150(151)",
            ],
        );
    }

    #[test]
    fn contributors_are_narrowed_to_the_cause_of_their_growth() {
        // A steady workspace in which one new key grows, with several models, by several users.
        let all = [
            used("w", ["m", "old", "ada"], 9_000, 9_000),
            used("w", ["m", "new", "ada"], 500, 0),
            used("w", ["n", "new", "ben"], 500, 0),
            used("v", ["m", "v", "cy"], 10, 0),
        ];
        check(
            SubjectKind::Organization,
            &all,
            true,
            &["w//new/ 1000(0)", "v/m/v/cy 10(0)"],
        );
        check(
            SubjectKind::Workspace,
            &all[..3],
            true,
            &["w/m/new/ada 500(0)", "w/n/new/ben 500(0)"],
        );
        check(
            SubjectKind::Model,
            &all,
            false,
            &[
                "w/m/old/ada 9000(?)",
                "w/n/new/ben 500(?)",
                "v/m/v/cy 10(?)",
            ],
        );
    }

    #[test]
    fn unknown_models_keys_and_users_are_not_named() {
        let unknown = [
            used(UNATTRIBUTED, [UNATTRIBUTED, "", ""], 70, 0),
            used("w", ["m", "", ""], 30, 30),
        ];
        check(
            SubjectKind::Organization,
            &unknown,
            true,
            &["unattributed/// 70(0)", "w/m// 30(30)"],
        );
        let of_a_key = [
            used("w", ["m", "k", "ada"], 70, 0),
            used("w", ["n", "k", "ben"], 60, 0),
        ];
        check(
            SubjectKind::ApiKey,
            &of_a_key,
            true,
            &["w/m/k/ada 70(0)", "w/n/k/ben 60(0)"],
        );
        let of_a_user = [
            used("w", ["m", "k", "ada"], 70, 0),
            used("v", ["n", "l", "ada"], 60, 0),
        ];
        check(
            SubjectKind::User,
            &of_a_user,
            true,
            &["w/m/k/ada 70(0)", "v/n/l/ada 60(0)"],
        );
    }
}
