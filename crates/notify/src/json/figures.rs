//! The exact figures of an alert, as decimal strings.

use serde_json::{Value, json};

use crate::wording::watches;
use spendwatch_domain::alerts::alert::EndedBy;
use spendwatch_domain::alerts::notification::{Contributor, Fact};
use spendwatch_domain::rules::watch::{Unit, Watch};
use spendwatch_domain::units::ids::ModelName;
use spendwatch_domain::units::money::overage_percent;

/// Returns the figures of an alert.
pub fn figures(fact: &Fact) -> Value {
    let limit = fact.limit.filter(|_| fact.event().is_none());
    let top = fact.top.iter().map(|part| contributor(fact.watch, part));
    let mut figures = json!({
        "watch": fact.watch.as_str(),
        "is_lower_bound": fact.is_lower_bound,
        "is_late": fact.is_late,
        "is_fired_and_resolved": fact.is_fired_and_resolved,
        "threshold": &*fact.threshold.text,
        "overage_percent": limit.and_then(|limit| overage_percent(limit, fact.value)),
        "forecast_usd": fact.forecast.map(|usd| usd.to_string()),
        "sequence": fact.sequence,
        "reason": fact.public_reason().as_str(),
        "ended_by": fact.ended_by.map(EndedBy::as_str),
        "decided_at": fact.decided_at.to_string(),
        "as_of": fact.as_of.map(|at| at.to_string()),
        "period_start": fact.span.start.to_string(),
        "period_end": fact.span.end.to_string(),
        "time_zone": fact.zone_name,
        "top": top.collect::<Vec<_>>(),
    });
    if let Some((event, moment)) = fact.event() {
        figures["event"] = json!(event.as_str());
        figures["moment"] = json!(moment.map(|at| at.to_string()));
        figures["made_by"] = json!(fact.creator);
    } else {
        let unit = fact.watch.unit();
        figures[watches::wording(fact.watch).key] = json!(unit.decimal(fact.value));
        figures[keys(unit).limit] = json!(limit.map(|limit| unit.decimal(limit)));
    }
    if let Some(absent) = &fact.in_place_of {
        figures["in_place_of"] = json!(absent.as_str());
    }
    if let Some(sides) = &fact.reconciled {
        let unpriced: Vec<&str> = sides.unpriced.iter().map(ModelName::as_str).collect();
        figures["billed_usd"] = json!(sides.billed.to_string());
        figures["estimated_usd"] = json!(sides.estimated.to_string());
        figures["uncertain_usd"] = json!(sides.uncertain.to_string());
        figures["unpriced_models"] = json!(unpriced);
    }
    figures
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
