//! A thread that owns one connection and runs jobs in order, because SQLite blocks.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::StoreErrorCause;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Handle of the thread. Dropping it waits for all sent jobs and closes the connection.
#[derive(Debug)]
pub(crate) struct ConnectionThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl ConnectionThread {
    pub(crate) fn start(name: &str, mut connection: Connection) -> io::Result<ConnectionThread> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                for job in queue {
                    job(&mut connection);
                }
            })?;
        Ok(ConnectionThread {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Runs `work` on the thread, to its end even if the returned future is dropped.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreErrorCause> + Send + 'static,
    ) -> Result<T, StoreErrorCause> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The receiver may have been dropped.
            let _ = sender.send(work(connection));
        });
        let jobs = self.jobs.as_ref().ok_or(StoreErrorCause::Closed)?;
        jobs.send(job).map_err(|_| StoreErrorCause::Closed)?;
        receiver.await.map_err(|_| StoreErrorCause::Closed)?
    }
}

impl Drop for ConnectionThread {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The panic of the thread was printed, and its jobs failed with `Closed`.
            let _ = thread.join();
        }
    }
}
