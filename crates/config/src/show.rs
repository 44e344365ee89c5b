//! Prints the effective configuration as TOML, including defaults. Secrets are printed as their sources, plain text as
//! `"[hidden]"`. Except for the latter, the output parses to the same configuration.

use std::fmt::{Display, Write};

use jiff::SignedDuration;

use crate::digests::DigestConfig;
use crate::notifiers::{EmailConfig, MailTls, NotifierConfig, NotifierKind};
use crate::organizations::{OrganizationConfig, check_base_url};
use crate::source::{AwsSecret, SecretSource};
use crate::{Config, durations};
use spendwatch_domain::rules::budget::Budget;
use spendwatch_domain::rules::rule::{
    EventRule, GapUnit, Limit, Quantity, Rule, Threshold, ThresholdValue, Watch, Windows,
};
use spendwatch_domain::units::dialect::Dialect;
use spendwatch_domain::units::matcher::{Glob, Team};
use spendwatch_domain::units::money::{Usd, percent_digits};

/// Replacement for secrets in plain text.
pub const HIDDEN: &str = "[hidden]";

/// Formats a configuration as TOML.
pub fn to_toml(config: &Config) -> String {
    let mut page = Page::default();
    for organization in &config.organizations {
        page.organization(organization);
    }
    page.single_values(config);
    for team in &config.teams {
        page.team(team);
    }
    for rule in &config.rules {
        page.rule(rule);
    }
    for notifier in &config.notifiers {
        page.notifier(notifier);
    }
    for digest in &config.digests {
        page.digest(digest);
    }
    if !config.secret_to_command.environment.is_empty() {
        page.heading("[secret_to_command]");
        page.set("environment", list(&config.secret_to_command.environment));
    }
    page.heading("[audit]");
    page.text("file", config.audit.file.display());
    page.set("rotate_at_mb", config.audit.rotate_at / 1_000_000);
    if let Some(socket) = &config.audit.syslog {
        page.text("syslog", socket.display());
    }
    page.0
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn heading(&mut self, heading: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        writeln!(self.0, "{gap}{heading}").expect("writing to memory");
    }

    /// Writes a value that needs no quotes or is TOML already.
    fn set(&mut self, key: &str, value: impl Display) {
        writeln!(self.0, "{key} = {value}").expect("writing to memory");
    }

    fn text(&mut self, key: &str, value: impl Display) {
        self.set(key, quoted(value));
    }

    fn organization(&mut self, organization: &OrganizationConfig) {
        self.heading("[[organizations]]");
        self.text("name", &organization.name);
        self.text("base_url", &organization.base_url);
        if check_base_url(&organization.base_url, false).is_err() {
            self.set("allow_http", true);
        }
        self.text(
            "dialect",
            organization.dialect.map_or("auto", Dialect::name),
        );
        self.text("api_version", &organization.api_version);
        self.set("admin_key", source(&organization.admin_key));
        self.text("timeout", wait(organization.timeout));
        self.set("max_concurrency", organization.max_concurrency);
        if let Some(per_minute) = organization.max_requests_per_minute {
            self.set("max_requests_per_minute", per_minute);
        }
        if let Some(path) = &organization.ca_file {
            self.text("ca_file", path.display());
        }
    }

    fn single_values(&mut self, config: &Config) {
        let (poll, store, http) = (&config.poll, &config.store, &config.http);
        self.heading("[poll]");
        self.text("schedule", &poll.schedule);
        self.text("history", days(poll.history_days));
        self.text("hourly_history", days(poll.hourly_history_days));
        self.text("settle", durations::text(poll.settle));
        self.text("correction_window", days(poll.correction_days));
        self.text(
            "correction_interval",
            durations::text(poll.correction_interval),
        );
        self.heading("[store]");
        self.text("url", format_args!("sqlite://{}", store.path.display()));
        self.text("hourly_retention", days(store.hourly_retention_days));
        self.text("daily_retention", days(store.daily_retention_days));
        self.heading("[http]");
        self.text("listen", http.listen);
        if let Some(url) = &http.external_url {
            self.text("external_url", url);
        }
        if let Some(token) = &http.bearer_token {
            self.set("bearer_token", source(token));
        }
        self.set("public_metrics", http.public_metrics);
        self.set("max_connections", http.max_connections);
        self.heading("[metrics]");
        self.set("by_model", config.metrics.by_model);
        self.set("by_api_key", config.metrics.by_api_key);
        self.set("by_user", config.metrics.by_user);
        self.set("max_series", config.metrics.max_series);
        if let Some(file) = &config.prices.file {
            self.heading("[prices]");
            self.text("file", file.display());
        }
        if let Some(people) = config.privacy.naming {
            self.heading("[privacy]");
            self.text("people", people.as_str());
        }
        self.heading("[log]");
        self.text("level", &config.log.level);
        self.text("format", if config.log.is_json { "json" } else { "text" });
        if let Some(heartbeat) = &config.heartbeat {
            self.heading("[heartbeat]");
            self.set("url", source(&heartbeat.url));
            if heartbeat.allow_http {
                self.set("allow_http", true);
            }
        }
    }

    fn team(&mut self, team: &Team) {
        self.heading("[[teams]]");
        self.text("name", &team.name);
        self.set(
            "workspaces",
            list(team.workspaces.iter().map(Glob::pattern)),
        );
        self.set("api_keys", list(team.api_keys.iter().map(Glob::pattern)));
        self.set("workspace_tags", map(&team.workspace_tags));
        if !team.notify.is_empty() {
            self.set("notify", list(&team.notify));
        }
    }

    fn rule(&mut self, rule: &Rule) {
        self.heading("[[rules]]");
        self.text("name", &rule.name);
        self.text("watch", rule.watch.as_str());
        if rule.watch == Watch::Lifecycle {
            self.set("events", events(&rule.events));
            self.matcher(rule);
            self.text("time_zone", &rule.zone.name);
        } else {
            self.measured(rule);
        }
        self.text("for", durations::text(rule.for_duration));
        self.text("keep_firing_for", durations::text(rule.keep_firing_for));
        if rule.watch != Watch::Lifecycle {
            self.text("clear_below", rule.clear_below);
        }
        let repeat = rule.repeat_interval.map(durations::text);
        self.text("repeat_interval", repeat.as_deref().unwrap_or("never"));
        self.set("inactive_during", list(&rule.inactive));
        // A team's notifiers replace default notifiers, but not listed ones.
        if !rule.uses_default_notifiers {
            self.set("notify", list(&rule.notify));
        }
        self.set("labels", map(&rule.labels));
    }

    fn measured(&mut self, rule: &Rule) {
        self.text("for_each", rule.for_each);
        self.matcher(rule);
        if rule.watch != Watch::DataAge {
            self.text("period", rule.period);
        }
        self.text("time_zone", &rule.zone.name);
        match &rule.limit {
            Limit::Fixed(quantity) => self.fixed_limit(rule.watch, *quantity),
            Limit::Budget(budget) => self.budget(budget),
            Limit::Workspace => self.text("limit", "workspace"),
            Limit::Organization => self.text("limit", "organization"),
        }
        self.set("min_usd", rule.min_usd);
        if rule.watch == Watch::BurnRate {
            let Windows { long, short } = rule.windows;
            self.set("windows", list([format!("{long}h"), format!("{short}h")]));
        }
        self.set("thresholds", thresholds(&rule.thresholds));
    }

    fn budget(&mut self, budget: &Budget) {
        match &budget.origin {
            Some(file) => self.text("limits_file", file),
            None => {
                let shares = budget.entries().into_iter();
                let amounts =
                    shares.map(|(subject, share)| format!("{} = {}", quoted(subject), share.limit));
                self.set("limits_usd", braced(amounts));
            }
        }
    }

    fn matcher(&mut self, rule: &Rule) {
        let matcher = &rule.matcher;
        let globs = [
            ("organization", &matcher.organization),
            ("workspace", &matcher.workspace),
            ("model", &matcher.model),
            ("team", &matcher.team),
            ("api_key", &matcher.api_key),
            ("user", &matcher.user),
        ];
        let given: Vec<_> = globs
            .into_iter()
            .filter_map(|(kind, glob)| Some((kind, glob.as_ref()?.pattern())))
            .collect();
        if !given.is_empty() {
            self.set("match", map(given));
        }
    }

    fn fixed_limit(&mut self, watch: Watch, limit: Quantity) {
        match watch {
            Watch::Spend | Watch::BurnRate | Watch::Reconciliation(GapUnit::Usd) => {
                self.set("limit_usd", Usd::from_pico(limit));
            }
            Watch::Reconciliation(GapUnit::Percent) => {
                self.set("limit_percent", percent_digits(limit));
            }
            Watch::Tokens => self.set("limit_tokens", limit),
            Watch::Requests => self.set("limit_requests", limit),
            Watch::DataAge => {
                let seconds = i64::try_from(limit).unwrap_or(i64::MAX);
                let age = SignedDuration::from_secs(seconds);
                self.text("limit_age", durations::text(age));
            }
            Watch::Lifecycle => {}
        }
    }

    fn notifier(&mut self, notifier: &NotifierConfig) {
        self.heading("[[notifiers]]");
        self.text("name", &notifier.name);
        match &notifier.kind {
            NotifierKind::Console => self.text("type", "console"),
            NotifierKind::Slack { url } => {
                self.text("type", "slack");
                self.set("url", source(url));
            }
            NotifierKind::SlackApi {
                token,
                channel,
                api_url,
            } => {
                self.text("type", "slack");
                self.set("token", source(token));
                self.text("channel", channel);
                self.text("api_url", api_url);
            }
            NotifierKind::Webhook {
                url,
                signing_secrets,
                headers,
                template,
            } => {
                self.text("type", "webhook");
                self.set("url", source(url));
                let secrets = signing_secrets.iter().map(source);
                self.set("signing_secrets", bracketed(secrets));
                self.headers(headers);
                if let Some(template) = template {
                    self.text("template", template.text());
                }
            }
            NotifierKind::Command { argv, timeout } => {
                self.text("type", "command");
                self.set("command", list(argv));
                self.text("timeout", wait(*timeout));
            }
            NotifierKind::PagerDuty { url, routing_key } => {
                self.text("type", "pagerduty");
                self.set("url", open_address(url));
                self.set("routing_key", source(routing_key));
            }
            NotifierKind::Teams { url } => {
                self.text("type", "teams");
                self.set("url", source(url));
            }
            NotifierKind::Discord { url } => {
                self.text("type", "discord");
                self.set("url", source(url));
            }
            NotifierKind::Email(email) => self.email(email),
            NotifierKind::Alertmanager {
                urls,
                headers,
                resend_interval,
            } => {
                self.text("type", "alertmanager");
                self.set("urls", bracketed(urls.iter().map(open_address)));
                self.headers(headers);
                self.text("resend_interval", wait(*resend_interval));
                self.allow_http(notifier);
                self.set("send_resolved", notifier.send_resolved);
                self.text("min_severity", notifier.min_severity);
                return;
            }
        }
        self.allow_http(notifier);
        self.set("send_resolved", notifier.send_resolved);
        self.set("tell_period_end", notifier.tell_period_end);
        self.text("group_wait", wait(notifier.group_wait));
        self.text("group_interval", wait(notifier.group_interval));
        self.text("min_severity", notifier.min_severity);
        self.text("max_age", wait(notifier.max_age));
        if let Some(fallback) = &notifier.fallback {
            self.text("fallback", fallback);
        }
    }

    fn allow_http(&mut self, notifier: &NotifierConfig) {
        if notifier.allow_http {
            self.set("allow_http", true);
        }
    }

    fn headers(&mut self, headers: &[(String, SecretSource)]) {
        let headers = headers
            .iter()
            .map(|(name, value)| format!("{} = {}", quoted(name), source(value)));
        self.set("headers", braced(headers));
    }

    fn email(&mut self, email: &EmailConfig) {
        let (scheme, starttls) = match email.tls {
            MailTls::Implicit => ("smtps", None),
            MailTls::StartTlsRequired => ("smtp", Some("required")),
            MailTls::StartTlsOpportunistic => ("smtp", Some("opportunistic")),
            MailTls::None => ("smtp", Some("none")),
        };
        self.text("type", "email");
        self.text(
            "smtp",
            format_args!("{scheme}://{}:{}", email.host, email.port),
        );
        if let Some(starttls) = starttls {
            self.text("starttls", starttls);
        }
        if let Some(helo) = &email.helo {
            self.text("helo", helo);
        }
        if let Some(username) = &email.username {
            self.text("username", username);
        }
        if let Some(password) = &email.password {
            self.set("password", source(password));
        }
        self.text("from", &email.from);
        self.set("to", list(&email.to));
    }

    fn digest(&mut self, digest: &DigestConfig) {
        self.heading("[[digests]]");
        self.text("name", &digest.name);
        self.text("schedule", &digest.schedule);
        self.text("time_zone", &digest.schedule.zone().name);
        self.text("period", digest.period);
        self.set("notify", list(&digest.notify));
    }
}

fn thresholds(thresholds: &[Threshold]) -> String {
    bracketed(thresholds.iter().map(|threshold| {
        let line = match threshold.at {
            ThresholdValue::Share(share) => format!("at = {}", quoted(share)),
            ThresholdValue::Quantity(quantity) => format!("at_usd = {}", Usd::from_pico(quantity)),
        };
        format!("{{ {line}, severity = {} }}", quoted(threshold.severity))
    }))
}

fn events(events: &[EventRule]) -> String {
    bracketed(events.iter().map(|of| {
        let time = match of.event.timing().config_key() {
            Some(key) => format!("{key} = {}, ", quoted(durations::text(of.time))),
            None => String::new(),
        };
        format!(
            "{{ event = {}, {time}severity = {} }}",
            quoted(of.event),
            quoted(of.severity)
        )
    }))
}

fn aws(secret: &AwsSecret) -> String {
    let mut fields = vec![format!("aws_secret = {}", quoted(&secret.name))];
    fields.extend(
        secret
            .field
            .iter()
            .map(|field| format!("field = {}", quoted(field))),
    );
    fields.extend(
        secret
            .region
            .iter()
            .map(|region| format!("region = {}", quoted(region))),
    );
    format!("{{ {} }}", fields.join(", "))
}

fn source(source: &SecretSource) -> String {
    match source {
        SecretSource::Literal(_) => quoted(HIDDEN),
        SecretSource::Env(name) => format!("{{ env = {} }}", quoted(name)),
        SecretSource::File(path) => format!("{{ file = {} }}", quoted(path.display())),
        SecretSource::Command(command) if command.environment.is_empty() => {
            format!("{{ command = {} }}", list(&command.argv))
        }
        SecretSource::Command(command) => format!(
            "{{ command = {}, environment = {} }}",
            list(&command.argv),
            list(&command.environment)
        ),
        SecretSource::Aws(secret) => aws(secret),
    }
}

/// Formats a URL. A URL in plain text was checked to contain no secret.
fn open_address(url: &SecretSource) -> String {
    match url {
        SecretSource::Literal(url) => quoted(url.expose()),
        SecretSource::Env(_)
        | SecretSource::File(_)
        | SecretSource::Command(_)
        | SecretSource::Aws(_) => source(url),
    }
}

fn quoted(text: impl Display) -> String {
    toml::Value::String(text.to_string()).to_string()
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    bracketed(items.into_iter().map(quoted))
}

fn map<K: Display, V: Display>(entries: impl IntoIterator<Item = (K, V)>) -> String {
    braced(
        entries
            .into_iter()
            .map(|(key, value)| format!("{} = {}", quoted(key), quoted(value))),
    )
}

fn bracketed(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

fn braced(entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<_> = entries.collect();
    if entries.is_empty() {
        "{}".to_owned()
    } else {
        format!("{{ {} }}", entries.join(", "))
    }
}

fn days(days: i32) -> String {
    format!("{days}d")
}

fn wait(duration: std::time::Duration) -> String {
    durations::text(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX))
}
