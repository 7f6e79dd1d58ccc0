//! Peer programs such as nginx and HAProxy, run over files of a test.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::net::TcpStream;

use super::edge::Folder;
use super::{PATIENCE, eventually};

/// A program that listens on an address. It is killed on drop.
#[derive(Debug)]
pub(crate) struct Peer(Child);

impl Peer {
    /// Starts it, and waits until it accepts connections at `address`.
    pub(crate) async fn start<W: AsRef<OsStr>>(
        program: &str,
        words: impl IntoIterator<Item = W>,
        address: SocketAddr,
    ) -> Self {
        let child = Command::new(program).args(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut peer =
            Self(child.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup installs it")));
        eventually(program, PATIENCE, async || {
            let ended = peer.0.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "{program} ended: {ended:?}");
            TcpStream::connect(address).await.ok()
        })
        .await;
        peer
    }
}

/// nginx in a folder, with `http` in its `http` block.
pub(crate) async fn nginx(folder: &Folder, http: &str, address: SocketAddr) -> Peer {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .concat();
    let main = "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr;\nevents {}\n";
    folder.replace("nginx.conf", format!("{main}http {{\n{temporary}  access_log off;\n{http}}}\n"));
    let place = format!("{}/", folder.path("").display());
    Peer::start("/usr/sbin/nginx", ["-p", &place, "-c", "nginx.conf", "-e", "stderr"], address).await
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The program may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
