//! Threads that read the store, which may touch the disk, so that no shard has to.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use tokio::sync::oneshot;

/// A few threads before one bounded queue. They end with the last clone.
#[derive(Clone)]
pub(super) struct Readers<S> {
    owner: Arc<Owner<S>>,
}

/// Ends the threads when dropped.
struct Owner<S> {
    queue: Arc<Queue<S>>,
}

struct Queue<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
}

struct State<S> {
    jobs: VecDeque<Job<S>>,
    closed: bool,
}

type Job<S> = Box<dyn FnOnce(&S) + Send>;

/// Why a read brought nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failed {
    /// As much waits to be read as may wait.
    Overloaded,
    /// It ended with a panic, which was reported.
    Panicked,
}

impl<S: Clone + Send + 'static> Readers<S> {
    /// Starts `threads` threads over `store`.
    pub(super) fn start(store: &S, threads: usize) -> std::io::Result<Readers<S>> {
        let state = State { jobs: VecDeque::new(), closed: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), changed: Condvar::new() });
        let readers = Readers { owner: Arc::new(Owner { queue: Arc::clone(&queue) }) };
        for number in 0..threads {
            let (store, queue) = (store.clone(), Arc::clone(&queue));
            thread::Builder::new().name(format!("reader-{number}")).spawn(move || queue.run(&store))?;
        }
        Ok(readers)
    }

    /// Has a thread call `read`, and waits for what it returns. A read nobody waits for any more is not made.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let (sender, receiver) = oneshot::channel();
        let job = move |store: &S| {
            if !sender.is_closed() {
                let _ = sender.send(read(store));
            }
        };
        self.owner.queue.push(Box::new(job))?;
        receiver.await.map_err(|_| Failed::Panicked)
    }
}

impl<S> Queue<S> {
    fn push(&self, job: Job<S>) -> Result<(), Failed> {
        let mut state = self.lock();
        if state.jobs.len() >= WAITING_MAX {
            return Err(Failed::Overloaded);
        }
        state.jobs.push_back(job);
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn run(&self, store: &S) {
        while let Some(job) = self.next() {
            // Whoever waits for it is told; the thread is there for the others.
            let _ = catch_unwind(AssertUnwindSafe(|| job(store)));
        }
    }

    fn next(&self) -> Option<Job<S>> {
        let mut state = self.lock();
        loop {
            match state.jobs.pop_front() {
                Some(job) => return Some(job),
                None if state.closed => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// The queue is whole after every statement, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Drop for Owner<S> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

/// Reads that may wait: each holds a key or a range, not a record.
const WAITING_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_full_queue_is_said_and_what_nobody_waits_for_is_not_read() {
        let (begun, has_begun) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let readers = Readers::start(&7, 1).expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let first = readers.clone();
            let blocker = tokio::task::spawn_local(async move {
                first
                    .read(move |store| {
                        begun.send(()).unwrap();
                        may_go_on.recv().unwrap();
                        *store
                    })
                    .await
            });
            tokio::task::yield_now().await;
            has_begun.recv().unwrap();
            // Fill the queue with reads that are given up at once.
            let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(readers.read(|_| panic!("read")))).collect();
            for read in &mut waiting {
                let polled = std::future::poll_fn(|context| std::task::Poll::Ready(read.as_mut().poll(context))).await;
                assert!(polled.is_pending());
            }
            assert_eq!(readers.read(|store| *store).await, Err(Failed::Overloaded));
            drop(waiting);
            go_on.send(()).unwrap();
            assert_eq!(blocker.await.unwrap(), Ok(7));
        });
    }

    #[test]
    fn a_read_that_panics_is_an_error_and_the_next_one_is_made() {
        let readers = Readers::start(&7, 1).expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let panicked = readers.read(|_| -> i32 { panic!("as it should") }).await;
            assert_eq!((panicked, readers.read(|store| *store).await), (Err(Failed::Panicked), Ok(7)));
        });
    }
}
