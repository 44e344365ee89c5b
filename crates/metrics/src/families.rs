//! All metrics of organizations. The contract defines names and meanings.

use crate::text::Family;

/// Families in exposition order.
pub const ALL: [Family; N_FAMILIES] = [
    Family::gauge("anthropic_spend_today_usd", "Spend so far in this UTC day."),
    Family::gauge(
        "anthropic_spend_month_usd",
        "Spend so far in this UTC month.",
    ),
    Family::gauge(
        "anthropic_spend_recorded_usd",
        "All spend in the ledger since the store was made; never resets, may fall by corrections.",
    ),
    Family::gauge("anthropic_tokens_today", "Tokens so far in this UTC day."),
    Family::gauge("anthropic_tokens_month", "Tokens so far in this UTC month."),
    Family::gauge(
        "anthropic_tokens_recorded",
        "All tokens in the ledger since the store was made.",
    ),
    Family::gauge(
        "anthropic_requests_today",
        "Requests so far in this UTC day.",
    ),
    Family::gauge(
        "anthropic_requests_month",
        "Requests so far in this UTC month.",
    ),
    Family::gauge(
        "anthropic_requests_recorded",
        "All requests in the ledger since the store was made.",
    ),
    Family::gauge(
        "anthropic_spend_last_hour_usd",
        "Spend in the newest settled hour.",
    ),
    Family::gauge(
        "anthropic_cache_savings_month_usd",
        "How much more this UTC month would have cost without a cache, by list prices; below zero where writing cost more than reading saved.",
    ),
    Family::gauge(
        "anthropic_api_key_spend_month_usd",
        "Spend of an API key so far in this UTC month. Where the service bills no keys (dialect reports) each has its share by tokens.",
    ),
    Family::gauge(
        "anthropic_user_spend_month_usd",
        "Spend of a person so far in this UTC month.",
    ),
    Family::gauge(
        "spendwatch_data_timestamp_seconds",
        "Up to when the figures are known: the start of the newest complete poll.",
    ),
    Family::gauge(
        "anthropic_workspace_limit_usd",
        "The server's own monthly spend limit of a workspace.",
    ),
    Family::gauge(
        "anthropic_workspace_limit_requests_per_minute",
        "The server's own limit of requests per minute of a workspace.",
    ),
    Family::gauge(
        "anthropic_rate_limit",
        "The server's own limits of use, by group of models; workspace_id is empty for those of the organization.",
    ),
    Family::gauge(
        "anthropic_organization_spend_today_usd",
        "Spend of the whole organization so far in this UTC day.",
    ),
    Family::gauge(
        "anthropic_organization_spend_month_usd",
        "Spend of the whole organization so far in this UTC month.",
    ),
    Family::gauge(
        "anthropic_organization_estimated_spend_month_usd",
        "The part of the month's spend that is still an estimate.",
    ),
    Family::gauge(
        "anthropic_organization_list_spend_month_usd",
        "What is billed of this UTC month before discounts, as the service states it.",
    ),
    Family::gauge(
        "anthropic_organization_spend_recorded_usd",
        "All spend of the whole organization in the ledger.",
    ),
    Family::gauge(
        "anthropic_organization_spend_last_hour_usd",
        "Spend of the whole organization in the newest settled hour.",
    ),
    Family::gauge(
        "anthropic_organization_limit_usd",
        "The server's own monthly spend limit of the organization.",
    ),
    Family::gauge(
        "anthropic_team_spend_today_usd",
        "Spend of a team so far in this UTC day.",
    ),
    Family::gauge(
        "anthropic_team_spend_month_usd",
        "Spend of a team so far in this UTC month.",
    ),
    Family::gauge(
        "spendwatch_organization_up",
        "Whether the last cycle was complete.",
    ),
    Family::gauge(
        "spendwatch_billed_timestamp_seconds",
        "Up to when the service has billed; what came later is estimated.",
    ),
    Family::gauge(
        "spendwatch_reconciliation_billed_usd",
        "What the service has billed of this UTC month.",
    ),
    Family::gauge(
        "spendwatch_reconciliation_estimated_usd",
        "What was estimated for the part of this UTC month that is billed.",
    ),
    Family::gauge(
        "spendwatch_reconciliation_gap_usd",
        "Billed minus estimated, of the part of this UTC month that is billed.",
    ),
    Family::gauge(
        "spendwatch_reconciliation_gap_ratio",
        "The gap as a share of what was estimated.",
    ),
    Family::gauge(
        "spendwatch_reconciliation_uncertain_usd",
        "The part of what tokens cost by list price in this UTC month that the price table cannot determine with certainty.",
    ),
    Family::gauge(
        "spendwatch_unpriced_tokens_month",
        "Tokens so far in this UTC month of a model whose price is not known: until they are billed, their spend is missing.",
    ),
    Family::gauge(
        "spendwatch_priority_tokens_month",
        "Tokens of the Priority Tier so far in this UTC month, whose price is set by contract.",
    ),
    Family::gauge(
        "spendwatch_rule_limit_usd",
        "The limit of a rule for a subject, in USD.",
    ),
    Family::gauge(
        "spendwatch_rule_limit_tokens",
        "The limit of a rule for a subject, in tokens.",
    ),
    Family::gauge(
        "spendwatch_rule_limit_requests",
        "The limit of a rule for a subject, in requests.",
    ),
    Family::gauge(
        "spendwatch_rule_limit_seconds",
        "The limit of a rule on the age of data, in seconds.",
    ),
    Family::gauge(
        "spendwatch_rule_used_ratio",
        "The share of a rule's limit that a subject has used.",
    ),
    Family::gauge("spendwatch_alerts", "Alerts by state."),
    Family::gauge(
        "spendwatch_api_clock_skew_seconds",
        "The server's clock minus ours at its last answer.",
    ),
];

const N_FAMILIES: usize = 42;

/// Metric; its value is the index of its family in [`ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is named and explained in ALL, in the same order"
)]
pub enum Metric {
    SpendToday,
    SpendMonth,
    SpendRecorded,
    TokensToday,
    TokensMonth,
    TokensRecorded,
    RequestsToday,
    RequestsMonth,
    RequestsRecorded,
    SpendLastHour,
    CacheSavings,
    ApiKeySpend,
    UserSpend,
    DataTimestamp,
    WorkspaceLimit,
    WorkspaceRequestLimit,
    RateLimit,
    OrganizationToday,
    OrganizationMonth,
    OrganizationEstimated,
    OrganizationList,
    OrganizationRecorded,
    OrganizationLastHour,
    OrganizationLimit,
    TeamToday,
    TeamMonth,
    OrganizationUp,
    BilledTimestamp,
    ReconciliationBilled,
    ReconciliationEstimated,
    ReconciliationGap,
    ReconciliationGapRatio,
    ReconciliationUncertain,
    UnpricedTokens,
    PriorityTokens,
    RuleLimitUsd,
    RuleLimitTokens,
    RuleLimitRequests,
    RuleLimitSeconds,
    RuleUsedRatio,
    Alerts,
    ClockSkew,
}

impl Metric {
    /// Returns the family.
    pub const fn family(self) -> &'static Family {
        &ALL[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_match_their_families() {
        assert_eq!(Metric::ClockSkew as usize + 1, ALL.len());
        assert_eq!(
            Metric::DataTimestamp.family().name,
            "spendwatch_data_timestamp_seconds"
        );
        assert_eq!(
            Metric::OrganizationUp.family().name,
            "spendwatch_organization_up"
        );
        assert_eq!(Metric::Alerts.family().name, "spendwatch_alerts");
        let check = |metric: Metric, name| assert_eq!(metric.family().name, name);
        check(Metric::UserSpend, "anthropic_user_spend_month_usd");
        check(Metric::RateLimit, "anthropic_rate_limit");
        check(
            Metric::OrganizationList,
            "anthropic_organization_list_spend_month_usd",
        );
        check(
            Metric::ReconciliationGapRatio,
            "spendwatch_reconciliation_gap_ratio",
        );
        check(Metric::PriorityTokens, "spendwatch_priority_tokens_month");
    }
}
