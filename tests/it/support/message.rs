//! A strict HTTP/1 parser, just enough to read what a peer sent.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// A stream with the bytes that were read ahead.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    pub(crate) ahead: BytesMut,
}

/// A start line and fields, as sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// Without its line end.
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
}

impl Head {
    /// The values of a field, in their order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field; fails if there are several.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there twice: {self:?}");
        all.first().copied()
    }

    fn says(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().any(|value| value.to_ascii_lowercase().contains(token))
    }
}

/// The rest of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Length(u64),
    Chunked,
    ToTheEnd,
    Done,
}

impl<S: AsyncRead + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, ahead: BytesMut::new() }
    }

    /// Reads available bytes; `false` at the end of the stream.
    pub(crate) async fn read(&mut self) -> io::Result<bool> {
        // Room for everything that arrived.
        self.ahead.reserve(16 * 1024);
        Ok(self.stream.read_buf(&mut self.ahead).await? > 0)
    }

    /// Reads more bytes; an error at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        if self.read().await? { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The next line, without its end.
    pub(crate) async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.ahead.split_to(end);
                self.ahead.advance(2);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill().await?;
        }
    }

    /// The next head; `None` when the stream ends before it.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Head>> {
        if self.ahead.is_empty() && !self.read().await? {
            return Ok(None);
        }
        let mut head = Head { start: self.line().await?, fields: Vec::new() };
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Ok(Some(head));
            }
            let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
            head.fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    /// Up to `most` bytes, as soon as any arrive.
    async fn some(&mut self, most: u64) -> io::Result<Bytes> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        let length = self.ahead.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(self.ahead.split_to(length).freeze())
    }
}

impl Body {
    pub(crate) fn of_request(head: &Head) -> Self {
        match Self::framed(head) {
            Self::ToTheEnd => Self::Done,
            framed => framed,
        }
    }

    /// The body of an answer to `method`.
    pub(crate) fn of_answer(head: &Head, method: &str) -> Self {
        let status = head.start.split(' ').nth(1).unwrap_or_default();
        if method == "HEAD" || status.starts_with('1') || status == "204" || status == "304" {
            Self::Done
        } else {
            Self::framed(head)
        }
    }

    fn framed(head: &Head) -> Self {
        if head.says("transfer-encoding", "chunked") {
            return Self::Chunked;
        }
        match head.get("content-length").map(str::parse) {
            Some(Ok(0)) => Self::Done,
            Some(length) => Self::Length(length.expect("a length")),
            None => Self::ToTheEnd,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn next<S: AsyncRead + Unpin>(
        &mut self,
        wire: &mut Wire<S>,
    ) -> io::Result<Option<Bytes>> {
        match self {
            Self::Done => Ok(None),
            Self::Length(left) => {
                let bytes = wire.some(*left).await?;
                *left -= bytes.len() as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(Some(bytes))
            }
            Self::ToTheEnd => {
                if wire.ahead.is_empty() && !wire.read().await? {
                    *self = Self::Done;
                    return Ok(None);
                }
                Ok(Some(wire.ahead.split().freeze()))
            }
            Self::Chunked => {
                let line = wire.line().await?;
                let length = usize::from_str_radix(&line, 16).map_err(|_| invalid(&line))?;
                while wire.ahead.len() < length {
                    wire.fill().await?;
                }
                let bytes = wire.ahead.split_to(length).freeze();
                if length > 0 {
                    let end = wire.line().await?;
                    return if end.is_empty() { Ok(Some(bytes)) } else { Err(invalid(&end)) };
                }
                // Trailers are ignored.
                while !wire.line().await?.is_empty() {}
                *self = Self::Done;
                Ok(None)
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
