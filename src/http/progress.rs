//! Phases of a connection and their deadlines. A client can hold a connection open without sending anything, so every wait
//! for a client has a deadline.

use std::time::Duration;

use tokio::sync::watch;

use spendwatch_base::clock::Clock;

/// From accepting a connection to the first byte of a request.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(10);
/// From the first byte of a request to the end of its headers.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// From the end of the headers to the end of the body, which has at most 64 KiB.
const BODY_LIMIT: Duration = Duration::from_secs(10);
/// Longer than a reload that resolves secrets from slow commands.
const HANDLING_LIMIT: Duration = Duration::from_mins(2);
/// From the start of a response to its last byte: 10 MB at 1.4 Mbit/s.
const RESPONSE_LIMIT: Duration = Duration::from_mins(1);
/// Maximum time within a response without the client reading a byte.
const STALL_LIMIT: Duration = Duration::from_secs(10);
/// Between two requests: longer than the usual scrape interval of a minute.
const IDLE_LIMIT: Duration = Duration::from_secs(75);
/// A deadline moves in steps of at least this length, so that large responses do not set it for every packet.
const MIN_STEP: Duration = Duration::from_secs(1);

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionPhase {
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

impl ConnectionPhase {
    fn limit(self) -> Duration {
        match self {
            ConnectionPhase::Opened => FIRST_BYTE_LIMIT,
            ConnectionPhase::Headers => HEADER_LIMIT,
            ConnectionPhase::Body => BODY_LIMIT,
            ConnectionPhase::Handling => HANDLING_LIMIT,
            ConnectionPhase::Response | ConnectionPhase::Flushing => RESPONSE_LIMIT,
            ConnectionPhase::Idle => IDLE_LIMIT,
        }
    }

    /// Describes why a connection is closed when this phase expires.
    pub fn timeout_reason(self) -> &'static str {
        match self {
            ConnectionPhase::Opened => "no request",
            ConnectionPhase::Headers => "no complete headers",
            ConnectionPhase::Body => "no complete body",
            ConnectionPhase::Handling => "request takes too long",
            ConnectionPhase::Response | ConnectionPhase::Flushing => "response not read",
            ConnectionPhase::Idle => "no further request",
        }
    }
}

/// Phase with its times, in monotonic time.
#[derive(Debug, Clone, Copy)]
struct PhaseTimes {
    phase: ConnectionPhase,
    since: Duration,
    ends_at: Duration,
    /// Current deadline; earlier than `ends_at` if a response stalls.
    deadline: Duration,
}

impl PhaseTimes {
    fn new(phase: ConnectionPhase, now: Duration) -> PhaseTimes {
        let ends_at = now + phase.limit();
        let deadline = if phase == ConnectionPhase::Response {
            ends_at.min(now + STALL_LIMIT)
        } else {
            ends_at
        };
        PhaseTimes {
            phase,
            since: now,
            ends_at,
            deadline,
        }
    }
}

/// Phase and deadline of one connection.
#[derive(Debug)]
pub struct ConnectionProgress {
    clock: Clock,
    step: watch::Sender<PhaseTimes>,
}

impl ConnectionProgress {
    /// Creates the progress of a new connection.
    pub fn new(clock: Clock) -> ConnectionProgress {
        let step = PhaseTimes::new(ConnectionPhase::Opened, clock.monotonic());
        ConnectionProgress {
            clock,
            step: watch::Sender::new(step),
        }
    }

    /// Returns the current phase.
    pub fn phase(&self) -> ConnectionPhase {
        self.step.borrow().phase
    }

    /// Records that bytes arrived.
    pub fn on_received(&self) {
        self.advance(
            &[ConnectionPhase::Opened, ConnectionPhase::Idle],
            ConnectionPhase::Headers,
        );
    }

    /// Waits until the response to the previous request is sent. Otherwise a client that pipelines requests and reads no
    /// response would always have one being handled.
    pub async fn wait_until_flushed(&self) {
        let mut steps = self.step.subscribe();
        // The sender is a field of `self`.
        let _ = steps
            .wait_for(|step| step.phase != ConnectionPhase::Flushing)
            .await;
    }

    /// Records that the headers of a request are complete.
    pub fn on_request_headers(&self, has_body: bool) {
        self.start(match has_body {
            true => ConnectionPhase::Body,
            false => ConnectionPhase::Handling,
        });
    }

    /// Records that the body of a request is complete or was dropped.
    pub fn on_request_end(&self) {
        self.advance(&[ConnectionPhase::Body], ConnectionPhase::Handling);
    }

    /// Records that a response starts.
    pub fn on_response_headers(&self) {
        self.start(ConnectionPhase::Response);
    }

    fn start(&self, phase: ConnectionPhase) {
        let step = PhaseTimes::new(phase, self.clock.monotonic());
        self.step.send_replace(step);
    }

    /// Records that bytes were sent.
    pub fn on_sent(&self) {
        let stalls_at = self.clock.monotonic() + STALL_LIMIT;
        self.step.send_if_modified(|step| {
            let deadline = stalls_at.min(step.ends_at);
            let is_later = matches!(
                step.phase,
                ConnectionPhase::Response | ConnectionPhase::Flushing
            ) && deadline >= step.deadline + MIN_STEP;
            if is_later {
                step.deadline = deadline;
            }
            is_later
        });
    }

    /// Records that the response body is complete.
    pub fn on_response_end(&self) {
        self.step.send_if_modified(|step| {
            let is_response = step.phase == ConnectionPhase::Response;
            if is_response {
                step.phase = ConnectionPhase::Flushing;
            }
            is_response
        });
    }

    /// Records that everything was sent.
    pub fn on_flushed(&self) {
        self.advance(&[ConnectionPhase::Flushing], ConnectionPhase::Idle);
    }

    fn advance(&self, from: &[ConnectionPhase], to: ConnectionPhase) {
        self.step.send_if_modified(|step| {
            let is_due = from.contains(&step.phase);
            if is_due {
                *step = PhaseTimes::new(to, self.clock.monotonic());
            }
            is_due
        });
    }

    /// Waits until the deadline has passed; returns the phase that expired.
    pub async fn expired(&self) -> ConnectionPhase {
        let mut steps = self.step.subscribe();
        loop {
            let step = *steps.borrow_and_update();
            let left = step.deadline.saturating_sub(self.clock.monotonic());
            if left.is_zero() {
                return step.phase;
            }
            tokio::select! {
                // The sender is a field of `self`.
                _ = steps.changed() => {}
                () = self.clock.sleep(left) => {}
            }
        }
    }

    /// Returns since when the connection has waited for its client, or `None` while a request is handled.
    pub fn waiting_since(&self) -> Option<Duration> {
        let step = self.step.borrow();
        (step.phase != ConnectionPhase::Handling).then_some(step.since)
    }
}
