//! `org show` and `update`: the organization, and its settings.

use std::process::ExitCode;

use clap::{ArgAction, Args, Subcommand};

use crate::admin::batch::{Halt, carry_out_all, sum};
use crate::admin::carry::Outcome;
use crate::anthropic::written::Told;
use crate::cli::admin::caution::{Answer, Caution};
use crate::cli::admin::desk::{Desk, IN_PART, exit, failed};
use crate::cli::admin::steps::{Planned, ended, planned};
use crate::cli::globals::{Failure, Globals};
use crate::cli::output::{Format, print};
use crate::config::source::Environment;
use crate::domain::admin::network::Network;
use crate::domain::admin::service::{Deed, Service};
use crate::domain::admin::settings::{
    Difference, Organization, Settings, SettingsChange, ranges_text,
};
use crate::domain::admin::write::Write;
use crate::notify::formatting;
use crate::sheet::{Cell, Sheet, shown};

/// The organization.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Name, plan, spend of the month, and settings, as far as the service tells them
    #[command(after_help = "Example: spendwatch org show --output json")]
    Show,
    /// Change settings: only what is named, after showing what that changes
    #[command(
        after_help = "What keeps people out who could come in before (`--require-mfa`, `--allowed-ip-ranges`) is asked twice, or needs \
                      `--yes --yes`: it can lock you out.\n\n\
                      Example: spendwatch org update --require-mfa true --allowed-ip-ranges 203.0.113.0/24,2001:db8::/32 --dry-run"
    )]
    Update(Update),
}

/// What is asked for.
#[derive(Debug, Args)]
pub struct Update {
    /// The model of requests that name none
    #[arg(long, value_name = "MODEL")]
    default_model: Option<String>,
    /// Whether people need a second factor: true or false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", action = ArgAction::Set)]
    require_mfa: Option<bool>,
    /// From where people may come, as blocks with commas between: `203.0.113.0/24`; `everywhere` lifts the limit
    #[arg(long, value_name = "CIDR,…")]
    allowed_ip_ranges: Option<String>,
    #[command(flatten)]
    caution: Caution,
}

impl Command {
    /// Shows or changes it.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        match self {
            Command::Show => {
                let desk = Desk::open(globals, environment).await?;
                let told = desk.looked("org.show", &[], told(&desk).await)?;
                Ok(show(&desk, &told))
            }
            Command::Update(update) => update.run(globals, environment).await,
        }
    }
}

/// What the service tells of it.
async fn told(desk: &Desk<'_>) -> Result<Organization, Failure> {
    match desk.service() {
        Service::Guide => desk
            .office
            .api
            .settings()
            .await
            .map_err(|error| failed(&error)),
        Service::Real => {
            let me = desk.office.api.me().await.map_err(|error| failed(&error))?;
            Ok(Organization {
                id: me.id,
                name: me.name,
                ..Organization::default()
            })
        }
    }
}

fn show(desk: &Desk<'_>, told: &Organization) -> ExitCode {
    if let Err(impossible) = desk.service().check(Deed::ReadSettings) {
        desk.globals.remark(&desk.told(&impossible.to_string()));
    }
    let settings = &told.settings;
    let money = |usd: Option<_>| usd.map_or(Cell::Empty, Cell::Money);
    let fields = [
        ("id", Cell::Text(told.id.clone())),
        ("name", Cell::Text(told.name.clone())),
        ("plan", Cell::text_or_empty(told.plan.clone())),
        ("usage_limit_usd", money(told.usage_limit)),
        ("month_usage_usd", money(told.month_usage)),
        (
            "default_model",
            Cell::text_or_empty(settings.default_model.clone()),
        ),
        (
            "require_mfa",
            settings.require_mfa.map_or(Cell::Empty, Cell::Flag),
        ),
        (
            "allowed_ip_ranges",
            settings
                .allowed_ip_ranges
                .clone()
                .map_or(Cell::Empty, Cell::List),
        ),
    ];
    match desk.globals.output {
        Format::Table => {
            let line = |(key, cell): &(&'static str, Cell)| {
                let shown = match (key, cell) {
                    (&"allowed_ip_ranges", Cell::List(ranges)) => {
                        formatting::clean(&ranges_text(ranges))
                    }
                    _ => cell.for_people(),
                };
                let first = format!("{:<18} ", key.replace('_', " "));
                desk.globals.stdout.hanging(&first, 19, &shown)
            };
            let lines: String = fields.iter().map(line).collect();
            print(&lines, ExitCode::SUCCESS)
        }
        Format::Json | Format::Csv => {
            let columns = fields.iter().map(|(key, _)| shown(key, key)).collect();
            let row = fields.into_iter().map(|(_, cell)| cell).collect();
            let sheet = Sheet {
                columns,
                rows: vec![row],
            };
            desk.globals.print(&sheet, ExitCode::SUCCESS)
        }
    }
}

impl Update {
    fn asked(&self) -> Result<SettingsChange, Failure> {
        let ranges = self.allowed_ip_ranges.as_deref().map(ranges).transpose()?;
        if self
            .default_model
            .as_deref()
            .is_some_and(|model| model.trim().is_empty())
        {
            return Err(Failure::usage("`--default-model` is empty; name a model"));
        }
        let asked = SettingsChange {
            default_model: self.default_model.clone(),
            require_mfa: self.require_mfa,
            allowed_ip_ranges: ranges,
        };
        if asked.is_empty() {
            return Err(Failure::usage(
                "nothing is asked for; name what is to change: `--default-model`, `--require-mfa`, `--allowed-ip-ranges`",
            ));
        }
        Ok(asked)
    }

    async fn run(&self, globals: &Globals, environment: &Environment) -> Result<ExitCode, Failure> {
        let asked = self.asked()?;
        let desk = Desk::open(globals, environment).await?;
        desk.check(Deed::ChangeSettings)?;
        let now = told(&desk).await?;
        let change = asked.minus(&now.settings);
        if change.is_empty() {
            globals.remark("all of it is so already; nothing was changed");
            return Ok(globals.print(&planned(&[]), ExitCode::SUCCESS));
        }
        let differences = change.differences(&now.settings);
        let step = Planned {
            note: differences
                .iter()
                .map(difference)
                .collect::<Vec<_>>()
                .join("; "),
            ..Planned::new(Write::UpdateOrganization(change.clone()), now.name.clone())
        };
        let steps = [step];
        if self.caution.dry_run {
            return Ok(globals.print(&planned(&steps), ExitCode::SUCCESS));
        }
        for change in &differences {
            globals.remark(&difference(change));
        }
        if self.ask(&desk, &differences)? == Answer::No {
            return Ok(ExitCode::FAILURE);
        }
        let writes = [steps[0].write.clone()];
        let ends = carry_out_all(&desk.office, &writes, &Halt::on_signal(), |_| {}).await;
        desk.remark_unrecorded();
        let outcomes = ends.iter().map(|end| end.as_ref().map(|end| &end.outcome));
        let code = exit(sum(outcomes));
        let code = match ends
            .first()
            .and_then(Option::as_ref)
            .map(|end| &end.outcome)
        {
            Some(Outcome::Done(Told::Organization(after))) if !is_so(&change, &after.settings) => {
                globals.remark("warning: the service answers that not all of it is so; `spendwatch org show` tells what is");
                ExitCode::from(IN_PART)
            }
            Some(_) | None => code,
        };
        Ok(globals.print(&ended(&steps, &ends), code))
    }

    /// What keeps people out is asked twice.
    fn ask(&self, desk: &Desk<'_>, differences: &[Difference]) -> Result<Answer, Failure> {
        let name = &desk.office.organization;
        let narrower: Vec<&str> = differences
            .iter()
            .filter(|change| change.narrows)
            .map(|change| change.setting)
            .collect();
        if narrower.is_empty() {
            return Ok(Answer::Yes);
        }
        let first = format!(
            "Change {} of organization `{name}`, so that fewer people may enter?",
            narrower.join(" and ")
        );
        let second = format!("This can lock you out of organization `{name}`, too. Are you sure?");
        self.caution.ask_all(&[first, second])
    }
}

/// Whether nothing of a change is left to do.
fn is_so(change: &SettingsChange, after: &Settings) -> bool {
    change.clone().minus(after).is_empty()
}

fn difference(change: &Difference) -> String {
    let old = change.old.as_deref().unwrap_or("not told");
    format!("{}: {old} -> {}", change.setting, change.new)
}

fn ranges(text: &str) -> Result<Vec<Network>, Failure> {
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
        Err(Failure::Usage(bad))
    }
}
