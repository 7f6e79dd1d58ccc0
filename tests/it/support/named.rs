//! BIND, Debian's name server, over zones of a test.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use super::peer::Peer;

/// A name server that knows `example.cn`.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) address: SocketAddr,
    _peer: Peer,
    _folder: tempfile::TempDir,
}

impl Named {
    /// Serves `records` of example.cn, in the form of a zone file.
    pub(crate) async fn with(records: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (address, path) = (free(), folder.path().display().to_string());
        let head = "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n";
        fs_err::write(folder.path().join("example.cn"), format!("{head}{records}")).expect("written");
        fs_err::write(folder.path().join("cn"), head).expect("written");
        let configuration = format!(
            "options {{ directory \"{path}\"; listen-on port {} {{ {}; }}; listen-on-v6 {{ none; }}; recursion no;\n  \
             pid-file none; lock-file none; session-keyfile \"{path}/session.key\"; }};\ncontrols {{ }};\n\
             zone \"example.cn\" {{ type primary; file \"example.cn\"; }};\nzone \"cn\" {{ type primary; file \"cn\"; }};\n",
            address.port(),
            address.ip()
        );
        let file = folder.path().join("named.conf");
        fs_err::write(&file, configuration).expect("written");
        let file = file.display().to_string();
        let peer = Peer::start("/usr/sbin/named", ["-g", "-n", "1", "-c", &file], address).await;
        Self { address, _peer: peer, _folder: folder }
    }
}

/// A free port of 127.0.0.1, below those that the kernel gives away. named listens only on addresses of interfaces, which
/// the other loopback addresses are not.
fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 15_000;
    let begin = u16::try_from(std::process::id() % 1_000).expect("below 1000") * 15;
    loop {
        let count = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 15_000;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + count));
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
