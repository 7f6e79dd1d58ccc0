"""The compared servers. Each does as much of the job as it can, and declares what it does.

A peer is a class with a `name`, a set `does`, and a `command` that also writes its files. To add a peer, write
such a class and add it to PEERS; `checks` verifies what it declares before measuring.
"""

import json
import resource
import shutil
import subprocess
import textwrap
import time

import fixture
from fixture import HOST, NUMBER

FOOTER = (
    '<div align="center"><a href="https://beian.miit.gov.cn/" target="_blank" rel="noopener noreferrer nofollow">'
    f"{NUMBER}</a></div></body>"
)
# The measurement of idle connections opens this many from one address.
CONNECTIONS = min(8000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 500)
KEPT_UPSTREAM = 256


def program(name):
    """The path of a daemon; Debian installs them outside a user's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


class Icpgate:
    """The release program, with footer and records."""

    name = "icpgate"
    does = {"footer", "http2"}

    def __init__(self, path, records=True):
        self.path, self.records = path, records

    def version(self):
        return subprocess.run([self.path, "--version"], check=True, capture_output=True, text=True).stdout.strip()

    def command(self, folder, port, origin_port, use=None):
        (self.admin_port,) = fixture.free_ports(1)
        told = [] if self.records else ["env", "ICPGATE_UNRECORDED=1"]
        return [*told, self.path, "run", "--config", fixture.configure(folder, port, self.admin_port, origin_port, use)]

    def logged(self, process):
        export = [self.path, "logs", "export", process.place / "access"]
        lines = lambda: subprocess.run(export, capture_output=True, text=True).stdout
        return has_record(lines) == self.records


class Nginx:
    """Debian's nginx, one process: refuses unknown names, sub_filter, a buffered JSON log."""

    name = "nginx"
    does = {"footer", "http2"}

    def version(self):
        return subprocess.run([program("nginx"), "-v"], check=True, capture_output=True, text=True).stderr.strip()

    def command(self, folder, port, origin_port, use=None):
        config = folder / "nginx.conf"
        config.write_text(NGINX_COMMON + nginx_http(folder) + nginx_peer(folder, port, origin_port, use) + "}\n")
        return [program("nginx"), "-p", folder, "-c", config]

    def logged(self, process):
        return has_record((process.place / "nginx-access.ndjson").read_text)


class Haproxy:
    """Debian's HAProxy, one thread: strict SNI, a JSON log. It cannot add a footer."""

    name = "haproxy"
    does = {"http2"}

    def version(self):
        return subprocess.run([program("haproxy"), "-v"], check=True, capture_output=True, text=True).stdout.splitlines()[0]

    def command(self, folder, port, origin_port, use=None):
        pair = folder / "haproxy.pem"
        pair.write_text((folder / "chain.pem").read_text() + (folder / "key.pem").read_text())
        config = folder / "haproxy.cfg"
        config.write_text(haproxy(pair, port, origin_port))
        return [program("haproxy"), "-db", "-f", config]

    def logged(self, process):
        return has_record(process.log.read_text)



def has_record(text):
    """Whether a JSON line for a request appears within two seconds."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        lines = (line for line in text().splitlines() if line.startswith("{"))
        if any(json.loads(line)["path"] == "/data.json" for line in lines if "/data.json" in line):
            return True
        time.sleep(0.05)
    return False


PEERS = {"nginx": Nginx, "haproxy": Haproxy}

NGINX_COMMON = f"""\
daemon off;
master_process off;
worker_processes 1;
worker_rlimit_nofile {CONNECTIONS * 2 + 1024};
error_log stderr warn;
events {{ worker_connections {CONNECTIONS * 2}; }}
"""


def nginx_http(folder):
    """nginx's configuration as origin and as peer."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"    {kind}_temp_path {folder}/temp-{kind};" for kind in kinds)
    return f"""\
pid {folder}/nginx.pid;
http {{
{places}
    default_type application/octet-stream;
    types {{ text/html html; application/json json; text/css css; }}
    keepalive_requests 1000000000;
    tcp_nodelay on;
"""


def nginx_origin(folder, port):
    """The origin: cached files, no log, and a page that counts requests."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    for path, (_, body) in fixture.BODIES.items():
        (site / path[1:]).write_bytes(body)
    # More than the kernel's buffers hold.
    with (site / "huge.bin").open("wb") as huge:
        huge.truncate(64 << 20)
    config = folder / "origin.conf"
    config.write_text(NGINX_COMMON + nginx_http(folder) + f"""\
    access_log off;
    sendfile on;
    open_file_cache max=16;
    server {{
        listen 127.0.0.1:{port};
        root {site};
        charset utf-8;
        location = /count {{ stub_status; }}
        location = /style.css {{ add_header Cache-Control max-age=3600; }}
        # Takes a body whole before it answers.
        location = /upload {{ dav_methods PUT; }}
    }}
}}
""")
    return [program("nginx"), "-p", folder, "-c", config]


# The fields of icpgate's records as nginx variables.
NGINX_RECORD = {
    "time": "$time_iso8601", "event": "request", "node": "$hostname", "connection_id": "$connection",
    "request_id": "$request_id", "client_ip": "$remote_addr", "client_port": "$remote_port",
    "local_ip": "$server_addr", "local_port": "$server_port", "protocol": "$server_protocol",
    "tls_version": "$ssl_protocol", "tls_cipher": "$ssl_cipher", "server_name": "$ssl_server_name",
    "host": "$host", "method": "$request_method", "path": "$uri", "query": "$args", "status": "$status",
    "bytes_in": "$request_length", "bytes_out": "$body_bytes_sent", "duration": "$request_time",
    "referer": "$http_referer", "user_agent": "$http_user_agent", "upstream_address": "$upstream_addr",
    "upstream_status": "$upstream_status", "upstream_time": "$upstream_response_time",
}


# More of nginx's `http` block, by what it is for. Level 5 gives the ratio of icpgate's gzip.
NGINX_USES = {
    None: "",
    "gzip": "gzip on; gzip_comp_level 5; gzip_min_length 1024; gzip_vary on;",
    "cache": "proxy_cache_path {folder}/cache keys_zone=cache:10m max_size=64m; proxy_cache cache;",
}


def nginx_peer(folder, port, origin_port, use):
    """The peer's part of the `http` block."""
    more = NGINX_USES[use].format(folder=folder)
    record = "{" + ",".join(f'"{key}":"{value}"' for key, value in NGINX_RECORD.items()) + "}"
    return f"""\
    log_format records escape=json '{record}';
    access_log {folder}/nginx-access.ndjson records buffer=64k flush=1s;
    {more}
    # Large bodies are never buffered in files.
    {"" if use == "cache" else "proxy_max_temp_file_size 0;"}
    proxy_buffers 32 16k;
    proxy_busy_buffers_size 64k;

    upstream app {{
        server 127.0.0.1:{origin_port};
        keepalive {KEPT_UPSTREAM};
        keepalive_requests 1000000000;
    }}
    ssl_protocols TLSv1.3;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    server {{
        listen 127.0.0.1:{port} ssl http2 default_server backlog=4096;
        ssl_reject_handshake on;
    }}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name {HOST};
        location / {{
            proxy_pass http://app;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header Accept-Encoding "";
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-Host $host;
            proxy_set_header X-Request-Id $request_id;
            sub_filter_once on;
            sub_filter '</body>' '{FOOTER}';
        }}
    }}
"""


# The same fields as far as HAProxy has them.
HAPROXY_RECORD = {
    "time": "%tr", "event": "request", "node": "%H", "request_id": "%ID", "client_ip": "%ci", "client_port": "%cp",
    "local_ip": "%fi", "local_port": "%fp", "protocol": "%HV", "tls_version": "%sslv", "tls_cipher": "%sslc",
    "server_name": "%[ssl_fc_sni]", "host": "%[capture.req.hdr(0),json(utf8s)]", "method": "%HM",
    "path": "%[capture.req.uri,json(utf8s)]", "status": "%ST", "bytes_in": "%U", "bytes_out": "%B",
    "duration": "%Ta", "referer": "%[capture.req.hdr(1),json(utf8s)]",
    "user_agent": "%[capture.req.hdr(2),json(utf8s)]", "upstream_address": "%si:%sp", "upstream_time": "%Tr",
}


def haproxy(pair, port, origin_port):
    """HAProxy's configuration."""
    record = "{" + ",".join(f'"{key}":"{value}"' for key, value in HAPROXY_RECORD.items()) + "}"
    record = record.replace('"', '\\"')
    return textwrap.dedent(f"""\
        global
            nbthread 1
            maxconn {CONNECTIONS}
            log stdout format raw local0
        defaults
            mode http
            log global
            timeout connect 5s
            timeout client 75s
            timeout server 60s
            option http-keep-alive
            http-reuse always
            unique-id-format %[uuid]
            log-format "{record}"
        frontend edge
            bind 127.0.0.1:{port} ssl crt {pair} strict-sni alpn h2,http/1.1 ssl-min-ver TLSv1.3 backlog 4096
            http-request capture req.hdr(host) len 128
            http-request capture req.hdr(referer) len 256
            http-request capture req.hdr(user-agent) len 256
            http-request set-header x-forwarded-for %[src]
            http-request set-header x-forwarded-proto https
            http-request set-header x-forwarded-host %[req.hdr(host)]
            http-request set-header x-request-id %[unique-id]
            default_backend app
        backend app
            server origin 127.0.0.1:{origin_port} pool-max-conn {KEPT_UPSTREAM}
        """)
