use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use prometheus::TextEncoder;

use super::*;

const THREADS: u64 = 4;
const REQUESTS: u64 = 5_000;

const REQUESTS_OF_SHOP: &str = "icpgate_requests_total{site=\"shop\",status=\"2xx\"}";
const EGRESS_OF_SHOP: &str = "icpgate_egress_bytes_total{region=\"mainland\",site=\"shop\"}";
const FOOTERS_OF_SHOP: &str = "icpgate_footer_total{result=\"injected\",site=\"shop\"}";
const DURATIONS: &str = "icpgate_request_duration_seconds_count";

/// A generation with these sites.
fn prepared(metrics: &Metrics, generation: u64, sites: &[&str]) -> Prepared {
    Prepared { generation, sites: sites.iter().map(|site| OfSite::of(metrics, site)).collect() }
}

/// The shop is first where the generation is odd, second where it is even.
fn prepare(metrics: &Metrics, generation: u64) {
    let sites = if generation % 2 == 1 { ["shop", "blog"] } else { ["blog", "shop"] };
    metrics.tallies.replace(prepared(metrics, generation, &sites));
}

/// A request to the shop is answered and over.
fn request(metrics: &Metrics, generation: u64) {
    let counted = Counted {
        class: "2xx",
        egress: Some((Region::Mainland, 1_000)),
        footer: Some(FooterResult::Injected),
        duration: Duration::from_millis(500),
        site: "shop",
    };
    metrics.exchanged(generation, SiteId(usize::from(generation.is_multiple_of(2))), counted);
}

/// The families as whoever scrapes gets them.
fn scrape(metrics: &Metrics) -> impl Fn(&str) -> u64 + use<> {
    metrics.tallies.flush();
    let text = TextEncoder::new().encode_to_string(&metrics.registry.gather()).expect("text");
    move |series| {
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().expect("a whole number"))
    }
}

#[test]
fn every_scrape_has_all_that_ended_before_it_and_nothing_twice_while_generations_are_replaced() {
    let metrics = Metrics::new().expect("families");
    prepare(&metrics, 1);
    let (generation, over) = (AtomicU64::new(1), AtomicBool::new(false));
    let (begun, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        let threads = (0..THREADS).map(|_| {
            scope.spawn(|| {
                for number in 0..REQUESTS {
                    begun.fetch_add(1, Ordering::SeqCst);
                    // Some began under the generation before.
                    request(&metrics, generation.load(Ordering::SeqCst) - u64::from(number % 7 == 0));
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let threads: Vec<_> = threads.collect();
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                prepare(&metrics, generation.load(Ordering::SeqCst) + 1);
                generation.fetch_add(1, Ordering::SeqCst);
                thread::yield_now();
            }
        });
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let least = ended.load(Ordering::SeqCst);
                    let value = scrape(&metrics);
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
        let value = scrape(&metrics);
        for series in [REQUESTS_OF_SHOP, FOOTERS_OF_SHOP, DURATIONS] {
            assert_eq!(value(series), THREADS * REQUESTS, "{series}");
        }
        assert_eq!(value(EGRESS_OF_SHOP), 1_000 * THREADS * REQUESTS);
    }
}

#[test]
fn a_histogram_has_every_thread_s_observations_in_their_buckets() {
    let metrics = Metrics::new().expect("families");
    prepare(&metrics, 1);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..REQUESTS).for_each(|_| request(&metrics, 1)));
        }
    });
    let value = scrape(&metrics);
    let below = |le| format!("icpgate_request_duration_seconds_bucket{{le=\"{le}\"}}");
    assert_eq!(value(&below("0.25")), 0);
    assert_eq!(value(&below("0.5")), THREADS * REQUESTS);
    assert_eq!(value(&below("+Inf")), THREADS * REQUESTS);
    assert_eq!(metrics.request_duration.get_sample_sum(), (THREADS * REQUESTS) as f64 * 0.5);
}

#[test]
fn requests_of_generations_that_are_gone_or_to_come_and_of_unknown_places_count_by_their_names() {
    let metrics = Metrics::new().expect("families");
    prepare(&metrics, 1);
    request(&metrics, 1);
    prepare(&metrics, 2);
    for generation in [1, 2, 3] {
        request(&metrics, generation);
    }
    metrics.tallies.replace(prepared(&metrics, 4, &[]));
    request(&metrics, 4);
    let value = scrape(&metrics);
    for series in [REQUESTS_OF_SHOP, FOOTERS_OF_SHOP, DURATIONS] {
        assert_eq!(value(series), 5, "{series}");
    }
    assert_eq!(value("icpgate_requests_total{site=\"blog\",status=\"2xx\"}"), 0);
}

#[test]
fn what_was_replaced_is_freed_though_threads_have_counted_for_it() {
    let metrics = Metrics::new().expect("families");
    prepare(&metrics, 1);
    let before = Arc::downgrade(&metrics.tallies.prepared.load_full());
    request(&metrics, 1);
    prepare(&metrics, 2);
    assert!(before.upgrade().is_none());
}
