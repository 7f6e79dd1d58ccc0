//! `icpgate logs`: exports, verifies and summarizes access records.
//!
//! Nothing here writes to a store. An error of these functions is exit code 2.

mod sinks;
mod verify;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use fs_err::os::unix::fs::OpenOptionsExt;
use jiff::Timestamp;

use crate::clock::shanghai_time;
use crate::encryption::KeyFile;
use crate::hostname::Hostname;
use crate::retention::proof;
use crate::retention::{Item, Reader, Selection, Summary, encrypted_segments, summarize};

pub(super) use sinks::{SinksArgs, sinks, sinks_now};
pub use verify::VerifyArgs;
pub(super) use verify::verify;

/// The arguments of `logs export`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExportArgs {
    /// The store: `access_log.directory`; or a file that `--proof` wrote; or a segment by itself.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Only records of this time or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub from: Option<Timestamp>,
    /// Only records from before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub to: Option<Timestamp>,
    /// Only records of this host, or refused connections of this server name.
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Write a proof for `logs verify` to this file instead: the whole blocks that hold the records, and their
    /// places in the signed tree.
    #[arg(long, value_name = "FILE")]
    pub proof: Option<PathBuf>,
    /// The private key of `access_log.encrypt_to`, as age-keygen writes it: reads a copy whose segments are encrypted.
    #[arg(long, value_name = "FILE", visible_alias = "key-file", conflicts_with = "proof")]
    pub identity: Option<PathBuf>,
    /// Only records of this client address.
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
}

/// The arguments of `logs stat`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatArgs {
    /// The store: `access_log.directory`.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Print one JSON document.
    #[arg(long)]
    pub json: bool,
}

/// Writes the selected records to `out` as NDJSON, oldest first, and notes of damaged places to `notes`.
pub fn export(args: &ExportArgs, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (args.from, args.to)
        && from >= to
    {
        anyhow::bail!("--from {} is not before --to {}", shanghai_time(from), shanghai_time(to));
    }
    let host = args.host.as_deref().map(|host| match Hostname::from_unicode(host) {
        Ok(name) => name.as_str().to_owned(),
        Err(_) => host.to_owned(),
    });
    let selection = Selection { from: args.from, to: args.to, host, client: args.client };
    if let Some(file) = &args.proof {
        return prove(&args.dir, &selection, file, notes);
    }
    let scratch = tempfile::tempdir().context("no temporary folder")?;
    let mut reader = match &args.identity {
        Some(file) => Reader::open_encrypted(&args.dir, selection, private_key(file)?, scratch.path()),
        None => Reader::open(&args.dir, selection),
    }
    .with_context(|| unreadable(&args.dir))?;
    let encrypted = if args.identity.is_some() { 0 } else { encrypted_segments(&args.dir) };
    if encrypted > 0 {
        writeln!(
            notes,
            "{encrypted} segments are encrypted and left out: name the private key with --identity"
        )?;
    }
    let mut passed_over = 0_u64;
    while let Some(item) = reader.next_item().with_context(|| unreadable(&args.dir))? {
        match item {
            Item::Record(line) => match out.write_all(line) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("the records cannot be written out")?,
            },
            Item::Damage { segment, from, to } => {
                passed_over += 1;
                let bytes = to - from;
                writeln!(
                    notes,
                    "{}: {bytes} bytes at byte {from} are damaged, passed over",
                    segment.display()
                )?;
            }
            Item::Missing { segment, from, to } => {
                passed_over += 1;
                writeln!(notes, "blocks {from} to {to} are missing, before {}", segment.display())?;
            }
        }
    }
    if passed_over > 0 {
        writeln!(notes, "{passed_over} damaged places: records are missing from this export")?;
    }
    match out.flush() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        flushed => flushed.context("the records cannot be written out"),
    }
}

/// The file of `--identity`.
fn private_key(file: &Path) -> anyhow::Result<KeyFile> {
    KeyFile::read(file).with_context(|| format!("--identity: {}: no private key of age", file.display()))
}

fn prove(dir: &Path, selection: &Selection, file: &Path, notes: &mut dyn Write) -> anyhow::Result<()> {
    // Records hold personal data.
    let out = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o640).open(file);
    let out = out.context("--proof")?;
    let written = proof::write(dir, selection, &mut io::BufWriter::new(out)).inspect_err(|_| {
        // An incomplete proof is useless.
        let _ = fs_err::remove_file(file);
    });
    let written = written.with_context(|| format!("{}: no proof can be made", dir.display()))?;
    let proof::Written { blocks, wanted, records, unsigned, damaged } = written;
    writeln!(notes, "{wanted} records proved, in {blocks} blocks of {records} records")?;
    if unsigned > 0 {
        writeln!(notes, "{unsigned} records are not signed yet, and left out; ask again in a minute")?;
    }
    if damaged > 0 {
        writeln!(notes, "{damaged} damaged places: records are missing from this proof")?;
    }
    Ok(())
}

/// Writes the content of a store, its growth and the time until the disk is full to `out`.
pub fn stat(args: &StatArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let summary = summarize(&args.dir).with_context(|| unreadable(&args.dir))?;
    let growth = Growth::of(&summary);
    let (from, to) = (summary.from.map(shanghai_time), summary.to.map(shanghai_time));
    if args.json {
        let document = serde_json::json!({
            "directory": args.dir.display().to_string(),
            "segments": summary.segments,
            "records": summary.records,
            "bytes": summary.bytes,
            "from": from,
            "to": to,
            "records_per_day": growth.as_ref().map(|growth| growth.records_per_day.round()),
            "bytes_per_day": growth.as_ref().map(|growth| growth.bytes_per_day.round()),
            "free_bytes": summary.free_bytes,
            "verifier_key": summary.verifier_key,
            "days_until_full": growth.as_ref().map(|growth| growth.days_until_full.round()),
        });
        writeln!(out, "{document}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{} records in {} segments, {}",
        summary.records,
        summary.segments,
        size(summary.bytes as f64)
    )?;
    if let (Some(from), Some(to)) = (from, to) {
        writeln!(out, "from {from} to {to}")?;
    }
    if let Some(growth) = growth {
        let (records, bytes) = (growth.records_per_day, size(growth.bytes_per_day));
        writeln!(out, "{records:.0} records and {bytes} a day")?;
        let days = growth.days_until_full;
        writeln!(
            out,
            "the free space lasts {days:.0} days at that rate, if all of it is used, with nothing deleted"
        )?;
    }
    writeln!(out, "{} free on the disk", size(summary.free_bytes as f64))?;
    if let Some(key) = &summary.verifier_key {
        writeln!(out, "verifier key {key}")?;
    }
    Ok(())
}

/// The growth of a store at its past rate.
struct Growth {
    records_per_day: f64,
    bytes_per_day: f64,
    /// Until the free space is used up, if nothing is deleted. The configuration, with `reserve` and `retention`, is
    /// not read.
    days_until_full: f64,
}

impl Growth {
    /// `None` for a store that spans no time.
    fn of(summary: &Summary) -> Option<Self> {
        let span = summary.to?.duration_since(summary.from?).as_secs_f64() / (24.0 * 60.0 * 60.0);
        (span > 0.0).then(|| {
            let bytes_per_day = summary.bytes as f64 / span;
            let days_until_full = summary.free_bytes as f64 / bytes_per_day;
            Self { records_per_day: summary.records as f64 / span, bytes_per_day, days_until_full }
        })
    }
}

fn unreadable(directory: &Path) -> String {
    format!("{}: cannot be read as a record store", directory.display())
}

fn size(bytes: f64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = (bytes, "bytes");
    for unit in UNITS {
        if shown.0 >= 1024.0 {
            shown = (shown.0 / 1024.0, unit);
        }
    }
    format!("{:.1} {}", shown.0, shown.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retention::tests::written;

    fn store() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let records = [
            ("2026-03-02T10:00:00.000+08:00", "www.example.cn", "192.0.2.1"),
            ("2026-03-03T10:00:00.000+08:00", "xn--fiq228c.cn", "192.0.2.2"),
        ];
        let segments = [("2026-03-02T02:00:00Z", &records[..1]), ("2026-03-03T02:00:00Z", &records[1..])];
        written(folder.path(), &segments);
        // The first segment ends with something that is nothing.
        let first = folder.path().join("access-20260302T100000-00000000000000000000.seg");
        let mut file = fs_err::OpenOptions::new().append(true).open(first).expect("opened");
        file.write_all(b"nonsense").expect("written");
        folder
    }

    fn exported(arguments: &[&str]) -> (String, String) {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            args: ExportArgs,
        }
        let store = store();
        let directory = store.path().display().to_string();
        let line = ["export", directory.as_str()].into_iter().chain(arguments.iter().copied());
        let line = <Line as clap::Parser>::try_parse_from(line).expect("understood");
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        export(&line.args, &mut out, &mut notes).expect("exported");
        (String::from_utf8(out).expect("UTF-8"), String::from_utf8(notes).expect("UTF-8"))
    }

    #[test]
    fn records_are_exported_as_they_are_and_what_is_none_is_named() {
        let (out, notes) = exported(&[]);
        assert_eq!(out.lines().count(), 2);
        assert!(out.starts_with(r#"{"seq":1,"time":"2026-03-02T10:00:00.000+08:00","#), "{out}");
        assert!(notes.contains(": 8 bytes at byte ") && notes.contains("1 damaged places"), "{notes}");
    }

    #[test]
    fn a_unicode_host_and_a_time_choose() {
        assert!(exported(&["--host", "中文.cn"]).0.starts_with(r#"{"seq":2,"#));
        let (before, _) = exported(&["--to", "2026-03-03T02:00:00Z"]);
        assert!(before.contains(r#""client_ip":"192.0.2.1""#) && before.lines().count() == 1, "{before}");
        assert_eq!(exported(&["--client", "192.0.2.3"]).0, "");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_that_names_it() {
        let args = StatArgs { dir: "/nowhere/at/all".into(), json: false };
        let error = stat(&args, &mut Vec::new()).expect_err("not there");
        assert!(format!("{error:#}").contains("/nowhere/at/all"), "{error:#}");
    }

    #[test]
    fn a_store_is_summed_up_for_people_and_for_scripts() {
        let store = store();
        let stat = |json| {
            let mut out = Vec::new();
            let args = StatArgs { dir: store.path().to_owned(), json };
            super::stat(&args, &mut out).expect("summed up");
            String::from_utf8(out).expect("UTF-8")
        };
        let document: serde_json::Value = serde_json::from_str(&stat(true)).expect("JSON");
        assert_eq!(document["records"], 2);
        assert_eq!(document["segments"], 2);
        assert_eq!(document["from"], "2026-03-02T10:00:00+08:00");
        assert_eq!(document["records_per_day"], 2.0);
        let told = stat(false);
        assert!(told.starts_with("2 records in 2 segments, "), "{told}");
        let days = told.split_once("the free space lasts ").and_then(|(_, rest)| rest.split_once(" days"));
        let days: f64 = days.and_then(|(days, _)| days.parse().ok()).expect("a number of days");
        // Whatever else writes to the disk meanwhile.
        assert!((days / document["days_until_full"].as_f64().expect("days") - 1.0).abs() < 0.5, "{told}");
        assert!(told.contains("with nothing deleted"), "{told}");
    }
}
