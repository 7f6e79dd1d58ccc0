"""The fixture of every measurement: names, bodies, a certificate and icpgate's configuration.

The bodies are identical on every machine, so that results can be compared.
"""

import json
import socket
import subprocess
import time

HOST = "www.example.cn"
UNFILED = "www.unfiled.cn"
NUMBER = "京ICP备2024012345号-1"
MEGABYTE = 1 << 20


def page(size=10 << 10):
    """An HTML page of exactly `size` bytes, like a shop's."""
    head = '<!doctype html>\n<html>\n<head><meta charset="utf-8"><title>Shop</title></head>\n<body>\n'
    tail = "\n</body>\n</html>\n"
    rows = (f'<p class="row">Article {row}: <a href="/article/{row}">more of it</a></p>\n' for row in range(size))
    text = head
    while len(text) + len(row := next(rows)) <= size - len(tail):
        text += row
    return (text.ljust(size - len(tail), "-") + tail).encode()


def data(size=1 << 10):
    """A JSON document of exactly `size` bytes."""
    document = {"items": [{"id": item, "name": "article"} for item in range(20)], "note": ""}
    document["note"] = "x" * (size - len(json.dumps(document)))
    return json.dumps(document).encode()


def style(size=10 << 10):
    """A style sheet of exactly `size` bytes."""
    rows = "".join(f".row-{row} {{ color: #{row:06x}; margin: {row % 9}px auto; }}\n" for row in range(size // 40))
    return rows[:size].ljust(size).encode()


# What the origin serves: media type and bytes by path.
BODIES = {
    "/index.html": ("text/html; charset=utf-8", page()),
    "/chunked.html": ("text/html; charset=utf-8", page()),
    "/data.json": ("application/json", data()),
    "/style.css": ("text/css", style()),
    "/large.bin": ("application/octet-stream", bytes(range(256)) * (MEGABYTE // 256)),
}


def certify(folder, *hosts):
    """Writes `chain.pem` and `key.pem`: P-256, self-signed."""
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", f"/CN={hosts[0]}", "-addext", f"subjectAltName={names}"]
    command += ["-addext", "basicConstraints=critical,CA:FALSE"]
    command += ["-keyout", folder / "key.pem", "-out", folder / "chain.pem"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "key.pem").chmod(0o600)


def filings(count=1, note=""):
    """An allowlist of `count` filings, including that of HOST."""
    others = (f"  - {{domain: example-{one}.cn, number: 京ICP备2023{one + 100000:06}号-1, status: approved, approved_on: 2026-03-02}}\n"
              for one in range(count - 1))
    own = f"  - {{domain: example.cn, number: {NUMBER}, status: approved, approved_on: 2026-03-02}}\n"
    return f"# {note}\nfilings:\n{own}{''.join(others)}"


# More keys of icpgate's site and configuration, by what they are for.
USES = {
    None: ("", ""),
    "gzip": ("compress: on", "compress: {encodings: [gzip]}"),
    "cache": ("cache: on", "cache: {memory: 64MiB}"),
}


def configure(folder, port, admin_port, origin_port, use=None):
    """Writes icpgate's configuration and allowlist into `folder`; the path of the configuration."""
    of_site, more = USES[use]
    (folder / "filings.yaml").write_text(filings())
    config = folder / "icpgate.yaml"
    config.write_text(f"""\
filings: filings.yaml
listeners:
  - {{name: https, addresses: ["127.0.0.1:{port}"], protocol: https}}
sites:
  - hosts: [{HOST}]
    certificate: {{chain: chain.pem, key: key.pem}}
    {of_site}
    routes:
      - origins: [app]
origins:
  - {{name: app, region: mainland, scheme: http, servers: ["127.0.0.1:{origin_port}"]}}
access_log: {{directory: access, reserve: 0}}
admin: {{address: "127.0.0.1:{admin_port}"}}
# All clients have the same address.
limits: {{connections_per_client: 65536}}
{more}
""")
    return config


def free_ports(count):
    """`count` free ports, bound at the same time so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def answers(port, running, patience=300):
    """Waits until something listens on `port`; false if `running()` ends before."""
    deadline = time.monotonic() + patience
    while running() and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        except OSError:
            time.sleep(0.05)
    return False
