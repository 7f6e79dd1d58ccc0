//! Questions to a DNS server over TCP, which every authoritative server speaks (RFC 7766).

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::sinks::{ServerAddress, SinkHost};

/// For one question and its answer, the connection included.
const EXCHANGE: Duration = Duration::from_secs(5);
/// The most addresses of one server that are tried.
const ADDRESSES: usize = 4;

/// The addresses of a server.
pub(super) async fn addresses(server: &ServerAddress) -> Result<Vec<SocketAddr>, String> {
    match &server.host {
        SinkHost::Address(ip) => Ok(vec![SocketAddr::new(*ip, server.port)]),
        SinkHost::Name(name) => {
            let found = timeout(EXCHANGE, tokio::net::lookup_host((name.as_str(), server.port))).await;
            let found = found.map_err(|_| format!("{name} was not resolved in time"))?;
            let found = found.map_err(|error| format!("{name} cannot be resolved: {error}"))?;
            Ok(found.take(ADDRESSES).collect())
        }
    }
}

/// A name without a dot at its end, as the DNS writes it.
pub(super) fn name(text: &str) -> Result<Name, String> {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).map_err(|error| format!("{text}: {error}"))
}

/// Sends a message and reads the answer.
pub(super) async fn exchange(server: SocketAddr, message: &[u8]) -> Result<Vec<u8>, String> {
    let exchange = async {
        let length = u16::try_from(message.len()).map_err(std::io::Error::other)?;
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(EXCHANGE, exchange).await {
        Ok(answer) => answer.map_err(|error| format!("{server}: {error}")),
        Err(_) => Err(format!("{server} did not answer within {} s", EXCHANGE.as_secs())),
    }
}

async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Message, String> {
    let mut question = Message::query();
    question.metadata.recursion_desired = false;
    question.add_query(Query::query(name.clone(), kind));
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    let answer = Message::from_vec(&exchange(server, &bytes).await?);
    let answer = answer.map_err(|error| format!("{server}: the answer is malformed: {error}"))?;
    if answer.metadata.id != question.metadata.id {
        return Err(format!("{server} answered another question"));
    }
    Ok(answer)
}

/// The values of the TXT records of a name.
pub(super) async fn txt(server: SocketAddr, name: &Name) -> Result<Vec<Vec<u8>>, String> {
    let answer = ask(server, name, RecordType::TXT).await?;
    let value = |data: &RData| match data {
        RData::TXT(txt) => Some(txt.txt_data.concat()),
        _ => None,
    };
    Ok(answer.answers.iter().filter_map(|record| value(&record.data)).collect())
}

/// Where a CNAME at the name leads, without a dot at its end.
pub(super) async fn alias(server: SocketAddr, name: &Name) -> Result<Option<String>, String> {
    let answer = ask(server, name, RecordType::CNAME).await?;
    let target = |data: &RData| match data {
        RData::CNAME(target) => Some(target.0.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
        _ => None,
    };
    Ok(answer.answers.iter().filter(|record| record.name == *name).find_map(|record| target(&record.data)))
}

/// The zone that a name is in, which the server tells by its SOA record.
pub(super) async fn zone_of(server: SocketAddr, name: &Name) -> Result<Name, String> {
    let answer = ask(server, name, RecordType::SOA).await?;
    let mut records = answer.answers.iter().chain(&answer.authorities);
    let zone = records.find(|record| record.record_type() == RecordType::SOA && record.name.zone_of(name));
    zone.map(|record| record.name.clone()).ok_or_else(|| {
        format!("{server} has no zone with {name}: it answered {}", answer.metadata.response_code)
    })
}
