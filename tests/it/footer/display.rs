//! What the footer shows: the number by the province's rule or by choice, the public security number with its icon, a
//! template; and the icon itself.

use http::Method;

use super::{PAGE, with_footer};
use crate::support::client::Target;
use crate::support::edge::{Builder, Edge};
use crate::support::origin::{Origin, Request, html};
use crate::support::{HOST, chromium};

const ICON: &str = "/_icpgate/public-security.svg";

/// The default site with `footer: {SETTINGS}`.
fn builder(origin: &Origin, settings: &str) -> Builder {
    Edge::builder().origin(origin.address).sites(&format!(
        "  - name: shop\n    hosts: [{HOST}]\n    certificate: {{chain: site.pem, key: site.key}}\n    footer: {{{settings}}}\n    \
         routes: [{{match: {{path: /}}, origins: [main]}}]\n"
    ))
}

fn filed(number: &str) -> String {
    format!(
        "filings:\n  - {{domain: example.cn, number: {number}, status: approved, approved_on: 2020-01-02, \
         public_security: {{number: 京公网安备11010502030143号}}}}\n"
    )
}

#[tokio::test]
async fn guangdong_shows_the_subjects_number_and_a_site_may_choose() {
    let origin = Origin::html(PAGE).await;
    for (settings, number, shown) in [
        ("", "粤ICP备2024012345号-3", "粤ICP备2024012345号"),
        ("display: auto", "京ICP备2024012345号-3", "京ICP备2024012345号-3"),
        ("display: service", "粤ICP备2024012345号-3", "粤ICP备2024012345号-3"),
        ("display: subject", "京ICP备2024012345号-3", "京ICP备2024012345号"),
    ] {
        let edge = builder(&origin, settings).filings(&filed(number)).start().await;
        let footer = with_footer(PAGE, &Target::https(&edge).get(HOST, "/").await);
        assert!(footer.contains(&format!(">{shown}</a>")), "{settings}: {footer}");
        let records = edge.records_where(1, |record| record["footer"] == "injected").await;
        assert_eq!(records[0]["icp_number"], number, "records name the filing");
    }
}

#[tokio::test]
async fn either_number_of_a_guangdong_filing_counts_as_shown() {
    let linked = |number: &str| {
        PAGE.replace(
            "你好",
            &format!("<a href=\"https://beian.miit.gov.cn/\">粤ICP备2024012345号{number}</a>"),
        )
    };
    let served = move |request: &Request| {
        html(linked(match request.target() {
            "/subject" => "",
            "/service" => "-3",
            _ => "-4",
        }))
    };
    let origin = Origin::start(served).await;
    let edge = builder(&origin, "").filings(&filed("粤ICP备2024012345号-3")).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    for (path, count) in [("/subject", 1), ("/service", 1), ("/another", 2)] {
        let page = client.get(HOST, path).await.text();
        assert_eq!(page.matches("粤ICP备2024012345号").count(), count, "{path}: {page}");
    }
    for (result, count) in [("present", 2.0), ("wrong_number", 1.0)] {
        edge.metric_becomes(&format!("icpgate_footer_total{{result=\"{result}\",site=\"shop\"}}"), count)
            .await;
    }
}

#[tokio::test]
async fn a_template_is_put_in_with_its_values() {
    let origin = Origin::html(PAGE).await;
    let template = "template: \"<p class='icp'>© 公司 {number_link} | {public_security}</p>\"";
    let edge = builder(&origin, template).start().await;
    let footer = with_footer(PAGE, &Target::https(&edge).get(HOST, "/").await);
    assert!(footer.starts_with("<p class='icp'>") && footer.ends_with(" | </p>"), "{footer}");
    assert!(footer.contains("href=\"https://beian.miit.gov.cn/\""), "{footer}");
}

#[tokio::test]
async fn what_cannot_be_a_footer_is_a_problem() {
    let origin = Origin::html(PAGE).await;
    for (settings, told) in [
        ("display: both", "both"),
        ("template: \"<p>{numbr}</p>\"", "{numbr}"),
        ("template: \"<p>{number}</p>\"", "does not show the number with a link"),
        (
            "template: \"<a href='https://beian.miit.gov.cn/'>ICP</a>\"",
            "does not show the number with a link",
        ),
        ("template: \"{number_link}<script>x()</script>\"", "<script>"),
        ("template: \"<p onclick='x()'>{number_link}</p>\"", "onclick"),
        ("template: \"<div>{number_link}\"", "closed"),
        ("pages: off, display: subject", "display has no effect"),
        ("pages: off, template: \"{number_link}\"", "template has no effect"),
    ] {
        let run = builder(&origin, settings).write().check(&["--json"]).await;
        assert_eq!(run.code, 1, "{settings}: {run:?}");
        let problem = run.json()["problems"][0].clone();
        assert!(problem["place"].as_str().unwrap().starts_with("sites[0].footer."), "{problem}");
        assert!(problem["message"].as_str().unwrap().contains(told), "{settings}: {problem}");
    }
}

#[tokio::test]
async fn the_icon_is_served_on_the_sites_own_host_to_whom_the_gate_permits() {
    let origin = Origin::html(PAGE).await;
    let edge = Edge::in_front_of(&origin).await;
    let target = Target::https(&edge);
    let mut http1 = target.http1(HOST).await;
    let mut http2 = target.http2(HOST).await;
    for answer in [http1.get(HOST, ICON).await, http2.get(HOST, ICON).await] {
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("image/svg+xml")));
        assert_eq!(answer.field("cache-control"), Some("public, max-age=86400"));
        assert!(answer.text().starts_with("<svg "));
    }
    let tag = http1.get(HOST, ICON).await.field("etag").expect("a tag").to_owned();
    let again = http2.request(Method::GET, HOST, ICON, &[("if-none-match", &tag)]).await.expect("an answer");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = http2.request(Method::HEAD, HOST, ICON, &[]).await.expect("an answer");
    assert!(head.status == 200 && head.field("content-length").is_some() && head.body.is_empty());
    for (method, path, status) in [(Method::POST, ICON, 405), (Method::GET, "/_icpgate/other", 404)] {
        let answer = http2.request(method, HOST, path, &[]).await.expect("an answer");
        assert_eq!(answer.status, status, "{path}");
    }
    let elsewhere = http2.request(Method::GET, "www.example.net", ICON, &[]).await.expect("an answer");
    assert_eq!(elsewhere.status, 421);
    assert!(origin.seen().is_empty(), "nothing of it is asked of an origin");
    let records = edge.records_where(8, |record| record["event"] == "request").await;
    assert!(records.iter().any(|record| record["path"] == ICON && record["status"] == 304));
}

#[tokio::test]
async fn chromium_shows_the_footer_at_the_bottom_with_its_icon() {
    let look = "<script>addEventListener('load', () => {
        const [text, footer, icon] = ['p', 'div[align]', 'div[align] img'].map(name => document.querySelector(name));
        const middle = footer.getBoundingClientRect(), links = [...footer.querySelectorAll('a')];
        const left = links[0].getBoundingClientRect().left, right = links[1].getBoundingClientRect().right;
        document.documentElement.dataset.seen = [
            icon.complete && icon.naturalWidth > 0, icon.getBoundingClientRect().width,
            middle.top >= text.getBoundingClientRect().bottom, Math.abs((left + right) / 2 - innerWidth / 2) < 2,
            links.map(link => link.innerText).join(' '),
        ].join('|');
    })</script>";
    let page = PAGE.replace("<body>", &format!("<body>{look}"));
    let origin = Origin::start(move |_| html(&page)).await;
    let edge = Edge::builder().origin(origin.address).filings(&filed("粤ICP备2024012345号-3")).start().await;
    let document = chromium::document(&edge, HOST, "/").await;
    let seen = "data-seen=\"true|20|true|true|粤ICP备2024012345号 京公网安备11010502030143号\"";
    assert!(document.contains(seen), "{document}");
}
