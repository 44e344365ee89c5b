//! The ways in which servers and proxies fail, and which requests they strike.

use std::time::Duration;

use crate::domain::span::HourSpan;

/// Where a fault strikes: the call and, for usage, the workspace; `None` is all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultOn {
    /// `organizations`, `workspaces`, `users`, `api_keys`, `usage`; of the real service also `messages`, `cost_report`,
    /// `analytics_usage`, `analytics_cost`, `rate_limits`, `workspace_rate_limits`, `spend_limits`, `invites`, `members`; of
    /// changes also `users_invite`, `user`, `api_key`, `invite`, `workspace`, `workspace_archive`, `member`; and, only where it
    /// is named, `me`: the probe for another dialect.
    pub endpoint: Option<&'static str>,
    /// A workspace's id; the whole is `""`.
    pub workspace: Option<String>,
    /// This page of a list; the first is 1.
    pub page: Option<usize>,
    /// Only requests with this verb.
    pub method: Option<&'static str>,
    /// So many such requests pass first.
    pub skip: usize,
    /// So many requests are struck; `None` is until it is healed.
    pub times: Option<usize>,
}

impl FaultOn {
    /// Every request.
    pub fn everything() -> FaultOn {
        FaultOn::default()
    }

    /// Every request of one call.
    pub fn endpoint(endpoint: &'static str) -> FaultOn {
        FaultOn {
            endpoint: Some(endpoint),
            ..FaultOn::default()
        }
    }

    /// Usage of one workspace; `""` is the whole.
    pub fn usage_of(workspace: &str) -> FaultOn {
        FaultOn {
            workspace: Some(workspace.to_owned()),
            ..FaultOn::endpoint("usage")
        }
    }

    /// Strikes only so often.
    #[must_use]
    pub fn times(self, times: usize) -> FaultOn {
        FaultOn {
            times: Some(times),
            ..self
        }
    }

    /// Strikes only after so many such requests have passed.
    #[must_use]
    pub fn after(self, skip: usize) -> FaultOn {
        FaultOn { skip, ..self }
    }

    /// Strikes only requests with this verb.
    #[must_use]
    pub fn method(self, method: &'static str) -> FaultOn {
        FaultOn {
            method: Some(method),
            ..self
        }
    }

    /// Strikes only this page of a list; the first is 1.
    #[must_use]
    pub fn page(self, page: usize) -> FaultOn {
        FaultOn {
            page: Some(page),
            ..self
        }
    }
}

/// What happens there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status and body, with a `retry-after` where one is given.
    Status(u16, String, Option<String>),
    /// This status with a page of HTML, as a proxy answers.
    Html(u16),
    /// 200 with this body.
    Body(String),
    /// The right answer, cut in half, and then the connection closes.
    CutOff,
    /// The first half of the right answer, as if it were all.
    Truncated,
    /// The connection closes without a byte; nothing was done.
    Reset,
    /// What was asked for is done; then the connection closes without a byte.
    LostAnswer,
    /// What was asked for is done; then a proxy answers with this status.
    LostStatus(u16),
    /// A body that never ends.
    Endless,
    /// The right answer, and so many bytes of white space behind it.
    Padded(usize),
    /// The right answer, compressed with gzip whether or not that was asked for.
    Gzip,
    /// So many bytes of white space, compressed to a thousandth.
    GzipBomb(usize),
    /// What says that it is gzip and is not.
    NotGzip,
    Stall,
    /// Not a byte, until [`release`](crate::simulator::Simulator::release).
    Silence,
    /// So many bytes of the right answer, and no more until [`release`](crate::simulator::Simulator::release).
    StallAfter(usize),
    /// The right answer, so much later by the simulator's clock.
    Delay(Duration),
    /// The right answer in pieces of so many bytes, with a pause by the simulator's clock before each.
    Drip(usize, Duration),
    Redirect,
    /// A redirect to this address.
    RedirectTo(String),
    /// A list that has `has_more` for ever, with new ids; a report that does, with new cursors.
    EndlessPages,
    /// A list or report that has `has_more` on a page without rows.
    EmptyPage,
    /// A list or report whose every page is the first one.
    SamePage,
    /// A list or usage without any rows, as if there were none.
    NoRows,
    /// Usage without the rows that begin in these hours.
    MissingRows(HourSpan),
    /// The first row of `data` twice.
    DuplicateRow,
    /// The rows of `data` in reverse order.
    Reversed,
    /// Every field of this name is left out.
    WithoutField(String),
    /// The first field of this name has this JSON for a value: a text, `null`, `-1`, `1e30`, a date that was not asked for.
    Field(String, String),
}

impl Fault {
    /// A row that costs less than nothing.
    pub fn negative_spend() -> Fault {
        Fault::Field("total_cost_usd".to_owned(), "-0.5".to_owned())
    }

    /// A row of a day or hour that was not asked for, such as `2001-01-01`.
    pub fn date(date: &str) -> Fault {
        Fault::Field("date".to_owned(), format!("\"{date}\""))
    }
}

/// What a fault looks at in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim<'a> {
    /// As [`FaultOn::endpoint`] names it.
    pub endpoint: &'static str,
    /// Of usage; the whole is `""`.
    pub workspace: Option<&'a str>,
    pub page: Option<usize>,
    pub method: &'a str,
}

/// The fault that strikes a request, if any: the first that fits; counts it.
pub fn strike(faults: &mut [(FaultOn, Fault)], aim: Aim<'_>) -> Option<Fault> {
    for (on, fault) in faults {
        if !fits(on, aim) || on.times == Some(0) {
            continue;
        }
        if on.skip > 0 {
            on.skip -= 1;
            continue;
        }
        on.times = on.times.map(|times| times - 1);
        return Some(fault.clone());
    }
    None
}

fn fits(on: &FaultOn, aim: Aim<'_>) -> bool {
    let is_call = match on.endpoint {
        Some(wanted) => wanted == aim.endpoint,
        None => aim.endpoint != "me",
    };
    let workspace = on.workspace.as_deref();
    is_call
        && workspace.is_none_or(|wanted| aim.workspace == Some(wanted))
        && on.method.is_none_or(|wanted| wanted == aim.method)
        && on.page.is_none_or(|wanted| aim.page == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aim(endpoint: &'static str, workspace: Option<&'static str>) -> Aim<'static> {
        Aim {
            endpoint,
            workspace,
            page: (endpoint == "workspaces").then_some(2),
            method: "GET",
        }
    }

    /// Which of six such requests are struck.
    fn struck(on: FaultOn, aim: Aim<'_>) -> [bool; 6] {
        let mut faults = [(on, Fault::Stall)];
        [(); 6].map(|()| strike(&mut faults, aim).is_some())
    }

    #[test]
    fn a_fault_strikes_where_and_as_often_as_it_says() {
        let usage = aim("usage", Some("a"));
        let (all, none) = ([true; 6], [false; 6]);
        assert_eq!(struck(FaultOn::everything(), usage), all);
        assert_eq!(struck(FaultOn::everything(), aim("me", None)), none);
        assert_eq!(struck(FaultOn::endpoint("me"), aim("me", None)), all);
        assert_eq!(struck(FaultOn::usage_of("a"), usage), all);
        assert_eq!(struck(FaultOn::usage_of(""), usage), none);
        assert_eq!(struck(FaultOn::endpoint("workspaces"), usage), none);
        let list = aim("workspaces", None);
        assert_eq!(struck(FaultOn::endpoint("workspaces").page(2), list), all);
        assert_eq!(struck(FaultOn::endpoint("workspaces").page(1), list), none);
        assert_eq!(
            struck(FaultOn::everything().times(2).after(1), usage),
            [false, true, true, false, false, false]
        );
    }

    #[test]
    fn the_first_fault_that_fits_strikes() {
        let mut faults = [
            (FaultOn::usage_of("a").times(1), Fault::Reset),
            (FaultOn::everything(), Fault::Stall),
        ];
        let usage = aim("usage", Some("a"));
        assert_eq!(strike(&mut faults, usage), Some(Fault::Reset));
        assert_eq!(strike(&mut faults, usage), Some(Fault::Stall));
    }
}
