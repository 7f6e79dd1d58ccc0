//! What a reader takes of a store, and what it says of the rest.

use super::*;

#[test]
fn a_segment_is_chosen_by_the_day_in_its_name_whenever_its_file_was_changed() {
    let folder = Folder::new();
    fs_err::create_dir(folder.log().directory).expect("created");
    let (before, after) = ("2026-03-02T23:59:59+08:00", "2026-03-03T03:00:00+08:00");
    let record = |time| [(time, "a.cn", "192.0.2.1")];
    written(&folder.log().directory, &[(before, &record(before)), (after, &record(after))]);
    let from = |time: &str| folder.select(Selection { from: time.parse().ok(), ..Selection::default() });
    for changed in ["2001-09-09T00:00:00Z", "2099-01-01T00:00:00Z"] {
        for segment in folder.segments() {
            let time: jiff::Timestamp = changed.parse().expect("a time");
            let time = std::time::SystemTime::try_from(time).expect("a time");
            let file = fs_err::OpenOptions::new().append(true).open(segment).expect("opened");
            file.file().set_modified(time).expect("changed");
        }
        assert_eq!(seqs(&from(before)), [1, 2], "{changed}");
        assert_eq!(seqs(&from("2026-03-03T00:30:00+08:00")), [2], "{changed}");
    }
    // Once its day is over by an hour, it is not read at all.
    fs_err::write(&folder.segments()[0], "nonsense").expect("written");
    assert_eq!(seqs(&from("2026-03-03T01:00:01+08:00")), [2]);
}
