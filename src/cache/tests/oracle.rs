//! Random histories of one URL, judged by http-cache-semantics too: whether each request is answered without the origin.
//!
//! Where the two differ, the table says why ours is right. A difference that no row explains fails, and so does a row that
//! explains nothing any more.

use std::collections::BTreeSet;

use fastrand::Rng;
use http::Request;
use http_cache_semantics::{AfterResponse, BeforeRequest, CacheOptions, CachePolicy};

use super::*;
use crate::cache::freshness::system_time;

/// One request and what the origin would answer.
#[derive(Clone, Debug)]
struct Step {
    now: i64,
    asked: String,
    status: u16,
    /// Fields as [`headers`] reads them.
    answer: String,
    /// Whether the origin answers 304 where it is asked to revalidate.
    is_unchanged: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Uses {
    /// Ours answers from the cache, the other asks the origin.
    OursAlone,
    /// The other way round.
    TheirsAlone,
}

/// Why a difference is accepted.
struct Accepted {
    why: &'static str,
    uses: &'static [Uses],
    /// Whether it explains the difference at the last of these steps.
    explains: fn(&[Step]) -> bool,
}

/// Whether an answer so far has this in its fields.
fn answered(steps: &[Step], text: &str) -> bool {
    steps.iter().any(|step| step.answer.contains(text))
}

fn asked(steps: &[Step], text: &str) -> bool {
    steps.last().is_some_and(|step| step.asked.contains(text))
}

/// Whether a lifetime was stated twice, not alike.
fn contradicts(step: &Step) -> bool {
    let control =
        step.answer.split(" ; ").find_map(|field| field.strip_prefix("cache-control:")).unwrap_or_default();
    let control = control.to_ascii_lowercase();
    ["max-age=", "s-maxage="].iter().any(|name| {
        let stated: BTreeSet<_> =
            control.split(", ").filter_map(|directive| directive.strip_prefix(name)).collect();
        stated.len() > 1
    }) || step.answer.matches("expires").count() > 1
}

const ACCEPTED: [Accepted; 12] = [
    Accepted {
        why: "Directives of requests are advisory (RFC 9111, 5.2.1); a visitor's reload does not cross the border.",
        uses: &[Uses::OursAlone],
        explains: |steps| asked(steps, "cache-control") || asked(steps, "pragma"),
    },
    Accepted {
        why: "A request's no-store is about its own answer, which everybody may have. It is not obeyed either.",
        uses: &[Uses::OursAlone],
        explains: |steps| steps.iter().any(|step| step.asked.contains("no-store")),
    },
    Accepted {
        why: "Names of directives have no case (RFC 9111, 5.2); the oracle takes MAX-AGE for an unknown one.",
        uses: &[Uses::OursAlone],
        explains: |steps| answered(steps, "MAX-AGE"),
    },
    Accepted {
        why: "proxy-revalidate forbids stale answers alone (RFC 9111, 5.2.2.8); the oracle makes it a lifetime of zero.",
        uses: &[Uses::OursAlone],
        explains: |steps| answered(steps, "proxy-revalidate"),
    },
    Accepted {
        why: "pragma means something in requests alone (RFC 9111, 5.4).",
        uses: &[Uses::OursAlone],
        explains: |steps| answered(steps, "pragma"),
    },
    Accepted {
        why: "Any final status with a stated lifetime is stored (RFC 9111, 3); the oracle knows some statuses only.",
        uses: &[Uses::OursAlone],
        explains: |steps| steps.iter().any(|step| matches!(step.status, 201 | 500)),
    },
    Accepted {
        why: "The age counts from `date` too (RFC 9111, 4.2.3); the oracle reads `age` alone.",
        uses: &[Uses::TheirsAlone],
        explains: |steps| answered(steps, "date:{-30}"),
    },
    Accepted {
        why: "Contradicting lifetimes: the shorter one, or none (RFC 9111, 4.2.1); the oracle takes the first.",
        uses: &[Uses::TheirsAlone],
        explains: |steps| steps.iter().any(contradicts),
    },
    Accepted {
        why: "An answer with a cookie is never stored, whatever else it says.",
        uses: &[Uses::TheirsAlone],
        explains: |steps| answered(steps, "set-cookie"),
    },
    Accepted {
        why: "Nothing is looked up for a request with credentials; the oracle lets `public` and others share the answer.",
        uses: &[Uses::OursAlone, Uses::TheirsAlone],
        explains: |steps| steps.iter().any(|step| step.asked.contains("authorization")),
    },
    Accepted {
        why: "A 304 renews all fields, and the age is its own (RFC 9111, 3.2); the oracle changes those alone that were there, and keeps `age`.",
        uses: &[Uses::OursAlone],
        explains: |steps| steps.iter().any(|step| step.is_unchanged && step.answer.contains("etag")),
    },
    Accepted {
        why: "immutable says nothing of a lifetime (RFC 8246, 2), where the oracle guesses a day; and what is guessed by last-modified ends after a day.",
        uses: &[Uses::TheirsAlone],
        explains: |steps| answered(steps, "immutable") || answered(steps, "last-modified:{-9000000}"),
    },
];

fn one<'t>(random: &mut Rng, of: &[&'t str]) -> &'t str {
    of[random.usize(..of.len())]
}

fn step(random: &mut Rng, now: i64, vary: &str) -> Step {
    let mut directives = Vec::new();
    for _ in 0..random.usize(..4) {
        directives.push(one(
            random,
            &[
                "max-age=5",
                "max-age=60",
                "max-age=\"600\"",
                "max-age=0",
                "max-age=x",
                "max-age=5, max-age=600",
                "s-maxage=30",
                "s-maxage=0",
                "no-cache",
                "no-store",
                "private",
                "public",
                "must-revalidate",
                "proxy-revalidate",
                "immutable",
                "MAX-AGE=60",
                "unknown=1",
            ],
        ));
    }
    let control = if directives.is_empty() {
        String::new()
    } else {
        format!("cache-control:{}", directives.join(", "))
    };
    let rare = |random: &mut Rng, field: &'static str| if random.u8(..20) == 0 { field } else { "" };
    let fields = [
        &*control,
        one(random, &["", "", "expires:{60}", "expires:{-10}", "expires:0", "expires:{60} ; expires:{300}"]),
        one(random, &["", "date:{0}", "date:{0}", "date:{-30}"]),
        one(random, &["", "", "", "age:20", "age:100", "age:x"]),
        one(random, &["", "", "last-modified:{-1000}", "last-modified:{-9000000}"]),
        one(random, &["", "etag:\"a\""]),
        rare(random, "set-cookie:a=b"),
        rare(random, "pragma:no-cache"),
        vary,
    ];
    let fields = fields.into_iter().filter(|field| !field.is_empty()).collect::<Vec<_>>().join(" ; ");
    let status = [200, 200, 200, 200, 404, 302, 301, 201, 206, 500][random.usize(..10)];
    let more = match random.u8(..24) {
        0 => " ; cache-control:no-cache",
        1 => " ; cache-control:max-age=0",
        2 => " ; cache-control:no-store",
        3 => " ; pragma:no-cache",
        4 => " ; authorization:x",
        _ => "",
    };
    let asked = format!("accept-language:{}{more}", one(random, &["zh", "en"]));
    Step { now, asked, status, answer: fields, is_unchanged: random.bool() }
}

/// Fields whose dates count from `now`.
fn fields(text: &str, now: i64) -> HeaderMap {
    let mut all = HeaderMap::new();
    for field in text.split(" ; ").filter(|field| !field.is_empty()) {
        let (name, value) = field.split_once(':').expect("a field");
        let value = match value.strip_prefix('{').and_then(|value| value.strip_suffix('}')) {
            Some(second) => write_date(now + second.parse::<i64>().expect("a second")),
            None => value.to_owned(),
        };
        all.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::try_from(value).expect("a value"),
        );
    }
    all
}

/// What the oracle has stored, and whether that has an entity tag.
#[derive(Default)]
struct Oracle(Vec<(CachePolicy, bool)>);

impl Oracle {
    fn asked(step: &Step) -> Request<()> {
        let mut request = Request::get("https://www.example.cn/").body(()).expect("a request");
        *request.headers_mut() = fields(&step.asked, step.now);
        request
    }

    fn answer(status: u16, step: &Step) -> http::Response<()> {
        let mut response = http::Response::builder().status(status).body(()).expect("a response");
        *response.headers_mut() = fields(&step.answer, step.now);
        response
    }

    /// The stored response that the request selects.
    fn place(&self, step: &Step) -> Option<usize> {
        let (request, now) = (Self::asked(step), system_time(step.now));
        self.0.iter().position(|(policy, _)| match policy.before_request(&request, now) {
            BeforeRequest::Fresh(_) => true,
            BeforeRequest::Stale { matches, .. } => matches,
        })
    }

    fn has_tag(&self, step: &Step) -> bool {
        self.place(step).is_some_and(|place| self.0[place].1)
    }

    /// Whether it answers from what is stored. Else the origin's answer takes its place.
    fn is_hit(&mut self, step: &Step, is_revalidated: bool) -> bool {
        let (request, now) = (Self::asked(step), system_time(step.now));
        let place = self.place(step);
        if place.is_some_and(|place| {
            self.0[place].0.before_request(&request, now).satisfies_without_revalidation()
        }) {
            return true;
        }
        let old = place.map(|place| self.0.remove(place).0);
        let policy = match old {
            Some(old) if is_revalidated => {
                match old.after_response(&request, &Self::answer(304, step), now) {
                    AfterResponse::NotModified(policy, _) | AfterResponse::Modified(policy, _) => policy,
                }
            }
            _ => CachePolicy::new_options(
                &request,
                &Self::answer(step.status, step),
                now,
                CacheOptions::default(),
            ),
        };
        if policy.is_storable() {
            self.0.push((policy, step.answer.contains("etag")));
        }
        false
    }
}

/// Follows a history to its end, or to the first difference: the steps up to there, and who used what was stored.
fn follow(seed: u64, seen: &mut BTreeSet<&'static str>) -> Option<(Vec<Step>, Uses)> {
    let mut random = Rng::with_seed(seed);
    let vary = one(&mut random, &["", "", "vary:accept-language", "vary:*"]);
    let (cache, mut oracle) = (cache(1 << 20), Oracle::default());
    let (mut now, mut steps) = (BEGINNING, Vec::new());
    for _ in 0..6 {
        now += [0, 1, 4, 10, 29, 60, 100, 700, 90_000][random.usize(..9)];
        let step = step(&mut random, now, vary);
        let asked = request("GET", "/", fields(&step.asked, now));
        let stored = cache.find(&key("/"), &asked.headers, &stamp());
        let has_tag = stored.is_some_and(|stored| stored.validators.etag.is_some());
        let is_revalidated =
            step.is_unchanged && has_tag && oracle.has_tag(&step) && step.answer.contains("etag");
        let status = if is_revalidated { 304 } else { step.status };
        let mut answer = response(status, "");
        answer.headers = fields(&step.answer, now);
        let ours = exchange(&cache, &asked, Some(answer), now);
        seen.insert(ours);
        let theirs = oracle.is_hit(&step, is_revalidated);
        steps.push(step);
        match (ours == "hit", theirs) {
            (true, false) => return Some((steps, Uses::OursAlone)),
            (false, true) => return Some((steps, Uses::TheirsAlone)),
            (true, true) | (false, false) => {}
        }
    }
    None
}

#[test]
fn random_histories_are_judged_as_by_http_cache_semantics() {
    const HISTORIES: u64 = 8_000;
    let (mut seen, mut same, mut used) = (BTreeSet::new(), 0, BTreeSet::new());
    for seed in 0..HISTORIES {
        let Some((steps, uses)) = follow(seed, &mut seen) else {
            same += 1;
            continue;
        };
        let row = ACCEPTED.iter().find(|row| row.uses.contains(&uses) && (row.explains)(&steps));
        let row = row.unwrap_or_else(|| panic!("history {seed}: {uses:?}: {steps:#?}"));
        used.insert(row.why);
    }
    let unused: Vec<_> = ACCEPTED.iter().map(|row| row.why).filter(|why| !used.contains(why)).collect();
    assert!(unused.is_empty(), "these explain nothing: {unused:#?}");
    assert!(same > HISTORIES / 2, "{same} histories are the same to the end");
    assert!(["hit", "miss", "revalidated"].iter().all(|result| seen.contains(result)), "{seen:?}");
}
