use super::*;
use crate::config::problem::Problem;
use crate::origin::Region;

fn list(bytes: impl AsRef<[u8]>) -> LoadResult<ClientRegions> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cn.txt");
    fs_err::write(&path, bytes).expect("written");
    load(&path)
}

fn database(name: &str) -> ClientRegions {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name));
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    loaded.value.expect("regions")
}

#[track_caller]
fn check(regions: &ClientRegions, client: &str, expected: Option<Region>) {
    assert_eq!(regions.region(client.parse().expect("an address")), expected, "{client}");
}

const MAINLAND: Option<Region> = Some(Region::Mainland);
const OFFSHORE: Option<Region> = Some(Region::Offshore);

#[test]
fn a_list_has_a_network_a_line() {
    let loaded = list("\u{feff}# the mainland\r\n1.0.1.0/24 # one\r\n\r\n  2408::/20\t\n1.0.8.1");
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
    let regions = loaded.value.expect("regions");
    check(&regions, "1.0.1.9", MAINLAND);
    check(&regions, "1.0.8.1", MAINLAND);
    check(&regions, "1.0.8.2", OFFSHORE);
    check(&regions, "2408::1", MAINLAND);
}

#[test]
fn odd_lines_are_named_and_wrong_ones_are_fatal() {
    let shown = |loaded: &LoadResult<ClientRegions>| -> Vec<(Severity, String, String)> {
        let of = |problem: &Problem| (problem.severity, problem.place.clone(), problem.message.clone());
        loaded.problems.iter().map(of).collect()
    };
    let odd = list("1.0.1.7/24\n10.0.0.0/8\n");
    assert!(odd.value.is_some());
    let warnings = shown(&odd);
    assert_eq!((warnings[0].0, &*warnings[0].1), (Severity::Warning, "line 1"));
    assert!(warnings[0].2.contains("taken for 1.0.1.0/24"), "{warnings:?}");
    assert_eq!(warnings.len(), 1, "{warnings:?}");

    let wrong = list("1.0.1.0/24\n\n1.0.1.0/33\nnonsense here\n");
    assert!(wrong.value.is_none());
    let places: Vec<String> = wrong.problems.into_iter().map(|problem| problem.place).collect();
    assert_eq!(places, ["line 3", "line 4"]);

    for (bytes, message) in [
        (&b""[..], "no network of the mainland"),
        (b"# nothing\n", "no network of the mainland"),
        (b"\xab\xcd\xefMaxMind.com", "not UTF-8"),
    ] {
        let loaded = list(bytes);
        assert!(loaded.value.is_none() && loaded.problems[0].message.contains(message), "{loaded:?}");
    }
    assert!(load(Path::new("/nowhere/cn.txt")).problems[0].message.contains("cannot be read"));
    let many = list("x\n".repeat(100_000));
    assert!(many.value.is_none() && many.problems.len() < 1_000);
}

#[test]
fn the_mainland_of_a_database_is_one_country() {
    for name in ["country.mmdb", "country-code.mmdb"] {
        let regions = database(name);
        check(&regions, "203.0.113.1", MAINLAND);
        check(&regions, "203.0.113.127", MAINLAND);
        check(&regions, "198.51.100.255", MAINLAND);
        for offshore in ["203.0.113.129", "203.0.113.200", "203.0.113.230", "192.0.2.1", "8.8.8.8"] {
            check(&regions, offshore, OFFSHORE);
        }
        check(&regions, "::ffff:203.0.113.1", MAINLAND);
        check(&regions, "10.0.0.1", None);
    }
    let regions = database("country.mmdb");
    check(&regions, "2408::1", MAINLAND);
    check(&regions, "2404:c800::1", OFFSHORE);
    check(&regions, "2001:db8::1", OFFSHORE);
    check(&regions, "::cb00:7101", OFFSHORE);
}

#[test]
fn what_is_no_database_is_a_problem_wherever_it_is_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cn.mmdb");
    let whole = fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/country.mmdb"))
        .expect("a database");
    for cut in (0..whole.len()).step_by(97) {
        fs_err::write(&path, &whole[..cut]).expect("written");
        let loaded = load(&path);
        assert!(loaded.value.is_none(), "{cut} bytes of {}", whole.len());
        assert_eq!(loaded.problems.len(), 1);
    }
}
