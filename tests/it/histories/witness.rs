//! Who sees a history from outside: what was spent, what was sent, and whether the two agree. Nothing of the program's own
//! records is asked.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use spendwatch::domain::alert::Line;
use spendwatch::domain::ids::NotifierName;
use spendwatch::domain::notification::{Fact, Reason};
use spendwatch::domain::rule::Quantity;
use spendwatch::notify::memory::Sent;

/// Rule, subject, period.
pub type Which = (String, String, String);

/// What a receiver believes of one alert.
#[derive(Debug, Default)]
pub struct Belief {
    pub is_open: bool,
    /// What it was told since the last "resolved", by the words of the threshold.
    pub told: BTreeSet<String>,
    raised: Vec<Line>,
    lowered: Vec<Line>,
}

/// Everything that was seen.
#[derive(Debug, Default)]
pub struct Witness {
    /// Lines that a figure reached, by the limit of the moment.
    pub crossed: BTreeSet<(Which, Quantity)>,
    /// When all was silenced; what was decided at either end may have come first.
    pub silenced: Vec<(Timestamp, Timestamp)>,
    pub beliefs: BTreeMap<(NotifierName, Which), Belief>,
    facts_by_id: BTreeMap<(NotifierName, String), Vec<Fact>>,
    taken: BTreeSet<(NotifierName, String)>,
    sequences: BTreeMap<(NotifierName, Which), u64>,
}

impl Witness {
    /// One attempt, in order; `has_arrived` says whether the receiver has it, whatever it answered.
    pub fn see(&mut self, sent: &Sent, has_arrived: bool) -> Result<(), String> {
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
                    .map_err(|what| format!("{what}: {} to {}", told(fact), sent.notifier))?;
            }
        }
        Ok(())
    }

    /// What holds for each attempt, whether or not it arrives.
    fn check_attempt(&mut self, notifier: &NotifierName, fact: &Fact) -> Result<(), String> {
        let which = which(fact);
        if !self.crossed.contains(&(which.clone(), fact.line.quantity)) {
            return Err(format!("never crossed: {}", told(fact)));
        }
        let at = fact.decided_at;
        if self
            .silenced
            .iter()
            .any(|(start, end)| *start < at && at < *end)
        {
            return Err(format!("told in spite of a silence: {}", told(fact)));
        }
        let newest = self.sequences.entry((notifier.clone(), which)).or_default();
        if fact.sequence < *newest {
            return Err(format!("overtaken by sequence {newest}: {}", told(fact)));
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
            Reason::First | Reason::Escalated => note(&mut belief.raised, &fact.line),
            Reason::Lowered => note(&mut belief.lowered, &fact.line),
            Reason::Repeated | Reason::Unsilenced => {
                note(&mut belief.raised, &fact.line);
                true
            }
            Reason::Resolved => {
                let is_known = belief.is_open || fact.is_fired_and_resolved;
                *belief = Belief::default();
                return is_known.then_some(()).ok_or("resolved without a firing");
            }
        };
        belief.is_open = true;
        belief.told.insert(fact.line.text.to_string());
        is_news.then_some(()).ok_or("told twice")
    }
}

/// Whether a line is new there.
fn note(lines: &mut Vec<Line>, line: &Line) -> bool {
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

fn told(fact: &Fact) -> String {
    let (rule, subject, period) = which(fact);
    format!(
        "{rule} {subject} {period} {} {} #{} at {}",
        fact.line.text, fact.reason, fact.sequence, fact.decided_at
    )
}
