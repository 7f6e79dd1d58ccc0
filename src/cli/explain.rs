//! `icpgate explain`: why a host is or is not served, and what becomes of a request for a URL.

mod request;
mod url;

use std::io::Write;
use std::net::IpAddr;

use anyhow::Context as _;
use http::Method;
use jiff::Timestamp;
use serde::Serialize;

use super::{Answer, At, ConfigFile};
use crate::app::examine;
use crate::clock::{Moment, shanghai_time};
use crate::config::report::Report;
use crate::gate::{self, Filing, ListenerId, Refusal};
use crate::hostname::Hostname;
use crate::snapshot::Snapshot;
use request::{Question, RequestAnswer};
use url::Url;

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The host, or a URL for the route, origins and limits of a request too.
    #[arg(allow_hyphen_values = true)]
    host: String,
    /// The method of a request for the URL; GET by default.
    #[arg(long, value_name = "METHOD")]
    method: Option<Method>,
    /// The client's address, for routes with `clients` or `from`; without it they are not taken.
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Ask about this listener only.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    #[command(flatten)]
    at: At,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Explanation {
    host: String,
    at: String,
    answers: Vec<ListenerAnswer>,
    /// Problems that prevent an answer.
    #[serde(flatten)]
    report: Option<Report>,
}

#[derive(Serialize)]
struct ListenerAnswer {
    listener: String,
    permitted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    because: String,
    /// What is done with a request for the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<RequestAnswer>,
}

/// What is asked: a host, or a request for a URL.
struct Asked<'a> {
    host: &'a str,
    url: Option<Url<'a>>,
    request: Option<Question>,
}

impl<'a> Asked<'a> {
    fn of(args: &'a ExplainArgs) -> anyhow::Result<Self> {
        let Some(url) = Url::parse(&args.host) else {
            let is_plain = args.method.is_none() && args.client.is_none();
            anyhow::ensure!(is_plain, "--method and --client are for a URL: write https://{}/", args.host);
            return Ok(Self { host: &args.host, url: None, request: None });
        };
        let url = url?;
        let method = args.method.clone().unwrap_or(Method::GET);
        let request = Question { method, target: url.target(), client: args.client };
        Ok(Self { host: url.host, url: Some(url), request: Some(request) })
    }

    /// The listeners that it can come in on, of those that are asked about.
    fn listeners(&self, snapshot: &Snapshot, name: Option<&str>) -> anyhow::Result<Vec<ListenerId>> {
        let named = match name {
            Some(name) => vec![snapshot.listener(name).with_context(|| unknown_listener(snapshot, name))?],
            None => (0..snapshot.config.listeners.len()).map(ListenerId).collect(),
        };
        let Some(url) = self.url else { return Ok(named) };
        let may_reach = |id: &ListenerId| snapshot.listener_config(*id).is_some_and(|one| url.may_reach(one));
        let reached: Vec<ListenerId> = named.into_iter().filter(may_reach).collect();
        let scheme = if url.is_tls { "https" } else { "http" };
        let port = url.port.map(|port| format!(" with port {port}")).unwrap_or_default();
        anyhow::ensure!(!reached.is_empty(), "no {scheme} listener{port} is asked about");
        Ok(reached)
    }
}

/// Explains the gate's answers. The answer is no if any listener that is asked about refuses.
pub(super) fn explain(
    args: &ExplainArgs,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let asked = Asked::of(args)?;
    let at = args.at.or_now();
    let built = examine(&args.config.file, at)?;
    let Some(snapshot) = built.snapshot else {
        let report: Report = built.problems.iter().collect();
        write!(notes, "{report}")?;
        if args.json {
            let (host, at) = (asked.host.to_owned(), shanghai_time(at));
            print_json(&Explanation { host, at, answers: Vec::new(), report: Some(report) }, out)?;
        }
        return Ok(Answer::No);
    };
    let listeners = asked.listeners(&snapshot, args.listener.as_deref())?;
    let answers: Vec<ListenerAnswer> =
        listeners.into_iter().map(|listener| answer(&snapshot, listener, &asked, at)).collect();
    let permitted = answers.iter().all(|answer| answer.permitted);
    let explanation =
        Explanation { host: asked.host.to_owned(), at: shanghai_time(at), answers, report: None };
    if args.json {
        print_json(&explanation, out)?;
    } else {
        for answer in &explanation.answers {
            let verdict =
                answer.reason.map_or_else(|| "permitted".to_owned(), |reason| format!("refused: {reason}"));
            writeln!(out, "{} on {}: {verdict} — {}", explanation.host, answer.listener, answer.because)?;
            if let Some(request) = &answer.request {
                write!(out, "{request}")?;
            }
        }
    }
    Ok(if permitted { Answer::Yes } else { Answer::No })
}

fn print_json(explanation: &Explanation, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *out, explanation)?;
    Ok(writeln!(out)?)
}

fn unknown_listener(snapshot: &Snapshot, name: &str) -> String {
    let known: Vec<&str> = snapshot.config.listeners.iter().map(|listener| &*listener.name).collect();
    format!("there is no listener {name:?}; there are: {}", known.join(", "))
}

fn answer(snapshot: &Snapshot, listener: ListenerId, asked: &Asked<'_>, at: Timestamp) -> ListenerAnswer {
    let parsed =
        Hostname::from_unicode(asked.host).map_err(|invalid| (Refusal::from(invalid), invalid.to_string()));
    let mut request = None;
    let (refusal, because) = match parsed {
        Err((refusal, because)) => (Some(refusal), because),
        Ok(host) => match gate::decide(&snapshot.gate, listener, &host, Moment::at(at)) {
            Ok(permit) => {
                let question = asked.request.as_ref();
                request =
                    question.and_then(|question| RequestAnswer::of(snapshot, listener, &permit, question));
                (None, permitted(snapshot, &permit))
            }
            Err(refusal) => (Some(refusal), because(snapshot, listener, &host, refusal)),
        },
    };
    ListenerAnswer {
        listener: snapshot
            .listener_config(listener)
            .map(|listener| listener.name.to_string())
            .unwrap_or_default(),
        permitted: refusal.is_none(),
        reason: refusal.map(Refusal::label),
        because,
        request,
    }
}

fn permitted(snapshot: &Snapshot, permit: &gate::Permit) -> String {
    let site = snapshot.site(permit.site()).map(|site| site.name.to_string()).unwrap_or_default();
    format!("site {site}, {}", filed(permit.filing()))
}

fn filed(filing: &Filing) -> String {
    let number = filing.number.as_ref().map_or("without a number", |number| number.as_str());
    let until = filing.ends.map(|ends| format!(" until {}", shanghai_time(ends))).unwrap_or_default();
    let since = filing.begins.map(|begins| format!(" since {}", shanghai_time(begins))).unwrap_or_default();
    format!("filing of {} ({number}), {}{since}{until}", filing.domain, filing.status.label())
}

/// The reason for a refusal, in a sentence.
fn because(snapshot: &Snapshot, listener: ListenerId, host: &Hostname, refusal: Refusal) -> String {
    let domain = host.registrable_domain();
    let filings = domain.map_or(&[][..], |domain| snapshot.gate.filings.of_domain(domain));
    let known: Vec<String> = filings.iter().map(|filing| filed(filing)).collect();
    let known = known.join("; ");
    match refusal {
        Refusal::NotFiled => match domain {
            Some(domain) => format!("the allowlist has no filing of {domain}"),
            None => "filings are made for domains below a public suffix, and this is not one".to_owned(),
        },
        Refusal::HostExcluded => format!("{known}: its hosts do not name this one"),
        Refusal::AddressNotFiled => {
            let public = snapshot.listener_config(listener).map(|listener| &listener.public_addresses);
            format!(
                "{known}: its access does not list every one of the public addresses {:?}",
                public.unwrap_or(&Vec::new())
            )
        }
        Refusal::NoSite => format!("{known}: no site on this listener serves the host"),
        Refusal::NoCertificate => {
            format!("{known}: the site has no certificate that covers the host and is within its dates")
        }
        _ => known,
    }
}
