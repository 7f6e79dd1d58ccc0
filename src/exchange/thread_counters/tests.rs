use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::*;
use crate::origin::Region;

const THREADS: u64 = 4;
const REQUESTS: u64 = 5_000;

const REQUESTS_OF_SHOP: &str = "icpgate_requests_total{site=\"shop\",status=\"2xx\"}";
const EGRESS_OF_SHOP: &str = "icpgate_egress_bytes_total{region=\"mainland\",site=\"shop\"}";
const FOOTERS_OF_SHOP: &str = "icpgate_footer_total{result=\"injected\",site=\"shop\"}";
const DURATIONS: &str = "icpgate_request_duration_seconds_count";

/// A generation with these sites.
fn table(counters: &ThreadCounters, generation: u64, sites: &[&str]) -> SiteTable {
    SiteTable { generation, sites: sites.iter().map(|site| counters.0.families.site(site)).collect() }
}

fn registered() -> (Registry, ThreadCounters) {
    let registry = Registry::default();
    let counters = ThreadCounters::register(&registry).expect("families");
    prepare(&counters, 1);
    (registry, counters)
}

/// The shop is first where the generation is odd, second where it is even.
fn prepare(counters: &ThreadCounters, generation: u64) {
    let sites = if generation % 2 == 1 { ["shop", "blog"] } else { ["blog", "shop"] };
    counters.replace(table(counters, generation, &sites));
}

/// A request to the shop is answered and over.
fn request(counters: &ThreadCounters, generation: u64) {
    let tally = Tally {
        class: "2xx",
        egress: Some((Region::Mainland, 1_000)),
        footer: Some(FooterResult::Injected),
        encoded: None,
        cache: None,
        duration: Duration::from_millis(500),
        limited: false,
        site: "shop",
    };
    counters.add(generation, SiteId(usize::from(generation.is_multiple_of(2))), tally);
}

/// The values of a scrape.
fn scrape(registry: &Registry) -> impl Fn(&str) -> u64 + use<> {
    let text = registry.text(|_| true).expect("text");
    move |series| {
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }
}

#[test]
fn every_scrape_has_all_that_ended_before_it_and_nothing_twice_while_generations_are_replaced() {
    let (registry, counters) = registered();
    let (generation, over) = (AtomicU64::new(1), AtomicBool::new(false));
    let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|_| {
            scope.spawn(|| {
                for number in 0..REQUESTS {
                    begun.fetch_add(1, Ordering::SeqCst);
                    // Some began under the generation before.
                    request(&counters, generation.load(Ordering::SeqCst) - u64::from(number % 7 == 0));
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                prepare(&counters, generation.load(Ordering::SeqCst) + 1);
                generation.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let least = ended.load(Ordering::SeqCst);
                    let value = scrape(&registry);
                    let most = begun.load(Ordering::SeqCst);
                    for series in [REQUESTS_OF_SHOP, FOOTERS_OF_SHOP, DURATIONS] {
                        assert!((least..=most).contains(&value(series)), "{least} to {most}: {series}");
                    }
                }
            });
        }
        let joined = threads.into_iter().map(thread::ScopedJoinHandle::join).filter(Result::is_ok).count();
        over.store(true, Ordering::SeqCst);
        assert_eq!(joined as u64, THREADS);
    });
    // Twice: nothing is moved again.
    for _ in 0..2 {
        let value = scrape(&registry);
        for series in [REQUESTS_OF_SHOP, FOOTERS_OF_SHOP, DURATIONS] {
            assert_eq!(value(series), THREADS * REQUESTS, "{series}");
        }
        assert_eq!(value(EGRESS_OF_SHOP), 1_000 * THREADS * REQUESTS);
    }
}

#[test]
fn a_histogram_has_every_thread_s_observations_in_their_buckets() {
    let (registry, counters) = registered();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..REQUESTS).for_each(|_| request(&counters, 1)));
        }
    });
    let value = scrape(&registry);
    let below = |le| format!("icpgate_request_duration_seconds_bucket{{le=\"{le}\"}}");
    assert_eq!(value(&below("0.25")), 0);
    assert_eq!(value(&below("0.5")), THREADS * REQUESTS);
    assert_eq!(value(&below("+Inf")), THREADS * REQUESTS);
    assert_eq!(counters.0.families.duration.get_sample_sum(), (THREADS * REQUESTS) as f64 * 0.5);
}

#[test]
fn requests_of_another_generation_or_of_an_unknown_site_count_by_the_name_of_their_site() {
    let (registry, counters) = registered();
    request(&counters, 1);
    prepare(&counters, 2);
    for generation in [1, 2, 3] {
        request(&counters, generation);
    }
    counters.replace(table(&counters, 4, &[]));
    request(&counters, 4);
    let value = scrape(&registry);
    for series in [REQUESTS_OF_SHOP, FOOTERS_OF_SHOP, DURATIONS] {
        assert_eq!(value(series), 5, "{series}");
    }
    assert_eq!(value("icpgate_requests_total{site=\"blog\",status=\"2xx\"}"), 0);
}

#[test]
fn a_table_that_was_replaced_is_freed_though_threads_have_counted_for_it() {
    let (_, counters) = registered();
    let before = Arc::downgrade(&counters.0.table.load_full());
    request(&counters, 1);
    prepare(&counters, 2);
    assert!(before.upgrade().is_none());
}
