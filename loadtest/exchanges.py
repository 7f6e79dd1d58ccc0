"""The fixed exchanges whose instructions are counted, case by case; every answer is checked."""

import collections
import time

import client
from fixture import BODIES, NUMBER, UNFILED


class Case(collections.namedtuple("Case", "requests begin ask")):
    """`begin` makes what all requests share, if anything; `ask` is one request."""

    def run(self, port, process):
        """Asks, and gives what `process` counted meanwhile."""
        shared = self.begin(port) if self.begin else None
        # Until buffers, caches and the connection to the origin are what they stay.
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
    """What follows an answer, its record above all, has no event to wait for here."""
    time.sleep(0.2)


def kept(kind, path, requests):
    """Requests one after the other on a kept connection."""
    return Case(requests, kind, lambda connection, _: expect(path, connection.get(path)))


def handshake(_, port):
    """A connection of its own for each request, and nothing remembered from the one before."""
    connection = client.Http1(port, client.context("http/1.1"))
    expect("/data.json", connection.get("/data.json"))
    connection.close()


def refused(_, port):
    """A connection for a name that is not filed."""
    if not client.is_refused(port, UNFILED):
        raise client.Unexpected("a handshake for a name that is not filed")


def expect(path, body):
    """The body is the origin's; a page's has the footer, once."""
    kind, original = BODIES[path]
    if kind.startswith("text/html"):
        begin = original.rindex(b"</body>")
        end = begin + len(body) - len(original)
        if body[begin:end].decode().count(NUMBER) != 1:
            raise client.Unexpected(f"{path}: no footer, or more than one")
        body = body[:begin] + body[end:]
    if body != original:
        raise client.Unexpected(f"{path}: the body is not the origin's")


CASES = {
    "json": kept(client.Http1, "/data.json", 400),
    "html": kept(client.Http1, "/index.html", 400),
    "chunked": kept(client.Http1, "/chunked.html", 400),
    "html_h2": kept(client.Http2, "/index.html", 400),
    "large": kept(client.Http1, "/large.bin", 20),
    "handshake": Case(60, None, handshake),
    "refused": Case(300, None, refused),
}
