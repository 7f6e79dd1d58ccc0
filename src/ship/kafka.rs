//! Records to a Kafka topic: acknowledged by every in-sync replica, keyed by the node.
//!
//! The key keeps one node's records in one partition and in their order. A batch is produced once; a connection that
//! fails is given up, and the leader is asked for again.

mod batch;
mod codes;
mod connection;
mod messages;
mod partition;
mod promise;
mod sasl;
mod scram;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use self::batch::Compression;
use self::connection::Connection;
use self::messages::{Api, Metadata, TopicConfigs};
use super::sink::{BatchLimits, Message, Promise, RecordSink, SinkResult};
use crate::config::sinks::{KafkaSettings, ServerAddress, SinkHost};
use crate::hostname::Hostname;
use crate::remote::failure::{FailureKind, RemoteFailure};

/// How long the replicas may take to acknowledge a batch.
const REPLICATION_MS: i32 = 30_000;
/// Produce takes zstd from this version on.
const ZSTD_SINCE: i16 = 7;

/// A sink of type `kafka`.
#[derive(Debug)]
pub struct KafkaSink {
    settings: KafkaSettings,
    node: Arc<str>,
    leader: Option<Leader>,
    compression: Compression,
}

/// The broker that leads the partition of this node.
#[derive(Debug)]
struct Leader {
    connection: Connection,
    partition: i32,
    replicas: usize,
}

impl KafkaSink {
    /// Connects when there is something to send.
    pub fn new(settings: KafkaSettings, node: Arc<str>) -> Self {
        Self { settings, node, leader: None, compression: Compression::Zstd }
    }

    async fn produce(&mut self, messages: &[Message]) -> Result<(), RemoteFailure> {
        let mut leader = self.take_leader().await?;
        let is_zstd_spoken = leader.connection.version(Api::Produce)? >= ZSTD_SINCE;
        let compression = if is_zstd_spoken { self.compression } else { Compression::None };
        let batch = batch::encode(messages, &self.node, compression).map_err(|error| {
            RemoteFailure::new(FailureKind::Rejected, format_args!("compression: {error}"))
        })?;
        let topic = &self.settings.topic;
        let answer = leader.connection.call(Api::Produce, |out| {
            messages::produce_request(topic, leader.partition, &batch, REPLICATION_MS, out);
        });
        let answer = answer.await?;
        match answer.read(|reader| messages::produce_error(reader, answer.version))? {
            0 => {
                self.leader = Some(leader);
                Ok(())
            }
            code => {
                if code == codes::UNSUPPORTED_COMPRESSION {
                    self.compression = Compression::None;
                }
                Err(codes::failure(code, &format!("{}: topic {topic}", leader.connection)))
            }
        }
    }

    async fn read_promise(&mut self) -> Result<Promise, RemoteFailure> {
        let mut leader = self.take_leader().await?;
        let topic = &self.settings.topic;
        let answer = leader.connection.call(Api::DescribeConfigs, |out| {
            messages::describe_configs_request(topic, out);
        });
        let configs = answer.await?.read(TopicConfigs::read)?;
        if configs.error != 0 {
            return Err(codes::failure(configs.error, &format!("{}: topic {topic}", leader.connection)));
        }
        let promise = promise::of(&configs.values, leader.replicas);
        self.leader = Some(leader);
        Ok(promise)
    }

    /// The connection in use, or a new one. The caller puts it back once an answer has come over it.
    async fn take_leader(&mut self) -> Result<Leader, RemoteFailure> {
        if let Some(leader) = self.leader.take() {
            return Ok(leader);
        }
        let mut last = None;
        for address in &self.settings.brokers {
            match self.find_leader(address).await {
                Ok(leader) => return Ok(leader),
                Err(failure) => last = Some(failure),
            }
        }
        Err(last.unwrap_or_else(|| RemoteFailure::new(FailureKind::Missing, "no broker is configured")))
    }

    /// A connection that may be used: the broker knows who asks.
    async fn connect(&self, address: &ServerAddress) -> Result<Connection, RemoteFailure> {
        let mut connection = Connection::open(address, self.settings.tls.as_ref()).await?;
        if let Some(sasl) = &self.settings.sasl {
            sasl::authenticate(&mut connection, sasl).await?;
        }
        Ok(connection)
    }

    async fn find_leader(&self, address: &ServerAddress) -> Result<Leader, RemoteFailure> {
        let topic = &self.settings.topic;
        let mut connection = self.connect(address).await?;
        let answer = connection.call(Api::Metadata, |out| messages::metadata_request(topic, out)).await?;
        let metadata = answer.read(Metadata::read)?;
        if metadata.topic_error != 0 {
            return Err(codes::failure(metadata.topic_error, &format!("{connection}: topic {topic}")));
        }
        let mut partitions = metadata.partitions;
        partitions.sort_unstable_by_key(|partition| partition.index);
        let place = partition::of_key(self.node.as_bytes(), partitions.len());
        let partition = partitions.get(place).ok_or_else(|| {
            RemoteFailure::new(
                FailureKind::Missing,
                format_args!("{connection}: topic {topic}: no partition"),
            )
        })?;
        let broker = metadata.brokers.iter().find(|broker| broker.id == partition.leader);
        let broker = broker.ok_or_else(|| {
            let what = format!("{connection}: topic {topic}, partition {}: no leader", partition.index);
            RemoteFailure::new(FailureKind::Unavailable, what)
        })?;
        let leads = server_address(&broker.host, broker.port).ok_or_else(|| {
            let what = format!("{connection}: a leader whose address is no host name");
            RemoteFailure::new(FailureKind::Protocol, what)
        })?;
        if leads != *address {
            connection = self.connect(&leads).await?;
        }
        Ok(Leader { connection, partition: partition.index, replicas: partition.replicas })
    }
}

fn server_address(host: &str, port: u16) -> Option<ServerAddress> {
    let host = match host.parse() {
        Ok(ip) => SinkHost::Address(ip),
        Err(_) => SinkHost::Name(Hostname::parse(host).ok()?),
    };
    Some(ServerAddress { host, port })
}

impl RecordSink for KafkaSink {
    /// Brokers take batches of 1 MiB unless they are told otherwise, and each record adds up to 80 bytes to its JSON.
    fn limits(&self) -> BatchLimits {
        BatchLimits { records: 2000, bytes: 800 << 10 }
    }

    fn send<'a>(&'a mut self, batch: &'a [Message]) -> SinkResult<'a, ()> {
        Box::pin(self.produce(batch))
    }

    fn promise(&mut self, _retention: Duration) -> SinkResult<'_, Promise> {
        Box::pin(self.read_promise())
    }
}
