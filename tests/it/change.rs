//! What a changed file does to open connections: only what it must, and at once.

mod folders;
mod reload;
mod revocation;

use crate::support::edge::{Builder, Edge, Folder};
use crate::support::origin::Origin;

/// Two hosts of two filings. One certificate covers both, so that one connection may serve both.
const SHOP: &str = "www.example.cn";
const BLOG: &str = "www.example.com.cn";

fn site(name: &str, host: &str, path: &str) -> String {
    format!(
        "  - name: {name}\n    hosts: [{host}]\n    certificate: {{chain: both.pem, key: both.key}}\n    \
         routes: [{{match: {{path: {path}}}, origins: [main]}}]\n"
    )
}

fn both_sites() -> String {
    [site("shop", SHOP, "/"), site("blog", BLOG, "/")].concat()
}

/// The allowlist, with the status of each filing.
fn filings(shop: &str, blog: &str) -> String {
    format!(
        "filings:\n  - {{domain: example.cn, number: 京ICP备2024012345号-1, status: {shop}, approved_on: 2020-01-02}}\n  \
         - {{domain: example.com.cn, number: 京ICP备2024012345号-2, status: {blog}, approved_on: 2020-01-02}}\n"
    )
}

fn builder(origin: &Origin) -> Builder {
    Edge::builder().origin(origin.address).sites(&both_sites()).filings(&filings("approved", "approved"))
}

/// Writes the files, with the certificate that both sites use.
fn write(builder: Builder) -> Folder {
    let folder = builder.write();
    folder.authority.pair(&[SHOP, BLOG]).write(&folder.path(""), "both");
    folder
}
