"""An origin that answers from memory, each answer in one write, without variation.

For counting instructions. It is too slow for the load test, where nginx is the origin.
"""

import socket
import socketserver
import threading

from fixture import BODIES


def answer(path, kind, body):
    """The whole answer, as from nginx, or in chunks, as from applications."""
    head = f"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: {kind}\r\nConnection: keep-alive\r\n"
    if path == "/chunked.html":
        parts = [body[begin : begin + 4096] for begin in range(0, len(body), 4096)] + [b""]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        return (head + "Transfer-Encoding: chunked\r\n\r\n").encode() + body
    head += f"Content-Length: {len(body)}\r\nLast-Modified: Mon, 02 Mar 2026 02:00:00 GMT\r\n"
    return (head + 'ETag: "69a4f2a0-2800"\r\nAccept-Ranges: bytes\r\n\r\n').encode() + body


ANSWERS = {path.encode(): answer(path, *content) for path, content in BODIES.items()}


class Exchanges(socketserver.BaseRequestHandler):
    """Serves one connection."""

    def handle(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        while some := self.request.recv(1 << 16):
            received += some
            while (end := received.find(b"\r\n\r\n")) >= 0:
                path = received.split(b" ", 2)[1]
                received = received[end + 4 :]
                self.request.sendall(ANSWERS[path])


class Origin(socketserver.ThreadingTCPServer):
    """Listens on a free port, with threads of this process."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Exchanges)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
