//! Format of a scenario: a configuration as users write it, then `[story]`, its workspaces, and timed steps.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use spendwatch_config::{self as config, Config};
use spendwatch_domain::alerts::notification::Fact;
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_domain::units::money::Usd;
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::SimulatedUsage;

/// Everything before it in a file is the configuration.
const BEGIN: &str = "\n[story]\n";
/// Prepended to every configuration, because scenarios contain only rules.
const ORGANIZATION: &str =
    "organizations = [{ name = \"acme\", admin_key = { env = \"KEY\" }, dialect = \"guide\" }]";

/// A scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(skip)]
    config: String,
    pub story: Head,
    pub workspaces: Vec<Workspace>,
    pub at: Vec<Step>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// What it shows, in one sentence.
    pub says: String,
    /// Interval of cycles between steps.
    #[serde(default)]
    every: Option<String>,
    /// Provider limit, in USD.
    #[serde(default)]
    pub organization_limit: Option<String>,
}

impl Head {
    pub fn every(&self) -> SignedDuration {
        self.every
            .as_deref()
            .map_or(SignedDuration::from_mins(30), |text| text.parse().unwrap())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    pub id: String,
    pub name: String,
    /// Provider limit per month, in USD.
    #[serde(default)]
    pub limit: Option<String>,
}

impl Workspace {
    pub fn happen(&self, world: &mut World, now: Timestamp) {
        world.add_workspace(&self.id, &self.name);
        let made = world.workspace_mut(&self.id);
        made.monthly_limit.clone_from(&self.limit);
        made.created_at = Some(now.to_string());
    }
}

/// What happens up to a time, and what the cycle at that time sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    time: String,
    #[serde(default)]
    pub used: Vec<Usage>,
    #[serde(default)]
    pub created: Vec<Workspace>,
    #[serde(default)]
    pub renamed: Vec<Renamed>,
    #[serde(default)]
    pub limited: Vec<Limited>,
    #[serde(default)]
    pub archived: Vec<String>,
    /// Workspaces whose usage can no longer be read.
    #[serde(default)]
    pub fails: Vec<String>,
    /// Makes everything readable again.
    #[serde(default)]
    pub heals: bool,
    /// From now on the list of workspaces is empty.
    #[serde(default)]
    pub empty_list: bool,
    #[serde(default)]
    pub restarts: bool,
    /// Loads another configuration and decides.
    #[serde(default)]
    reloads: Option<String>,
    /// Sets the wall clock forward or back at the time of the step; no time passes.
    #[serde(default)]
    jumps: Option<String>,
    tells: Tells,
    /// Number of messages; checked if set.
    #[serde(default)]
    pub n_messages: Option<usize>,
}

impl Step {
    pub fn time(&self) -> Timestamp {
        self.time.parse().unwrap()
    }

    pub fn jump(&self) -> Option<SignedDuration> {
        self.jumps.as_deref().map(|text| text.parse().unwrap())
    }

    pub fn reload(&self) -> Option<Result<Config, String>> {
        self.reloads.as_deref().map(read_config)
    }

    pub fn expected(&self) -> Expectations<'_> {
        match &self.tells {
            Tells::Nothing(_) => Expectations(&[]),
            Tells::All(all) => Expectations(all),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Tells {
    Nothing(Nothing),
    All(Vec<Expected>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Nothing {
    Nothing,
}

/// Usage of a workspace, or `unattributed`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    workspace: String,
    #[serde(default = "some_model")]
    model: String,
    /// Defaults to the time of the step.
    at: Option<String>,
    #[serde(default)]
    usd: Option<String>,
    #[serde(default)]
    tokens: i64,
    #[serde(default)]
    requests: i64,
}

fn some_model() -> String {
    "claude-sonnet-4-5".to_owned()
}

impl Usage {
    pub fn happen(&self, world: &mut World, now: Timestamp) {
        let usd = self
            .usd
            .as_deref()
            .map_or(Usd::ZERO, |usd| Usd::parse(usd).unwrap());
        let used = SimulatedUsage {
            micros: i64::try_from(usd.pico() / 1_000_000).unwrap(),
            input: self.tokens,
            requests: self.requests,
            ..SimulatedUsage::default()
        };
        let workspace = match self.workspace.as_str() {
            "unattributed" => "",
            id => id,
        };
        let at = self.at.as_deref().map_or(now, |at| at.parse().unwrap());
        world.add_usage(workspace, &self.model, at, used);
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renamed {
    pub workspace: String,
    pub to: String,
}

/// Changes a provider limit; without `usd` removes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limited {
    /// Defaults to the organization.
    workspace: Option<String>,
    usd: Option<String>,
}

impl Limited {
    pub fn happen(&self, world: &mut World) {
        match &self.workspace {
            Some(id) => world.workspace_mut(id).monthly_limit.clone_from(&self.usd),
            None => world.usage_limit.clone_from(&self.usd),
        }
    }
}

/// One expected notification; unset fields are not checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    to: Option<String>,
    rule: Option<String>,
    subject: String,
    threshold: String,
    reason: String,
    severity: String,
    ended_by: Option<String>,
    is_late: Option<bool>,
    is_lower_bound: Option<bool>,
    period: Option<String>,
    event: Option<String>,
    /// In the unit of the rule: USD, tokens, requests, seconds, percent.
    value: Option<String>,
    limit: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

impl Expected {
    /// Returns everything that a fact states.
    pub fn whole(notifier: &NotifierName, fact: &Fact) -> Expected {
        let unit = |quantity: Quantity| fact.watch.unit().decimal(quantity);
        Expected {
            to: Some(notifier.to_string()),
            rule: Some(fact.identity.slot.rule.to_string()),
            subject: fact.subject_name.clone(),
            threshold: fact.threshold.text.to_string(),
            reason: fact.reason.to_string(),
            severity: fact.threshold.severity.to_string(),
            ended_by: fact.ended_by.map(|by| by.to_string()),
            is_late: Some(fact.is_late),
            is_lower_bound: Some(fact.is_lower_bound),
            period: fact.identity.slot.period.as_deref().map(str::to_owned),
            event: fact.event().map(|(event, _)| event.to_string()),
            value: Some(unit(fact.value)),
            limit: fact.limit.map(unit),
            labels: Some(fact.labels.clone()),
        }
    }

    /// Returns whether a complete notification matches.
    fn accepts(&self, whole: &Expected) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, is: Option<&T>) -> bool {
            wanted.is_none() || wanted == is
        }
        (&self.subject, &self.threshold) == (&whole.subject, &whole.threshold)
            && (&self.reason, &self.severity) == (&whole.reason, &whole.severity)
            && self.ended_by == whole.ended_by
            && self.is_late.unwrap_or(false) == whole.is_late.unwrap_or(false)
            && self.is_lower_bound.unwrap_or(false) == whole.is_lower_bound.unwrap_or(false)
            && fits(self.to.as_ref(), whole.to.as_ref())
            && fits(self.rule.as_ref(), whole.rule.as_ref())
            && fits(self.period.as_ref(), whole.period.as_ref())
            && fits(self.event.as_ref(), whole.event.as_ref())
            && fits(self.value.as_ref(), whole.value.as_ref())
            && fits(self.limit.as_ref(), whole.limit.as_ref())
            && fits(self.labels.as_ref(), whole.labels.as_ref())
    }
}

/// `to chat: month of Alpha 80% first warning, late, 82.5 of 100 in 2026-11`, with the fields that are set.
impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(to) = &self.to {
            write!(f, "to {to}: ")?;
        }
        if let Some(rule) = &self.rule {
            write!(f, "{rule} of ")?;
        }
        let Expected {
            subject,
            threshold,
            reason,
            severity,
            ..
        } = self;
        write!(f, "{subject} {threshold} {reason} {severity}")?;
        if let Some(by) = &self.ended_by {
            write!(f, " {by}")?;
        }
        if let Some(event) = &self.event {
            write!(f, " {event}")?;
        }
        if self.is_late == Some(true) {
            f.write_str(", late")?;
        }
        if self.is_lower_bound == Some(true) {
            f.write_str(", at least")?;
        }
        if let Some(value) = &self.value {
            write!(f, ", {value}")?;
        }
        if let Some(limit) = &self.limit {
            write!(f, " of {limit}")?;
        }
        if let Some(period) = &self.period {
            write!(f, " in {period}")?;
        }
        match &self.labels {
            Some(labels) if !labels.is_empty() => write!(f, " {labels:?}"),
            Some(_) | None => Ok(()),
        }
    }
}

/// All notifications that one cycle is expected to send, in any order.
pub struct Expectations<'a>(pub &'a [Expected]);

impl Expectations<'_> {
    /// Returns whether exactly these were sent, each once.
    pub fn accepts(&self, result: &[(NotifierName, Fact)]) -> bool {
        let mut left: Vec<Expected> = result
            .iter()
            .map(|(notifier, fact)| Expected::whole(notifier, fact))
            .collect();
        for expected in self.0 {
            let Some(place) = left.iter().position(|whole| expected.accepts(whole)) else {
                return false;
            };
            left.remove(place);
        }
        left.is_empty()
    }
}

impl Script {
    pub fn read(text: &str) -> Result<Script, String> {
        let begin = text.find(BEGIN).ok_or("has no line `[story]`")? + 1;
        let mut script: Script =
            toml::from_str(&text[begin..]).map_err(|error| format!("is no story: {error}"))?;
        script.config = text[..begin].to_owned();
        Ok(script)
    }

    pub fn config(&self) -> Result<Config, String> {
        read_config(&self.config)
    }
}

fn read_config(text: &str) -> Result<Config, String> {
    let environment = [("KEY".to_owned(), "sk-ant-admin-story".to_owned())];
    let text = format!("{ORGANIZATION}\n{text}");
    config::read(&text, None, &environment.into_iter().collect())
        .map_err(|problems| format!("has a bad configuration: {problems}"))
}
