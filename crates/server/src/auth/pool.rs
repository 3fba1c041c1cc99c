//! A few threads for work that is too slow for the data path.

use super::lock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Threads that take jobs from one bounded queue. They end when the pool is dropped, after the job they are at.
pub(super) struct Pool {
    jobs: SyncSender<Job>,
}

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The queue is full.
pub(super) struct Full;

impl Pool {
    /// Starts `threads` threads, for which at most `waiting_max` jobs may wait.
    pub(super) fn start(threads: usize, waiting_max: usize) -> std::io::Result<Pool> {
        let (jobs, queue) = sync_channel(waiting_max);
        let queue = Arc::new(Mutex::new(queue));
        for index in 0..threads {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("password-{index}")).spawn(move || work(&queue))?;
        }
        Ok(Pool { jobs })
    }

    /// Queues a job, or says at once that there is no room.
    pub(super) fn submit(&self, job: Job) -> Result<(), Full> {
        self.jobs.try_send(job).map_err(|_| Full)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits in the queue, the others wait for the lock.
        let job = lock(queue).recv();
        let Ok(job) = job else { return };
        // A job that panics drops its answer, which whoever asked takes for a refusal.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn what_does_not_fit_is_refused_and_what_panics_harms_nobody() {
        let pool = Pool::start(1, 2).unwrap_or_else(|error| panic!("{error}"));
        let (started, has_started) = channel();
        let (go_on, may_go_on) = channel::<()>();
        let (done, has_done) = channel();
        let blocker = move || {
            started.send(()).expect("the test waits");
            may_go_on.recv().expect("the test says so");
            panic!("as a job might");
        };
        assert!(pool.submit(Box::new(blocker)).is_ok());
        has_started.recv().expect("started");
        for index in 0..3 {
            let done = done.clone();
            let accepted = pool.submit(Box::new(move || done.send(index).expect("the test waits"))).is_ok();
            assert_eq!(accepted, index < 2, "{index}");
        }
        go_on.send(()).expect("the job waits");
        drop(done);
        assert_eq!(has_done.iter().collect::<Vec<_>>(), [0, 1]);
    }
}
