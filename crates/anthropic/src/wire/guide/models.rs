//! Decodes the models of a usage row; what they do not add up to is assigned to the model `unattributed`. Pure.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::transport::decode::{self, DecodeError, ResponseLocation};
use crate::wire::field::{Count, Dollars, Field, MAX_COUNT, Row};
use spendwatch_domain::units::ids::UNATTRIBUTED;
use spendwatch_domain::usage::bucket::{self, Amounts, Tokens, UsageByKey, UsageKey};

/// Returns the figures of each model, and the rest of the total under `unattributed`, so that they sum to the total. Invalid
/// models are left out.
pub fn cells(row: &mut Row, whole: Amounts, breakdown: Option<&RawValue>) -> UsageByKey {
    let location = row.location;
    let models = breakdown.and_then(|raw| row.keep(read(location, raw)));
    let BreakdownWire(models) = models.unwrap_or_default();
    let mut cells = UsageByKey::new();
    let mut rest = whole;
    for (name, model) in models.iter().filter(|(name, _)| !name.is_empty()) {
        let Some(amounts) = row.keep(model_amounts(location, name, model)) else {
            continue;
        };
        let left = rest - amounts;
        // Keeps sums within 64 bits for any number of models.
        if left.tokens.input.min(left.tokens.output) < -MAX_COUNT {
            let problem = "which raises the models' tokens above 10^15";
            let field = "model_breakdown";
            row.errors
                .push(DecodeError::value(location, field, name, problem));
            continue;
        }
        rest = left;
        bucket::add_to(&mut cells, &UsageKey::from(name.as_str()), amounts);
    }
    bucket::add_to(&mut cells, &UsageKey::from(UNATTRIBUTED), rest);
    cells
}

fn read(location: ResponseLocation, raw: &RawValue) -> Result<BreakdownWire<'_>, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|error| DecodeError::Shape {
        location,
        reason: format!("`model_breakdown`: {error}"),
    })
}

fn model_amounts(
    location: ResponseLocation,
    name: &str,
    raw: &RawValue,
) -> Result<Amounts, DecodeError> {
    let model: ModelWire = decode::read_row(location, raw)?;
    let within = format_args!("model_breakdown.{name}");
    let cost = model
        .cost_usd
        .get(location, format_args!("{within}.cost_usd"))?;
    let count = |field: &str, count: Field<Count>| {
        let count = count.get(location, format_args!("{within}.{field}"))?;
        Ok(count.unwrap_or_default().0)
    };
    Ok(Amounts {
        spend: cost.unwrap_or_default().0,
        tokens: Tokens {
            input: count("input_tokens", model.input_tokens)?,
            output: count("output_tokens", model.output_tokens)?,
            ..Tokens::default()
        },
        ..Amounts::ZERO
    })
}

/// Models in order; a map would silently keep the last of two with the same name.
#[derive(Default)]
struct BreakdownWire<'a>(Vec<(String, &'a RawValue)>);

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ModelWire {
    input_tokens: Field<Count>,
    output_tokens: Field<Count>,
    cost_usd: Field<Dollars>,
}

impl<'de: 'a, 'a> Deserialize<'de> for BreakdownWire<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Models;
        impl<'de> Visitor<'de> for Models {
            type Value = BreakdownWire<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of models")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut models = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, model)) = map.next_entry::<String, &'de RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(M::Error::custom(format!("model `{name}` is listed twice")));
                    }
                    models.push((name, model));
                }
                Ok(BreakdownWire(models))
            }
        }
        deserializer.deserialize_map(Models)
    }
}
