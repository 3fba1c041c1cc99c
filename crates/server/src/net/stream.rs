//! What connections are made of, whatever door they come through.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection that its thread can read and write.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    _counted: Counted,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A stream that MQTT is spoken over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether closing it says all that there is to say at its end.
    const ENDS_BY_CLOSING: bool;
}

impl Transport for Stream {
    const ENDS_BY_CLOSING: bool = true;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for Box<TlsStream<S>> {
    const ENDS_BY_CLOSING: bool = false;
}

impl Stream {
    /// Over TCP.
    #[must_use]
    pub fn tcp(stream: TcpStream, counted: Counted) -> Stream {
        Stream { socket: Socket::Tcp(stream), _counted: counted }
    }

    /// Over a Unix socket.
    #[must_use]
    pub fn unix(stream: UnixStream, counted: Counted) -> Stream {
        Stream { socket: Socket::Unix(stream), _counted: counted }
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        }
    }
}

/// One connection in the count of a thread's connections, until it is closed.
#[derive(Debug)]
pub struct Counted(Arc<Counts>);

/// How many connections a thread has, and how many of them ended of late.
#[derive(Debug, Default)]
pub struct ConnectionCount(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    now: AtomicUsize,
    ended_of_late: AtomicUsize,
}

impl ConnectionCount {
    /// One more.
    #[must_use]
    pub fn add(&self) -> Counted {
        self.0.now.fetch_add(1, Ordering::Relaxed);
        Counted(Arc::clone(&self.0))
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> usize {
        self.0.now.load(Ordering::Relaxed)
    }

    /// How many ended since the last [`tick`](Self::tick).
    #[must_use]
    pub fn ended_of_late(&self) -> usize {
        self.0.ended_of_late.load(Ordering::Relaxed)
    }

    /// What ended until now is not of late any more.
    pub fn tick(&self) {
        self.0.ended_of_late.store(0, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
        self.0.ended_of_late.fetch_add(1, Ordering::Relaxed);
    }
}

/// Hands a call on to whichever stream it is.
macro_rules! each {
    ($stream:expr, $inner:ident => $call:expr) => {
        match &mut $stream.get_mut().socket {
            Socket::Tcp($inner) => $call,
            Socket::Unix($inner) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_taken_until_its_connection_is_closed() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _entered = runtime.enter();
        let (count, (near, _far)) = (ConnectionCount::default(), UnixStream::pair().expect("a pair"));
        let stream = Stream::unix(near, count.add());
        assert_eq!(count.get(), 1);
        assert_eq!(count.ended_of_late(), 0);
        drop(stream);
        assert_eq!((count.get(), count.ended_of_late()), (0, 1));
        count.tick();
        assert_eq!(count.ended_of_late(), 0);
    }
}
