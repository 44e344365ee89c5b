//! Times, their ratios, and the table that they end in.

use std::time::Duration;

use spendwatch::clock::Clock;

/// What was measured, line by line.
pub struct Report {
    clock: Clock,
    n_missed: usize,
}

/// How a figure is judged.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// For information.
    None,
}

impl Report {
    pub fn begin() -> Report {
        println!("{:<96} {:>14} {:>9}", "figure", "measured", "goal");
        Report {
            clock: Clock::system(),
            n_missed: 0,
        }
    }

    /// One figure in its unit.
    pub fn tell(&mut self, figure: &str, measured: f64, unit: &str, goal: Goal) {
        let (goal, verdict) = match goal {
            Goal::AtLeast(least) if measured >= least => (format!("≥ {least}"), "pass"),
            Goal::AtMost(most) if measured <= most => (format!("≤ {most}"), "pass"),
            Goal::AtLeast(least) => (format!("≥ {least}"), "MISS"),
            Goal::AtMost(most) => (format!("≤ {most}"), "MISS"),
            Goal::None => (String::new(), ""),
        };
        self.n_missed += usize::from(verdict == "MISS");
        let measured = format!("{measured:.2} {unit}");
        println!("{figure:<96} {measured:>14} {goal:>9} {verdict}");
    }

    pub fn end(self) {
        let seconds = self.clock.running().as_secs();
        println!("{} goals missed; {seconds} s", self.n_missed);
    }
}

/// Times of the same thing, done again and again.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// In seconds: what it takes when nothing disturbs it.
    pub fn min(&self) -> f64 {
        self.0.first().expect("measured once").as_secs_f64()
    }

    /// In seconds.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2].as_secs_f64()
    }
}

/// How long something takes, and what it gives. What it gives is dropped by the caller, outside of the time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let clock = Clock::system();
    let value = std::hint::black_box(work());
    (clock.running(), value)
}

/// Two things by turns, so that whatever disturbs the machine disturbs both.
pub fn by_turns<A, B>(
    n_rounds: usize,
    mut left: impl FnMut() -> A,
    mut right: impl FnMut() -> B,
) -> (Times, Times) {
    let (mut of_left, mut of_right) = (Times::default(), Times::default());
    for _ in 0..n_rounds {
        of_left.add(timed(&mut left).0);
        of_right.add(timed(&mut right).0);
    }
    (of_left, of_right)
}
