//! HTTP/2: many requests at once on a connection, and what such a connection may cost.
//!
//! Flow control lets a peer that is well and alive leave an answer lying, and a connection open, for ever. So each
//! connection is looked at now and then: one without requests ends as a quiet one of HTTP/1.1 does, one with an answer
//! that nobody fetches is cut.

use super::body::{Body, Broken};
use super::limits::{
    HEAD_BYTES_MAX, Patience, STREAM_RESETS_MAX, STREAMS_MAX, UNREAD_BYTES_MAX, UNREAD_STREAM_BYTES_MAX,
    UNSENT_STREAM_BYTES_MAX,
};
use super::patient::Patient;
use super::{HttpState, Visit, answer};
use crate::peer::Peer;
use bytes::Bytes;
use hyper::Request;
use hyper::body::{Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

/// Serves one connection until it ends, as [`serve_connection`](super::serve_connection) does for HTTP/1.1. There are
/// no WebSockets on it: those who want one do not offer HTTP/2.
pub async fn serve<S>(stream: S, peer: Peer, state: Arc<HttpState>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let patience = state.patience();
    let mut closing = state.closing.subscribe();
    let pulse = Rc::new(Pulse::new());
    let (beating, visit) = (Rc::clone(&pulse), Rc::new(Visit { peer: peer.clone(), user: Cell::default() }));
    let service = service_fn(move |request| {
        let (state, visit, call) = (Arc::clone(&state), Rc::clone(&visit), beating.begin());
        async move {
            let response = answer(&state, &visit, with_host(request), &Cell::new(None)).await;
            Ok::<_, Infallible>(response.map(|body| Followed { body, rest: Bytes::new(), call }))
        }
    });
    let mut builder = http2::Builder::new(Here);
    builder.timer(TokioTimer::new()).keep_alive_interval(patience.head).keep_alive_timeout(patience.head);
    builder.max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEAD_BYTES_MAX as u32);
    builder.max_pending_accept_reset_streams(STREAM_RESETS_MAX).max_local_error_reset_streams(STREAM_RESETS_MAX);
    builder.initial_connection_window_size(UNREAD_BYTES_MAX).initial_stream_window_size(UNREAD_STREAM_BYTES_MAX);
    builder.max_send_buf_size(UNSENT_STREAM_BYTES_MAX);
    let stream = TokioIo::new(Patient::new(stream, patience.answer));
    let mut connection = pin!(builder.serve_connection(stream, service));
    let look_every = patience.head.min(patience.answer) / 2;
    let (mut is_closing, mut was_idle) = (false, false);
    let mut look_at = Instant::now() + look_every;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            _ = closing.wait_for(|closing| *closing), if !is_closing => {
                is_closing = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(look_at) => {
                look_at = Instant::now() + look_every;
                match pulse.look(Instant::now(), &patience) {
                    Health::Well => {}
                    // It was told to go, and is still there.
                    Health::Idle if was_idle => break Ok(()),
                    Health::Idle => {
                        was_idle = true;
                        connection.as_mut().graceful_shutdown();
                        look_at = Instant::now() + patience.head;
                    }
                    Health::Stalled => {
                        tracing::debug!(%peer, "an HTTP/2 connection is cut: an answer is not fetched");
                        break Ok(());
                    }
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an HTTP/2 connection ended early");
    }
}

/// What HTTP/1.1 says in `Host` stands in the address here. One that says something else beside it is one too many
/// (RFC 9113 §8.3.1).
fn with_host<B>(mut request: Request<B>) -> Request<B> {
    let authority = request.uri().authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority
        && request.headers().get_all(header::HOST).iter().all(|host| *host != authority)
    {
        request.headers_mut().append(header::HOST, authority);
    }
    request
}

/// Runs requests on the thread of their connection.
#[derive(Clone, Copy, Debug)]
struct Here;

impl<F> hyper::rt::Executor<F> for Here
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, request: F) {
        tokio::task::spawn_local(request);
    }
}

/// The requests of a connection.
struct Pulse {
    /// Since when the peer has had a piece of the answer to take; `None`: it is for us to go on.
    calls: RefCell<Slab<Option<Instant>>>,
    quiet_since: Cell<Instant>,
}

/// How a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Well,
    /// It has had no request for long.
    Idle,
    /// An answer has not been fetched for long.
    Stalled,
}

impl Pulse {
    fn new() -> Pulse {
        Pulse { calls: RefCell::default(), quiet_since: Cell::new(Instant::now()) }
    }

    fn begin(self: &Rc<Self>) -> Call {
        let slot = self.calls.borrow_mut().insert(None);
        Call { pulse: Rc::clone(self), slot }
    }

    fn look(&self, now: Instant, patience: &Patience) -> Health {
        let calls = self.calls.borrow();
        let is_long = |since: Instant, patience| now.saturating_duration_since(since) >= patience;
        if calls.is_empty() {
            return if is_long(self.quiet_since.get(), patience.head) { Health::Idle } else { Health::Well };
        }
        let mut offered = calls.iter().filter_map(|(_, offered)| *offered);
        if offered.any(|since| is_long(since, patience.answer)) { Health::Stalled } else { Health::Well }
    }
}

/// One of them, from its head to the end of its answer.
struct Call {
    pulse: Rc<Pulse>,
    slot: usize,
}

impl Call {
    fn set(&self, offered: Option<Instant>) {
        self.pulse.calls.borrow_mut()[self.slot] = offered;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.pulse.calls.borrow_mut().remove(self.slot);
        self.pulse.quiet_since.set(Instant::now());
    }
}

/// The body of an answer in pieces, each of which the peer has to make room for before the next but one is made.
struct Followed {
    body: Body,
    /// What comes before the rest of the body.
    rest: Bytes,
    call: Call,
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            this.call.set(None);
            let Some(frame) = std::task::ready!(Pin::new(&mut this.body).poll_frame(context)?) else {
                return Poll::Ready(None);
            };
            this.rest = frame.into_data().unwrap_or_default();
        }
        this.call.set(Some(Instant::now()));
        let piece = if this.rest.len() > PIECE_BYTES {
            this.rest.split_to(PIECE_BYTES)
        } else {
            // The last piece may wait for long, and should not keep all of them.
            Bytes::copy_from_slice(&std::mem::take(&mut this.rest))
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One frame, as large as every peer takes it.
const PIECE_BYTES: usize = 16 * 1024;
