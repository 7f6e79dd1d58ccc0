//! A request on a route with a cache: answered from it, or fetched for everybody who waits.
//!
//! The gate has judged the request before, so a hit obeys it like any other answer. What fails at the origin may be
//! answered by a stale response.

use std::sync::Arc;

use http::{Method, StatusCode, header};

use super::attempt::{Attempt, RoutedRequest};
use super::context::RequestContext;
use super::{Outcome, Proxy, refresh, response};
use crate::access::record::CacheResult;
use crate::cache::{
    self, Cache, Fill, Forwarded, Key, Note, PageStamp, Permit, Purpose, State, Stored, Turn, Validators,
};
use crate::downstream::ClientFailure;
use crate::downstream::session::Downstream;
use crate::gate;
use crate::listen::Established;
use crate::message::{RequestHead, websocket};
use crate::route::CacheUse;

/// How often a request waits for somebody else's fetch before it fetches for itself.
const WAITS: u32 = 2;

/// What is stored for a request, and who fetches the rest.
enum Found {
    /// It answers.
    Usable(Arc<Stored>, Note, CacheResult),
    /// It must be fetched: by this request for all, with a permit; what is stale is revalidated.
    Missing(Option<Arc<Stored>>, Option<Permit>),
    /// The client left while it waited.
    ClientLeft,
}

pub(super) async fn run<'d>(
    cache: &Arc<Cache>,
    proxy: &Proxy,
    permit: &gate::Permit,
    established: &Established,
    routed: RoutedRequest<'_>,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Result<Outcome, StatusCode> {
    let head = down.head;
    let Some(site) = routed.snapshot.site(permit.site()) else { return Err(StatusCode::NOT_FOUND) };
    let key = Key::new(&site.name, &permit.host().shared(), &head.target);
    if let Some(why) = passes(head, routed.forward.cache, down) {
        context.facts.cache = Some(CacheResult::Bypass);
        if !websocket::is_asked_for(head) {
            down.watch(Fill::new(cache, &key, why, Purpose::Pass, context.seconds()));
        }
        return fetch(proxy, routed, down, context).await;
    }
    let stamp = routed.page.stamp(routed.forward);
    let (stale, turn) = match find(cache, &key, &stamp, down, context).await {
        Found::ClientLeft => return Ok(Outcome::Abort),
        Found::Usable(stored, note, result) => {
            if result == CacheResult::Stale
                && let Turn::Lead(turn) = cache.turn(&key, true)
            {
                refresh::start(proxy, established, permit.host(), head, turn);
            }
            return Ok(serve(&stored, note, result, down, context).await);
        }
        Found::Missing(stale, turn) => (stale, turn),
    };
    context.facts.cache = Some(CacheResult::Miss);
    let why = match &stale {
        Some(_) => Forwarded::Stale,
        None if cache.has_variants(&key) => Forwarded::VaryMiss,
        None => Forwarded::UriMiss,
    };
    let is_stored = is_storable(head) || (stale.is_some() && head.method == Method::GET);
    // A fetch for all is for the whole: the conditions are the first client's alone.
    let unconditional = Validators::default();
    let is_shared = turn.is_some();
    let purpose = match is_stored {
        true => Purpose::Store { permit: turn, stale: stale.clone(), stamp },
        false => Purpose::Pass,
    };
    down.watch(Fill::new(cache, &key, why, purpose, context.seconds()));
    let validators = match &stale {
        Some(stale) if is_stored => Some(&stale.validators),
        None if is_shared => Some(&unconditional),
        _ => routed.validators,
    };
    fetch(proxy, RoutedRequest { validators, ..routed }, down, context).await
}

/// Why a request is not looked up, if it is not.
fn passes(head: &RequestHead, used: CacheUse, down: &mut Downstream<'_>) -> Option<Forwarded> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        Some(Forwarded::Method)
    } else if used != CacheUse::Used
        || head.headers.contains_key(header::AUTHORIZATION)
        || websocket::is_asked_for(head)
        || !down.is_body_done()
    {
        Some(Forwarded::Bypass)
    } else {
        None
    }
}

/// Whether the answer to a request can be stored: a whole one to a GET.
fn is_storable(head: &RequestHead) -> bool {
    head.method == Method::GET && !head.headers.contains_key(header::RANGE)
}

/// Looks the request up, and waits for a fetch of somebody else.
async fn find(
    cache: &Arc<Cache>,
    key: &Key,
    stamp: &PageStamp,
    down: &mut Downstream<'_>,
    context: &RequestContext<'_>,
) -> Found {
    let mut waited = 0;
    loop {
        let stored = match usable(cache, key, stamp, down.head, context) {
            Ok(found) => return found,
            Err(stored) => stored,
        };
        let on_disk = match &stored {
            None => cache.on_disk(key, &down.head.headers, stamp),
            Some(_) => None,
        };
        let is_never_fresh = stored.as_ref().is_some_and(|stored| stored.freshness.is_never_fresh());
        let is_shareable = stored.is_some() || is_storable(down.head);
        let is_fetched_alone = is_never_fresh || !is_shareable || down.head.method == Method::HEAD;
        if is_fetched_alone && on_disk.is_none() {
            return Found::Missing(stored, None);
        }
        match cache.turn(key, stored.is_some()) {
            Turn::Lead(permit) if on_disk.is_some() => {
                load(cache, key, on_disk).await;
                permit.done();
            }
            Turn::Alone if on_disk.is_some() => load(cache, key, on_disk).await,
            Turn::Lead(permit) => {
                // It may have been stored between the look and the lock.
                return match usable(cache, key, stamp, down.head, context) {
                    Ok(found) => {
                        permit.done();
                        found
                    }
                    Err(stored) => Found::Missing(stored, Some(permit)),
                };
            }
            Turn::Wait(waiting) if waited < WAITS => {
                waited += 1;
                let is_shared = tokio::select! {
                    biased;
                    () = down.gone() => return Found::ClientLeft,
                    is_shared = waiting.ended() => is_shared,
                };
                if !is_shared {
                    return Found::Missing(stored, None);
                }
            }
            Turn::Wait(_) | Turn::Alone => return Found::Missing(stored, None),
        }
    }
}

async fn load(cache: &Arc<Cache>, key: &Key, file: Option<u64>) {
    if let Some(file) = file {
        cache.load(key, file).await;
    }
}

/// The stored response if it can be served now; else the stale one.
fn usable(
    cache: &Cache,
    key: &Key,
    stamp: &PageStamp,
    head: &RequestHead,
    context: &RequestContext<'_>,
) -> Result<Found, Option<Arc<Stored>>> {
    let Some(stored) = cache.find(key, &head.headers, stamp) else { return Err(None) };
    let now = context.seconds();
    match stored.freshness.state(now) {
        State::Fresh => Ok(Found::Usable(stored, Note::Hit, CacheResult::Hit)),
        State::StaleUsable => {
            let note = Note::StaleHit(stored.freshness.stale_for(now).unwrap_or(0));
            Ok(Found::Usable(stored, note, CacheResult::Stale))
        }
        State::Stale => Err(Some(stored)),
    }
}

/// Asks the origin; a stored response may answer in place of its answer.
async fn fetch<'d>(
    proxy: &Proxy,
    routed: RoutedRequest<'_>,
    down: &mut Downstream<'d>,
    context: &mut RequestContext<'d>,
) -> Result<Outcome, StatusCode> {
    let outcome = Attempt::new(proxy, routed, down, context).run().await;
    let Some(mut filling) = down.take_filling() else { return outcome };
    context.facts.bytes_out = context.facts.bytes_out.saturating_sub(filling.unsent());
    let now = context.seconds();
    if let Some((stored, status)) = filling.fill.answered_by() {
        if filling.has_left() {
            return Ok(Outcome::Abort);
        }
        let is_good = status == StatusCode::NOT_MODIFIED.as_u16();
        let result = if is_good { CacheResult::Revalidated } else { CacheResult::Stale };
        return Ok(serve(stored, Note::Asked(Some(status)), result, down, context).await);
    }
    match outcome {
        Err(status) if status.is_server_error() => match filling.fill.outlasts_failure(now) {
            Some(stale) => {
                filling.fill.give_up();
                context.reason = None;
                Ok(serve(&stale, Note::Asked(None), CacheResult::Stale, down, context).await)
            }
            None => {
                filling.fill.give_up();
                Err(status)
            }
        },
        Ok(Outcome::KeepAlive) if filling.has_left() => Ok(Outcome::Abort),
        outcome => outcome,
    }
}

/// Answers with a stored response.
async fn serve(
    stored: &Stored,
    note: Note,
    result: CacheResult,
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
) -> Outcome {
    let cache::Answer { mut head, body } = cache::answer(down.head, stored, context.seconds());
    note.write(&mut head.headers);
    let facts = &mut context.facts;
    (facts.cache, facts.status, facts.bytes_out) = (Some(result), Some(head.status.as_u16()), 0);
    let is_page = head.status == StatusCode::OK && down.head.method == Method::GET;
    facts.footer = stored.footer.filter(|_| is_page);
    if context.is_draining() {
        down.close_after();
    }
    let sent = async {
        down.write_head(head, body.is_empty())?;
        response::send_body(body, down, context).await?;
        down.finish(None)
    };
    match sent.await {
        Ok(()) => Outcome::KeepAlive,
        Err(ClientFailure::Gone | ClientFailure::Slow) => Outcome::Abort,
    }
}
