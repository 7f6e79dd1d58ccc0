//! The rules alone; the tests of the whole program use real name servers.

use super::*;

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn answers_are_asked_for_again_before_they_are_too_old() {
    let now = Instant::now();
    let (known, due) = (Arc::from(addresses(&["192.0.2.1"])), now);
    let state = NameState { addresses: known, problem: None, due, failures: 0, answers: 0 };
    for (lifetime, expected) in [(0, 800), (10, 8000), (100_000, 240_000)] {
        let lifetime = Duration::from_secs(lifetime);
        let next =
            state.after(LookupResult::Addresses { addresses: addresses(&["192.0.2.2"]), lifetime }, now);
        assert_eq!(next.due - now, Duration::from_millis(expected), "{lifetime:?}");
        assert_eq!(*next.addresses, addresses(&["192.0.2.2"]));
    }
    let mut failing = state.clone();
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        failing = failing.after(LookupResult::None("no answer".to_owned()), now);
        assert_eq!(failing.due - now, Duration::from_secs(pause));
        assert_eq!(*failing.addresses, addresses(&["192.0.2.1"]), "the last good answer stays");
    }
    let missing = failing.after(LookupResult::Missing { lifetime: Duration::from_secs(3600) }, now);
    assert_eq!((missing.addresses.len(), missing.due - now), (0, Duration::from_secs(10)));
    let many = (0..200).map(|last| IpAddr::from([192, 0, 2, last])).collect();
    let next = state.after(LookupResult::Addresses { addresses: many, lifetime: Duration::ZERO }, now);
    assert_eq!(next.addresses.len(), ADDRESSES);
}

#[test]
fn families_take_turns_and_the_shunned_come_last() {
    let all = addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    let expected = addresses(&["2001:db8::1", "192.0.2.1", "192.0.2.2"]);
    assert_eq!(arrange(&all, 0, |_| false), expected);
    let expected = addresses(&["2001:db8::1", "192.0.2.2", "192.0.2.1"]);
    assert_eq!(arrange(&all, 1, |_| false), expected);
    let expected = addresses(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
    assert_eq!(arrange(&all, 2, IpAddr::is_ipv6), expected);
    assert_eq!(arrange(&[], 7, |_| false), addresses(&[]));
}
