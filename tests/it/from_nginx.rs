//! The example of docs/from-nginx.md: nginx and icpgate side by side, each with its configuration, give the same answers.

use http::Method;

use crate::support::HOST;
use crate::support::client::{Answer, Target};
use crate::support::coding::decode;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, answer};
use crate::support::peer::nginx;

/// The block of the page in this language.
fn block(language: &str) -> String {
    let page = include_str!("../../docs/from-nginx.md");
    let (_, rest) = page.split_once(&format!("```{language}\n")).expect("it has the block");
    rest.split("```").next().expect("its end").to_owned()
}

/// nginx fetches once; icpgate once for each `accept-encoding`, since it keeps what leaves.
const FETCHES: usize = 4;
/// Static files: a style sheet that is worth compressing, fresh for an hour.
const STATIC: &str = "/static/";

fn style_sheet() -> String {
    "p { color: #333333; margin: 0 auto; }\n".repeat(200)
}

/// An origin that says what it was asked, redirects and sets a cookie; of static files it is plain.
async fn origin(name: &'static str) -> Origin {
    Origin::start(move |request| {
        if request.target().starts_with(STATIC) {
            let fields = ["Content-Type: text/css", "Cache-Control: max-age=3600", "ETag: \"1\""];
            return answer("200 OK", &fields, style_sheet());
        }
        let field = |field: &str| request.head.get(field).unwrap_or("-").to_owned();
        let asked =
            [request.method(), request.target(), &field("host"), &field("x-real-ip"), &field("forwarded")];
        let fields = [
            "Location: /next?a",
            "Set-Cookie: sid=1; Path=/cart; HttpOnly",
            "X-Powered-By: PHP",
            "Content-Type: text/plain",
        ];
        answer("200 OK", &fields, format!("{name} {}", asked.join(" ")))
    })
    .await
}

/// An example with the names and paths of this test. The API has one server: the programs need not hash alike.
fn adapted(example: &str, api: &Origin, web: &Origin) -> String {
    example
        .replace(", \"10.0.1.11:8080\"", "")
        .replace("    server 10.0.1.11:8080;\n", "")
        .replace("10.0.1.10:8080", &api.address.to_string())
        .replace("10.0.1.20:8080", &web.address.to_string())
        .replace("certs/example.cn", "site")
}

/// A static file with the codings of this client: its text, and what both must agree on.
async fn static_file(target: &Target, accepted: &str) -> (String, Option<String>, Option<String>) {
    let mut http1 = target.http1(HOST).await;
    let field = format!("Accept-Encoding: {accepted}\r\n");
    http1.send(format!("GET {STATIC}a.css HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n")).await;
    let answer = http1.answer("GET").await;
    let coding = answer.field("content-encoding").map(str::to_owned);
    let text = coding.as_deref().map_or_else(|| answer.body.clone(), |coding| decode(coding, &answer.body));
    (String::from_utf8(text).expect("UTF-8"), coding, answer.field("vary").map(str::to_ascii_lowercase))
}

/// What both must agree on; the text of failures is each program's own.
fn shown(answer: &Answer) -> String {
    let fields = ["location", "set-cookie", "strict-transport-security", "x-powered-by", "content-length"];
    let is_of_origin = answer.status == 200;
    let named = fields.iter().filter(|name| match **name {
        "content-length" => is_of_origin,
        // `response_headers` do not hold for failures of icpgate's own.
        "strict-transport-security" => answer.status != 413,
        _ => true,
    });
    let fields: Vec<String> = named.map(|name| format!("{name}={:?}", answer.head.all(name))).collect();
    let text = if is_of_origin { answer.text() } else { String::new() };
    format!("{} {} {text}", answer.status, fields.join(" "))
}

async fn ask(target: &Target, method: &str, host: &str, path: &str, fields: &str) -> String {
    let mut http1 = target.http1(host).await;
    http1.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n")).await;
    shown(&http1.answer(method).await)
}

#[tokio::test]
async fn both_configurations_give_the_same_answers() {
    let (api, web) = (origin("api").await, origin("web").await);
    let yaml = adapted(&block("yaml"), &api, &web)
        .replace("{directory: access}", "{directory: access, reserve: 1MiB}")
        .replace("0.0.0.0:443", "$HTTPS")
        .replace("0.0.0.0:80", "$HTTP")
        + "admin: {address: \"$ADMIN\"}\n";
    let edge = Edge::builder().config(&yaml).start().await;
    let (https, http) = (edge.beside(7443), edge.beside(7080));
    let conf = adapted(&block("nginx"), &api, &web)
        .replace("listen 443 ", &format!("listen {https} "))
        .replace("listen 80;", &format!("listen {http};"))
        .replace("/var/cache/nginx/static", &edge.path("static").display().to_string());
    let _nginx = nginx(&edge, &conf, https).await;
    edge.ports_open().await;

    let ours = [Target::https(&edge), Target::http(&edge)];
    let theirs = [Target { address: https, ..ours[0].clone() }, Target { address: http, ..ours[1].clone() }];
    for (method, host, path, fields, status) in [
        ("GET", "example.cn", "/a/b?c=d", "", 301),
        ("HEAD", "example.cn", "/", "", 301),
        ("GET", HOST, "/", "", 200),
        ("GET", HOST, "/page?x=1", "Accept: text/plain\r\n", 200),
        ("GET", HOST, "/ping", "", 200),
        ("GET", HOST, "/admin/x", "", 403),
        ("GET", HOST, "/api/x?y=/api", "Cookie: sid=1\r\nX-Real-IP: 192.0.2.9\r\nForwarded: for=x\r\n", 200),
        ("GET", HOST, "/api/", "", 200),
        ("DELETE", HOST, "/api/items/1", "", 200),
        ("POST", HOST, "/api/upload", "Content-Length: 8388609\r\nExpect: 100-continue\r\n", 413),
    ] {
        let [ours, theirs] = [&ours[0], &theirs[0]];
        let (ours, theirs) =
            (ask(ours, method, host, path, fields).await, ask(theirs, method, host, path, fields).await);
        assert_eq!(ours, theirs, "{method} {host}{path}");
        assert!(ours.starts_with(&status.to_string()), "{ours}");
    }
    // In clear text, nginx was told 301, and icpgate keeps the method with 308.
    for (target, status) in [(&ours[1], 308), (&theirs[1], 301)] {
        let mut http1 = target.http1(HOST).await;
        let answer = http1.get(HOST, "/x?y").await;
        assert_eq!((answer.status, answer.field("location")), (status, Some("https://www.example.cn/x?y")));
    }
    // Static files are compressed for whom accepts it, and fetched once by each program.
    for (accepted, coding) in [("gzip", Some("gzip")), ("identity", None), ("gzip, deflate", Some("gzip"))] {
        for target in [&ours[0], &theirs[0]] {
            let (text, found, vary) = static_file(target, accepted).await;
            assert_eq!((found.as_deref(), vary.as_deref()), (coding, Some("accept-encoding")), "{accepted}");
            assert!(text == style_sheet());
        }
    }
    let fetched = web.seen().iter().filter(|request| request.target().starts_with(STATIC)).count();
    assert_eq!(fetched, FETCHES);
    // Over HTTP/2 as well.
    for target in [&ours[0], &theirs[0]] {
        let mut http2 = target.http2(HOST).await;
        let answer = http2.request(Method::GET, HOST, "/api/x", &[]).await.expect("an answer");
        assert_eq!(answer.field("location"), Some("/api/next?a"));
    }
}
