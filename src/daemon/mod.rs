//! The daemon: a task for each organization and each notifier, the HTTP server, and what changes them: signals, reload, end.

pub mod signals;
pub mod watching;

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

use crate::anthropic::AdminApi;
use crate::app::bells::Bells;
use crate::app::board::Board;
use crate::app::{App, wiring};
use crate::audit::AuditLog;
use crate::clock::{Chance, Clock};
use crate::config::sections::Log;
use crate::config::source::Environment;
use crate::config::{self, Config};
use crate::daemon::prepared::prepare;
use crate::daemon::signals::{Asked, Signals};
use crate::daemon::watching::{Setup, shown, watch};
use crate::delivery::configured::Senders;
use crate::domain::ids::{NotifierName, OrganizationName};
use crate::domain::resend::Sent;
use crate::heartbeat::Heartbeat;
use crate::http::connections::affordable;
use crate::http::{Served, Server};
use crate::metrics::counters::Counters;
use crate::process;
use crate::secret::Secret;
use crate::store::Store;

/// How long the tasks have to come to their end.
const END_LIMIT: Duration = Duration::from_secs(4);

/// What a daemon is started with.
pub struct Start {
    pub config: Config,
    /// Where a reload finds another configuration.
    pub reload_from: ReloadFrom,
    /// For secrets and single values.
    pub environment: Environment,
    pub store: Store,
    pub clock: Clock,
    pub chance: Chance,
    /// What is done; `None` where nothing is to be left behind.
    pub audit: Option<AuditLog>,
    pub listener: TcpListener,
    /// Called with the `[log]` of an accepted reload.
    pub set_log: Box<dyn Fn(&Log) + Send + Sync>,
}

/// Where a reload finds another configuration.
pub enum ReloadFrom {
    Same {
        /// The file that was named; else those that are looked for, else the environment.
        file: Option<PathBuf>,
        /// The one organization that is watched; else all.
        only: Option<String>,
    },
    /// Nowhere: there is no file.
    Nowhere,
}

/// A running daemon.
pub struct Daemon {
    app: Arc<App>,
    config: Config,
    reload_from: ReloadFrom,
    set_log: Box<dyn Fn(&Log) + Send + Sync>,
    watches: BTreeMap<OrganizationName, Watch>,
    posts: BTreeMap<NotifierName, Task>,
    heart: Option<Task>,
    /// Outlives a reload, which may be what ends an alert.
    sent: BTreeMap<NotifierName, Arc<Mutex<Sent>>>,
    server: Server,
    asks: mpsc::Receiver<oneshot::Sender<Result<(), String>>>,
}

struct Watch {
    api: AdminApi,
    orders: UnboundedSender<Setup>,
    task: Task,
}

/// A task and how it is ended.
struct Task {
    stop: CancellationToken,
    handle: JoinHandle<()>,
}

impl Daemon {
    /// Resolves secrets, then starts everything. An error is one of the configuration: nothing is watched or sent then.
    pub async fn start(start: Start) -> anyhow::Result<Daemon> {
        let names: Vec<_> = start
            .config
            .organizations
            .iter()
            .map(|o| o.name.clone())
            .collect();
        let notifiers: Vec<_> = start
            .config
            .notifiers
            .iter()
            .map(|n| n.name.clone())
            .collect();
        let revision = option_env!("SPENDWATCH_REVISION").unwrap_or("unknown");
        let app = Arc::new(App {
            environment: start.environment,
            store: start.store,
            clock: start.clock,
            chance: start.chance,
            audit: start.audit,
            counters: Arc::new(Counters::new(&names, &notifiers, revision)),
            bells: Bells::default(),
            pulse: Notify::new(),
            board: Board::default(),
        });
        let prepared = prepare(
            &app,
            &start.config,
            start.listener.local_addr()?,
            &BTreeMap::new(),
        )
        .await?;
        app.board.set_privacy(start.config.privacy);
        let (asking, asks) = mpsc::channel(1);
        let served = Served {
            app: Arc::clone(&app),
            asking,
        };
        let max_connections = max_connections(&start.config);
        let server = Server::start(start.listener, served, prepared.access, max_connections)?;
        let mut daemon = Daemon {
            app,
            config: start.config,
            reload_from: start.reload_from,
            set_log: start.set_log,
            watches: BTreeMap::new(),
            posts: BTreeMap::new(),
            heart: None,
            sent: BTreeMap::new(),
            server,
            asks,
        };
        daemon
            .app
            .counters
            .note_reload(true, daemon.app.clock.now());
        redact(&prepared.setups, &prepared.secrets);
        daemon.begin_watches(prepared.setups);
        daemon.begin_posts(prepared.senders);
        daemon.begin_heart(prepared.heartbeat);
        Ok(daemon)
    }

    /// Where it is served.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Until a signal asks for the end; reloads meanwhile.
    pub async fn run(mut self, mut signals: Signals) {
        loop {
            tokio::select! {
                asked = signals.next() => match asked {
                    Asked::End => break,
                    Asked::Reload => {
                        // The outcome is in the log and in the metrics; a signal has no other answer.
                        let _ = self.reload().await;
                    }
                },
                Some(reply) = self.asks.recv() => {
                    let outcome = self.reload().await;
                    // Whoever asked may be gone.
                    let _ = reply.send(outcome);
                }
            }
        }
        tracing::info!("stopping");
        tokio::select! {
            () = self.stop() => {}
            _ = signals.next() => tracing::warn!("stopping at once: asked twice"),
        }
        tracing::info!("stopped");
    }

    /// Reads the configuration again. A bad one changes nothing; the error is what is wrong, a line for each thing.
    pub async fn reload(&mut self) -> Result<(), String> {
        let outcome = self.try_reload().await;
        self.app
            .counters
            .note_reload(outcome.is_ok(), self.app.clock.now());
        match &outcome {
            Ok(()) => tracing::info!("the configuration was read again and is in force"),
            Err(problem) => tracing::error!(
                "the configuration was read again and is refused, the old one goes on: {problem}"
            ),
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
            ReloadFrom::Nowhere => return Err("there is no file to read again".to_owned()),
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let apis = self.kept_apis(&config);
        let prepared = prepare(&self.app, &config, self.address(), &apis)
            .await
            .map_err(|error| format!("{error:#}"))?;
        self.warn_of_what_needs_a_restart(&config);
        for (api, key) in prepared.keys {
            api.set_key(key);
        }
        redact(&prepared.setups, &prepared.secrets);
        (self.set_log)(&config.log);
        self.app.board.set_privacy(config.privacy);
        self.server.set_max_connections(max_connections(&config));
        self.config = config;
        self.server.set_access(prepared.access);
        self.end_posts().await;
        self.begin_posts(prepared.senders);
        self.begin_watches(prepared.setups);
        self.end_heart().await;
        self.begin_heart(prepared.heartbeat);
        Ok(())
    }

    /// The clients that stay: those whose settings are the same.
    fn kept_apis(&self, config: &Config) -> BTreeMap<OrganizationName, AdminApi> {
        let settings_now = |name: &OrganizationName| {
            let before = self
                .config
                .organizations
                .iter()
                .find(|organization| organization.name == *name);
            before.map(wiring::api_settings)
        };
        config
            .organizations
            .iter()
            .filter(|new| settings_now(&new.name) == Some(wiring::api_settings(new)))
            .filter_map(|new| Some((new.name.clone(), self.watches.get(&new.name)?.api.clone())))
            .collect()
    }

    fn warn_of_what_needs_a_restart(&self, new: &Config) {
        if new.store.path != self.config.store.path {
            tracing::warn!("`store.url` was changed: it is in force from the next start on");
        }
        if new.http.listen != self.config.http.listen {
            tracing::warn!("`http.listen` was changed: it is in force from the next start on");
        }
        if new.log.is_json != self.config.log.is_json {
            tracing::warn!("`log.format` was changed: it is in force from the next start on");
        }
    }

    /// New organizations begin, known ones are told, others end.
    fn begin_watches(&mut self, setups: Vec<Setup>) {
        let names: Vec<OrganizationName> = setups
            .iter()
            .map(|setup| setup.organization.name.clone())
            .collect();
        self.watches.retain(|name, watch| {
            let is_kept = names.contains(name);
            if !is_kept {
                watch.task.stop.cancel();
                self.app.board.forget(name);
                self.app.store.note_success(&shown(name));
            }
            is_kept
        });
        for setup in setups {
            let name = setup.organization.name.clone();
            self.app.board.expect(&name);
            self.app.counters.add_organization(&name);
            self.app
                .board
                .count_requests_of(&name, setup.api.requests());
            if let Some(watch) = self.watches.get_mut(&name) {
                watch.api = setup.api.clone();
                // The task ends only when it is told to.
                let _ = watch.orders.send(setup);
                continue;
            }
            let (orders, received) = mpsc::unbounded_channel();
            let (api, app) = (setup.api.clone(), Arc::clone(&self.app));
            let task = Task::start(|stop| async move {
                tokio::select! {
                    () = watch(&app, setup, received) => {}
                    () = stop.cancelled() => {}
                }
            });
            self.watches.insert(name, Watch { api, orders, task });
        }
    }

    fn begin_posts(&mut self, senders: Senders) {
        let names = senders.names();
        self.app.bells.keep(&names);
        for name in &names {
            self.app.counters.add_notifier(name);
        }
        for worker in senders.workers {
            let (name, app) = (worker.name.clone(), Arc::clone(&self.app));
            let task = Task::start(|stop| async move {
                worker.run(&app.counters, &app.bells, &stop).await;
            });
            self.posts.insert(name, task);
        }
        for resender in senders.resenders {
            let (name, app) = (resender.listener.name.clone(), Arc::clone(&self.app));
            let bell = app.bells.of(&name);
            let sent = Arc::clone(self.sent.entry(name.clone()).or_default());
            let task = Task::start(|stop| async move {
                let mut sent = sent.lock().await;
                resender.run(&mut sent, &app.counters, &bell, &stop).await;
            });
            self.posts.insert(name, task);
        }
    }

    /// What is being sent is sent to its end, unless that lasts.
    async fn end_posts(&mut self) {
        let posts = std::mem::take(&mut self.posts);
        for post in posts.values() {
            post.stop.cancel();
        }
        for post in posts.into_values() {
            post.ended().await;
        }
    }

    fn begin_heart(&mut self, heartbeat: Option<Heartbeat>) {
        let counters = &self.app.counters;
        let Some(heartbeat) = heartbeat else {
            counters.forget_heartbeat();
            return;
        };
        counters.add_heartbeat();
        let app = Arc::clone(&self.app);
        self.heart = Some(Task::start(|stop| async move {
            heartbeat.run(&app, &stop).await;
        }));
    }

    /// At once, also in the middle of a call.
    async fn end_heart(&mut self) {
        if let Some(heart) = self.heart.take() {
            heart.stop.cancel();
            heart.ended().await;
        }
    }

    /// Ends all tasks. Nothing that hangs holds it up for longer than four seconds.
    pub async fn stop(mut self) {
        let watches = std::mem::take(&mut self.watches);
        for watch in watches.values() {
            watch.task.stop.cancel();
        }
        self.server.stop();
        let all = async {
            self.end_heart().await;
            self.end_posts().await;
            for watch in watches.into_values() {
                watch.task.ended().await;
            }
            self.server.ended().await;
        };
        let limit = tokio::time::timeout(END_LIMIT, all);
        if limit.await.is_err() {
            tracing::warn!("something hangs and is left behind; nothing committed is lost");
        }
    }
}

/// Whatever a server returns, no configured secret goes further.
fn redact(setups: &[Setup], secrets: &[Secret]) {
    for setup in setups {
        setup.api.redact(secrets.to_vec());
    }
}

/// As configured, or fewer: delivery, polling and the store need file descriptors of their own.
fn max_connections(config: &Config) -> usize {
    let max = config.http.max_connections;
    let limit = process::descriptor_limit();
    let n_tasks = config.organizations.len() + config.notifiers.len();
    let affordable = affordable(max, limit, n_tasks);
    if let Some(limit) = limit.filter(|_| affordable < max) {
        tracing::warn!(
            "`max_connections` in `[http]` lowered from {max} to {affordable}: the process may open {limit} files, and keeps \
             some for polling, delivery and the store; raise its limit (`ulimit -n`, `LimitNOFILE`)"
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
            tracing::error!("a task ended badly: {error}");
        }
    }
}
