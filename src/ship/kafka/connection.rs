//! A connection to one broker: requests and answers, one at a time, each with a deadline and a size limit.

use std::fmt;
use std::time::Duration;

use super::codes;
use super::messages::{Api, Versions};
use super::wire::{Malformed, Reader, Writer};
use crate::config::sinks::{ServerAddress, TlsSettings};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::ship::stream::Stream;

/// From a request to its whole answer; longer than replicas get to acknowledge a batch.
const ANSWER: Duration = Duration::from_secs(40);
/// The largest answer: metadata of a few thousand brokers and partitions.
const MAX_ANSWER: usize = 1 << 20;
/// How a broker's log names this program.
const CLIENT_ID: &str = "icpgate";

/// A connection that is ready for requests.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    peer: String,
    correlation: i32,
    versions: Versions,
}

/// The body of an answer, and the version that it is written in.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) version: i16,
    body: Vec<u8>,
    peer: String,
}

impl Connection {
    /// Connects and asks what the broker speaks.
    pub(super) async fn open(
        address: &ServerAddress,
        tls: Option<&TlsSettings>,
    ) -> Result<Self, RemoteFailure> {
        let stream = Stream::connect(address, tls).await?;
        let (peer, versions) = (address.to_string(), Versions::default());
        let mut connection = Self { stream, peer, correlation: 0, versions };
        let answer = connection.call(Api::Versions, |_| {}).await?;
        let (error, versions) = answer.read(Versions::read)?;
        if error != 0 {
            return Err(codes::failure(error, &connection.peer));
        }
        connection.versions = versions;
        Ok(connection)
    }

    /// The version in which both sides speak of `api`.
    pub(super) fn version(&self, api: Api) -> Result<i16, RemoteFailure> {
        // Before the versions are known there is one request: for them.
        let version = if api == Api::Versions { Some(0) } else { self.versions.newest(api) };
        version.ok_or_else(|| {
            let what = format!("the broker does not speak {api:?} of Kafka 0.11 or later");
            self.failure(FailureKind::Protocol, what)
        })
    }

    /// Sends a request and reads the answer to it. After an error the connection is of no use.
    pub(super) async fn call(
        &mut self,
        api: Api,
        write: impl FnOnce(&mut Writer),
    ) -> Result<Answer, RemoteFailure> {
        let version = self.version(api)?;
        self.correlation = self.correlation.wrapping_add(1);
        let mut request = Writer::default();
        request.int32(0);
        request.int16(api as i16);
        request.int16(version);
        request.int32(self.correlation);
        request.string(CLIENT_ID);
        write(&mut request);
        let length = u32::try_from(request.0.len() - 4).unwrap_or(u32::MAX);
        request.0[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write(&request.0).await?;

        let mut length = [0; 4];
        self.stream.read_exact(&mut length, ANSWER).await?;
        // What is no Kafka broker mostly shows here: `HTTP` would be an answer of 1.2 GB.
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(4..=MAX_ANSWER).contains(&length) {
            return Err(self.failure(FailureKind::Protocol, "the answer is not that of a Kafka broker"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body, ANSWER).await?;
        let answer = Answer { version, body, peer: self.peer.clone() };
        if answer.correlation() != Some(self.correlation) {
            return Err(self.failure(FailureKind::Protocol, "the answer is to another request"));
        }
        Ok(answer)
    }

    pub(super) fn failure(&self, kind: FailureKind, what: impl fmt::Display) -> RemoteFailure {
        self.stream.failure(kind, what)
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer)
    }
}

impl Answer {
    fn correlation(&self) -> Option<i32> {
        self.body.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
    }

    /// Takes the answer apart.
    pub(super) fn read<'a, T>(
        &'a self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
    ) -> Result<T, RemoteFailure> {
        let body = self.body.get(4..).unwrap_or_default();
        read(&mut Reader::new(body)).map_err(|malformed| {
            RemoteFailure::new(FailureKind::Protocol, format_args!("{}: {malformed}", self.peer))
        })
    }
}
