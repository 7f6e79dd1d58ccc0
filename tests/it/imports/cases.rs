//! The configurations, with the requests that are compared and what both programs answer.

/// What both programs answer to a request.
pub(super) enum Expected {
    /// The same, with this status.
    Same(u16),
    /// Not the same: the statuses of icpgate and of the other program, and why.
    Apart(u16, u16, &'static str),
}
use Expected::{Apart, Same};

/// A request: `https` or `http`, method, host, target, further fields.
pub(super) type Asked = [&'static str; 5];

/// A configuration with the requests that are compared.
pub(super) struct Case {
    pub(super) file: &'static str,
    /// Directives that are named on stderr, since they were not carried over.
    pub(super) noted: &'static [&'static str],
    pub(super) requests: &'static [(Asked, Expected)],
}

const REDIRECT: &str = "a redirect to TLS keeps the method: 308 in place of 301";
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a body of that length is declared with, without one byte of it.
const NINE_MIB: &str = "Content-Length: 9437184\r\nExpect: 100-continue\r\n";

pub(super) const WORDPRESS: Case = Case {
    file: "wordpress.conf",
    noted: &[
        "location ~* /(?:uploads|files)/.*\\.php$",
        "log_not_found off",
        "ssl_protocols TLSv1.2 TLSv1.3",
    ],
    requests: &[
        (["http", "GET", "www.example.cn", "/2026/03/?p=1", ""], Same(301)),
        (["http", "GET", "example.cn", "/", ""], Same(301)),
        (["https", "GET", "example.cn", "/about", ""], Same(301)),
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/?s=%E4%BA%AC", "X-Real-IP: 192.0.2.1\r\n"], Same(200)),
        (["https", "GET", "www.example.cn", "/large.css", "Accept-Encoding: gzip\r\n"], Same(200)),
        (["https", "GET", "www.example.cn", "/large.css", ""], Same(200)),
        (["https", "POST", "www.example.cn", "/wp-login.php", "Content-Length: 5\r\n"], Same(200)),
        (["https", "GET", "www.example.cn", "/wp-admin/go", ""], Same(302)),
        (["https", "POST", "www.example.cn", "/xmlrpc.php", "Content-Length: 5\r\n"], Same(403)),
        (["https", "GET", "www.example.cn", "/favicon.ico", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/missing", ""], Same(404)),
        (
            ["https", "POST", "www.example.cn", "/", "Content-Length: 67108865\r\nExpect: 100-continue\r\n"],
            Same(413),
        ),
        (
            ["https", "GET", "www.example.cn", "/wp-content/uploads/x.php", ""],
            Apart(200, 403, "a location of a regular expression is named on stderr, and not carried over"),
        ),
    ],
};

pub(super) const SPA: Case = Case {
    file: "spa-api.conf",
    noted: &["ssl_session_cache shared:SSL:10m", "absolute_redirect off"],
    requests: &[
        (["http", "GET", "app.example.cn", "/x?y=1", ""], Apart(308, 301, REDIRECT)),
        (["https", "GET", "app.example.cn", "/", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/deep/link", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/api/users?page=2", ""], Same(200)),
        (["https", "DELETE", "app.example.cn", "/api/users/1", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/api/v1/legacy/a", ""], Same(200)),
        (["https", "GET", "app.example.cn", "/api/missing", ""], Same(404)),
        (["https", "GET", "app.example.cn", "/apis", ""], Same(200)),
        (
            ["https", "GET", "app.example.cn", "/api", ""],
            Apart(200, 301, "a prefix matches without its slash, too; nginx adds the slash by a redirect"),
        ),
    ],
};

pub(super) const WEBSOCKET: Case = Case {
    file: "websocket.conf",
    noted: &["map $http_upgrade $connection_upgrade", "proxy_send_timeout 3600s"],
    requests: &[
        (["https", "GET", "chat.example.cn", "/ws", UPGRADE], Same(101)),
        (["https", "GET", "chat.example.cn", "/ws/room", UPGRADE], Same(101)),
        (["https", "GET", "chat.example.cn", "/ws?transport=polling", ""], Same(200)),
        (["https", "GET", "chat.example.cn", "/", ""], Same(200)),
        (
            ["https", "GET", "chat.example.cn", "/plain", UPGRADE],
            Apart(101, 200, "icpgate passes an upgrade on everywhere, nginx where it is told to"),
        ),
        (
            ["https", "GET", "chat.example.cn", "/wsx", ""],
            Apart(200, 200, "a prefix ends at a slash: /wsx is not under /ws"),
        ),
    ],
};

pub(super) const GRAFANA: Case = Case {
    file: "grafana.conf",
    noted: &["root /usr/share/nginx/html", "index index.html index.htm"],
    requests: &[
        (["http", "GET", "grafana.example.cn", "/", ""], Same(200)),
        (["http", "GET", "grafana.example.cn", "/d/abc?orgId=1", ""], Same(200)),
        (["http", "POST", "grafana.example.cn", "/api/ds/query", "Content-Length: 5\r\n"], Same(200)),
        (["http", "GET", "grafana.example.cn", "/go", ""], Same(302)),
        (["http", "GET", "grafana.example.cn", "/api/live/ws", UPGRADE], Same(101)),
    ],
};

pub(super) const GITEA: Case = Case {
    file: "gitea.conf",
    noted: &[],
    requests: &[
        (["http", "GET", "git.example.cn", "/team/repo", ""], Apart(308, 301, REDIRECT)),
        (
            ["https", "GET", "git.example.cn", "/team/repo.git/info/refs?service=git-upload-pack", ""],
            Same(200),
        ),
        (
            ["https", "POST", "git.example.cn", "/team/repo.git/git-receive-pack", "Content-Length: 5\r\n"],
            Same(200),
        ),
        (["https", "GET", "git.example.cn", "/login", ""], Same(200)),
        (
            ["https", "POST", "git.example.cn", "/", "Content-Length: 536870913\r\nExpect: 100-continue\r\n"],
            Same(413),
        ),
    ],
};

pub(super) const BALANCED: Case = Case {
    file: "balanced.conf",
    noted: &["proxy_next_upstream error timeout http_502", "keepalive 32"],
    requests: &[
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/a?b", "Cookie: sid=1\r\n"], Same(200)),
        (["https", "HEAD", "www.example.cn", "/", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/missing", ""], Same(404)),
    ],
};

pub(super) const CANONICAL: Case = Case {
    file: "canonical.conf",
    noted: &["absolute_redirect off"],
    requests: &[
        (["http", "GET", "old.example.cn", "/a?b=c", ""], Same(301)),
        (["https", "GET", "old.example.cn", "/a?b=c", ""], Same(308)),
        (["https", "POST", "example.cn", "/form", "Content-Length: 0\r\n"], Same(308)),
        (["https", "GET", "www.example.cn", "/about.html", ""], Same(301)),
        (["https", "GET", "www.example.cn", "/shop/cart?x", ""], Same(302)),
        (["https", "GET", "www.example.cn", "/beta", ""], Same(410)),
        (["https", "GET", "www.example.cn", "/robots.txt", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
    ],
};

pub(super) const CACHE: Case = Case {
    file: "static-cache.conf",
    noted: &["proxy_cache_path nginx-cache", "proxy_cache_valid 200 1h", "add_header X-Cache-Status"],
    requests: &[
        (["https", "GET", "www.example.cn", "/static/large.css", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/static/large.css", ""], Same(200)),
        (["https", "HEAD", "www.example.cn", "/static/large.css", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/page", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/page", ""], Same(200)),
    ],
};

pub(super) const UPLOADS: Case = Case {
    file: "uploads.conf",
    noted: &["client_body_timeout 30s", "proxy_request_buffering off"],
    requests: &[
        (["https", "POST", "www.example.cn", "/upload", "Content-Length: 5\r\n"], Same(200)),
        (["https", "POST", "www.example.cn", "/upload", NINE_MIB], Same(413)),
        (["https", "POST", "www.example.cn", "/", NINE_MIB], Same(413)),
        (["https", "GET", "www.example.cn", "/healthz", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/admin/", ""], Same(403)),
        (["https", "GET", "www.example.cn", "/admin/users", ""], Same(403)),
        (["https", "GET", "www.example.cn", "/office/x", ""], Same(200)),
        (["https", "GET", "www.example.cn", "/", ""], Same(200)),
    ],
};

pub(super) const HOSTS: Case = Case {
    file: "hosts.cfg",
    noted: &["maxconn 2000", "option forwardfor"],
    requests: &[
        (["http", "GET", "shop.example.cn", "/x?y", ""], Apart(308, 301, REDIRECT)),
        (["https", "GET", "shop.example.cn", "/", ""], Same(200)),
        (["https", "GET", "shop.example.cn", "/api/items?n=1", ""], Same(200)),
        (["https", "GET", "shop.example.cn", "/apis", ""], Same(200)),
        (["https", "GET", "blog.example.cn", "/go", ""], Same(302)),
        (["https", "POST", "blog.example.cn", "/comment", "Content-Length: 5\r\n"], Same(200)),
        (["https", "GET", "blog.example.cn", "/api/x", ""], Same(200)),
    ],
};

pub(super) const APPLICATION: Case = Case {
    file: "application.cfg",
    noted: &["http-request deny if { path_beg /internal }", "no rule names a host"],
    requests: &[
        (["https", "GET", "example.cn", "/", ""], Same(200)),
        (["https", "GET", "example.cn", "/static/a.css", ""], Same(200)),
        (["https", "GET", "example.cn", "/images/a.png", ""], Same(200)),
        (["https", "POST", "example.cn", "/static/a.css", "Content-Length: 5\r\n"], Same(200)),
        (["https", "GET", "example.cn", "/server-status", ""], Same(200)),
        (
            ["https", "GET", "example.cn", "/internal/x", ""],
            Apart(200, 403, "a rule that denies is named on stderr, and not carried over"),
        ),
    ],
};
