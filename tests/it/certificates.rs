//! Certificates as resellers and control panels deliver them: each fault is named, with the command that mends it.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Target;
use crate::support::edge::{Edge, Folder, run};

/// A root, an intermediate and the site's own, by openssl: `site.pem` is the chain, `site.key` its key.
const ISSUE: &str = "
    new='openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
    $new -x509 -keyout root.key -out root.pem -subj /CN=Root -days 3650
    $new -keyout middle.key -out middle.csr -subj /CN=Middle
    echo basicConstraints=critical,CA:TRUE > middle.ext
    openssl x509 -req -in middle.csr -CA root.pem -CAkey root.key -CAcreateserial -days 3650 -extfile middle.ext -out middle.pem
    $new -keyout site.key -out site.csr -subj /CN=www.example.cn
    echo subjectAltName=DNS:www.example.cn,DNS:example.cn > site.ext
    openssl x509 -req -in site.csr -CA middle.pem -CAkey middle.key -CAcreateserial -days 3650 -extfile site.ext -out leaf.pem
    cat leaf.pem middle.pem > site.pem
    chmod 600 site.key";

async fn shell(folder: &Path, script: &str) {
    let script = format!("set -e; cd '{}'\n{script}", folder.display());
    let ended = run("bash", ["-c", &script]).await;
    assert_eq!(ended.code, 0, "{script}: {ended:?}");
}

async fn folder() -> Folder {
    let folder = Edge::builder().write();
    shell(folder.path("").as_path(), ISSUE).await;
    folder
}

/// The problems or warnings of `check`, about the certificate.
async fn found(folder: &Folder, list: &str) -> Vec<Value> {
    let checked = folder.check(&["--json"]).await.json();
    let all = checked[list].as_array().expect("a list").clone();
    all.into_iter().filter(|one| one["place"].as_str().is_some_and(|at| at.contains("certificate"))).collect()
}

#[tokio::test]
async fn a_whole_chain_has_no_problem_and_no_warning() {
    let folder = folder().await;
    assert_eq!(found(&folder, "problems").await, [Value::Null; 0]);
    assert_eq!(found(&folder, "warnings").await, [Value::Null; 0]);
    // Some panels put the key and parameters into the same file.
    shell(&folder.path(""), "cat site.key >> site.pem; printf '\\n# note\\nBag Attributes\\n' >> site.pem")
        .await;
    assert_eq!(found(&folder, "problems").await, [Value::Null; 0]);
}

/// How a file is broken, what is said of it, and the file that the command of the hint makes.
const FAULTS: [(&str, &str, &str); 13] = [
    (
        "(printf '%s' \"$(cat leaf.pem)\"; cat middle.pem) > site.pem",
        "were joined without a line break",
        "site.pem",
    ),
    ("(cat leaf.pem; printf '  '; cat middle.pem) > site.pem", "-----BEGIN does not begin line", "site.pem"),
    ("(printf '\\xEF\\xBB\\xBF'; cat leaf.pem middle.pem) > site.pem", "byte order mark", "site.pem"),
    ("iconv -f ASCII -t UTF-16 leaf.pem > site.pem", "it is in UTF-16", "site.pem.pem"),
    ("openssl x509 -in leaf.pem -trustout -out site.pem", "begins a TRUSTED CERTIFICATE", "site.pem.plain"),
    ("openssl x509 -in leaf.pem -outform DER -out site.pem", "it is DER, not PEM", "site.pem.pem"),
    (
        "openssl crl2pkcs7 -nocrl -certfile leaf.pem -certfile middle.pem -out site.pem",
        "begins a PKCS7",
        "site.pem.pem",
    ),
    (
        "openssl crl2pkcs7 -nocrl -certfile leaf.pem -certfile middle.pem -outform DER -out site.pem",
        "it is PKCS#7 (.p7b), not PEM",
        "site.pem.pem",
    ),
    ("(printf '\\xEF\\xBB\\xBF'; cat site.key) > k; mv k site.key", "byte order mark", "site.key"),
    ("openssl pkey -in site.key -outform DER -out k; mv k site.key", "it is DER, not PEM", "site.key.pem"),
    (
        "openssl pkey -in site.key -aes256 -passout pass:secret -out k; mv k site.key",
        "the private key is encrypted with a passphrase",
        "site.key.plain",
    ),
    (
        "openssl ec -in site.key -aes256 -passout pass:secret -out k; mv k site.key",
        "the private key is encrypted with a passphrase",
        "site.key.plain",
    ),
    (
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout k -out site.pem -subj /CN=x -days 9 \
         -addext subjectAltName=DNS:www.example.cn,DNS:example.cn; ssh-keygen -q -N '' -p -f k; mv k site.key",
        "the private key is in OpenSSH's format",
        "site.key",
    ),
];

#[tokio::test]
async fn every_fault_is_named_and_mended_by_the_command_of_its_hint() {
    let folder = folder().await;
    for (fault, message, mended) in FAULTS {
        shell(&folder.path(""), &format!("{ISSUE}\n{fault}")).await;
        let problems = found(&folder, "problems").await;
        let [problem] = problems.as_slice() else { panic!("{fault}: {problems:?}") };
        assert!(problem["message"].as_str().expect("a message").contains(message), "{fault}: {problem}");
        let hint = problem["hint"].as_str().expect("a hint");
        let (command, effect) = hint.rsplit_once("; the site is refused").expect("what follows from it");
        assert!(effect.contains("no_certificate"), "{hint}");
        let command = command.split(", for each").next().unwrap_or_default();
        let command = command.replace("openssl pkey", "openssl pkey -passin pass:secret");
        let wanted = if mended.contains(".key") { "site.key" } else { "site.pem" };
        let rename = if mended == wanted { String::new() } else { format!("mv {mended} {wanted}") };
        shell(&folder.path(""), &format!("{command}\n{rename}\nchmod 600 site.key")).await;
        assert_eq!(found(&folder, "problems").await, [Value::Null; 0], "{fault}: {command}");
    }
}

#[tokio::test]
async fn what_no_command_mends_is_named_all_the_same() {
    let folder = folder().await;
    for (fault, message) in [
        ("cat middle.pem leaf.pem > site.pem", "wrong order: the key in"),
        ("cat leaf.pem root.pem middle.pem > site.pem", "are in the wrong order"),
        (
            "(cat leaf.pem; head -c 300 middle.pem) > site.pem",
            "line 12 cannot be read: its -----END line is missing",
        ),
        ("sed 's/^-----END CERTIFICATE-----//' leaf.pem > site.pem", "cannot be read"),
        ("cp site.csr site.pem", "begins a CERTIFICATE REQUEST"),
        ("cp site.key k; cp leaf.pem site.key; cp k site.pem", "it holds no certificate"),
        ("cp leaf.pem site.key", "it holds a certificate and no private key"),
        (
            "openssl pkey -in site.key -pubout -out k; mv k site.key",
            "it holds a PUBLIC KEY and no private key",
        ),
        ("echo text > site.key", "it holds no private key"),
        ("cp root.key site.key", "does not belong to the certificate"),
        ("rm site.pem", "cannot be read"),
    ] {
        shell(&folder.path(""), &format!("{ISSUE}\n{fault}")).await;
        let problems = found(&folder, "problems").await;
        let [problem] = problems.as_slice() else { panic!("{fault}: {problems:?}") };
        assert!(problem["message"].as_str().expect("a message").contains(message), "{fault}: {problem}");
    }
    for (fault, message) in [
        (
            "cp leaf.pem site.pem",
            "holds the site's certificate alone, without that of its issuer (CN=Middle)",
        ),
        ("cat leaf.pem root.pem > site.pem", "holds a certificate that issued none of its others (CN=Root)"),
    ] {
        shell(&folder.path(""), &format!("{ISSUE}\n{fault}")).await;
        assert_eq!(found(&folder, "problems").await, [Value::Null; 0], "{fault}");
        let warnings = found(&folder, "warnings").await;
        let [warning] = warnings.as_slice() else { panic!("{fault}: {warnings:?}") };
        assert!(warning["message"].as_str().expect("a message").contains(message), "{fault}: {warning}");
    }
}

#[tokio::test]
async fn a_reload_keeps_the_last_good_chain_and_names_the_fault() {
    let origin = crate::support::origin::Origin::text("ok").await;
    let folder = Edge::builder().origin(origin.address).write();
    let edge = folder.start().await;
    let good = fs_err::read_to_string(edge.path("site.pem")).expect("a chain");
    edge.replace("site.pem", format!("{}{good}", good.trim_end()));
    edge.signal(Signal::HUP);
    edge.logged("two files were joined without a line break").await;
    assert_eq!(Target::https(&edge).get("www.example.cn", "/").await.text(), "ok");
}
