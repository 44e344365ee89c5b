//! Measures times and ratios, and prints them as a table.

use std::time::Duration;

use spendwatch_base::clock::Clock;

/// Prints measurements and counts missed goals.
pub struct Report {
    clock: Clock,
    n_missed: usize,
}

/// Goal of a measurement.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    AtLeast(f64),
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

    /// Prints one measurement.
    pub fn add(&mut self, figure: &str, measured: f64, unit: &str, goal: Goal) {
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
        let seconds = self.clock.monotonic().as_secs();
        println!("{} goals missed; {seconds} s", self.n_missed);
    }
}

/// Times of repeated runs.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort();
    }

    /// Returns the minimum in seconds, which is least disturbed by other processes.
    pub fn min(&self) -> f64 {
        self.0.first().expect("measured once").as_secs_f64()
    }

    /// Returns the median in seconds.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2].as_secs_f64()
    }
}

/// Measures a call. Returns the result, so that dropping it is not part of the time.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let clock = Clock::system();
    let value = std::hint::black_box(work());
    (clock.monotonic(), value)
}

/// Measures two calls alternately, so that disturbances affect both.
pub fn alternately<A, B>(
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
