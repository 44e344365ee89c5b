//! Steps of a history, how they are generated, and how they are printed.

use std::fmt;

use proptest::prelude::*;

pub const WHO: [&str; 2] = ["a", "b"];
/// Possible limits of the month rule, in USD.
pub const LIMITS: [i64; 3] = [100, 150, 60];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// USD in the current hour.
    Spend(usize, i64),
    /// Lowers spend by this many USD, newest hours first; spend stays above zero.
    Correct(usize, i64),
    /// A workspace cannot be read until `Heal`.
    Fail(usize),
    Heal,
    /// Reload with another limit of the month rule.
    Limit(usize),
    /// Reload without the month rule, or with it again.
    RuleGone,
    RuleBack,
    /// Silences all alerts until it is ended.
    Silence,
    EndSilence,
    /// Acknowledges the workspace's month alert, if it fires.
    Acknowledge(usize),
    /// Changes how receivers respond.
    Receivers(Mood),
    /// Advances by minutes and runs a cycle.
    Cycle(u64),
    /// Advances by seconds and sends what is due.
    Deliver(u64),
    Restart,
    /// Kills the program before or after the commit of one of its next writes.
    Kill(u32),
}

/// How receivers respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Reject everything, retryably.
    Failing,
    /// Accept everything, but the responses are lost.
    Mute,
    /// Fail permanently, so that notifiers are parked.
    Gone,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Spend(who, usd) => write!(f, "{} spends {usd} USD", WHO[*who]),
            Step::Correct(who, usd) => write!(f, "{} is corrected by -{usd} USD", WHO[*who]),
            Step::Fail(who) => write!(f, "{} cannot be read", WHO[*who]),
            Step::Heal => write!(f, "all can be read again"),
            Step::Limit(place) => write!(f, "reload: the month's limit is {} USD", LIMITS[*place]),
            Step::RuleGone => write!(f, "reload: without the month's rule"),
            Step::RuleBack => write!(f, "reload: with the month's rule"),
            Step::Silence => write!(f, "all is silenced"),
            Step::EndSilence => write!(f, "the silence is ended"),
            Step::Acknowledge(who) => write!(f, "the alert of {} is acknowledged", WHO[*who]),
            Step::Receivers(Mood::Well) => write!(f, "receivers take everything"),
            Step::Receivers(Mood::Failing) => write!(f, "receivers fail"),
            Step::Receivers(Mood::Mute) => write!(f, "receivers take, and their answer is lost"),
            Step::Receivers(Mood::Gone) => write!(f, "receivers are gone"),
            Step::Cycle(minutes) => write!(f, "{minutes} minutes later: a cycle"),
            Step::Deliver(seconds) => write!(f, "{seconds} seconds later: what is due is sent"),
            Step::Restart => write!(f, "a restart"),
            Step::Kill(place) => {
                let moment = if place % 2 == 0 { "before" } else { "after" };
                write!(
                    f,
                    "a kill {moment} the commit of write {} from here",
                    place / 2 + 1
                )
            }
        }
    }
}

/// Prints the history, one line per step.
pub fn tell(steps: &[Step]) -> String {
    let lines = steps.iter().map(|step| format!("  {step}\n"));
    lines.collect()
}

/// Generates histories of 30 steps on average; failures shrink to as few as possible.
pub fn histories() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..=60)
}

fn step() -> impl Strategy<Value = Step> {
    let who = || 0..WHO.len();
    let mood = prop::sample::select(vec![Mood::Well, Mood::Failing, Mood::Mute, Mood::Gone]);
    prop_oneof![
        8 => (1u64..90).prop_map(Step::Cycle),
        6 => prop::sample::select(vec![0u64, 10, 60, 600, 4000]).prop_map(Step::Deliver),
        6 => (who(), 1i64..70).prop_map(|(who, usd)| Step::Spend(who, usd)),
        3 => (who(), 1i64..90).prop_map(|(who, usd)| Step::Correct(who, usd)),
        1 => who().prop_map(Step::Fail),
        1 => Just(Step::Heal),
        1 => (0..LIMITS.len()).prop_map(Step::Limit),
        1 => prop_oneof![Just(Step::RuleGone), Just(Step::RuleBack)],
        1 => prop_oneof![Just(Step::Silence), Just(Step::EndSilence)],
        1 => who().prop_map(Step::Acknowledge),
        3 => mood.prop_map(Step::Receivers),
        1 => Just(Step::Restart),
        3 => (0u32..30).prop_map(Step::Kill),
    ]
}
