//! The daemon: one task per organization and per notifier, the HTTP server, and signals, reload and shutdown.

pub mod organization_task;
pub mod signals;

pub mod prepared;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::published::PublishedState;
use crate::app::wakeups::Wakeups;
use crate::app::{App, wiring};
use crate::daemon::organization_task::{WatchSetup, store_key, watch};
use crate::daemon::prepared::prepare;
use crate::daemon::signals::{SignalAction, Signals};
use crate::delivery::configured::Senders;
use crate::heartbeat::Heartbeat;
use crate::http::connections::affordable_connections;
use crate::http::{HandlerState, HttpServer};
use spendwatch_anthropic::AdminApi;
use spendwatch_audit::AuditLog;
use spendwatch_base::clock::{Clock, Random};
use spendwatch_base::process;
use spendwatch_config::sections::LogConfig;
use spendwatch_config::source::Environment;
use spendwatch_config::{self as config, Config};
use spendwatch_domain::alerts::resend::ResendState;
use spendwatch_domain::units::ids::{NotifierName, OrganizationName};
use spendwatch_metrics::counters::Counters;
use spendwatch_store::Store;

/// How long shutdown waits for the tasks.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Inputs of [`Daemon::start`].
pub struct DaemonParts {
    pub config: Config,
    pub reload_from: ReloadFrom,
    pub environment: Environment,
    pub store: Store,
    pub clock: Clock,
    pub random: Random,
    /// `None` if no file may be written, as in the demo.
    pub audit: Option<AuditLog>,
    pub listener: TcpListener,
    /// Called with `[log]` after a successful reload.
    pub set_log: Box<dyn Fn(&LogConfig) + Send + Sync>,
}

/// Source of the configuration on a reload.
pub enum ReloadFrom {
    Same {
        /// The named file; `None` uses the default files, else the environment.
        file: Option<PathBuf>,
        /// Name of the only organization to watch.
        only: Option<String>,
    },
    Nowhere,
}

/// A running daemon.
pub struct Daemon {
    app: Arc<App>,
    config: Config,
    reload_from: ReloadFrom,
    set_log: Box<dyn Fn(&LogConfig) + Send + Sync>,
    watches: BTreeMap<OrganizationName, WatchTask>,
    deliveries: BTreeMap<NotifierName, Task>,
    heartbeat_task: Option<Task>,
    /// Kept across reloads, because a reload may end an alert that has to be resolved at the receiver.
    sent: BTreeMap<NotifierName, Arc<Mutex<ResendState>>>,
    server: HttpServer,
    reload_requests: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
}

struct WatchTask {
    api: AdminApi,
    setups: UnboundedSender<WatchSetup>,
    task: Task,
}

/// A task and the token that stops it.
struct Task {
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

impl Daemon {
    /// Resolves secrets, then starts everything. On an error in the configuration, nothing was started.
    pub async fn start(start: DaemonParts) -> anyhow::Result<Daemon> {
        let revision = option_env!("SPENDWATCH_REVISION").unwrap_or("unknown");
        let app = Arc::new(App {
            environment: start.environment,
            store: start.store,
            clock: start.clock,
            random: start.random,
            audit: start.audit,
            counters: Arc::new(Counters::new(revision)),
            wakeups: Wakeups::default(),
            cycle_completed: Notify::new(),
            published: PublishedState::default(),
        });
        let prepared = prepare(
            &app,
            &start.config,
            start.listener.local_addr()?,
            &BTreeMap::new(),
        )
        .await?;
        app.published.set_privacy(start.config.privacy);
        let (reload_sender, reload_requests) = mpsc::channel(1);
        let served = HandlerState {
            app: Arc::clone(&app),
            reload_requests: reload_sender,
        };
        let max_connections = max_connections(&start.config);
        let server = HttpServer::start(start.listener, served, prepared.access, max_connections)?;
        let mut daemon = Daemon {
            app,
            config: start.config,
            reload_from: start.reload_from,
            set_log: start.set_log,
            watches: BTreeMap::new(),
            deliveries: BTreeMap::new(),
            heartbeat_task: None,
            sent: BTreeMap::new(),
            server,
            reload_requests,
        };
        daemon
            .app
            .counters
            .record_reload(true, daemon.app.clock.now());
        daemon.update_watches(prepared.setups);
        daemon.start_deliveries(prepared.senders);
        daemon.start_heartbeat(prepared.heartbeat);
        Ok(daemon)
    }

    /// Returns the address of the HTTP server.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Runs until a signal requests shutdown, and reloads when asked to.
    pub async fn run(mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                action = signals.next() => match action {
                    SignalAction::End => break,
                    SignalAction::Reload => {
                        // The outcome is logged and counted; a signal has no response.
                        let _ = self.reload().await;
                    }
                },
                Some(reply) = self.reload_requests.recv() => {
                    let outcome = self.reload().await;
                    // The client may have disconnected.
                    let _ = reply.send(outcome);
                }
            }
        }
        tracing::info!("stopping");
        tokio::select! {
            () = self.stop() => {}
            _ = signals.next() => tracing::warn!("second signal received, stopping immediately"),
        }
        tracing::info!("stopped");
    }

    /// Reloads the configuration. An invalid one changes nothing; the error has one line per problem.
    pub async fn reload(&mut self) -> Result<(), String> {
        let outcome = self.try_reload().await;
        self.app
            .counters
            .record_reload(outcome.is_ok(), self.app.clock.now());
        match &outcome {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(problem) => {
                tracing::error!("reload failed, keeping the current configuration: {problem}");
            }
        }
        outcome
    }

    async fn try_reload(&mut self) -> Result<(), String> {
        let config = match &self.reload_from {
            ReloadFrom::Same { file, only } => {
                let config = config::load(file.as_deref(), &self.app.environment)
                    .map_err(|problems| problems.to_string())?;
                match only {
                    Some(name) => config.with_only(name)?,
                    None => config,
                }
            }
            ReloadFrom::Nowhere => return Err("no configuration file to reload".to_owned()),
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let apis = self.reusable_apis(&config);
        let prepared = prepare(&self.app, &config, self.address(), &apis)
            .await
            .map_err(|error| format!("{error:#}"))?;
        self.warn_about_restart(&config);
        for (api, key) in prepared.keys {
            api.set_key(key);
        }
        (self.set_log)(&config.log);
        self.app.published.set_privacy(config.privacy);
        self.server.set_max_connections(max_connections(&config));
        self.config = config;
        self.server.set_access(prepared.access);
        self.stop_deliveries().await;
        self.start_deliveries(prepared.senders);
        self.update_watches(prepared.setups);
        self.stop_heartbeat().await;
        self.start_heartbeat(prepared.heartbeat);
        Ok(())
    }

    /// Returns the clients whose settings have not changed.
    fn reusable_apis(&self, config: &Config) -> BTreeMap<OrganizationName, AdminApi> {
        let before = self.config.organizations.iter();
        let settings: BTreeMap<_, _> = before
            .map(|organization| (&organization.name, wiring::api_settings(organization)))
            .collect();
        let new = config.organizations.iter();
        new.filter(|new| settings.get(&new.name) == Some(&wiring::api_settings(new)))
            .filter_map(|new| Some((new.name.clone(), self.watches.get(&new.name)?.api.clone())))
            .collect()
    }

    fn warn_about_restart(&self, new: &Config) {
        let old = &self.config;
        for (key, is_changed) in [
            ("store.url", new.store.path != old.store.path),
            ("http.listen", new.http.listen != old.http.listen),
            ("log.format", new.log.is_json != old.log.is_json),
        ] {
            if is_changed {
                tracing::warn!("`{key}` changed; restart to apply");
            }
        }
    }

    /// Starts tasks of new organizations, sends new settings to existing ones, and stops the others.
    fn update_watches(&mut self, setups: Vec<WatchSetup>) {
        let names: Vec<OrganizationName> = setups
            .iter()
            .map(|setup| setup.organization.name.clone())
            .collect();
        self.watches.retain(|name, watch| {
            let is_kept = names.contains(name);
            if !is_kept {
                watch.task.stop.cancel();
                self.app.published.remove_organization(name);
                self.app.store.note_success(&store_key(name));
            }
            is_kept
        });
        for setup in setups {
            let name = setup.organization.name.clone();
            self.app.published.add_organization(&name);
            self.app.counters.add_organization(&name);
            self.app
                .published
                .set_request_counts(&name, setup.api.requests());
            if let Some(watch) = self.watches.get_mut(&name) {
                watch.api = setup.api.clone();
                // The task runs until it is cancelled.
                let _ = watch.setups.send(setup);
                continue;
            }
            let (setups, received) = mpsc::unbounded_channel();
            let (api, app) = (setup.api.clone(), Arc::clone(&self.app));
            let task = Task::start(|stop| async move {
                tokio::select! {
                    () = watch(&app, setup, received) => {}
                    () = stop.cancelled() => {}
                }
            });
            self.watches.insert(name, WatchTask { api, setups, task });
        }
    }

    fn start_deliveries(&mut self, senders: Senders) {
        let names = senders.names();
        self.app.wakeups.retain(&names);
        for name in &names {
            self.app.counters.add_notifier(name);
        }
        for worker in senders.workers {
            let (name, app) = (worker.name.clone(), Arc::clone(&self.app));
            let task = Task::start(|stop| async move {
                worker.run(&app.counters, &app.wakeups, &stop).await;
            });
            self.deliveries.insert(name, task);
        }
        for resender in senders.resenders {
            let (name, app) = (resender.target.name.clone(), Arc::clone(&self.app));
            let wakeup = app.wakeups.for_notifier(&name);
            let sent = Arc::clone(self.sent.entry(name.clone()).or_default());
            let task = Task::start(|stop| async move {
                let mut sent = sent.lock().await;
                resender.run(&mut sent, &app.counters, &wakeup, &stop).await;
            });
            self.deliveries.insert(name, task);
        }
    }

    /// Stops delivery after attempts under way, which have a time limit.
    async fn stop_deliveries(&mut self) {
        let deliveries = std::mem::take(&mut self.deliveries);
        for delivery in deliveries.values() {
            delivery.stop.cancel();
        }
        for delivery in deliveries.into_values() {
            delivery.ended().await;
        }
    }

    fn start_heartbeat(&mut self, heartbeat: Option<Heartbeat>) {
        let counters = &self.app.counters;
        let Some(heartbeat) = heartbeat else {
            counters.remove_heartbeat();
            return;
        };
        counters.add_heartbeat();
        let app = Arc::clone(&self.app);
        self.heartbeat_task = Some(Task::start(|stop| async move {
            heartbeat.run(&app, &stop).await;
        }));
    }

    /// Stops the heartbeat immediately, even during a request.
    async fn stop_heartbeat(&mut self) {
        if let Some(heartbeat_task) = self.heartbeat_task.take() {
            heartbeat_task.stop.cancel();
            heartbeat_task.ended().await;
        }
    }

    /// Stops all tasks, and abandons those that do not stop in time.
    pub async fn stop(mut self) {
        let watches = std::mem::take(&mut self.watches);
        for watch in watches.values() {
            watch.task.stop.cancel();
        }
        self.server.stop();
        let all = async {
            self.stop_heartbeat().await;
            self.stop_deliveries().await;
            for watch in watches.into_values() {
                watch.task.ended().await;
            }
            self.server.wait().await;
        };
        let limit = tokio::time::timeout(STOP_TIMEOUT, all);
        if limit.await.is_err() {
            tracing::warn!(
                "shutdown timed out, abandoning unfinished tasks; committed data is safe"
            );
        }
    }
}

/// Returns the configured maximum, or less, since delivery, polling and the store need their own file descriptors.
fn max_connections(config: &Config) -> usize {
    let max = config.http.max_connections;
    let limit = process::descriptor_limit();
    let n_tasks = config.organizations.len() + config.notifiers.len();
    let affordable = affordable_connections(max, limit, n_tasks);
    if let Some(limit) = limit.filter(|_| affordable < max) {
        tracing::warn!(
            "`http.max_connections` lowered from {max} to {affordable}, because the process may open only {limit} files and \
             reserves some for polling, delivery and the store; raise its limit (`ulimit -n`, `LimitNOFILE`)"
        );
    }
    affordable
}

impl Task {
    fn start<F: Future<Output = ()> + Send + 'static>(
        work: impl FnOnce(CancellationToken) -> F,
    ) -> Task {
        let stop = CancellationToken::new();
        let handle = tokio::spawn(work(stop.clone()));
        Task { stop, handle }
    }

    async fn ended(self) {
        if let Err(error) = self.handle.await {
            tracing::error!("task failed: {error}");
        }
    }
}
