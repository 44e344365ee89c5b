//! Estimates against a simulated server: uncertain prices are marked, and fast mode counts only if plausible.

use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::subject::SubjectKind;
use spendwatch_domain::usage::bucket::Amounts;
use spendwatch_simulator::api::{PlatformOptions, SimulatedApi};
use spendwatch_simulator::world::World;
use spendwatch_simulator::world::amounts::{SimulatedUsage, UsageDetail};

use crate::harness::{WatcherFixture, at, hours, organization, rule};

const OPUS: &str = "claude-opus-5";
const SONNET: &str = "claude-sonnet-5";
const NOW: &str = "2026-11-24T13:05:00Z";

fn used() -> SimulatedUsage {
    SimulatedUsage {
        micros: 9_000_000,
        input: 1_000_000,
        output: 200_000,
        requests: 3,
        ..SimulatedUsage::default()
    }
}

/// This month's amounts of a model after one cycle; nothing of today is billed yet.
async fn after_a_cycle(dialect: Dialect, change: impl FnOnce(&mut World)) -> [Amounts; 2] {
    let mut world = World::seeded(7);
    world.api = SimulatedApi::Platform(PlatformOptions::default());
    world.default_workspace = Some("wrkspc_default0".to_owned());
    world.add_workspace("wrkspc_a", "Alpha");
    world.refreshed_until = Some(at("2026-11-24T00:00:00Z"));
    for model in [OPUS, SONNET] {
        let hour = at("2026-11-24T08:00:00Z");
        world.add_detailed_usage("wrkspc_a", model, hour, used(), UsageDetail::default());
    }
    change(&mut world);
    let mut fixture = WatcherFixture::new(world, NOW).await;
    fixture.dialect = dialect;
    let fixture = fixture.with_rule(rule("month", SubjectKind::Organization, 1_000_000));
    let store = fixture.open_store();
    let mut watcher = fixture.watcher(&store).await;
    fixture.cycle(&mut watcher).await;
    let month = hours("2026-11-01T00:00:00Z", "2026-11-25T00:00:00Z");
    let sums = store.sums(&organization(), month).await.unwrap();
    [OPUS, SONNET].map(|model| {
        let of_model = sums
            .iter()
            .filter(|(_, usage_key, _)| usage_key.model.as_str() == model);
        of_model.fold(Amounts::ZERO, |sum, (_, _, amounts)| sum + *amounts)
    })
}

#[tokio::test]
async fn a_server_that_ignores_the_speed_filter_does_not_double_the_spend() {
    for dialect in [Dialect::Analytics, Dialect::Reports] {
        let [opus, sonnet] = after_a_cycle(dialect, |_| ()).await;
        assert!(opus.spend > Usd::ZERO && sonnet.spend > Usd::ZERO);
        assert_eq!(
            (opus.uncertain, sonnet.uncertain),
            (Usd::ZERO, Usd::ZERO),
            "{dialect}"
        );
        let ignoring = after_a_cycle(dialect, |world| world.ignores_speeds = true).await;
        assert_eq!(
            ignoring.map(|of| of.spend),
            [opus.spend, sonnet.spend],
            "{dialect}"
        );
        // The speed is unknown for models with a fast mode.
        assert_eq!(
            ignoring.map(|of| of.uncertain),
            [opus.priced, Usd::ZERO],
            "{dialect}"
        );
    }
}

#[tokio::test]
async fn usage_in_a_tier_without_a_public_price_is_uncertain_in_the_ledger() {
    for tier in ["flex", "flex_discount", "priority_on_demand"] {
        let flex = |world: &mut World| {
            let detail = UsageDetail {
                service_tier: tier.to_owned(),
                ..UsageDetail::default()
            };
            let hour = at("2026-11-24T09:00:00Z");
            world.add_detailed_usage("wrkspc_a", SONNET, hour, used(), detail);
        };
        let [opus, sonnet] = after_a_cycle(Dialect::Analytics, flex).await;
        assert_eq!(opus.uncertain, Usd::ZERO);
        // Half of it is in this tier.
        assert_eq!(sonnet.uncertain.pico() * 2, sonnet.priced.pico(), "{tier}");
        assert!(sonnet.uncertain > Usd::ZERO, "{tier}");
    }
}
