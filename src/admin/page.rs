//! The status page: one glance, then every part.
//!
//! Every table is bounded, and shows first what needs attention. The templates escape every text: names come from strangers.

mod cache;
mod due;
mod explain;
mod filings;
pub(super) mod language;
mod listeners;
mod listing;
mod origins;
mod refused;
mod reloads;
mod retention;
mod sites;
mod words;

use askama::Template;

use self::cache::CachePart;
use self::due::DueRow;
use self::filings::{FilingRow, Source};
use self::language::Language;
use self::listeners::{ListenerRow, Totals};
use self::listing::{Level, Listing, Search, second};
use self::origins::{LinkRow, ServerRow};
use self::refused::Refused;
use self::reloads::ReloadRow;
use self::retention::Retention;
use self::sites::{CertificateCell, SiteRow};
use self::words::Words;
use super::cache_state::CacheState;
use super::latency::Latencies;
use super::pages::Pages;
use super::status;

/// The script, the style sheet and the icon: nothing is loaded from elsewhere.
pub(super) const SCRIPT: &str = include_str!("page/page.js");
pub(super) const STYLE: &str = include_str!("page/page.css");
pub(super) const ICON: &str = include_str!("page/icon.svg");

/// What a reader asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) language: Language,
    /// Whether the language was chosen by `?lang=`, and links have to carry it on.
    pub(super) is_chosen: bool,
    /// The filter.
    pub(super) search: String,
}

/// The page as a whole.
#[derive(Debug, Template)]
#[template(path = "page.html")]
struct StatusPage {
    language: Language,
    is_chosen: bool,
    words: &'static Words,
    search: Search,
    node: String,
    time: String,
    generation: u64,
    headline: Headline,
    totals: Totals,
    due: Vec<DueRow>,
    source: Source,
    filings: Listing<FilingRow>,
    listeners: Vec<ListenerRow>,
    refused: Refused,
    sites: Listing<SiteRow>,
    links: Listing<LinkRow>,
    servers: Listing<ServerRow>,
    cache: Option<CachePart>,
    retention: Retention,
    reloads: Vec<ReloadRow>,
}

/// The state of everything in one line.
#[derive(Debug)]
struct Headline {
    text: &'static str,
    level: Level,
    /// Why the program is not ready, as `/readyz` says it.
    reason: Option<String>,
}

/// The page in HTML. It takes some milliseconds with many filings: do not render it on a thread that serves.
pub(super) fn render(pages: &Pages, latencies: &Latencies, asked: &Asked) -> Result<String, askama::Error> {
    let (snapshot, at) = (pages.edge.snapshots.load_full(), pages.edge.moment());
    let status = pages.listeners_status.borrow().clone();
    let (language, search) = (asked.language, Search::new(&asked.search));
    let now = pages.upstreams.now();
    let (listeners, totals) = listeners::rows(&snapshot, &status, at, &search, language);
    let retention = retention::retention(
        pages.edge.recorder.stats(),
        &snapshot.config.access_log,
        &pages.sinks,
        at,
        language,
    );
    let due = due::rows(&snapshot, at, language);
    let reloads = reloads::rows(&pages.journal, language);
    let needs_attention = totals.open < totals.hosts
        || due.iter().any(|due| due.level != Level::Quiet)
        || reloads.first().is_some_and(|reload| reload.level == Level::Bad)
        || retention.needs_attention();
    let page = StatusPage {
        language,
        is_chosen: asked.is_chosen,
        words: language.words(),
        node: snapshot.config.node.to_string(),
        time: second(at.now),
        generation: snapshot.generation,
        headline: Headline::new(status::unready(&pages.edge, &status), needs_attention, language.words()),
        totals,
        due,
        source: Source::of(&pages.edge.filings_source.current().look()),
        filings: filings::listing(&snapshot.gate.filings, at, &search, language),
        listeners,
        refused: refused::refused(&snapshot, &pages.listen, at, &search, language),
        sites: sites::listing(&snapshot, at, &search, language),
        links: origins::links(&snapshot, latencies, now, &search, language),
        servers: origins::servers(&snapshot, now, &search, language),
        cache: CacheState::of(pages.cache.as_deref(), &snapshot, &pages.exchanges)
            .map(|state| cache::cache(state, &search)),
        retention,
        reloads,
        search,
    };
    page.render()
}

impl Headline {
    fn new(unready: Option<String>, needs_attention: bool, words: &Words) -> Self {
        let (text, level) = match (&unready, needs_attention) {
            (Some(_), _) => (words.nothing_open, Level::Bad),
            (None, true) => (words.partly_open, Level::Warn),
            (None, false) => (words.everything_open, Level::Good),
        };
        Self { text, level, reason: unready }
    }
}
