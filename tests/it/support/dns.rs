//! A DNS server over UDP with configurable answers, which counts questions.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// How the server answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mood {
    /// With the addresses of the name.
    Answers,
    /// Not at all.
    Silent,
    /// With SERVFAIL.
    Fails,
}

/// A name server on a port of its own.
#[derive(Debug)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    answering: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    names: HashMap<String, (Vec<IpAddr>, u32)>,
    mood: Mood,
    delay: Duration,
    asked: usize,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.expect("a port"));
        let address = socket.local_addr().expect("it is bound");
        let shared = Shared { names: HashMap::new(), mood: Mood::Answers, delay: Duration::ZERO, asked: 0 };
        let shared = Arc::new(Mutex::new(shared));
        let known = Arc::clone(&shared);
        let answering = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                let (answer, delay) = {
                    let mut shared = known.lock().unwrap();
                    shared.asked += 1;
                    (shared.answer(&question[..length]), shared.delay)
                };
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    if let Some(answer) = answer {
                        socket.send_to(&answer, from).await.expect("sent");
                    }
                });
            }
        });
        Self { address, shared, answering }
    }

    /// Sets the addresses of `name` and their TTL in seconds; without addresses: NXDOMAIN.
    pub(crate) fn set(&self, name: &str, addresses: &[IpAddr], seconds: u32) {
        self.shared.lock().unwrap().names.insert(name.to_owned(), (addresses.to_vec(), seconds));
    }

    pub(crate) fn mood(&self, mood: Mood) {
        self.shared.lock().unwrap().mood = mood;
    }

    /// Delays every answer.
    pub(crate) fn takes(&self, delay: Duration) {
        self.shared.lock().unwrap().delay = delay;
    }

    /// The number of questions so far.
    pub(crate) fn asked(&self) -> usize {
        self.shared.lock().unwrap().asked
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

const A: u16 = 1;
const AAAA: u16 = 28;

impl Shared {
    /// The answer to a question for one name (RFC 1035, section 4).
    fn answer(&self, question: &[u8]) -> Option<Vec<u8>> {
        let mut place = 12;
        let mut labels = Vec::new();
        while question[place] != 0 {
            let length = usize::from(question[place]);
            labels.push(String::from_utf8_lossy(&question[place + 1..=place + length]).into_owned());
            place += length + 1;
        }
        let kind = u16::from_be_bytes([question[place + 1], question[place + 2]]);
        let name = labels.join(".").to_ascii_lowercase();
        let (all, seconds) = self.names.get(&name).cloned().unwrap_or_default();
        let code = match self.mood {
            Mood::Silent => return None,
            Mood::Fails => 2,
            Mood::Answers if all.is_empty() => 3,
            Mood::Answers => 0,
        };
        let fits = |address: &&IpAddr| kind == if address.is_ipv4() { A } else { AAAA };
        let found: Vec<&IpAddr> = all.iter().filter(fits).filter(|_| code == 0).collect();
        let mut answer = question[..2].to_vec();
        // Flags: response, recursion desired and available.
        answer.extend([0x81, 0x80 | code, 0, 1]);
        answer.extend(u16::try_from(found.len()).unwrap().to_be_bytes());
        answer.extend([0, 0, 0, 0]);
        answer.extend(&question[12..place + 5]);
        for address in found {
            // A pointer to the name of the question.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(seconds.to_be_bytes());
            match address {
                IpAddr::V4(v4) => answer.extend([&[0, 4][..], &v4.octets()].concat()),
                IpAddr::V6(v6) => answer.extend([&[0, 16][..], &v6.octets()].concat()),
            }
        }
        Some(answer)
    }
}
