//! Fence agents at work: a named thread for each job, which reports to the main loop.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use fence::{Action, End, Job};

use crate::net::Waker;

/// The jobs that run, and the end at which their ends arrive.
#[derive(Debug)]
pub struct Agents {
    ends: Sender<(u64, End)>,
    arrivals: Receiver<(u64, End)>,
    waker: Arc<Waker>,
}

impl Agents {
    /// Jobs that wake the main loop through `waker` when they end.
    #[must_use]
    pub fn new(waker: Arc<Waker>) -> Self {
        let (ends, arrivals) = channel();
        Self { ends, arrivals, waker }
    }

    /// Runs a job. That it could not even be begun is its end as well.
    pub fn start(&self, job: Job) {
        let (ends, waker, number, node) = (self.ends.clone(), Arc::clone(&self.waker), job.number, job.node.clone());
        let what = match job.action {
            Action::Fence(_) => "fence",
            Action::Test(..) => "test",
            Action::Unfence(_) => "unfence",
        };
        let run = move || {
            let report = |end| {
                // The daemon is ending when nobody listens.
                let _ = ends.send((job.number, end));
                waker.wake();
            };
            if matches!(job.action, Action::Fence(_)) {
                // That it has been off is all the cluster waits for; its power comes back after.
                let (end, rest) = fence::begin(&job);
                report(end);
                for complaint in rest.finish() {
                    nines_cli::log(format_args!("node {}: {complaint}", job.node));
                }
            } else {
                report(fence::run(&job));
            }
        };
        // A thread's name is at most 15 bytes long.
        let name: String = format!("{what} {node}").chars().filter(char::is_ascii).take(15).collect();
        if let Err(error) = thread::Builder::new().name(name).spawn(run) {
            let what = format!("no thread for the agents: {error}");
            let _ = self.ends.send((number, End::Failed { what }));
            self.waker.wake();
        }
    }

    /// What has ended since the last time.
    pub fn ended(&self) -> Vec<(u64, End)> {
        self.arrivals.try_iter().collect()
    }
}
