//! The five requests that the sink makes, and what it reads of their answers.
//!
//! Produce is spoken in versions 3 to 7, whose requests are the same; the others in one version that every broker since
//! Kafka 0.11 has.

use super::wire::{Malformed, Reader, Writer};

/// A kind of request, by the number that Kafka gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Api {
    Produce = 0,
    Metadata = 3,
    SaslHandshake = 17,
    Versions = 18,
    DescribeConfigs = 32,
    SaslAuthenticate = 36,
}

impl Api {
    /// The versions that are spoken here, the newest last.
    pub(super) fn versions(self) -> std::ops::RangeInclusive<i16> {
        match self {
            Self::Produce => 3..=7,
            Self::Metadata => 4..=4,
            Self::DescribeConfigs | Self::SaslHandshake => 1..=1,
            Self::Versions | Self::SaslAuthenticate => 0..=0,
        }
    }
}

/// The versions that a broker speaks of each kind of request.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Versions(Vec<(i16, i16, i16)>);

impl Versions {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<(i16, Self), Malformed> {
        let error = reader.int16()?;
        let spoken = reader.list(|reader| Ok((reader.int16()?, reader.int16()?, reader.int16()?)))?;
        Ok((error, Self(spoken)))
    }

    /// The newest version that both sides speak.
    pub(super) fn newest(&self, api: Api) -> Option<i16> {
        let (_, oldest, newest) = self.0.iter().find(|(key, ..)| *key == api as i16)?;
        let ours = api.versions();
        let version = (*newest).min(*ours.end());
        (version >= *oldest && version >= *ours.start()).then_some(version)
    }
}

/// What the cluster says of a topic.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Metadata {
    pub(super) brokers: Vec<Broker>,
    pub(super) topic_error: i16,
    pub(super) partitions: Vec<Partition>,
}

/// Where a broker says that it is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Broker {
    pub(super) id: i32,
    pub(super) host: String,
    pub(super) port: u16,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Partition {
    pub(super) index: i32,
    pub(super) leader: i32,
    pub(super) replicas: usize,
}

/// Asks where the partitions of `topic` are; the topic is not created by asking.
pub(super) fn metadata_request(topic: &str, out: &mut Writer) {
    out.length(1);
    out.string(topic);
    out.int8(0);
}

impl Metadata {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _throttle = reader.int32()?;
        let brokers = reader.list(|reader| {
            let (id, host, port) = (reader.int32()?, reader.string()?, reader.int32()?);
            let _rack = reader.nullable_string()?;
            let port = u16::try_from(port).map_err(|_| Malformed("a port that is none"))?;
            Ok(Broker { id, host: host.to_owned(), port })
        })?;
        let _cluster = reader.nullable_string()?;
        let _controller = reader.int32()?;
        // One topic was asked for.
        let mut topics = reader.list(|reader| {
            let (error, _name, _internal) = (reader.int16()?, reader.string()?, reader.int8()?);
            Ok((error, reader.list(read_partition)?))
        })?;
        let (topic_error, partitions) = topics.pop().ok_or(Malformed("no topic in it"))?;
        Ok(Self { brokers, topic_error, partitions })
    }
}

fn read_partition(reader: &mut Reader<'_>) -> Result<Partition, Malformed> {
    // The error repeats what a leader of -1 says.
    let _error = reader.int16()?;
    let (index, leader) = (reader.int32()?, reader.int32()?);
    let mut replicas = 0;
    reader.each(|reader| {
        replicas += 1;
        reader.int32().map(drop)
    })?;
    reader.each(|reader| reader.int32().map(drop))?;
    Ok(Partition { index, leader, replicas })
}

/// Writes `batch` to a partition. Every in-sync replica acknowledges it within `timeout_ms`.
pub(super) fn produce_request(topic: &str, partition: i32, batch: &[u8], timeout_ms: i32, out: &mut Writer) {
    const ACKS_ALL: i16 = -1;
    // No transaction.
    out.null_string();
    out.int16(ACKS_ALL);
    out.int32(timeout_ms);
    out.length(1);
    out.string(topic);
    out.length(1);
    out.int32(partition);
    out.bytes(batch);
}

/// The error code for the one partition that was written to.
pub(super) fn produce_error(reader: &mut Reader<'_>, version: i16) -> Result<i16, Malformed> {
    let mut errors = Vec::new();
    reader.each(|reader| {
        let _topic = reader.string()?;
        reader.each(|reader| {
            let (_partition, error) = (reader.int32()?, reader.int16()?);
            let (_offset, _appended) = (reader.int64()?, reader.int64()?);
            if version >= 5 {
                let _log_start = reader.int64()?;
            }
            errors.push(error);
            Ok(())
        })
    })?;
    match errors[..] {
        [error] => Ok(error),
        _ => Err(Malformed("not one partition in it")),
    }
}

/// Asks for the settings of a topic: all of them, since not every broker can pick.
pub(super) fn describe_configs_request(topic: &str, out: &mut Writer) {
    const TOPIC: i8 = 2;
    const ALL: i32 = -1;
    out.length(1);
    out.int8(TOPIC);
    out.string(topic);
    out.int32(ALL);
    // No synonyms.
    out.int8(0);
}

/// Settings of a topic.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TopicConfigs {
    pub(super) error: i16,
    pub(super) values: Vec<(String, Option<String>)>,
}

impl TopicConfigs {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let _throttle = reader.int32()?;
        let mut results = reader.list(|reader| {
            let (error, _message) = (reader.int16()?, reader.nullable_string()?);
            let (_kind, _name) = (reader.int8()?, reader.string()?);
            let values = reader.list(|reader| {
                let (name, value) = (reader.string()?, reader.nullable_string()?);
                let (_read_only, _source, _sensitive) = (reader.int8()?, reader.int8()?, reader.int8()?);
                reader.each(|reader| {
                    let (_name, _value, _source) =
                        (reader.string()?, reader.nullable_string()?, reader.int8()?);
                    Ok(())
                })?;
                Ok((name.to_owned(), value.map(str::to_owned)))
            })?;
            Ok(Self { error, values })
        })?;
        results.pop().ok_or(Malformed("no topic in it"))
    }
}

/// The answer to a SASL handshake: an error code, and the mechanisms that the broker offers.
pub(super) fn read_handshake(reader: &mut Reader<'_>) -> Result<(i16, Vec<String>), Malformed> {
    Ok((reader.int16()?, reader.list(|reader| reader.string().map(str::to_owned))?))
}

/// The answer to a SASL message: an error code, and the broker's message.
pub(super) fn read_authenticate<'b>(reader: &mut Reader<'b>) -> Result<(i16, &'b [u8]), Malformed> {
    let (error, _message) = (reader.int16()?, reader.nullable_string()?);
    Ok((error, reader.bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to Metadata v4 with one broker and one topic of two partitions.
    fn metadata() -> Vec<u8> {
        let mut out = Writer::default();
        out.int32(0);
        out.length(1);
        out.int32(7);
        out.string("kafka.internal");
        out.int32(9093);
        out.null_string();
        out.string("cluster");
        out.int32(7);
        out.length(1);
        out.int16(0);
        out.string("access");
        out.int8(0);
        out.length(2);
        for index in 0..2 {
            out.int16(0);
            out.int32(index);
            out.int32(7);
            for _ in 0..2 {
                out.length(3);
                [7, 8, 9].into_iter().for_each(|id| out.int32(id));
            }
        }
        out.0
    }

    #[test]
    fn metadata_tells_leaders_and_addresses() {
        let read = Metadata::read(&mut Reader::new(&metadata())).expect("well formed");
        assert_eq!(read.brokers, [Broker { id: 7, host: "kafka.internal".to_owned(), port: 9093 }]);
        assert_eq!(read.partitions[1], Partition { index: 1, leader: 7, replicas: 3 });
    }

    #[test]
    fn an_answer_cut_anywhere_is_malformed() {
        let whole = metadata();
        for end in 0..whole.len() {
            assert!(Metadata::read(&mut Reader::new(&whole[..end])).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_length_is_not_believed() {
        // Two thousand million brokers, in eight bytes.
        let mut out = Writer::default();
        out.int32(0);
        out.int32(i32::MAX);
        assert!(Metadata::read(&mut Reader::new(&out.0)).is_err());
        let mut out = Writer::default();
        out.int16(0);
        out.int32(i32::MAX);
        assert!(Versions::read(&mut Reader::new(&out.0)).is_err());
    }

    #[test]
    fn the_newest_version_of_both_is_spoken() {
        let versions = Versions(vec![(0, 3, 12), (3, 0, 3), (18, 0, 4), (32, 1, 4), (36, 1, 2)]);
        assert_eq!(versions.newest(Api::Produce), Some(7));
        assert_eq!(versions.newest(Api::Metadata), None, "the broker is too old");
        assert_eq!(versions.newest(Api::SaslAuthenticate), None, "the broker is too new");
        assert_eq!(versions.newest(Api::DescribeConfigs), Some(1));
        assert_eq!(versions.newest(Api::SaslHandshake), None, "the broker has no such request");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Metadata::read(&mut Reader::new(&bytes));
            let _ = Versions::read(&mut Reader::new(&bytes));
            let _ = TopicConfigs::read(&mut Reader::new(&bytes));
            let _ = produce_error(&mut Reader::new(&bytes), 7);
            let _ = read_handshake(&mut Reader::new(&bytes));
            let _ = read_authenticate(&mut Reader::new(&bytes));
        }
    }
}
