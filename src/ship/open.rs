//! From the settings of a sink to the sink.

use std::sync::Arc;

use super::directory::DirectorySink;
use super::kafka::KafkaSink;
use super::objects::ObjectSink;
use super::relp::RelpSink;
use super::sink::{RecordSink, SegmentSink};
use super::sls::SlsSink;
use crate::clock::Clock;
use crate::config::sinks::{Sink, SinkSettings};

/// An opened sink.
pub enum OpenSink {
    /// Takes whole segments.
    Segments(Box<dyn SegmentSink>),
    /// Takes a message per record.
    Records(Box<dyn RecordSink>),
}

impl std::fmt::Debug for OpenSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Segments(_) => "OpenSink::Segments",
            Self::Records(_) => "OpenSink::Records",
        })
    }
}

/// Opens `sink` for the records of `node`. Its files are read and its server is connected to when something is sent.
pub fn open(sink: &Sink, node: &Arc<str>, clock: &Clock) -> OpenSink {
    match &sink.settings {
        SinkSettings::Directory(directory) => {
            OpenSink::Segments(Box::new(DirectorySink::new(&directory.path)))
        }
        SinkSettings::Sls(sls) => {
            OpenSink::Records(Box::new(SlsSink::new(sls.clone(), Arc::clone(node), clock.clone())))
        }
        SinkSettings::Kafka(kafka) => {
            OpenSink::Records(Box::new(KafkaSink::new(kafka.clone(), Arc::clone(node))))
        }
        SinkSettings::Relp(relp) => {
            OpenSink::Records(Box::new(RelpSink::new(relp.clone(), Arc::clone(node))))
        }
        SinkSettings::S3(s3) => OpenSink::Segments(Box::new(ObjectSink::s3(s3, clock.clone()))),
        SinkSettings::Oss(oss) => OpenSink::Segments(Box::new(ObjectSink::oss(oss, clock.clone()))),
    }
}
