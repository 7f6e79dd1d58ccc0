//! Links with their latency curves, and servers. Servers that are down come first.

use std::fmt::Write as _;
use std::time::Duration;

use super::language::Language;
use super::listing::{Level, Listing, Search};
use crate::admin::latency::{KEPT, Latencies};
use crate::origin::links::{Look, OriginLink};
use crate::snapshot::{OriginState, Snapshot};

/// Links and servers that are shown.
const SHOWN: usize = 100;
/// The curve's size, in units of its view box.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;

#[derive(Debug)]
pub(crate) struct LinkRow {
    pub(crate) origin: String,
    pub(crate) region: &'static str,
    pub(crate) link: String,
    /// Whether requests take it now.
    pub(crate) state: &'static str,
    pub(crate) level: Level,
    pub(crate) curve: Option<Curve>,
    pub(crate) p95: Option<String>,
    pub(crate) answers: u64,
    pub(crate) failures: u64,
}

/// Latency over time, as an SVG path.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) path: String,
    /// The last and the longest of the means.
    pub(crate) last: String,
    pub(crate) longest: String,
}

#[derive(Debug)]
pub(crate) struct ServerRow {
    pub(crate) origin: String,
    pub(crate) server: String,
    pub(crate) link: String,
    pub(crate) state: &'static str,
    pub(crate) level: Level,
    pub(crate) is_backup: bool,
    pub(crate) in_flight: usize,
    pub(crate) connect: Option<String>,
    pub(crate) first_byte: Option<String>,
    pub(crate) round_trip: Option<String>,
    pub(crate) loss: Option<String>,
}

/// The links that match.
pub(crate) fn links(
    snapshot: &Snapshot,
    latencies: &Latencies,
    now: Duration,
    search: &Search,
    language: Language,
) -> Listing<LinkRow> {
    let all = snapshot.origins.iter().flat_map(|state| state.links.iter().map(move |link| (state, link)));
    Listing::first(
        SHOWN,
        all,
        |(state, link)| search.is_in([&*state.origin.name, &*link.name]),
        |_| (),
        |(state, link)| link_row(state, link, latencies, now, language),
    )
}

fn link_row(
    state: &OriginState,
    link: &OriginLink,
    latencies: &Latencies,
    now: Duration,
    language: Language,
) -> LinkRow {
    let words = language.words();
    let Look { status, .. } = link.last_look();
    let observations = link.observations(now);
    let is_used = link.metered.is_none() || status.in_use;
    LinkRow {
        origin: state.origin.name.to_string(),
        region: state.origin.region.label(),
        link: link.name.to_string(),
        state: if is_used { words.in_use } else { words.not_in_use },
        level: if is_used { Level::Good } else { Level::Quiet },
        curve: curve(&latencies.of(&state.origin.name, &link.name)),
        p95: observations.p95.map(milliseconds),
        answers: observations.answers,
        failures: observations.failures,
    }
}

/// The curve of means, the latest at the right; `None` without any.
fn curve(means: &[Option<Duration>]) -> Option<Curve> {
    let longest = means.iter().flatten().max()?;
    let last = means.iter().flatten().next_back()?;
    let step = WIDTH / KEPT as f64;
    let begin = WIDTH - step * means.len() as f64;
    let scale = (HEIGHT - 2.0) / longest.as_secs_f64().max(1e-6);
    let (mut path, mut pen_is_down) = (String::new(), false);
    for (index, mean) in means.iter().enumerate() {
        let Some(mean) = mean else {
            pen_is_down = false;
            continue;
        };
        let (x, y) = (begin + step * (index as f64 + 0.5), HEIGHT - 1.0 - mean.as_secs_f64() * scale);
        let command = if pen_is_down { 'L' } else { 'M' };
        // A single point shows as a dot, by the line's round ends. Writing into a string cannot fail.
        let _ = write!(path, "{command}{x:.1} {y:.1}h.1");
        pen_is_down = true;
    }
    Some(Curve { path, last: milliseconds(*last), longest: milliseconds(*longest) })
}

/// The servers that match, those that are down first.
pub(crate) fn servers(
    snapshot: &Snapshot,
    now: Duration,
    search: &Search,
    language: Language,
) -> Listing<ServerRow> {
    let all =
        snapshot.origins.iter().flat_map(|state| (0..state.servers.len()).map(move |index| (state, index)));
    let is_up = |state: &OriginState, index: usize| {
        state.servers.get(index).is_some_and(|server| !server.health.is_ejected())
    };
    let rows = Listing::first(
        SHOWN,
        all,
        |(state, index)| {
            let label = state.servers.get(*index).map_or("", |server| &*server.label);
            search.is_in([&*state.origin.name, label])
        },
        |(state, index)| is_up(state, *index),
        |(state, index)| server_row(state, index, now, language),
    );
    Listing { rows: rows.rows.into_iter().flatten().collect(), matching: rows.matching, total: rows.total }
}

fn server_row(state: &OriginState, index: usize, now: Duration, language: Language) -> Option<ServerRow> {
    let (server, known) = (state.origin.servers.get(index)?, state.servers.get(index)?);
    let words = language.words();
    let is_down = known.health.is_ejected();
    let first_byte = state.links.first_bytes(index).and_then(|times| times.mean(now));
    Some(ServerRow {
        origin: state.origin.name.to_string(),
        server: known.label.clone(),
        link: server.link.to_string(),
        state: if is_down { words.down } else { words.up },
        level: if is_down { Level::Bad } else { Level::Good },
        is_backup: server.backup,
        in_flight: known.load.in_flight(),
        connect: known.connect_time.mean(now).map(milliseconds),
        first_byte: first_byte.map(milliseconds),
        round_trip: known.path.round_trip(now).map(milliseconds),
        loss: known.path.loss(now).map(|loss| format!("{:.2} %", loss * 100.0)),
    })
}

fn milliseconds(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 10.0 { format!("{millis:.1} ms") } else { format!("{millis:.0} ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_at_the_right_and_breaks_where_there_is_no_answer() {
        let millis = |millis| Some(Duration::from_millis(millis));
        let drawn = curve(&[millis(10), millis(20), None, millis(5)]).expect("a curve");
        assert_eq!(drawn.path, "M116.5 12.0h.1L117.5 1.0h.1M119.5 17.5h.1");
        assert_eq!((&*drawn.last, &*drawn.longest), ("5.0 ms", "20 ms"));
        assert!(curve(&[None, None]).is_none());
    }
}
