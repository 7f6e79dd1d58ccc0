//! From the settings of a sink to the sink.

use std::sync::Arc;

use super::directory::DirectorySink;
use super::failure::SinkFailure;
use super::kafka::KafkaSink;
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

/// Opens `sink` for the records of `node`: reads its files, and connects to nothing yet.
pub fn open(sink: &Sink, node: &Arc<str>, clock: &Clock) -> Result<OpenSink, SinkFailure> {
    match &sink.settings {
        SinkSettings::Directory(directory) => {
            Ok(OpenSink::Segments(Box::new(DirectorySink::new(&directory.path))))
        }
        SinkSettings::Sls(sls) => {
            Ok(OpenSink::Records(Box::new(SlsSink::new(sls.clone(), Arc::clone(node), clock.clone()))))
        }
        SinkSettings::Kafka(kafka) => {
            Ok(OpenSink::Records(Box::new(KafkaSink::new(kafka.clone(), Arc::clone(node)))))
        }
        SinkSettings::Relp(relp) => {
            Ok(OpenSink::Records(Box::new(RelpSink::new(relp.clone(), Arc::clone(node)))))
        }
        SinkSettings::S3(_) | SinkSettings::Oss(_) => {
            let message = format!("sinks of type {} are not part of this build", sink.settings.type_name());
            Err(SinkFailure::new(super::failure::FailureKind::Rejected, message))
        }
    }
}
