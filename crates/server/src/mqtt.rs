//! One MQTT connection: bytes between a socket and its shard. What they mean is the shard's business.

use crate::admission::Place;
use crate::net::Transport;
use crate::peer::Peer;
use crate::runtime::{READ_BYTES, Runtime};
use rowcast_core::shard::{ConnectionId, State};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadBuf};

/// Serves a connection until it ends: TCP or a Unix socket, TLS or WebSocket over either.
/// `place` is among the connections there may be.
///
/// What is given back is kept for each connection while it lives, so it holds its stream once, and only what is needed to
/// the end.
pub fn serve<S>(runtime: Rc<Runtime>, stream: S, peer: &Peer, place: Place) -> impl Future<Output = ()> + use<S>
where
    S: Transport,
{
    let id = runtime.accept(peer, place);
    let mut driver = Driver { runtime, stream, id, rest: Vec::new(), gave_way: false };
    async move {
        let ended = poll_fn(|context| driver.poll(context)).await;
        let _place = driver.runtime.gone(id);
        // Who closed it, or said goodbye, waits for nothing more.
        if !S::ENDS_BY_CLOSING || ended == Ended::Here {
            let _ = Box::pin(tokio::time::timeout(LINGER, say_goodbye(driver.stream, ended))).await;
        }
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// The other side closed it, or it broke.
    There,
    /// Its client sent DISCONNECT, and what was to be said before is written.
    Goodbye,
    /// All that was to be said is written.
    Here,
}

/// Ends the stream in its own way. What we said last must not be lost because something was never read: a socket that
/// is closed with bytes unread is reset.
async fn say_goodbye<S: Transport>(mut stream: S, ended: Ended) -> io::Result<()> {
    stream.shutdown().await?;
    if ended != Ended::There {
        // Not a part of what is kept for each connection while it lives.
        let mut unread = vec![0; 1024];
        while stream.read(&mut unread).await? > 0 {}
    }
    Ok(())
}

/// How long the other side may take to close, too.
const LINGER: Duration = Duration::from_secs(1);

struct Driver<S> {
    runtime: Rc<Runtime>,
    stream: S,
    id: ConnectionId,
    /// Bytes that came and are not handled yet: part of a packet, or packets that must wait.
    rest: Vec<u8>,
    /// What it was answered was left for later, once.
    gave_way: bool,
}

/// Slices of one vectored write.
const SLICES: usize = 64;

impl<S: Transport> Driver<S> {
    /// Reads and writes what there is, and leaves the thread to others; ready when the connection is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Ended> {
        self.runtime.park(self.id, context.waker());
        self.runtime.begin_read(self.id);
        let said_all = self.poll_read(context).is_ready();
        let woke_others = self.runtime.end_read();
        if !said_all && self.gives_way(woke_others) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        // Who says no more may still listen to what it is answered.
        if self.poll_write(context).is_ready() || said_all {
            return Poll::Ready(Ended::There);
        }
        match self.runtime.look(|shard| (shard.state(self.id), shard.outbox(self.id).is_none_or(|out| out.is_empty())))
        {
            (Some(State { closes: true, goodbye: true, .. }), true) => Poll::Ready(Ended::Goodbye),
            (None, _) | (Some(State { closes: true, .. }), true) => Poll::Ready(Ended::Here),
            _ => Poll::Pending,
        }
    }

    /// Whether those whom a message is for, and who were woken for it, get it before its publisher is told that we have
    /// it: every system call in between is part of how long it takes.
    fn gives_way(&mut self, woke_others: bool) -> bool {
        let is_answered = || self.runtime.look(|shard| shard.outbox(self.id).is_some_and(|out| !out.is_empty()));
        self.gave_way = woke_others && !self.gave_way && is_answered();
        self.gave_way
    }

    /// Ready: the connection is over.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for _ in 0..2 {
            let Some(state) = self.runtime.look(|shard| shard.state(self.id)) else { return Poll::Ready(()) };
            if state.closes || !state.reads || self.runtime.is_stalled(self.id) {
                return Poll::Pending;
            }
            if !self.rest.is_empty() && self.receive_rest() > 0 {
                break; // These were packets that had to wait.
            }
            match ready!(self.poll_receive(context)) {
                Ok(0) | Err(_) => return Poll::Ready(()), // Closed by the other side, or failed.
                Ok(READ_BYTES) => break,
                // Asked again, a socket that had no more says so without a system call, and wakes this task once it has.
                Ok(_) => {}
            }
        }
        // Others first; this socket may have more.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once and handles what came; how many bytes it was, 0 for the end.
    fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let runtime = Rc::clone(&self.runtime);
        let mut buffer = runtime.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
        let came = read.filled();
        if self.rest.is_empty() {
            let used = runtime.with(|shard, now| shard.receive(self.id, came, now));
            self.rest.extend_from_slice(&came[used..]);
        } else {
            self.rest.extend_from_slice(came);
            self.receive_rest();
        }
        if self.rest.is_empty() {
            self.rest = Vec::new(); // An idle connection holds no buffer.
        }
        Poll::Ready(Ok(came.len()))
    }

    /// Handles what came before, as far as it can be handled now; how many bytes of it.
    fn receive_rest(&mut self) -> usize {
        let rest = std::mem::take(&mut self.rest);
        let used = self.runtime.with(|shard, now| shard.receive(self.id, &rest, now));
        self.rest = rest;
        self.rest.drain(..used);
        used
    }

    /// Ready: the connection is over.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let runtime = Rc::clone(&self.runtime);
        let mut taken = 0;
        loop {
            let result = runtime.look(|shard| {
                let Some(outbox) = shard.outbox(self.id) else { return Poll::Ready(Ok(0)) };
                if outbox.is_empty() {
                    return Poll::Pending;
                }
                let stream = Pin::new(&mut self.stream);
                let written = if outbox.is_one_piece() || !stream.is_write_vectored() {
                    ready!(stream.poll_write(context, outbox.front()))
                } else {
                    let mut slices = [IoSlice::new(&[]); SLICES];
                    let filled = outbox.slices(&mut slices);
                    ready!(stream.poll_write_vectored(context, &slices[..filled]))
                };
                if let Ok(count) = written {
                    outbox.advance(count);
                }
                Poll::Ready(written)
            });
            match result {
                Poll::Pending => break,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(count)) => taken += count,
            }
        }
        if taken > 0 && runtime.look(|shard| shard.written(self.id, taken)) {
            runtime.with(|shard, now| shard.go_on(self.id, now));
        }
        // Buffered streams send what they hold.
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}
