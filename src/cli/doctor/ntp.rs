//! SNTP (RFC 5905, section 14): how far this clock is from a time server's, by one question over UDP.

use std::time::Duration;

use jiff::Timestamp;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::clock::Clock;

/// For name, question and answer together.
const PATIENCE: Duration = Duration::from_secs(5);
/// Version 4, client.
const CLIENT: u8 = 0b00_100_011;
const PACKET: usize = 48;
/// From 1900 to 1970, in seconds.
const EPOCH: i64 = 2_208_988_800;

/// The seconds that this clock is behind `server` (`HOST` or `HOST:PORT`); negative if it is ahead.
pub(super) async fn offset(server: &str, clock: &Clock) -> Result<f64, String> {
    match timeout(PATIENCE, ask(server, clock)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn ask(server: &str, clock: &Clock) -> Result<f64, String> {
    let has_port = server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let target = if has_port { server.to_owned() } else { format!("{server}:123") };
    let mut addresses = lookup_host(&target).await.map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or("it has no address")?;
    let own = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let exchange = async {
        let socket = UdpSocket::bind(own).await?;
        socket.connect(address).await?;
        let mut question = [0; PACKET];
        question[0] = CLIENT;
        // A random number in place of the time: it is only compared, and a forger would have to guess it.
        let cookie = fastrand::u64(..).to_be_bytes();
        question[40..].copy_from_slice(&cookie);
        let sent = ntp_time(clock.now());
        socket.send(&question).await?;
        loop {
            let mut answer = [0; PACKET];
            let length = socket.recv(&mut answer).await?;
            let received = ntp_time(clock.now());
            if length == PACKET && answer[24..32] == cookie {
                return Ok::<_, std::io::Error>((answer, sent, received));
            }
        }
    };
    let (answer, sent, received) = exchange.await.map_err(|error| error.to_string())?;
    judge(&answer, sent, received)
}

/// The offset that an answer shows.
fn judge(answer: &[u8; PACKET], sent: u64, received: u64) -> Result<f64, String> {
    let (leap, mode, stratum) = (answer[0] >> 6, answer[0] & 7, answer[1]);
    if mode != 4 {
        return Err("its answer is not that of a time server".to_owned());
    }
    if leap == 3 || !(1..=15).contains(&stratum) {
        return Err("it is not synchronized itself".to_owned());
    }
    let time = |at: usize| answer[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    // Differences hold across the turn of the era in 2036.
    let seconds =
        |later: u64, earlier: u64| later.wrapping_sub(earlier).cast_signed() as f64 / 2_f64.powi(32);
    Ok((seconds(time(32), sent) + seconds(time(40), received)) / 2.0)
}

/// Seconds since 1900 in the upper half, fractions in the lower.
fn ntp_time(time: Timestamp) -> u64 {
    let seconds = time.as_second().wrapping_add(EPOCH).cast_unsigned();
    let nanoseconds = u64::from(time.subsec_nanosecond().unsigned_abs());
    (seconds << 32) | ((nanoseconds << 32) / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_cancels_out() {
        let at = |text: &str| ntp_time(text.parse().expect("a time"));
        let mut answer = [0; PACKET];
        (answer[0], answer[1]) = (0b00_100_100, 2);
        // The server is 10 s ahead; each way takes 1 s, the server another one.
        answer[32..40].copy_from_slice(&at("2026-03-02T00:00:11Z").to_be_bytes());
        answer[40..].copy_from_slice(&at("2026-03-02T00:00:12Z").to_be_bytes());
        let (sent, received) = (at("2026-03-02T00:00:00Z"), at("2026-03-02T00:00:03Z"));
        assert_eq!(judge(&answer, sent, received), Ok(10.0));
        answer[1] = 0;
        assert!(judge(&answer, sent, received).is_err(), "kiss of death");
        (answer[0], answer[1]) = (0b11_100_100, 2);
        assert!(judge(&answer, sent, received).is_err(), "not synchronized");
    }
}
