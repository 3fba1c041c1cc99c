//! MQTT over WebSocket (MQTT 5 §6): a stream of bytes in binary frames over another stream.
//!
//! Frame borders mean nothing to MQTT, so nothing is gathered for them: payloads are unmasked where they were read,
//! and what is written at once, however many pieces it has, is one frame around them.

mod frame;

#[cfg(any(test, fuzzing))]
pub(crate) use frame::decode;
pub use frame::{Role, Violation};

use crate::net::Transport;
use bytes::Bytes;
use frame::{Decoder, End, Opcode, encode_head};
use sha1::{Digest, Sha1};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The sub-protocols that MQTT is spoken in, the usual one first.
pub const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// The bytes that travel in the binary frames of one connection, after its handshake.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    role: Role,
    decoder: Decoder,
    /// What the handshake had read already.
    read_ahead: Bytes,
    /// Bytes that go out before anything else: the head of a frame, control frames, all that a client sends.
    pending: Pending,
    /// Payload that the frame begun last still promises.
    promised: u64,
    /// Close was sent, or is pending.
    closing: bool,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

/// Slices of one vectored write, the head of the frame among them.
const SLICES: usize = 65;

/// Bytes that a client masks at a time.
const MASKED_BYTES: usize = 64 * 1024;

/// The value of `Sec-WebSocket-Accept` for that of `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    use base64::Engine;
    let digest = Sha1::new().chain_update(key).chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").finalize();
    base64::engine::general_purpose::STANDARD.encode(digest)
}

impl<S> WebSocket<S> {
    /// Goes on where the handshake ended, having read some bytes too many.
    #[must_use]
    pub fn new(stream: S, role: Role, read_ahead: Bytes) -> WebSocket<S> {
        let decoder = Decoder::new(role);
        let read_ahead = Bytes::copy_from_slice(&read_ahead); // Even none of it would keep what the handshake read into.
        WebSocket { stream, role, decoder, read_ahead, pending: Pending::default(), promised: 0, closing: false }
    }

    /// Puts a control frame before what is written next. Only between frames, and `pending` is empty then.
    fn control(&mut self, opcode: Opcode, payload: &mut [u8]) {
        let mut mask = self.mask();
        encode_head(opcode, payload.len() as u64, mask, &mut self.pending.bytes);
        if let Some(mask) = &mut mask {
            frame::apply(mask, payload);
        }
        self.pending.bytes.extend_from_slice(payload);
    }

    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(|| {
            let mut mask = [0; 4];
            // A mask keeps proxies from being fooled; without randomness there are none to fool.
            let _ = getrandom::fill(&mut mask);
            mask
        })
    }

    /// What is answered to Close, or said first.
    fn close(&mut self) {
        if std::mem::replace(&mut self.closing, true) {
            return;
        }
        let code = match self.decoder.end() {
            Some(End::Closed(code)) => code,
            Some(End::Violated(violation)) => Some(violation.code()),
            None => Some(NORMAL),
        };
        match code {
            Some(code) => self.control(Opcode::Close, &mut code.to_be_bytes()),
            None => self.control(Opcode::Close, &mut []),
        }
    }
}

/// The conversation is over, and nothing is wrong.
const NORMAL: u16 = 1000;

impl<S: AsyncWrite + Unpin> WebSocket<S> {
    /// Ready: what had to go first is gone. Within a frame nothing goes first.
    fn poll_pending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while self.pending.written < self.pending.bytes.len() {
                let rest = &self.pending.bytes[self.pending.written..];
                match ready!(Pin::new(&mut self.stream).poll_write(context, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    count => self.pending.written += count,
                }
            }
            self.pending = Pending::default(); // An idle connection holds no buffer.
            if self.promised > 0 || self.closing {
                return Poll::Ready(Ok(()));
            }
            match self.decoder.take_ping() {
                Some(mut payload) => self.control(Opcode::Pong, &mut payload),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// What a client writes is masked in a copy.
    fn poll_write_masked(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_pending(context))?;
        let bytes = &bytes[..bytes.len().min(MASKED_BYTES)];
        let mut mask = self.mask().unwrap_or_default();
        encode_head(Opcode::Binary, bytes.len() as u64, Some(mask), &mut self.pending.bytes);
        let begin = self.pending.bytes.len();
        self.pending.bytes.extend_from_slice(bytes);
        frame::apply(&mut mask, &mut self.pending.bytes[begin..]);
        match self.poll_pending(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(bytes.len())),
        }
    }

    /// Begins a frame around all the slices, or goes on with the one that was begun.
    fn poll_write_slices(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.promised == 0 {
            ready!(self.poll_pending(context))?;
            let total: usize = slices.iter().map(|slice| slice.len()).sum();
            if total == 0 {
                return Poll::Ready(Ok(0));
            }
            self.promised = total as u64;
            encode_head(Opcode::Binary, self.promised, None, &mut self.pending.bytes);
        }
        loop {
            let head = &self.pending.bytes[self.pending.written..];
            let mut out = [IoSlice::new(&[]); SLICES];
            out[0] = IoSlice::new(head);
            let mut room = usize::try_from(self.promised).unwrap_or(usize::MAX);
            let mut filled = 1;
            for slice in slices.iter().filter(|slice| !slice.is_empty()).take(SLICES - 1) {
                let len = slice.len().min(room);
                out[filled] = IoSlice::new(&slice[..len]);
                room -= len;
                filled += 1;
            }
            let out = if head.is_empty() { &out[1..filled] } else { &out[..filled] };
            let count = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, out))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = count.min(head.len());
            self.pending.written += of_head;
            if self.pending.written == self.pending.bytes.len() {
                self.pending = Pending::default();
            }
            let of_payload = count - of_head;
            self.promised -= of_payload as u64;
            if of_payload > 0 {
                return Poll::Ready(Ok(of_payload));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport for WebSocket<S> {
    const ENDS_BY_CLOSING: bool = false;
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        match this.decoder.end() {
            Some(End::Closed(_)) => return Poll::Ready(Ok(())),
            Some(End::Violated(violation)) => return Poll::Ready(Err(io::Error::other(violation))),
            None => {}
        }
        let before = buffer.filled().len();
        if this.read_ahead.is_empty() {
            ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        } else {
            let ahead = this.read_ahead.split_to(this.read_ahead.len().min(buffer.remaining()));
            buffer.put_slice(&ahead);
        }
        let came = &mut buffer.filled_mut()[before..];
        if came.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let kept = this.decoder.decode(came);
        buffer.set_filled(before + kept);
        if kept > 0 {
            return Poll::Ready(Ok(()));
        }
        // Heads and control frames only, of which a peer could send no end: others first.
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.role {
            Role::Client => self.poll_write_masked(context, bytes),
            Role::Server => self.poll_write_slices(context, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.role {
            Role::Client => {
                let first = slices.iter().find(|slice| !slice.is_empty());
                self.poll_write_masked(context, first.map_or(&[], |slice| slice))
            }
            Role::Server => self.poll_write_slices(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.role == Role::Server && self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.promised == 0 {
            ready!(self.poll_pending(context))?;
        }
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Says Close, or answers it. In the middle of a frame there is no place for it.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.promised == 0 {
            ready!(self.poll_pending(context))?;
            self.close();
            ready!(self.poll_pending(context))?;
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    #[test]
    fn keys_are_accepted_as_in_the_standard() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn bytes_go_both_ways_whatever_the_stream_takes_at_a_time() {
        for room in [1, 7, 100, 1 << 20] {
            run(room, async |mut server, mut client| {
                let data: Vec<u8> = (0..200_000u32).map(|byte| byte as u8).collect();
                let (mut at_server, mut at_client) = (vec![0; data.len()], vec![0; data.len()]);
                tokio::join!(
                    async {
                        client.write_all(&data).await.expect("taken");
                        client.flush().await.expect("sent");
                        client.read_exact(&mut at_client).await.expect("bytes");
                    },
                    async {
                        server.read_exact(&mut at_server).await.expect("bytes");
                        write_slices(&mut server, &data).await;
                    }
                );
                assert!(at_server == data && at_client == data, "{room} at a time");
            });
        }
    }

    #[test]
    fn a_write_of_many_slices_is_one_frame() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (ours, mut theirs) = duplex(1024);
            let mut server = WebSocket::new(ours, Role::Server, Bytes::new());
            let slices = [IoSlice::new(b"one"), IoSlice::new(b""), IoSlice::new(b"two")];
            assert_eq!(server.write_vectored(&slices).await.expect("taken"), 6);
            let mut frame = [0; 8];
            theirs.read_exact(&mut frame).await.expect("a frame");
            assert_eq!(&frame, b"\x82\x06onetwo");
        });
    }

    #[test]
    fn pings_are_answered_and_close_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (ours, mut theirs) = duplex(1024);
            let ahead = Bytes::from_static(b"\x82\x81\0\0\0\0a");
            let mut server = WebSocket::new(ours, Role::Server, ahead);
            let mut byte = [0; 1];
            server.read_exact(&mut byte).await.expect("read ahead");
            assert_eq!(&byte, b"a");
            let sent = b"\x89\x82\0\0\0\0hi\x82\x81\0\0\0\0b\x88\x82\0\0\0\0\x03\xe9";
            theirs.write_all(sent).await.expect("taken");
            server.read_exact(&mut byte).await.expect("data");
            assert_eq!(&byte, b"b");
            assert_eq!(server.read(&mut byte).await.expect("the end"), 0);
            server.flush().await.expect("sent");
            server.shutdown().await.expect("said");
            let mut said = Vec::new();
            theirs.read_to_end(&mut said).await.expect("the end");
            assert_eq!(said, b"\x8a\x02hi\x88\x02\x03\xe9");
        });
    }

    #[test]
    fn who_breaks_the_rules_is_told_which() {
        for (sent, code) in
            [(&b"\x81\x80\0\0\0\0"[..], 1003), (b"\x82\x01", 1002), (b"\x82\xff\xff\0\0\0\0\0\0\0", 1009)]
        {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                let (ours, mut theirs) = duplex(1024);
                let mut server = WebSocket::new(ours, Role::Server, Bytes::new());
                theirs.write_all(sent).await.expect("taken");
                server.read_u8().await.expect_err("a violation");
                server.shutdown().await.expect("said");
                let mut said = Vec::new();
                theirs.read_to_end(&mut said).await.expect("the end");
                assert_eq!(said, [&b"\x88\x02"[..], &u16::to_be_bytes(code)].concat());
            });
        }
    }

    async fn write_slices(server: &mut WebSocket<DuplexStream>, mut data: &[u8]) {
        while !data.is_empty() {
            let slices: Vec<IoSlice<'_>> = data.chunks(1000).take(80).map(IoSlice::new).collect();
            let taken = server.write_vectored(&slices).await.expect("taken");
            data = &data[taken..];
        }
        server.flush().await.expect("sent");
    }

    fn run(room: usize, act: impl AsyncFnOnce(WebSocket<DuplexStream>, WebSocket<DuplexStream>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (ours, theirs) = duplex(room);
            let server = WebSocket::new(ours, Role::Server, Bytes::new());
            act(server, WebSocket::new(theirs, Role::Client, Bytes::new())).await;
        });
    }
}
