//! RFC 9111 by cases, in the categories of the public cache tests; and what the table and the fills promise.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

use super::freshness::write_date;
use super::*;
use crate::config::CacheSettings;
use crate::message::{RequestHead, ResponseHead};
use crate::rewrite::FooterPages;

mod oracle;

/// The first second of every case.
const BEGINNING: i64 = 1_790_000_000;

fn cache(memory: u64) -> Arc<Cache> {
    Cache::new(&CacheSettings { memory, max_object: 1 << 20, disk: None })
}

fn key(target: &str) -> Key {
    Key::new(&"shop".into(), &"www.example.cn".into(), target.as_bytes())
}

fn stamp() -> PageStamp {
    PageStamp { route: 1, pages: FooterPages::All, footer: Some(Bytes::from_static(b"number")), assets: 0 }
}

fn request(method: &str, target: &str, headers: HeaderMap) -> RequestHead {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let target = Bytes::copy_from_slice(target.as_bytes());
    RequestHead { method, target, authority: None, version: Version::HTTP_11, headers }
}

fn get(target: &str) -> RequestHead {
    request("GET", target, HeaderMap::new())
}

fn response(status: u16, fields: &str) -> ResponseHead {
    let status = StatusCode::from_u16(status).expect("a status");
    ResponseHead { status, version: Version::HTTP_11, headers: headers(fields) }
}

/// `name: value ; name: value`, with `{N}` for the date of second N.
fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in text.split(" ; ").filter(|field| !field.trim().is_empty()) {
        let (name, value) = field.trim_start().split_once(':').expect("a field");
        let value = match value.trim().strip_prefix('{').and_then(|value| value.strip_suffix('}')) {
            Some(second) => write_date(BEGINNING + second.parse::<i64>().expect("a second")),
            None => value.trim().to_owned(),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::try_from(value).expect("a value"));
    }
    headers
}

/// What the exchange does with a request: look up, ask the origin, store. `None` for an origin that is down.
fn exchange(cache: &Arc<Cache>, asked: &RequestHead, answer: Option<ResponseHead>, now: i64) -> &'static str {
    let key = key(std::str::from_utf8(&asked.target).expect("UTF-8"));
    let is_looked_up = matches!(asked.method, Method::GET | Method::HEAD)
        && !asked.headers.contains_key(header::AUTHORIZATION);
    let stored = cache.find(&key, &asked.headers, &stamp()).filter(|_| is_looked_up);
    match stored.as_ref().map(|stored| stored.freshness.state(now)) {
        Some(State::Fresh) => return "hit",
        Some(State::StaleUsable) => return "stale",
        Some(State::Stale) | None => {}
    }
    let is_whole = asked.method == Method::GET && !asked.headers.contains_key(header::RANGE);
    let purpose = match is_looked_up && (is_whole || stored.is_some()) {
        true => Purpose::Store { permit: None, stale: stored, stamp: stamp() },
        false => Purpose::Pass,
    };
    let mut fill = Fill::new(cache, &key, Forwarded::UriMiss, purpose, now);
    let Some(mut head) = answer else {
        return if fill.outlasts_failure(now).is_some() { "stale" } else { "error" };
    };
    fill.judge(asked, &head, now);
    fill.leave(asked, &mut head);
    if let Some((_, status)) = fill.answered_by() {
        return if status == 304 { "revalidated" } else { "stale" };
    }
    fill.push(&Bytes::from_static(b"0123456789"));
    fill.complete(None);
    if is_looked_up { "miss" } else { "bypass" }
}

/// A step: `5 GET /a [fields] < 200 [fields] = hit`.
fn step(cache: &Arc<Cache>, step: &str) -> Result<(), String> {
    let (rest, expected) = step.rsplit_once(" = ").ok_or("no result")?;
    let (asked, answer) = rest.split_once(" < ").unwrap_or((rest, "200"));
    let part = |text: &str| {
        let (words, fields) = text.split_once('[').unwrap_or((text, ""));
        let fields = fields.trim().strip_suffix(']').unwrap_or_default().to_owned();
        (words.trim().to_owned(), fields)
    };
    let ((words, fields), (status, of_answer)) = (part(asked), part(answer));
    let mut words = words.split_whitespace();
    let second: i64 = words.next().and_then(|word| word.parse().ok()).ok_or("no second")?;
    let (method, target) = (words.next().unwrap_or("GET"), words.next().unwrap_or("/"));
    let answer = status.parse().ok().map(|status| response(status, &of_answer));
    let found = exchange(cache, &request(method, target, headers(&fields)), answer, BEGINNING + second);
    (found == expected.trim()).then_some(()).ok_or_else(|| format!("{found} at {step}"))
}

#[test]
fn responses_are_stored_and_used_as_rfc_9111_says() {
    let (mut cases, mut failed) = (0, Vec::new());
    for line in include_str!("tests/cases.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        cases += 1;
        let (name, steps) = line.split_once(" | ").expect("a name");
        let cache = cache(64 << 20);
        if let Err(why) = steps.split(" | ").try_for_each(|one| step(&cache, one)) {
            failed.push(format!("{name}: {why}"));
        }
    }
    assert!(failed.is_empty(), "{} of {cases} fail:\n{}", failed.len(), failed.join("\n"));
    assert!(cases >= 150, "{cases} cases");
}

/// Stores `length` bytes under `target`.
fn fill(cache: &Arc<Cache>, target: &str, length: usize) {
    let (asked, mut head) = (get(target), response(200, "cache-control: max-age=100"));
    let purpose = Purpose::Store { permit: None, stale: None, stamp: stamp() };
    let mut fill = Fill::new(cache, &key(target), Forwarded::UriMiss, purpose, BEGINNING);
    fill.judge(&asked, &head, BEGINNING);
    fill.leave(&asked, &mut head);
    for _ in 0..length / 1000 {
        fill.push(&Bytes::from_static(&[7; 1000]));
    }
    fill.complete(None);
}

fn is_stored(cache: &Cache, target: &str) -> bool {
    cache.find(&key(target), &HeaderMap::new(), &stamp()).is_some()
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let cache = cache(1 << 20);
    for number in 0..200 {
        fill(&cache, &format!("/{number}"), 20_000);
        assert!(is_stored(&cache, "/0"), "it is used all the time");
        assert!(cache.usage().0 <= 1 << 20, "{:?}", cache.usage());
    }
    assert!(!is_stored(&cache, "/1") && is_stored(&cache, "/199"));
}

#[test]
fn a_body_beyond_the_largest_object_is_not_stored() {
    let cache = cache(64 << 20);
    fill(&cache, "/fits", 1 << 20);
    fill(&cache, "/large", (1 << 20) + 2000);
    assert!(is_stored(&cache, "/fits") && !is_stored(&cache, "/large"));
    let declared = response(200, "cache-control: max-age=100 ; content-length: 10737418240");
    assert_eq!(exchange(&cache, &get("/declared"), Some(declared), BEGINNING), "miss");
    assert!(!is_stored(&cache, "/declared"));
}

#[test]
fn an_incomplete_body_is_not_stored() {
    let cache = cache(64 << 20);
    let short = response(200, "cache-control: max-age=100 ; content-length: 11");
    exchange(&cache, &get("/"), Some(short), BEGINNING);
    assert!(!is_stored(&cache, "/"), "10 of 11 bytes came");
}

#[test]
fn a_page_with_another_number_is_not_served() {
    let cache = cache(64 << 20);
    fill(&cache, "/", 1000);
    let other = PageStamp { footer: Some(Bytes::from_static(b"another")), ..stamp() };
    assert!(cache.find(&key("/"), &HeaderMap::new(), &other).is_none());
    let no_footer = PageStamp { pages: FooterPages::Off, ..stamp() };
    assert!(cache.find(&key("/"), &HeaderMap::new(), &no_footer).is_none());
    let other_assets = PageStamp { assets: 1, ..stamp() };
    assert!(cache.find(&key("/"), &HeaderMap::new(), &other_assets).is_none());
    let other_route = PageStamp { route: 2, ..stamp() };
    assert!(cache.find(&key("/"), &HeaderMap::new(), &other_route).is_none());
    assert!(is_stored(&cache, "/"));
}

#[test]
fn what_is_purged_while_it_is_fetched_is_not_stored() {
    let cache = cache(64 << 20);
    for purge in [|cache: &Cache| cache.purge(&key("/")), |cache: &Cache| cache.purge_site("shop")] {
        let (asked, mut head) = (get("/"), response(200, "cache-control: max-age=100"));
        let purpose = Purpose::Store { permit: None, stale: None, stamp: stamp() };
        let mut fetch = Fill::new(&cache, &key("/"), Forwarded::UriMiss, purpose, BEGINNING);
        fetch.judge(&asked, &head, BEGINNING);
        fetch.leave(&asked, &mut head);
        purge(&cache);
        fetch.complete(None);
        assert!(!is_stored(&cache, "/"));
        fill(&cache, "/", 1000);
        assert!(is_stored(&cache, "/"));
        purge(&cache);
        assert!(!is_stored(&cache, "/"));
    }
    cache.purge_site("other");
}

#[test]
fn a_fetch_that_is_dropped_passes_its_turn_on() {
    let cache = cache(64 << 20);
    let Turn::Lead(permit) = cache.turn(&key("/"), false) else { panic!("nobody fetches yet") };
    assert!(matches!(cache.turn(&key("/"), false), Turn::Wait(_)));
    let purpose = Purpose::Store { permit: Some(permit), stale: None, stamp: stamp() };
    drop(Fill::new(&cache, &key("/"), Forwarded::UriMiss, purpose, BEGINNING));
    assert!(matches!(cache.turn(&key("/"), false), Turn::Lead(_)));
}

#[test]
fn what_cannot_be_stored_is_fetched_without_waiting() {
    let cache = cache(64 << 20);
    exchange(&cache, &get("/"), Some(response(200, "cache-control: no-store")), BEGINNING);
    assert!(matches!(cache.turn(&key("/"), false), Turn::Alone));
    fill(&cache, "/", 1000);
    assert!(matches!(cache.turn(&key("/"), false), Turn::Lead(_)), "it can be stored now");
}

#[test]
fn fetches_under_way_hold_bounded_memory() {
    let cache = cache(1 << 20);
    let mut open = Vec::new();
    for number in 0..8 {
        let target = format!("/{number}");
        let (asked, mut head) = (get(&target), response(200, "cache-control: max-age=100"));
        let purpose = Purpose::Store { permit: None, stale: None, stamp: stamp() };
        let mut fetch = Fill::new(&cache, &key(&target), Forwarded::UriMiss, purpose, BEGINNING);
        fetch.judge(&asked, &head, BEGINNING);
        fetch.leave(&asked, &mut head);
        for _ in 0..100 {
            fetch.push(&Bytes::from_static(&[7; 1000]));
        }
        open.push(fetch);
    }
    let storing = open.iter().filter(|fetch| fetch.is_storing()).count();
    assert_eq!(storing, 5, "each holds 200,000 bytes of 1,048,576");
}

#[test]
fn variants_of_a_url_are_bounded() {
    let cache = cache(64 << 20);
    for number in 0..1000 {
        let asked = request("GET", "/", headers(&format!("a: {number}")));
        let answer = response(200, "cache-control: max-age=100 ; vary: a");
        exchange(&cache, &asked, Some(answer), BEGINNING);
    }
    assert_eq!(cache.usage().1, 32);
}
