//! Changes, carried out in either dialect.

use jiff::Timestamp;

use crate::simulator::orders::Order;
use crate::simulator::refusal::Refusal;
use crate::simulator::speech::{Head, Speaks};
use crate::simulator::world::World;
use crate::simulator::{guide_orders, real_orders};

/// Carries it out; the body of its answer.
pub fn answer(
    world: &mut World,
    order: &Order,
    head: &Head,
    now: Timestamp,
) -> Result<String, Refusal> {
    match world.speaks {
        Speaks::Guide => guide_orders::answer(world, order, now),
        Speaks::Real(_) => real_orders::answer(world, order, head, now),
    }
}
