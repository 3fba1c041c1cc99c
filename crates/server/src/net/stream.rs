//! What connections are made of, whatever door they come through.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connection that its thread can read and write.
#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    _seat: Seat,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection on its way from the thread that accepted it to the thread that will serve it.
#[derive(Debug)]
pub enum Handle {
    /// TCP.
    Tcp(std::net::TcpStream),
    /// A Unix socket.
    Unix(StdUnixStream),
}

impl Handle {
    /// The stream, on the thread that calls this from now on.
    pub fn attach(self, seat: Seat) -> io::Result<Stream> {
        let socket = match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Socket::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Socket::Unix),
        };
        Ok(Stream { socket: socket?, _seat: seat })
    }
}

/// One connection in the count of a thread's connections, from when it was given to that thread to when it is closed.
#[derive(Debug)]
pub struct Seat(Arc<AtomicUsize>);

/// How many connections a thread has, those on their way to it among them.
#[derive(Debug, Default)]
pub struct Seats(Arc<AtomicUsize>);

impl Seats {
    /// One more.
    #[must_use]
    pub fn take(&self) -> Seat {
        self.0.fetch_add(1, Ordering::Relaxed);
        Seat(Arc::clone(&self.0))
    }

    /// How many there are.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsRawFd for Handle {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Self::Tcp(stream) => stream.as_raw_fd(),
            Self::Unix(stream) => stream.as_raw_fd(),
        }
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
        let (seats, (near, _far)) = (Seats::default(), StdUnixStream::pair().expect("a pair"));
        near.set_nonblocking(true).expect("set");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let _entered = runtime.enter();
        let seat = seats.take();
        assert_eq!(seats.taken(), 1);
        let stream = Handle::Unix(near).attach(seat).expect("a stream");
        assert_eq!(seats.taken(), 1);
        drop(stream);
        assert_eq!(seats.taken(), 0);
    }
}
