//! Observes a history from outside: what was spent, what was sent, and whether they agree. It uses none of the program's own
//! records.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use spendwatch_domain::alerts::alert::AbsoluteThreshold;
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::watch::Quantity;
use spendwatch_domain::units::ids::NotifierName;
use spendwatch_notify::receivers::memory::RecordedAttempt;

/// Rule, subject, period.
pub type Which = (String, String, String);

/// What a receiver shows for one alert.
#[derive(Debug, Default)]
pub struct Belief {
    pub is_open: bool,
    /// Threshold texts that it was sent since the last "resolved".
    pub notified: BTreeSet<String>,
    raised: Vec<AbsoluteThreshold>,
    lowered: Vec<AbsoluteThreshold>,
}

/// All observations.
#[derive(Debug, Default)]
pub struct Witness {
    /// Thresholds that a figure reached, by the limit at that time.
    pub crossed: BTreeSet<(Which, Quantity)>,
    /// When everything was silenced; decisions at either end may have come first.
    pub silenced: Vec<(Timestamp, Timestamp)>,
    pub beliefs: BTreeMap<(NotifierName, Which), Belief>,
    facts_by_id: BTreeMap<(NotifierName, String), Vec<Fact>>,
    taken: BTreeSet<(NotifierName, String)>,
    sequences: BTreeMap<(NotifierName, Which), u64>,
}

impl Witness {
    /// Records an attempt, in order; `has_arrived` is whether the receiver has it, whatever it responded.
    pub fn see(&mut self, sent: &RecordedAttempt, has_arrived: bool) -> Result<(), String> {
        let key = (sent.notifier.clone(), sent.id.clone());
        let known = self.facts_by_id.entry(key.clone());
        if *known.or_insert_with(|| sent.facts.clone()) != sent.facts {
            return Err(format!("message {} has two sets of facts", sent.id));
        }
        let is_new = has_arrived && self.taken.insert(key);
        for fact in &sent.facts {
            self.check_attempt(&sent.notifier, fact)?;
            if is_new {
                self.take(&sent.notifier, fact)
                    .map_err(|what| format!("{what}: {} to {}", describe(fact), sent.notifier))?;
            }
        }
        Ok(())
    }

    /// Checks an attempt, whether or not it arrives.
    fn check_attempt(&mut self, notifier: &NotifierName, fact: &Fact) -> Result<(), String> {
        let which = which(fact);
        if !self
            .crossed
            .contains(&(which.clone(), fact.threshold.quantity))
        {
            return Err(format!("never crossed: {}", describe(fact)));
        }
        let at = fact.decided_at;
        if self
            .silenced
            .iter()
            .any(|(start, end)| *start < at && at < *end)
        {
            return Err(format!("told in spite of a silence: {}", describe(fact)));
        }
        let newest = self.sequences.entry((notifier.clone(), which)).or_default();
        if fact.sequence < *newest {
            return Err(format!(
                "overtaken by sequence {newest}: {}",
                describe(fact)
            ));
        }
        *newest = fact.sequence;
        Ok(())
    }

    fn take(&mut self, notifier: &NotifierName, fact: &Fact) -> Result<(), &'static str> {
        let belief = self
            .beliefs
            .entry((notifier.clone(), which(fact)))
            .or_default();
        let is_news = match fact.reason {
            Reason::First | Reason::Escalated => note(&mut belief.raised, &fact.threshold),
            Reason::Lowered => note(&mut belief.lowered, &fact.threshold),
            Reason::Repeated | Reason::Unsilenced => {
                note(&mut belief.raised, &fact.threshold);
                true
            }
            Reason::Resolved => {
                let is_known = belief.is_open || fact.is_fired_and_resolved;
                *belief = Belief::default();
                return is_known.then_some(()).ok_or("resolved without a firing");
            }
        };
        belief.is_open = true;
        belief.notified.insert(fact.threshold.text.to_string());
        is_news.then_some(()).ok_or("told twice")
    }
}

/// Returns whether the threshold was not sent before.
fn note(lines: &mut Vec<AbsoluteThreshold>, line: &AbsoluteThreshold) -> bool {
    let is_new = !lines.contains(line);
    if is_new {
        lines.push(line.clone());
    }
    is_new
}

fn which(fact: &Fact) -> Which {
    let slot = &fact.identity.slot;
    (
        slot.rule.to_string(),
        slot.subject.id.to_string(),
        slot.period.as_deref().unwrap_or_default().to_owned(),
    )
}

fn describe(fact: &Fact) -> String {
    let (rule, subject, period) = which(fact);
    format!(
        "{rule} {subject} {period} {} {} #{} at {}",
        fact.threshold.text, fact.reason, fact.sequence, fact.decided_at
    )
}
