//! Bodies: those of requests within their bounds, those of answers whole or piece by piece.

use super::limits::Patience;
use super::panics;
use super::problem::{Kind, Problem};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// The body of an answer.
pub(super) struct Body(Content);

enum Content {
    Full(Option<Bytes>),
    Chunks(Pin<Box<dyn Chunks>>),
}

/// An answer that ends before it is complete; the peer sees its connection end in the middle.
#[derive(Debug, thiserror::Error)]
#[error("the answer could not be completed: {0}")]
pub(super) struct Broken(pub(super) String);

/// Pieces that are made when the peer has taken the one before.
trait Chunks {
    fn poll_chunk(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>>;
}

impl Body {
    /// Nothing.
    pub(super) fn empty() -> Body {
        Body(Content::Full(None))
    }

    /// All of it.
    pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
        Body(Content::Full(Some(bytes.into()).filter(|bytes: &Bytes| !bytes.is_empty())))
    }

    /// Piece by piece: `next` makes one from `state`, and the state for the next one, until there is none.
    pub(super) fn chunks<S: 'static, F>(state: S, next: impl FnMut(S) -> F + 'static) -> Body
    where
        F: Future<Output = Result<Option<(Bytes, S)>, Broken>> + 'static,
    {
        Body(Content::Chunks(Box::pin(Unfold { next, state: Some(state), making: None })))
    }

    /// The bytes it has, if that is known before they are sent.
    pub(super) fn length(&self) -> Option<u64> {
        self.size_hint().exact()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Content::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::Chunks(chunks) => {
                chunks.as_mut().poll_chunk(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Content::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Content::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Content::Chunks(_) => SizeHint::default(),
        }
    }
}

struct Unfold<S, N, F> {
    next: N,
    /// There between two pieces.
    state: Option<S>,
    /// There while one is made.
    making: Option<Pin<Box<F>>>,
}

/// What it holds is not pinned; the future is, in its box.
impl<S, N, F> Unpin for Unfold<S, N, F> {}

impl<S, N, F> Chunks for Unfold<S, N, F>
where
    N: FnMut(S) -> F,
    F: Future<Output = Result<Option<(Bytes, S)>, Broken>>,
{
    fn poll_chunk(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let this = &mut *self;
        if let Some(state) = this.state.take() {
            this.making = Some(Box::pin((this.next)(state)));
        }
        let Some(making) = &mut this.making else { return Poll::Ready(None) };
        let made = match panics::poll(making.as_mut(), context) {
            Ok(polled) => std::task::ready!(polled),
            Err(panicked) => {
                tracing::error!(what = %panicked, "an answer ends in the middle");
                Err(Broken(panicked.to_string()))
            }
        };
        this.making = None;
        Poll::Ready(match made {
            Ok(Some((bytes, state))) => {
                this.state = Some(state);
                Some(Ok(bytes))
            }
            Ok(None) => None,
            Err(broken) => Some(Err(broken)),
        })
    }
}

/// The whole body of a request, at most `bytes_max` bytes, which must come as fast as `patience` says.
pub(super) async fn read(body: &mut Incoming, bytes_max: usize, patience: &Patience) -> Result<Bytes, Problem> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(too_large(bytes_max));
    }
    let begin = Instant::now();
    let mut whole = Bytes::new();
    let mut grown = BytesMut::new();
    let mut received = 0;
    while let Some(frame) = next_frame(body, begin + patience.for_body(received)).await? {
        let Ok(data) = frame.into_data() else { continue }; // Trailers say nothing here.
        received += data.len();
        if received > bytes_max {
            return Err(too_large(bytes_max));
        }
        if received == data.len() {
            whole = data; // The only piece, most of the time.
        } else {
            if grown.is_empty() {
                grown.extend_from_slice(&whole);
            }
            grown.extend_from_slice(&data);
        }
    }
    Ok(if grown.is_empty() { whole } else { grown.freeze() })
}

/// Reads what is left of a body that is not wanted, so that the peer, which may not listen before it has said
/// everything, hears the answer. Within bounds; beyond them the connection just ends.
pub(super) async fn discard(headers: &HeaderMap, body: &mut Incoming, patience: &Patience) {
    if headers.contains_key(header::EXPECT) {
        return; // It waits to be asked for the body, and was not.
    }
    let deadline = Instant::now() + patience.body;
    let mut left = DISCARD_BYTES_MAX;
    while let Ok(Some(frame)) = next_frame(body, deadline).await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length >= left {
            return;
        }
        left -= length;
    }
}

async fn next_frame(body: &mut Incoming, deadline: Instant) -> Result<Option<Frame<Bytes>>, Problem> {
    match timeout_at(deadline, body.frame()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame)),
        Ok(Some(Err(error))) => Err(close(Problem::new(Kind::MalformedBody, error.to_string()))),
        Err(_) => Err(close(Problem::new(Kind::BodyTooSlow, "it did not arrive in the time it was given"))),
    }
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("a body has at most {bytes_max} bytes"))
}

/// What follows on this connection cannot be told from the rest of the body.
fn close(problem: Problem) -> Problem {
    problem.header(header::CONNECTION, HeaderValue::from_static("close"))
}

impl Patience {
    /// How long a body may take from its beginning, when this much of it is here.
    fn for_body(&self, received: usize) -> Duration {
        self.body + Duration::from_secs(received as u64 / self.body_bytes_per_sec_min.max(1))
    }
}

/// Bytes of an unwanted body that are read to be polite.
const DISCARD_BYTES_MAX: usize = 32 * 1024 * 1024;
