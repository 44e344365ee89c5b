//! `notify test`: sends a test message to one notifier.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Subcommand;
use jiff::Timestamp;

use crate::app::wiring;
use crate::cli::globals::{CommandError, Globals, YesFlag, check_notifier, partial_exit};
use spendwatch_base::clock::{Clock, Random};
use spendwatch_config::near::unknown;
use spendwatch_config::source::Environment;
use spendwatch_domain::alerts::alert::{AbsoluteThreshold, Identity, Slot};
use spendwatch_domain::alerts::notification::{Fact, Reason};
use spendwatch_domain::rules::rule::Severity;
use spendwatch_domain::rules::watch::Watch;
use spendwatch_domain::units::ids::OrganizationName;
use spendwatch_domain::units::money::Usd;
use spendwatch_domain::units::period::{self, Period, Zone};
use spendwatch_domain::units::subject::{Subject, SubjectKind};
use spendwatch_notify::envelope::Envelope;

/// Subcommands of `notify`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send a test message to a notifier
    #[command(
        after_help = "Exit codes: 0 delivered, 1 not delivered, 3 delivered to some recipients.\n\nExample: spendwatch notify test finops-slack"
    )]
    Test {
        /// Name of the notifier
        name: String,
        #[command(flatten)]
        yes: YesFlag,
    },
}

impl Command {
    /// Sends one message to each recipient, without the outbox.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let Command::Test { name, yes: _ } = self;
        let config = globals.load(environment)?;
        let Some(configured) = config
            .notifiers
            .iter()
            .find(|notifier| notifier.name.as_str() == name)
        else {
            let known = config
                .notifiers
                .iter()
                .map(|notifier| notifier.name.as_str());
            return Err(CommandError::usage(unknown("notifier", name, known)));
        };
        check_notifier(&config, configured)?;
        let (notifier, _) = wiring::notifier(configured, environment)
            .await
            .map_err(|error| CommandError::usage(format!("{error:#}")))?;
        let now = Clock::system().now();
        let organization = config
            .organizations
            .first()
            .map(|organization| organization.name.clone());
        let facts = [fact(
            organization.unwrap_or_else(|| OrganizationName::from("test")),
            now,
        )];
        let recipients: Vec<Option<&str>> = match configured.kind.capabilities().recipients {
            [] => vec![None],
            several => several.iter().map(|one| Some(one.as_str())).collect(),
        };
        let links = wiring::links(&config);
        let n_all = recipients.len();
        let mut n_failed = 0;
        for recipient in recipients {
            let envelope = Envelope {
                id: &Random::System.id(),
                notifier: &configured.name,
                facts: &facts,
                created_at: now,
                now,
                n_attempts: 0,
                is_replay: false,
                links: &links,
                recipient,
                thread: None,
                n_posted: 0,
            };
            let delivery = notifier.send(&envelope).await;
            let to = recipient
                .map(|recipient| format!(", `{recipient}`"))
                .unwrap_or_default();
            match delivery.error() {
                None => globals.remark(&format!("notifier `{name}`{to}: delivered")),
                Some(error) => {
                    eprintln!("error: notifier `{name}`{to}: {error}");
                    n_failed += 1;
                }
            }
        }
        Ok(partial_exit(n_failed, n_all))
    }
}

/// Returns an alert that is recognizable as a test.
fn fact(organization: OrganizationName, now: Timestamp) -> Fact {
    let cut = period::containing(Period::Month, &Zone::utc().rules, now);
    let limit = Usd::from_dollars(100).pico();
    Fact {
        identity: Identity {
            organization,
            slot: Slot {
                rule: "test-message".into(),
                subject: Subject::new(SubjectKind::Workspace, "test"),
                period: cut.label.as_deref().map(Into::into),
                event: None,
            },
            started_at: now,
        },
        sequence: 1,
        reason: Reason::First,
        ended_by: None,
        is_late: false,
        in_place_of: None,
        is_fired_and_resolved: false,
        subject_name: "TEST, sent by `spendwatch notify test`".to_owned(),
        watch: Watch::Spend,
        span: cut.span,
        zone_name: "UTC".to_owned(),
        value: Usd::from_dollars(123).pico(),
        is_lower_bound: false,
        limit: Some(limit),
        threshold: AbsoluteThreshold {
            quantity: limit,
            severity: Severity::Info,
            text: "100%".into(),
        },
        firing_since: now,
        ended_at: None,
        decided_at: now,
        as_of: Some(now),
        labels: BTreeMap::from([("test".to_owned(), "true".to_owned())]),
        top: Vec::new(),
        forecast: None,
        reconciled: None,
        creator: None,
    }
}
