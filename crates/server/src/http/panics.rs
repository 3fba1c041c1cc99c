//! A panic while a request is answered: the misfortune of that request, and of nobody else.
//!
//! What requests share is whole after every statement, or behind locks of which that is true; what one of them holds is
//! its own. So the node goes on, and whoever asked is told as long as nothing of the answer is under way.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// What a panic said.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("it ended with a panic: {0}")]
pub(super) struct Panicked(String);

/// What `future` comes to, or what it panicked with.
pub(super) async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match poll(future.as_mut(), context) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Polls `future`, which is not to be polled again once it has panicked.
pub(super) fn poll<F: Future>(future: Pin<&mut F>, context: &mut Context<'_>) -> Result<Poll<F::Output>, Panicked> {
    catch_unwind(AssertUnwindSafe(|| future.poll(context))).map_err(|said| Panicked(words(&*said)))
}

fn words(said: &(dyn Any + Send)) -> String {
    let text = said.downcast_ref::<&str>().copied().or_else(|| said.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a word").to_owned()
}
