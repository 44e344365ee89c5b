//! Random histories by seed: spend and corrections, failing parts and receivers, reloads, silences and kills, in one process
//! without network. What receivers were sent is checked from outside, and failures are printed as a short history.
//!
//!     SPENDWATCH_TEST_HISTORIES=10000 SPENDWATCH_TEST_SEED=7 cargo nextest run histories --no-capture

mod policy;
mod stage;
mod story;
mod witness;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use spendwatch_anthropic::endpoint::RequestCounts;
use spendwatch_anthropic::transport::limiter::RateShare;
use spendwatch_anthropic::{API_VERSION, AdminApi, ApiSettings};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::secret::Secret;

use crate::harness::organization;
use crate::histories::stage::{Shared, play};
use crate::histories::story::{Step, histories, tell};

/// Takes about twenty seconds.
const N_HISTORIES: u32 = 500;

#[test]
fn receivers_are_notified_of_the_true_state() {
    let n_histories = number("SPENDWATCH_TEST_HISTORIES", N_HISTORIES);
    let seed = number("SPENDWATCH_TEST_SEED", 1u64);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let shared = Shared::new(api());
    let clock = Clock::system();
    let check = |steps: Vec<Step>| {
        let played = runtime.block_on(play(&shared, &steps));
        played.map_err(TestCaseError::fail)
    };
    let found = runner(n_histories, seed).run(&histories(), check);
    let seconds = clock.monotonic().as_secs();
    eprintln!("{n_histories} histories with seed {seed} in {seconds} s");
    match found {
        Ok(()) => {}
        Err(TestError::Fail(why, steps)) => panic!("seed {seed}: {why}\n{}", tell(&steps)),
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}

fn runner(n_histories: u32, seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: n_histories,
        failure_persistence: None,
        max_shrink_iters: 3000,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

#[expect(
    clippy::disallowed_methods,
    reason = "how much a test does is no configuration of the program"
)]
pub fn number<T: FromStr>(variable: &str, otherwise: T) -> T {
    match std::env::var(variable) {
        Ok(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => panic!("{variable}: `{text}` is not a number"),
        },
        Err(_) => otherwise,
    }
}

/// Never used for requests.
fn api() -> AdminApi {
    let settings = ApiSettings {
        organization: organization(),
        base_url: "http://127.0.0.1:1".to_owned(),
        timeout: Duration::from_secs(1),
        max_concurrency: 1,
        max_requests_per_minute: None,
        share: RateShare::Daemon,
        api_version: API_VERSION.to_owned(),
        ca_file: None,
    };
    AdminApi::new(
        settings,
        Secret::new("sk-ant-admin-simulated".to_owned()),
        Clock::system(),
        Random::seeded(1),
        Arc::new(RequestCounts::default()),
    )
    .unwrap()
}
