//! Open connections: the deadlines of each, how many there may be, and which one is closed when another needs its place.
//!
//! A client can hold a connection open without asking for anything. So every wait for a client has a deadline, one
//! address has at most half of all connections, and a newcomer takes the place of the connection that has waited longest
//! for its client. A connection whose request is being handled is never closed for another.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;

/// From the opening of a connection to the first byte of a request.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(10);
/// From the first byte of a request to the end of its headers.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// From the end of the headers to the end of the body, which has at most 64 KiB.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Longer than a reload that resolves secrets from slow commands.
const HANDLING_LIMIT: Duration = Duration::from_mins(2);
/// From the start of a response to its last byte: 10 MB at 1.4 Mbit/s.
const RESPONSE_LIMIT: Duration = Duration::from_mins(1);
/// Within a response, without a byte that the client takes.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// Between two requests: longer than the usual scrape interval of a minute.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// A deadline moves in steps of at least this length, so that large responses do not set it for every packet.
const MIN_STEP: Duration = Duration::from_secs(1);

/// File descriptors kept for the store, the audit log, the configuration, name lookups and commands.
const RESERVED: u64 = 128;
/// File descriptors kept for each organization and each notifier: connections in use, idle ones, and a secret's command.
const RESERVED_PER_TASK: u64 = 8;

/// Returns how many of `max` connections the process can afford when it may open `descriptors` files and needs its own
/// for `n_tasks` organizations and notifiers.
pub fn affordable(max: usize, descriptors: Option<u64>, n_tasks: usize) -> usize {
    let Some(descriptors) = descriptors else {
        return max;
    };
    let n_tasks = u64::try_from(n_tasks).unwrap_or(u64::MAX);
    let reserved = RESERVED_PER_TASK
        .saturating_mul(n_tasks)
        .saturating_add(RESERVED);
    let left = descriptors
        .saturating_sub(reserved)
        .max(descriptors / 8)
        .max(1);
    usize::try_from(left).map_or(max, |left| max.min(left))
}

/// The clients that share one part of a limit: an IPv4 address, or an IPv6 network of 64 bits, of which one client
/// usually has all addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl Source {
    /// Returns the source of an address. An IPv4 address written as IPv6 is the same source as the IPv4 address.
    pub fn of(address: IpAddr) -> Source {
        Source(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for the first byte of the first request.
    Opened,
    Headers,
    Body,
    /// Working on a complete request.
    Handling,
    /// Sending a response that is not complete yet.
    Response,
    /// Sending the rest of a complete response.
    Flushing,
    /// Waiting for the first byte of the next request.
    Idle,
}

impl Phase {
    /// The time until the connection is closed.
    fn limit(self) -> Duration {
        match self {
            Phase::Opened => FIRST_BYTE_LIMIT,
            Phase::Headers => HEADER_LIMIT,
            Phase::Body => BODY_LIMIT,
            Phase::Handling => HANDLING_LIMIT,
            Phase::Response | Phase::Flushing => RESPONSE_LIMIT,
            Phase::Idle => IDLE_LIMIT,
        }
    }

    /// What is missing when the time is over.
    pub fn missing(self) -> &'static str {
        match self {
            Phase::Opened => "no request",
            Phase::Headers => "no complete headers",
            Phase::Body => "no complete body",
            Phase::Handling => "the request takes too long",
            Phase::Response | Phase::Flushing => "the response is not read",
            Phase::Idle => "no further request",
        }
    }
}

/// A phase and its times, as running time of the clock.
#[derive(Debug, Clone, Copy)]
struct Step {
    phase: Phase,
    since: Duration,
    /// Where the phase ends at the latest.
    ends_at: Duration,
    /// The deadline; before the end where a response stalls.
    cut_at: Duration,
}

impl Step {
    fn new(phase: Phase, now: Duration) -> Step {
        let ends_at = now + phase.limit();
        let cut_at = if phase == Phase::Response {
            ends_at.min(now + STALL_LIMIT)
        } else {
            ends_at
        };
        Step {
            phase,
            since: now,
            ends_at,
            cut_at,
        }
    }
}

/// The phase of one connection and its deadline.
#[derive(Debug)]
pub struct Progress {
    clock: Clock,
    step: watch::Sender<Step>,
}

impl Progress {
    /// Of a connection that was just opened.
    pub fn new(clock: Clock) -> Progress {
        let step = Step::new(Phase::Opened, clock.running());
        Progress {
            clock,
            step: watch::Sender::new(step),
        }
    }

    /// Returns the present phase.
    pub fn phase(&self) -> Phase {
        self.step.borrow().phase
    }

    /// Bytes arrived.
    pub fn received(&self) {
        self.advance(&[Phase::Opened, Phase::Idle], Phase::Headers);
    }

    /// Waits until the response to an earlier request was sent. Otherwise a client that sends many requests at once and
    /// reads no response would always have one that is being handled.
    pub async fn sent_before(&self) {
        let mut steps = self.step.subscribe();
        // The sender lives in this very value.
        let _ = steps.wait_for(|step| step.phase != Phase::Flushing).await;
    }

    /// The headers of a request are complete.
    pub fn began_request(&self, has_body: bool) {
        let next = if has_body {
            Phase::Body
        } else {
            Phase::Handling
        };
        self.step
            .send_replace(Step::new(next, self.clock.running()));
    }

    /// The body of a request is complete, or nobody reads on.
    pub fn ended_body(&self) {
        self.advance(&[Phase::Body], Phase::Handling);
    }

    /// The headers of a response are known.
    pub fn began_response(&self) {
        self.step
            .send_replace(Step::new(Phase::Response, self.clock.running()));
    }

    /// The client took bytes.
    pub fn sent(&self) {
        let stalls_at = self.clock.running() + STALL_LIMIT;
        self.step.send_if_modified(|step| {
            let cut_at = stalls_at.min(step.ends_at);
            let is_later = matches!(step.phase, Phase::Response | Phase::Flushing)
                && cut_at >= step.cut_at + MIN_STEP;
            if is_later {
                step.cut_at = cut_at;
            }
            is_later
        });
    }

    /// The last byte of a response is known.
    pub fn ended_response(&self) {
        self.step.send_if_modified(|step| {
            let is_response = step.phase == Phase::Response;
            if is_response {
                step.phase = Phase::Flushing;
            }
            is_response
        });
    }

    /// Nothing is left to be sent.
    pub fn flushed(&self) {
        self.advance(&[Phase::Flushing], Phase::Idle);
    }

    fn advance(&self, from: &[Phase], to: Phase) {
        self.step.send_if_modified(|step| {
            let is_due = from.contains(&step.phase);
            if is_due {
                *step = Step::new(to, self.clock.running());
            }
            is_due
        });
    }

    /// Waits until a deadline has passed; returns the phase that lasted too long.
    pub async fn expired(&self) -> Phase {
        let mut steps = self.step.subscribe();
        loop {
            let step = *steps.borrow_and_update();
            let left = step.cut_at.saturating_sub(self.clock.running());
            if left.is_zero() {
                return step.phase;
            }
            tokio::select! {
                // The sender lives in this very value.
                _ = steps.changed() => {}
                () = self.clock.sleep(left) => {}
            }
        }
    }

    /// Since when the connection has been waiting for its client; `None` while a request is handled.
    fn waiting_since(&self) -> Option<Duration> {
        let step = self.step.borrow();
        (step.phase != Phase::Handling).then_some(step.since)
    }
}

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug)]
struct Open {
    max: usize,
    next_id: u64,
    by_source: HashMap<Source, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    progress: Arc<Progress>,
    /// Cancelled when the connection has to make room.
    cut: CancellationToken,
}

/// The place of one open connection; free again when dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    source: Source,
    id: u64,
    /// Cancelled when the connection has to make room.
    pub cut: CancellationToken,
}

/// Whether a newcomer has a place.
enum Entrance {
    Entered(u64, CancellationToken),
    /// As soon as another connection is closed, which was told to.
    Soon,
    /// All places are taken by requests that are being handled.
    Full,
}

/// What became of a newcomer.
#[derive(Debug)]
pub struct Admission {
    /// `None` where no place can be had.
    pub place: Option<Place>,
    /// Whether the limit was reached.
    pub is_crowded: bool,
}

impl Connections {
    /// At most `max` at a time.
    pub fn new(max: usize) -> Connections {
        Connections {
            open: Mutex::new(Open {
                max,
                next_id: 0,
                by_source: HashMap::new(),
            }),
            freed: Notify::new(),
        }
    }

    /// Sets another limit, for newcomers.
    pub fn set_max(&self, max: usize) {
        self.open().max = max;
    }

    /// Returns how many there may be.
    pub fn max(&self) -> usize {
        self.open().max
    }

    /// Finds a place for a connection, and closes another one where that is needed.
    pub async fn admit(self: &Arc<Self>, source: Source, progress: &Arc<Progress>) -> Admission {
        let mut is_crowded = false;
        loop {
            // Before the look, so that a place that becomes free after it is noticed.
            let freed = self.freed.notified();
            let entrance = self.open().enter(source, progress);
            match entrance {
                Entrance::Entered(id, cut) => {
                    let place = Some(Place {
                        connections: Arc::clone(self),
                        source,
                        id,
                        cut,
                    });
                    return Admission { place, is_crowded };
                }
                Entrance::Soon => freed.await,
                Entrance::Full => {
                    return Admission {
                        place: None,
                        is_crowded: true,
                    };
                }
            }
            is_crowded = true;
        }
    }

    /// Closes the connection that has waited longest for its client.
    pub fn cut_one(&self) {
        self.open().cut_in_largest();
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().leave(self.source, self.id);
        self.connections.freed.notify_waiters();
    }
}

impl Open {
    fn enter(&mut self, source: Source, progress: &Arc<Progress>) -> Entrance {
        let n_all: usize = self.by_source.values().map(Vec::len).sum();
        let own = self.by_source.get(&source).map_or(&[][..], Vec::as_slice);
        // One address cannot have all.
        let share = self.max.div_ceil(2);
        if own.len() < share && n_all < self.max {
            let (id, cut) = (self.next_id, CancellationToken::new());
            self.next_id += 1;
            let entry = Entry {
                id,
                progress: Arc::clone(progress),
                cut: cut.clone(),
            };
            self.by_source.entry(source).or_default().push(entry);
            return Entrance::Entered(id, cut);
        }
        let n_leaving =
            |entries: &[Entry]| entries.iter().filter(|entry| entry.is_leaving()).count();
        let is_cut = if own.len() >= share {
            let n_leaving = n_leaving(own);
            own.len() - n_leaving < share || cut_longest(own)
        } else {
            let n_leaving: usize = self.by_source.values().map(|own| n_leaving(own)).sum();
            n_all - n_leaving < self.max || self.cut_in_largest()
        };
        if is_cut {
            Entrance::Soon
        } else {
            Entrance::Full
        }
    }

    /// Closes the longest waiting connection of the source that has most. Whether there was one.
    fn cut_in_largest(&self) -> bool {
        let largest = self
            .by_source
            .values()
            .filter(|entries| entries.iter().any(|entry| entry.waiting_since().is_some()))
            .max_by_key(|entries| entries.len());
        largest.is_some_and(|entries| cut_longest(entries))
    }

    fn leave(&mut self, source: Source, id: u64) {
        if let Some(entries) = self.by_source.get_mut(&source) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }
}

/// Closes the connection that has waited longest for its client. Whether there was one.
fn cut_longest(entries: &[Entry]) -> bool {
    let waiting = entries
        .iter()
        .filter_map(|entry| Some((entry.waiting_since()?, entry)));
    let longest = waiting.min_by_key(|(since, entry)| (*since, entry.id));
    if let Some((_, entry)) = longest {
        entry.cut.cancel();
    }
    longest.is_some()
}

impl Entry {
    fn is_leaving(&self) -> bool {
        self.cut.is_cancelled()
    }

    /// `None` for those that cannot be closed, or are being closed.
    fn waiting_since(&self) -> Option<Duration> {
        self.progress.waiting_since().filter(|_| !self.is_leaving())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let check = |one: &str, other: &str, is_same: bool| {
            let of = |text: &str| Source::of(text.parse().unwrap());
            assert_eq!(of(one) == of(other), is_same, "{one} and {other}");
        };
        check("10.0.0.1", "10.0.0.1", true);
        check("10.0.0.1", "10.0.0.2", false);
        check("10.0.0.1", "::ffff:10.0.0.1", true);
        check("::ffff:10.0.0.1", "::ffff:10.0.0.2", false);
        check("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", true);
        check("2001:db8:1:2::1", "2001:db8:1:3::1", false);
        check("::1", "127.0.0.1", false);
    }

    #[test]
    fn other_work_keeps_file_descriptors_of_its_own() {
        for (max, descriptors, n_tasks, expected) in [
            (512, None, 3, 512),
            (512, Some(1024), 3, 512),
            (1000, Some(1024), 3, 872),
            (512, Some(256), 6, 80),
            (512, Some(64), 3, 8),
            (512, Some(3), 3, 1),
            (4, Some(1024), 100, 4),
        ] {
            let affordable = affordable(max, descriptors, n_tasks);
            assert_eq!(affordable, expected, "{descriptors:?}");
        }
    }

    /// Newcomers and the places that they have.
    struct Door {
        clock: ManualClock,
        connections: Arc<Connections>,
        places: Vec<(Place, Arc<Progress>)>,
    }

    impl Door {
        fn with(max: usize) -> Door {
            Door {
                clock: ManualClock::at(Timestamp::UNIX_EPOCH),
                connections: Arc::new(Connections::new(max)),
                places: Vec::new(),
            }
        }

        /// Another comes a second later; gives those that were closed for it, in the order in which they came.
        fn enters(&mut self, address: &str) -> Result<Vec<usize>, &'static str> {
            self.clock.advance(Duration::from_secs(1));
            let progress = Arc::new(Progress::new(Clock::Manual(self.clock.clone())));
            let source = Source::of(address.parse().unwrap());
            let connections = Arc::clone(&self.connections);
            let mut admission = Box::pin(connections.admit(source, &progress));
            let mut cut = Vec::new();
            loop {
                if let Some(admitted) = (&mut admission).now_or_never() {
                    let place = admitted.place.ok_or("refused")?;
                    assert_eq!(admitted.is_crowded, !cut.is_empty());
                    self.places.push((place, Arc::clone(&progress)));
                    return Ok(cut);
                }
                let is_cut = |(place, _): &(Place, Arc<Progress>)| place.cut.is_cancelled();
                let n = self.places.iter().position(is_cut).unwrap();
                cut.push(usize::try_from(self.places.remove(n).0.id).unwrap());
            }
        }

        fn handles(&self, n: usize) {
            self.places[n].1.began_request(false);
        }
    }

    #[test]
    fn the_longest_waiting_of_an_address_with_its_share_makes_room() {
        let mut door = Door::with(6);
        for _ in 0..3 {
            assert_eq!(door.enters("10.0.0.1"), Ok(vec![]));
        }
        assert_eq!(door.enters("10.0.0.2"), Ok(vec![]));
        assert_eq!(door.enters("10.0.0.1"), Ok(vec![0]));
        // The others are 1, 2, 3 and 4.
        door.handles(0);
        assert_eq!(door.enters("10.0.0.1"), Ok(vec![2]));
        for n in 0..door.places.len() {
            door.handles(n);
        }
        assert_eq!(door.enters("10.0.0.1"), Err("refused"));
        assert_eq!(door.enters("10.0.0.3"), Ok(vec![]));
    }

    #[test]
    fn when_all_places_are_taken_the_address_with_most_makes_room() {
        let mut door = Door::with(4);
        for address in ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"] {
            assert_eq!(door.enters(address), Ok(vec![]));
        }
        assert_eq!(door.enters("10.0.0.4"), Ok(vec![1]));
        // Each has one: the one that waits longest.
        assert_eq!(door.enters("10.0.0.5").map(|cut| cut.len()), Ok(1));
    }

    #[test]
    fn a_lower_limit_holds_from_the_next_connection_on() {
        let mut door = Door::with(8);
        for n in 0..8 {
            let address = format!("10.0.0.{n}");
            assert_eq!(door.enters(&address), Ok(vec![]));
        }
        door.connections.set_max(6);
        assert_eq!(door.enters("10.0.0.9").map(|cut| cut.len()), Ok(3));
    }

    #[test]
    fn each_phase_has_a_deadline_that_only_progress_of_a_response_moves() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let progress = Progress::new(Clock::Manual(clock.clone()));
        let is_expired = || progress.expired().now_or_never().is_some();
        let passes = |seconds| clock.advance(Duration::from_secs(seconds));
        passes(9);
        assert!(!is_expired());
        progress.received();
        for _ in 0..9 {
            passes(1);
            progress.received();
        }
        assert!(!is_expired());
        passes(1);
        assert!(is_expired(), "headers");
        progress.began_request(true);
        for _ in 0..10 {
            passes(1);
            progress.received();
        }
        assert!(is_expired(), "body");
        progress.ended_body();
        passes(119);
        assert!(!is_expired());
        progress.began_response();
        passes(10);
        assert!(is_expired(), "a response of which nothing is read");
        progress.began_response();
        for _ in 0..11 {
            passes(5);
            progress.sent();
            assert!(!is_expired());
        }
        progress.ended_response();
        passes(5);
        progress.sent();
        assert!(is_expired(), "a response that is read slowly");
        progress.flushed();
        passes(74);
        assert!(!is_expired());
        passes(1);
        assert!(is_expired(), "no further request");
    }
}
