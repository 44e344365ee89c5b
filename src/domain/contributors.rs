//! Who caused a figure: contributors, grouped so that a few of them explain most of it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::domain::ids::{ActorId, ApiKeyId, ModelName, UNATTRIBUTED};
use crate::domain::rule::Quantity;
use crate::domain::subject::SubjectKind;
use crate::domain::usage::Cell;

/// A contributor is narrowed to a model, key or user that explains at least this many percent of it.
const EXPLAINS_PERCENT: Quantity = 80;

/// What one workspace used in one cell, in the rule's unit.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Its id, or `unattributed`.
    pub workspace: &'a str,
    pub cell: &'a Cell,
    pub value: Quantity,
    /// In the same time of the previous period.
    pub before: Quantity,
}

/// What a contributor consists of; `None` stands for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group<'a> {
    /// Its id, or `unattributed`.
    pub workspace: &'a str,
    /// May be `unattributed`.
    pub model: Option<&'a ModelName>,
    /// Only where a key is known.
    pub api_key: Option<&'a ApiKeyId>,
    /// Only where a user is known.
    pub user: Option<&'a ActorId>,
}

/// One contributor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cause<'a> {
    pub group: Group<'a>,
    pub value: Quantity,
    /// In the same time of the previous period; `None` where that is not known.
    pub before: Option<Quantity>,
}

impl Cause<'_> {
    /// How much more than in the previous period; 0 where that is not known.
    pub fn growth(&self) -> Quantity {
        self.before.map_or(0, |before| self.value - before)
    }
}

/// The pieces of one figure.
#[derive(Debug, Clone, Copy)]
pub struct Pieces<'a, 'b> {
    /// What the figure is about. It is grouped by workspace first; if that is one workspace or key, by model.
    pub kind: SubjectKind,
    pub names_users: bool,
    pub all: &'b [Piece<'a>],
}

impl<'a> Pieces<'a, '_> {
    /// The top contributor, then the largest others; at most `n`. Its growth is the largest, or where the previous period of
    /// any is unknown, or none grew, its value.
    pub fn top(self, n: usize, is_before_known: impl Fn(&str) -> bool) -> Vec<Cause<'a>> {
        let mut sums: BTreeMap<Group<'a>, (Quantity, Quantity)> = BTreeMap::new();
        for piece in self.all {
            let (value, before) = sums.entry(self.group_of(piece)).or_default();
            *value += piece.value;
            *before += piece.before;
        }
        let cause = |(group, (value, before)): (Group<'a>, _)| Cause {
            group,
            value,
            before: is_before_known(group.workspace).then_some(before),
        };
        let mut causes: Vec<Cause<'a>> = sums.into_iter().map(cause).collect();
        causes.retain(|cause| cause.value > 0);
        causes.sort_by_key(|cause| Reverse(cause.value));
        let is_known = causes.iter().all(|cause| cause.before.is_some());
        let grown = causes
            .iter()
            .enumerate()
            .filter(|(_, cause)| cause.growth() > 0);
        let top = grown.max_by_key(|(place, cause)| (cause.growth(), Reverse(*place)));
        if let Some((place, _)) = top.filter(|_| is_known) {
            causes[..=place].rotate_right(1);
        }
        causes.truncate(n);
        causes
            .into_iter()
            .map(|cause| self.narrowed(cause, is_known))
            .collect()
    }

    fn group_of(self, piece: &Piece<'a>) -> Group<'a> {
        let (has_model, has_key, has_user) = match self.kind {
            SubjectKind::Organization | SubjectKind::Team => (false, false, false),
            SubjectKind::Workspace | SubjectKind::Model => (true, false, false),
            SubjectKind::ApiKey => (true, true, false),
            SubjectKind::User => (false, false, self.names_users),
        };
        let cell = piece.cell;
        Group {
            workspace: piece.workspace,
            model: Some(&cell.model).filter(|_| has_model),
            api_key: cell.api_key.as_ref().filter(|_| has_key),
            user: cell.user.as_ref().filter(|_| has_user),
        }
    }

    /// Narrows a contributor to a model, then a key, then a user, where one of them explains most of it.
    fn narrowed(self, cause: Cause<'a>, is_known: bool) -> Cause<'a> {
        let by_growth = is_known && cause.growth() > 0;
        let weight = |cause: &Cause<'_>| {
            if by_growth {
                cause.growth()
            } else {
                cause.value
            }
        };
        let enough = weight(&cause) * EXPLAINS_PERCENT;
        let mut narrow = cause;
        let with_model = |mut group: Group<'a>, cell: &'a Cell| {
            let is_free = group.model.is_none() && cell.model.as_str() != UNATTRIBUTED;
            group.model = Some(&cell.model);
            is_free.then_some(group)
        };
        let with_key = |mut group: Group<'a>, cell: &'a Cell| {
            let key = cell.api_key.as_ref().filter(|_| group.api_key.is_none())?;
            group.api_key = Some(key);
            Some(group)
        };
        let with_user = |mut group: Group<'a>, cell: &'a Cell| {
            let user = cell.user.as_ref().filter(|_| group.user.is_none())?;
            group.user = Some(user);
            Some(group).filter(|_| self.names_users && self.kind != SubjectKind::User)
        };
        let steps: [&dyn Fn(Group<'a>, &'a Cell) -> Option<Group<'a>>; 3] =
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
        whole: Cause<'a>,
        step: impl Fn(Group<'a>, &'a Cell) -> Option<Group<'a>>,
        weight: impl Fn(&Cause<'_>) -> Quantity,
    ) -> Option<Cause<'a>> {
        let mut parts: BTreeMap<Group<'a>, Cause<'a>> = BTreeMap::new();
        for piece in self.all.iter().filter(|piece| whole.group.has(piece)) {
            let Some(group) = step(whole.group, piece.cell) else {
                continue;
            };
            let part = parts.entry(group).or_insert(Cause {
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

impl Group<'_> {
    fn has(&self, piece: &Piece<'_>) -> bool {
        let cell = piece.cell;
        self.workspace == piece.workspace
            && self.model.is_none_or(|model| *model == cell.model)
            && self
                .api_key
                .is_none_or(|key| cell.api_key.as_ref() == Some(key))
            && self
                .user
                .is_none_or(|user| cell.user.as_ref() == Some(user))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::usage::CellKey;

    struct Used {
        workspace: String,
        cell: Cell,
        value: Quantity,
        before: Quantity,
    }

    fn used(workspace: &str, [model, key, user]: [&str; 3], value: i64, before: i64) -> Used {
        let known = |id: &str| (!id.is_empty()).then(|| id.to_owned());
        Used {
            workspace: workspace.to_owned(),
            cell: Cell::from(CellKey {
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
        let all: Vec<Piece<'_>> = used
            .iter()
            .map(|used| Piece {
                workspace: &used.workspace,
                cell: &used.cell,
                value: used.value,
                before: used.before,
            })
            .collect();
        let pieces = Pieces {
            kind,
            names_users: true,
            all: &all,
        };
        let text = |cause: &Cause<'_>| {
            let group = cause.group;
            let model = group.model.map_or("", |model| model.as_str());
            let key = group.api_key.map_or("", |key| key.as_str());
            let user = group.user.map_or("", |user| user.as_str());
            let before = cause
                .before
                .map_or("?".to_owned(), |before| before.to_string());
            format!(
                "{}/{model}/{key}/{user} {}({before})",
                group.workspace, cause.value
            )
        };
        let top: Vec<String> = pieces.top(5, |_| is_known).iter().map(text).collect();
        assert_eq!(top, expected);
    }

    /// 40 workspaces with 3 keys and 3 models each; `heavy` is what the first two use in each of them, the others use 11.
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
    fn two_workspaces_that_spend_most_are_named_although_each_of_their_cells_is_small() {
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
    fn the_top_contributor_grew_most_and_without_a_known_previous_period_is_the_largest() {
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
    fn a_contributor_is_as_narrow_as_explains_its_growth() {
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
    fn usage_without_a_model_key_or_user_is_not_named_by_it_and_of_keys_and_users_the_models_are() {
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
