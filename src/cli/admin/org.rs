//! `org show` and `org update`.

use std::process::ExitCode;

use clap::{ArgAction, Args, Subcommand};

use crate::admin::batch::{StopFlag, batch_outcome, execute_all};
use crate::admin::execute::StepOutcome;
use crate::cli::admin::confirmation::{Answer, Confirmation};
use crate::cli::admin::context::{CommandContext, exit_code};
use crate::cli::admin::steps::{PlannedStep, plan_table, result_table};
use crate::cli::globals::{CommandError, EXIT_PARTIAL, Globals};
use crate::cli::output::{OutputFormat, print};
use crate::table::{Cell, OutputTable, shown};
use spendwatch_anthropic::admin::result::WriteResult;
use spendwatch_config::source::Environment;
use spendwatch_domain::admin::change::AdminChange;
use spendwatch_domain::admin::network::Network;
use spendwatch_domain::admin::server::Capability;
use spendwatch_domain::admin::settings::{
    OrganizationDetails, OrganizationSettings, SettingDifference, SettingsChange, ranges_text,
};
use spendwatch_notify::wording::formatting;

/// Subcommands of `org`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show name, plan, spend this month and settings, where reported
    #[command(after_help = "Example: spendwatch org show --output json")]
    Show,
    /// Change settings of the organization
    #[command(
        after_help = "Changes that restrict access (`--require-mfa`, `--allowed-ip-ranges`) can lock you out and need a second \
                      confirmation: `--yes --yes` without a terminal.\n\n\
                      Example: spendwatch org update --require-mfa true --allowed-ip-ranges 203.0.113.0/24,2001:db8::/32 --dry-run"
    )]
    Update(UpdateOrganization),
}

/// Arguments of `org update`.
#[derive(Debug, Args)]
pub struct UpdateOrganization {
    /// Model for requests that name none
    #[arg(long, value_name = "MODEL")]
    default_model: Option<String>,
    /// Require a second factor: true or false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    require_mfa: Option<bool>,
    /// Allowed networks, separated by commas, or `everywhere`
    #[arg(long, value_name = "CIDR,…")]
    allowed_ip_ranges: Option<String>,
    #[command(flatten)]
    confirmation: Confirmation,
}

impl Command {
    /// Runs the command.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        match self {
            Command::Show => {
                let context = CommandContext::open(globals, environment).await?;
                let organization =
                    context.audit_read("org.show", &[], read_organization(&context).await)?;
                Ok(show(&context, &organization))
            }
            Command::Update(update) => update.run(globals, environment).await,
        }
    }
}

async fn read_organization(
    context: &CommandContext<'_>,
) -> Result<OrganizationDetails, CommandError> {
    let api = &context.session.api;
    Ok(api.organization_details(context.service()).await?)
}

fn show(context: &CommandContext<'_>, organization: &OrganizationDetails) -> ExitCode {
    if let Err(unsupported) = context.service().check(Capability::ReadSettings) {
        context
            .globals
            .remark(&context.with_organization(&unsupported.to_string()));
    }
    let settings = &organization.settings;
    let fields: [(&'static str, Cell); 8] = [
        ("id", (&organization.id).into()),
        ("name", (&organization.name).into()),
        ("plan", organization.plan.as_deref().into()),
        ("usage_limit_usd", organization.usage_limit.into()),
        ("month_usage_usd", organization.month_usage.into()),
        ("default_model", settings.default_model.as_deref().into()),
        ("require_mfa", settings.require_mfa.into()),
        (
            "allowed_ip_ranges",
            settings.allowed_ip_ranges.clone().into(),
        ),
    ];
    match context.globals.output {
        OutputFormat::Table => {
            let line = |(key, cell): &(&'static str, Cell)| {
                let shown = match (key, cell) {
                    (&"allowed_ip_ranges", Cell::List(ranges)) => {
                        formatting::clean(&ranges_text(ranges))
                    }
                    _ => cell.for_people(),
                };
                let first = format!("{:<18} ", key.replace('_', " "));
                context.globals.stdout.hanging(&first, 19, &shown)
            };
            let lines: String = fields.iter().map(line).collect();
            print(&lines, ExitCode::SUCCESS)
        }
        OutputFormat::Json | OutputFormat::Csv => {
            let columns = fields.iter().map(|(key, _)| shown(key, key)).collect();
            let row = fields.into_iter().map(|(_, cell)| cell).collect();
            let table = OutputTable {
                columns,
                rows: vec![row],
            };
            context.globals.print(&table, ExitCode::SUCCESS)
        }
    }
}

impl UpdateOrganization {
    fn requested(&self) -> Result<SettingsChange, CommandError> {
        let ranges = self.allowed_ip_ranges.as_deref().map(ranges).transpose()?;
        let default_model = self.default_model.as_deref();
        if default_model.is_some_and(|model| model.trim().is_empty()) {
            return Err(CommandError::usage("`--default-model` must not be empty"));
        }
        let requested = SettingsChange {
            default_model: self.default_model.clone(),
            require_mfa: self.require_mfa,
            allowed_ip_ranges: ranges,
        };
        if requested.is_empty() {
            return Err(CommandError::usage(
                "no settings given; pass `--default-model`, `--require-mfa` or `--allowed-ip-ranges`",
            ));
        }
        Ok(requested)
    }

    async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let requested = self.requested()?;
        let context = CommandContext::open(globals, environment).await?;
        context.require(Capability::ChangeSettings)?;
        let current = read_organization(&context).await?;
        let change = requested.without_unchanged(&current.settings);
        if change.is_empty() {
            globals.remark("no change: the settings already have these values");
            return Ok(globals.print(&plan_table(&[]), ExitCode::SUCCESS));
        }
        let differences = change.differences(&current.settings);
        let note: Vec<String> = differences.iter().map(difference).collect();
        let write = AdminChange::UpdateOrganization(change.clone());
        let step = PlannedStep {
            note: note.join("; "),
            ..PlannedStep::new(write, current.name.clone())
        };
        let steps = [step];
        if self.confirmation.dry_run {
            return Ok(globals.print(&plan_table(&steps), ExitCode::SUCCESS));
        }
        for change in &differences {
            globals.remark(&difference(change));
        }
        if self.ask(&context, &differences)? == Answer::No {
            return Ok(ExitCode::FAILURE);
        }
        let writes = [steps[0].change.clone()];
        let results = execute_all(&context.session, &writes, &StopFlag::on_signal(), |_| {}).await;
        context.warn_unrecorded();
        let outcomes = results
            .iter()
            .map(|result| result.as_ref().map(|result| &result.outcome));
        let mut code = exit_code(batch_outcome(outcomes));
        if let [Some(result)] = results.as_slice()
            && let StepOutcome::Done(WriteResult::Organization(after)) = &result.outcome
            && !is_applied(&change, &after.settings)
        {
            globals.remark(
                "warning: not all settings were applied; check them with `spendwatch org show`",
            );
            code = ExitCode::from(EXIT_PARTIAL);
        }
        Ok(globals.print(&result_table(&steps, &results), code))
    }

    /// Asks twice about changes that restrict access, and nothing otherwise.
    fn ask(
        &self,
        context: &CommandContext<'_>,
        differences: &[SettingDifference],
    ) -> Result<Answer, CommandError> {
        let name = &context.session.organization;
        let restricting: Vec<&str> = differences
            .iter()
            .filter(|change| change.narrows)
            .map(|change| change.setting)
            .collect();
        if restricting.is_empty() {
            return Ok(Answer::Yes);
        }
        let first = format!(
            "Restrict {} of organization `{name}`? Fewer users may have access.",
            restricting.join(" and ")
        );
        let second = format!("This can also lock you out of organization `{name}`. Are you sure?");
        self.confirmation.ask_all(&[first, second])
    }
}

/// Returns whether the settings have all values of a change.
fn is_applied(change: &SettingsChange, after: &OrganizationSettings) -> bool {
    change.clone().without_unchanged(after).is_empty()
}

fn difference(change: &SettingDifference) -> String {
    let old = change.old.as_deref().unwrap_or("not reported");
    format!("{}: {old} -> {}", change.setting, change.new)
}

fn ranges(text: &str) -> Result<Vec<Network>, CommandError> {
    if text.trim() == "everywhere" {
        return Ok(Vec::new());
    }
    let networks = text.split(',').map(|block| {
        block
            .parse::<Network>()
            .map_err(|error| format!("`--allowed-ip-ranges`: {error}"))
    });
    let (good, bad): (Vec<_>, Vec<_>) = networks.partition(Result::is_ok);
    let bad: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
    if bad.is_empty() {
        Ok(good.into_iter().flatten().collect())
    } else {
        Err(CommandError::Usage(bad))
    }
}
