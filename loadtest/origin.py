"""An origin that answers from memory, each answer in one write: nothing of its own varies.

Far too slow for a load test, where nginx is the origin; right where instructions are counted.
"""

import socket
import socketserver
import threading

from fixture import BODIES


def answer(kind, body):
    """The whole answer, as nginx would give it."""
    head = f"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    head += 'Last-Modified: Mon, 02 Mar 2026 02:00:00 GMT\r\nConnection: keep-alive\r\nETag: "69a4f2a0-2800"\r\n'
    return (head + "Accept-Ranges: bytes\r\n\r\n").encode() + body


ANSWERS = {path.encode(): answer(kind, body) for path, (kind, body) in BODIES.items()}


class Exchanges(socketserver.BaseRequestHandler):
    """The exchanges of one connection."""

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
    """Listens on a free port, in threads of this process."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Exchanges)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()
