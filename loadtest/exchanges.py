"""The fixed exchanges whose instructions are counted; every answer is checked."""

import collections
import gzip
import subprocess
import time

import client
from fixture import BODIES, HOST, NUMBER, UNFILED


class Case(collections.namedtuple("Case", "requests begin ask")):
    """`begin` makes what all requests share, if anything; `ask` sends one request."""

    def run(self, port, process):
        """Sends the requests; what `process` counted meanwhile."""
        shared = self.begin(port) if self.begin else None
        # Warm-up for buffers, caches and the connection to the origin.
        for _ in range(max(5, self.requests // 8)):
            self.ask(shared, port)
        settle()
        process.begin()
        for _ in range(self.requests):
            self.ask(shared, port)
        settle()
        dumps = process.dump()
        if shared:
            shared.close()
        return dumps


def settle():
    """Waits for work after an answer, such as its record, which has no event to wait for."""
    time.sleep(0.2)


def kept(kind, path, requests):
    """Sequential requests on one connection."""
    return Case(requests, kind, lambda connection, _: expect(path, connection.get(path)))


def handshake(_, port):
    """A new connection with a full handshake for each request."""
    connection = client.Http1(port, client.context("http/1.1"))
    expect("/data.json", connection.get("/data.json"))
    connection.close()


def refused(_, port):
    """A refused connection for an unfiled name."""
    if not client.is_refused(port, UNFILED):
        raise client.Unexpected("a handshake for a name that is not filed")


def expect(path, body):
    """Raises unless the body is the origin's, with the footer exactly once in pages."""
    kind, original = BODIES[path]
    if kind.startswith("text/html"):
        begin = original.rindex(b"</body>")
        end = begin + len(body) - len(original)
        if body[begin:end].decode().count(NUMBER) != 1:
            raise client.Unexpected(f"{path}: no footer, or more than one")
        body = body[:begin] + body[end:]
    if body != original:
        raise client.Unexpected(f"{path}: the body is not the origin's")


def gzip_length(port, path):
    """The bytes of a body in gzip, which is checked."""
    command = ["curl", "-sk", "--resolve", f"{HOST}:{port}:127.0.0.1", "-H", "Accept-Encoding: gzip", f"https://{HOST}:{port}{path}"]
    body = subprocess.run(command, check=True, capture_output=True, timeout=20).stdout
    if not body.startswith(b"\x1f\x8b"):
        raise client.Unexpected(f"{path}: it is not compressed")
    expect(path, gzip.decompress(body))
    return len(body)


CASES = {
    "json": kept(client.Http1, "/data.json", 400),
    "html": kept(client.Http1, "/index.html", 400),
    "chunked": kept(client.Http1, "/chunked.html", 400),
    "html_h2": kept(client.Http2, "/index.html", 400),
    "large": kept(client.Http1, "/large.bin", 20),
    "handshake": Case(60, None, handshake),
    "refused": Case(300, None, refused),
}
