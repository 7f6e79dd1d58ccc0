//! A wall clock for the program that the test sets: Debian's libfaketime, which reads the offset file
//! whenever the program asks for the time.
//!
//! Only the wall clock changes. Timers use the monotonic clock, as when an administrator
//! sets the clock.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use super::edge::{Builder, Edge, Folder};

/// The dynamic linker replaces `$LIB`, and says on stderr if it cannot load the library.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";

/// The clock of one program.
#[derive(Debug)]
pub(crate) struct Wall {
    folder: tempfile::TempDir,
}

impl Wall {
    /// A clock that shows `time` now and runs on from there.
    pub(crate) fn showing(time: Timestamp) -> Self {
        let wall = Self { folder: tempfile::tempdir().expect("a folder") };
        wall.set(time);
        wall
    }

    /// Sets the clock.
    #[expect(clippy::disallowed_methods, reason = "the wall clock is what is moved")]
    pub(crate) fn set(&self, time: Timestamp) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is past 1970");
        let offset = time.as_microsecond() as f64 / 1e6 - now.as_secs_f64();
        let aside = self.folder.path().join("offset.new");
        fs_err::write(&aside, format!("{offset:+.6}\n")).expect("written");
        fs_err::rename(aside, self.file()).expect("renamed");
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Runs the program with this clock.
    pub(crate) fn of(&self, builder: Builder) -> Builder {
        self.environment().into_iter().fold(builder, |builder, (name, value)| builder.env(name, &value))
    }

    /// Runs the program over written files with this clock.
    pub(crate) fn of_folder(&self, folder: Folder) -> Folder {
        self.environment().into_iter().fold(folder, |folder, (name, value)| folder.env(name, &value))
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
    }

    /// Fails unless the program uses this clock.
    pub(crate) async fn check(edge: &Edge, time: Timestamp) {
        let shown =
            edge.status().await["time"].as_str().expect("a time").parse::<Timestamp>().expect("RFC 3339");
        let apart = Duration::try_from(shown.duration_since(time).abs()).expect("a span");
        assert!(
            apart < Duration::from_secs(60),
            "the clock shows {shown}: is the package faketime installed?"
        );
    }
}
