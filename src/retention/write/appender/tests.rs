use super::*;
use crate::access::packed::Clients;
use crate::access::texts::RequestTexts;
use crate::retention::format::segment;
use crate::retention::tests::{request, sent};
use crate::retention::write::appender::files::SEGMENT_AGE;

const SECOND: Duration = Duration::from_secs(1);

fn appender(directory: &std::path::Path) -> Appender {
    let notary = Notary::open(directory, "edge-1").expect("a key");
    let file = File::open(directory).expect("opened");
    Appender::new(file, notary, "edge-1".into(), Position::default()).expect("an appender")
}

fn now() -> Now {
    Now { monotonic: Instant::now(), wall: "2026-03-02T00:00:00Z".parse().expect("a time") }
}

fn later(now: Now, by: Duration) -> Now {
    Now { monotonic: now.monotonic + by, wall: now.wall }
}

/// Writes a block of one record; returns its length.
fn write(appender: &mut Appender, sent: &RequestTexts<'_>, now: Now) -> u64 {
    appender.rows.push(&request(), sent, Clients::One);
    appender.seal(now).expect("sealed");
    appender.write(now).expect("written")
}

#[test]
fn a_segment_ends_after_an_hour_signed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut appender, now) = (appender(folder.path()), now());
    write(&mut appender, &sent("/"), now);
    assert!(!appender.roll_due(later(now, SEGMENT_AGE - SECOND), false));
    assert!(appender.roll_due(later(now, SEGMENT_AGE), false));
    appender.roll(now).expect("rolled");
    let checkpoint = fs_err::read_to_string(folder.path().join("checkpoint")).expect("a checkpoint");
    assert!(checkpoint.starts_with("icpgate/edge-1\n1\n"), "{checkpoint}");
    write(&mut appender, &sent("/"), now);
    assert_eq!(segment::list(folder.path()).expect("listed").len(), 2);
}

#[test]
fn a_segment_ends_at_64_mib() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut appender, now) = (appender(folder.path()), now());
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..8 * 1024).map(|_| random.alphanumeric() as u8).collect();
    let long = RequestTexts {
        path: &noise,
        query: &noise[1..],
        referer: &noise[2..],
        user_agent: &noise[3..],
        method: b"GET",
        is_truncated: false,
    };
    let mut written = 0;
    while !appender.roll_due(now, false) {
        assert!(written < 64 << 20, "{written}");
        written += write(&mut appender, &long, now);
    }
    assert!(written >= 64 << 20, "{written}");
    appender.roll(now).expect("rolled");
    let segments = segment::list(folder.path()).expect("listed");
    let length = fs_err::metadata(&segments[0].path).expect("there").len();
    assert!(length < (64 << 20) + 64 * 1024, "{length}");
}

#[test]
fn blocks_are_signed_after_half_a_minute_and_soon_after_even_where_a_sync_must_be_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut appender, now) = (appender(folder.path()), now());
    let due = |appender: &Appender, seconds| appender.sign_due(now.monotonic + seconds * SECOND);
    assert!(!due(&appender, 3_600), "there is nothing to sign");
    write(&mut appender, &sent("/"), now);
    assert!(!due(&appender, 44) && due(&appender, 45), "it is not synced");
    appender.sync().expect("synced");
    assert!(!due(&appender, 29) && due(&appender, 30));
    appender.sign().expect("signed");
    assert!(!due(&appender, 3_600), "all is signed");
}

#[test]
fn what_an_abandoned_segment_has_too_much_is_cut_as_soon_as_that_can_be_done() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut appender, now) = (appender(folder.path()), now());
    let synced = write(&mut appender, &sent("/"), now);
    appender.sync().expect("synced");
    write(&mut appender, &sent("/"), now);
    let path = segment::list(folder.path()).expect("listed").remove(0).path;
    let away = folder.path().join("away");
    fs_err::rename(&path, &away).expect("moved");
    fs_err::create_dir(&path).expect("in its place");
    appender.abandon(now.monotonic);
    appender.cut_abandoned();
    fs_err::remove_dir(&path).expect("removed");
    fs_err::rename(&away, &path).expect("moved back");
    assert!(fs_err::metadata(&path).expect("there").len() > synced);
    appender.cut_abandoned();
    assert_eq!(fs_err::metadata(&path).expect("there").len(), synced);
}
