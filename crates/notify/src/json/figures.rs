//! The exact figures of an alert, as decimal strings.

use serde_json::{Map, Value, json};

use crate::wording::watches;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{Contributor, Fact};
use spendwatch_domain::rules::watch::{Unit, Watch};
use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::money::overage_percent;

/// Returns the figures of an alert.
pub fn figures(fact: &Fact) -> Value {
    let mut figures = Map::new();
    let limit = fact.limit.filter(|_| fact.event().is_none());
    let overage = limit.and_then(|limit| overage_percent(limit, fact.value));
    match fact.event() {
        Some((event, moment)) => {
            let moment = moment.map(|at| at.to_string());
            figures.insert("event".to_owned(), event.as_str().into());
            figures.insert("moment".to_owned(), moment.into());
            figures.insert("made_by".to_owned(), fact.creator.clone().into());
        }
        None => {
            let unit = fact.watch.unit();
            let limit = limit.map(|limit| unit.decimal(limit));
            let key = watches::wording(fact.watch).key.to_owned();
            figures.insert(key, unit.decimal(fact.value).into());
            figures.insert(keys(unit).limit.to_owned(), limit.into());
        }
    }
    let rest = json!({
        "watch": fact.watch.as_str(),
        "is_lower_bound": fact.is_lower_bound,
        "is_late": fact.is_late,
        "is_fired_and_resolved": fact.is_fired_and_resolved,
        "threshold": &*fact.threshold.text,
        "overage_percent": overage,
        "forecast_usd": fact.forecast.map(|usd| usd.to_string()),
        "sequence": fact.sequence,
        "reason": fact.public_reason().as_str(),
        "ended_by": fact.ended_by.map(EndedBy::as_str),
        "decided_at": fact.decided_at.to_string(),
        "as_of": fact.as_of.map(|at| at.to_string()),
        "period_start": fact.span.start.to_string(),
        "period_end": fact.span.end.to_string(),
        "time_zone": fact.zone_name,
        "top": fact.top.iter().map(|part| contributor(fact.watch, part)).collect::<Vec<_>>(),
    });
    if let Value::Object(rest) = rest {
        figures.extend(rest);
    }
    if let Some(absent) = &fact.in_place_of {
        figures.insert("in_place_of".to_owned(), absent.as_str().into());
    }
    if let Some(sides) = &fact.reconciled {
        let unpriced: Vec<&str> = sides.unpriced.iter().map(ModelName::as_str).collect();
        figures.insert("billed_usd".to_owned(), sides.billed.to_string().into());
        figures.insert(
            "estimated_usd".to_owned(),
            sides.estimated.to_string().into(),
        );
        figures.insert(
            "uncertain_usd".to_owned(),
            sides.uncertain.to_string().into(),
        );
        figures.insert("unpriced_models".to_owned(), unpriced.into());
    }
    Value::Object(figures)
}

/// Keys of a unit's figures.
struct Keys {
    limit: &'static str,
    before: &'static str,
    growth: &'static str,
}

fn keys(unit: Unit) -> Keys {
    let (limit, before, growth) = match unit {
        Unit::Usd => ("limit_usd", "before_usd", "growth_usd"),
        Unit::Tokens => ("limit_tokens", "before_tokens", "growth_tokens"),
        Unit::Requests => ("limit_requests", "before_requests", "growth_requests"),
        Unit::Seconds => ("limit_seconds", "before_seconds", "growth_seconds"),
        Unit::Percent => ("limit_percent", "before_percent", "growth_percent_points"),
        Unit::Severity => ("limit", "before", "growth"),
    };
    Keys {
        limit,
        before,
        growth,
    }
}

fn contributor(watch: Watch, part: &Contributor) -> Value {
    // A burn rate is derived from spend, and its contributors are sums of spend.
    let watch = if watch == Watch::BurnRate {
        Watch::Spend
    } else {
        watch
    };
    let (unit, value) = (watch.unit(), watches::wording(watch).key);
    let keys = keys(unit);
    let growth = part.before.map(|before| part.value - before);
    let percent = part
        .before
        .and_then(|before| overage_percent(before, part.value));
    let mut json = json!({
        "workspace_id": part.workspace_id.as_str(),
        "workspace": part.workspace,
        // Empty for all models, as in metrics.
        "model": part.model.as_ref().map_or("", ModelName::as_str),
        value: unit.decimal(part.value),
        keys.before: part.before.map(|before| unit.decimal(before)),
        keys.growth: growth.map(|growth| unit.decimal(growth)),
        "growth_percent": percent,
    });
    if let Some(key) = &part.api_key {
        json["api_key_id"] = json!(key.id.as_str());
        json["api_key"] = json!(key.name);
    }
    if let Some(person) = &part.person {
        json["user"] = json!(person);
    }
    json
}
