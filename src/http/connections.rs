//! Open connections: the connection limit, and which connection is closed to make room for a new one.
//!
//! One source has at most half of all connections, and a new connection replaces the one that has waited longest for its
//! client. A connection whose request is being handled is never closed to make room.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::http::progress::ConnectionProgress;
use spendwatch_base::lock;

/// File descriptors reserved for the store, the audit log, the configuration, name lookups and commands.
const RESERVED: u64 = 128;
/// File descriptors reserved per organization and notifier: open and idle connections, and the command of a secret.
const RESERVED_PER_TASK: u64 = 8;

/// Returns the number of connections, at most `max`, that leave enough of `descriptors` for `n_tasks` organizations and
/// notifiers.
pub fn affordable_connections(max: usize, descriptors: Option<u64>, n_tasks: usize) -> usize {
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

/// Clients that share a limit: an IPv4 address, or an IPv6 /64 network, whose addresses usually belong to one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientSource(IpAddr);

impl ClientSource {
    /// Returns the source of an address; an IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn new(address: IpAddr) -> ClientSource {
        ClientSource(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        })
    }
}

impl fmt::Display for ClientSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "{address}"),
            IpAddr::V6(network) => write!(f, "{network}/64"),
        }
    }
}

/// All open connections.
#[derive(Debug)]
pub struct Connections {
    open: Mutex<OpenConnections>,
    freed: Notify,
}

#[derive(Debug)]
struct OpenConnections {
    max: usize,
    next_id: u64,
    by_source: HashMap<ClientSource, Vec<OpenConnection>>,
}

#[derive(Debug)]
struct OpenConnection {
    id: u64,
    progress: Arc<ConnectionProgress>,
    evicted: CancellationToken,
}

/// Slot of one open connection; released when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    connections: Arc<Connections>,
    source: ClientSource,
    id: u64,
    /// Cancelled when the connection must make room.
    pub evicted: CancellationToken,
}

/// Why a connection cannot be entered now.
enum NoRoom {
    /// Another connection is being closed to make room.
    Wait,
    /// All connections are handling requests.
    Full,
}

/// A slot for one connection, if one was free, and whether the maximum was reached.
#[derive(Debug)]
pub struct Admission {
    /// `None` if the connection must be closed.
    pub slot: Option<ConnectionSlot>,
    pub limit_reached: bool,
}

impl Connections {
    /// Creates a registry of at most `max` connections.
    pub fn new(max: usize) -> Connections {
        Connections {
            open: Mutex::new(OpenConnections {
                max,
                next_id: 0,
                by_source: HashMap::new(),
            }),
            freed: Notify::new(),
        }
    }

    /// Changes the maximum; open connections above it are not closed.
    pub fn set_max(&self, max: usize) {
        self.open().max = max;
    }

    /// Returns the maximum number of open connections.
    pub fn max(&self) -> usize {
        self.open().max
    }

    /// Finds a slot for a connection, closing another one if necessary.
    pub async fn admit(
        self: &Arc<Self>,
        source: ClientSource,
        progress: &Arc<ConnectionProgress>,
    ) -> Admission {
        let mut limit_reached = false;
        loop {
            // Created before checking, so that a slot freed in between is noticed.
            let freed = self.freed.notified();
            let entered = self.open().enter(source, progress);
            let slot = match entered {
                Ok((id, evicted)) => Some(ConnectionSlot {
                    connections: Arc::clone(self),
                    source,
                    id,
                    evicted,
                }),
                Err(NoRoom::Wait) => {
                    limit_reached = true;
                    freed.await;
                    continue;
                }
                Err(NoRoom::Full) => None,
            };
            return Admission {
                limit_reached: limit_reached || slot.is_none(),
                slot,
            };
        }
    }

    /// Closes the connection that has waited longest for its client.
    pub fn evict_one(&self) {
        self.open().evict_from_largest();
    }

    fn open(&self) -> MutexGuard<'_, OpenConnections> {
        lock(&self.open)
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.connections.open().remove(self.source, self.id);
        self.connections.freed.notify_waiters();
    }
}

impl OpenConnections {
    fn enter(
        &mut self,
        source: ClientSource,
        progress: &Arc<ConnectionProgress>,
    ) -> Result<(u64, CancellationToken), NoRoom> {
        let n_all: usize = self.by_source.values().map(Vec::len).sum();
        let own = self.by_source.get(&source).map_or(&[][..], Vec::as_slice);
        let share = self.max.div_ceil(2);
        if own.len() < share && n_all < self.max {
            let (id, evicted) = (self.next_id, CancellationToken::new());
            self.next_id += 1;
            let entry = OpenConnection {
                id,
                progress: Arc::clone(progress),
                evicted: evicted.clone(),
            };
            self.by_source.entry(source).or_default().push(entry);
            return Ok((id, evicted));
        }
        let n_evicted =
            |entries: &[OpenConnection]| entries.iter().filter(|entry| entry.is_evicted()).count();
        let is_cut = if own.len() >= share {
            let n_evicted = n_evicted(own);
            own.len() - n_evicted < share || evict_longest(own)
        } else {
            let n_evicted: usize = self.by_source.values().map(|own| n_evicted(own)).sum();
            n_all - n_evicted < self.max || self.evict_from_largest()
        };
        Err(if is_cut { NoRoom::Wait } else { NoRoom::Full })
    }

    /// Closes the longest waiting connection of the source with the most connections. Returns whether there was one.
    fn evict_from_largest(&self) -> bool {
        let largest = self
            .by_source
            .values()
            .filter(|entries| entries.iter().any(|entry| entry.waiting_since().is_some()))
            .max_by_key(|entries| entries.len());
        largest.is_some_and(|entries| evict_longest(entries))
    }

    fn remove(&mut self, source: ClientSource, id: u64) {
        if let Some(entries) = self.by_source.get_mut(&source) {
            entries.retain(|entry| entry.id != id);
            if entries.is_empty() {
                self.by_source.remove(&source);
            }
        }
    }
}

/// Closes the connection that has waited longest for its client. Returns whether there was one.
fn evict_longest(entries: &[OpenConnection]) -> bool {
    let waiting = entries
        .iter()
        .filter_map(|entry| Some((entry.waiting_since()?, entry)));
    let longest = waiting.min_by_key(|(since, entry)| (*since, entry.id));
    if let Some((_, entry)) = longest {
        entry.evicted.cancel();
    }
    longest.is_some()
}

impl OpenConnection {
    fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }

    /// Returns `None` if the connection cannot be closed or is already being closed.
    fn waiting_since(&self) -> Option<Duration> {
        self.progress.waiting_since().filter(|_| !self.is_evicted())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use jiff::Timestamp;

    use super::*;
    use spendwatch_base::clock::{Clock, ManualClock};

    #[test]
    fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
        let check = |one: &str, other: &str, is_same: bool| {
            let of = |text: &str| ClientSource::new(text.parse().unwrap());
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
    fn file_descriptors_are_reserved_for_other_tasks() {
        for (max, descriptors, n_tasks, expected) in [
            (512, None, 3, 512),
            (512, Some(1024), 3, 512),
            (1000, Some(1024), 3, 872),
            (512, Some(256), 6, 80),
            (512, Some(64), 3, 8),
            (512, Some(3), 3, 1),
            (4, Some(1024), 100, 4),
        ] {
            let affordable = affordable_connections(max, descriptors, n_tasks);
            assert_eq!(affordable, expected, "{descriptors:?}");
        }
    }

    /// Registry with its open connections.
    struct Fixture {
        clock: ManualClock,
        connections: Arc<Connections>,
        slots: Vec<(ConnectionSlot, Arc<ConnectionProgress>)>,
    }

    impl Fixture {
        fn new(max: usize) -> Fixture {
            Fixture {
                clock: ManualClock::at(Timestamp::UNIX_EPOCH),
                connections: Arc::new(Connections::new(max)),
                slots: Vec::new(),
            }
        }

        /// Opens a connection one second later; returns the ids of the connections closed for it, oldest first.
        fn open(&mut self, address: &str) -> Result<Vec<usize>, &'static str> {
            self.clock.advance(Duration::from_secs(1));
            let progress = Arc::new(ConnectionProgress::new(Clock::Manual(self.clock.clone())));
            let source = ClientSource::new(address.parse().unwrap());
            let connections = Arc::clone(&self.connections);
            let mut admission = Box::pin(connections.admit(source, &progress));
            let mut evicted = Vec::new();
            loop {
                if let Some(admitted) = (&mut admission).now_or_never() {
                    let slot = admitted.slot.ok_or("refused")?;
                    assert_eq!(admitted.limit_reached, !evicted.is_empty());
                    self.slots.push((slot, Arc::clone(&progress)));
                    return Ok(evicted);
                }
                let is_cut = |(slot, _): &(ConnectionSlot, Arc<ConnectionProgress>)| {
                    slot.evicted.is_cancelled()
                };
                let n = self.slots.iter().position(is_cut).unwrap();
                evicted.push(usize::try_from(self.slots.remove(n).0.id).unwrap());
            }
        }

        fn start_request(&self, n: usize) {
            self.slots[n].1.on_request_headers(false);
        }
    }

    #[test]
    fn a_source_at_its_share_replaces_its_own_longest_waiting_connection() {
        let mut fixture = Fixture::new(6);
        for _ in 0..3 {
            assert_eq!(fixture.open("10.0.0.1"), Ok(vec![]));
        }
        assert_eq!(fixture.open("10.0.0.2"), Ok(vec![]));
        assert_eq!(fixture.open("10.0.0.1"), Ok(vec![0]));
        // The others are 1, 2, 3 and 4.
        fixture.start_request(0);
        assert_eq!(fixture.open("10.0.0.1"), Ok(vec![2]));
        for n in 0..fixture.slots.len() {
            fixture.start_request(n);
        }
        assert_eq!(fixture.open("10.0.0.1"), Err("refused"));
        assert_eq!(fixture.open("10.0.0.3"), Ok(vec![]));
    }

    #[test]
    fn at_the_limit_the_source_with_most_connections_makes_room() {
        let mut fixture = Fixture::new(4);
        for address in ["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"] {
            assert_eq!(fixture.open(address), Ok(vec![]));
        }
        assert_eq!(fixture.open("10.0.0.4"), Ok(vec![1]));
        // Each source has one connection, so the longest waiting one is closed.
        assert_eq!(fixture.open("10.0.0.5").map(|evicted| evicted.len()), Ok(1));
    }

    #[test]
    fn a_lower_limit_applies_to_the_next_connection() {
        let mut fixture = Fixture::new(8);
        for n in 0..8 {
            let address = format!("10.0.0.{n}");
            assert_eq!(fixture.open(&address), Ok(vec![]));
        }
        fixture.connections.set_max(6);
        assert_eq!(fixture.open("10.0.0.9").map(|evicted| evicted.len()), Ok(3));
    }

    #[test]
    fn only_response_progress_extends_a_deadline() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let progress = ConnectionProgress::new(Clock::Manual(clock.clone()));
        let is_expired = || progress.expired().now_or_never().is_some();
        let advance = |seconds| clock.advance(Duration::from_secs(seconds));
        advance(9);
        assert!(!is_expired());
        progress.on_received();
        for _ in 0..9 {
            advance(1);
            progress.on_received();
        }
        assert!(!is_expired());
        advance(1);
        assert!(is_expired(), "headers");
        progress.on_request_headers(true);
        for _ in 0..10 {
            advance(1);
            progress.on_received();
        }
        assert!(is_expired(), "body");
        progress.on_request_end();
        advance(119);
        assert!(!is_expired());
        progress.on_response_headers();
        advance(10);
        assert!(is_expired(), "a response that the client does not read");
        progress.on_response_headers();
        for _ in 0..11 {
            advance(5);
            progress.on_sent();
            assert!(!is_expired());
        }
        progress.on_response_end();
        advance(5);
        progress.on_sent();
        assert!(is_expired(), "a response that is read slowly");
        progress.on_flushed();
        advance(74);
        assert!(!is_expired());
        advance(1);
        assert!(is_expired(), "no further request");
    }
}
