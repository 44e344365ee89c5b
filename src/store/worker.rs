//! A thread that owns one connection. Work is sent to it and done in order; the answer is awaited.

use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::store::error::Cause;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread's handle. When it is dropped, what was sent is finished first and the connection is closed.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts a thread for a connection.
    pub(super) fn start(name: &str, mut connection: Connection) -> io::Result<Worker> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                for job in queue {
                    job(&mut connection);
                }
            })?;
        Ok(Worker {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Has some work done. It is done also when nobody waits for its answer any more.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Cause> + Send + 'static,
    ) -> Result<T, Cause> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody may wait any more; the work is done all the same.
            let _ = answer.send(work(connection));
        });
        let jobs = self.jobs.as_ref().ok_or(Cause::Closed)?;
        jobs.send(job).map_err(|_| Cause::Closed)?;
        answered.await.map_err(|_| Cause::Closed)?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has told so itself, and its work was answered with `Closed`.
            let _ = thread.join();
        }
    }
}
