"""Clients that always send the same bytes: HTTP/1.1 and HTTP/2 over TLS 1.3, one request at a time.

Answers are read completely; anything unexpected raises.
"""

import socket
import ssl
import struct

from fixture import HOST

HEADERS = {"user-agent": "icpgate-loadtest", "accept": "*/*"}


class Unexpected(Exception):
    """An unexpected answer."""


def context(*protocols):
    """A context for TLS 1.3 without certificate verification; `checks` compares certificates."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.set_alpn_protocols(list(protocols))
    return made


def connect(port, tls, name=HOST):
    """A TLS connection after its handshake."""
    stream = socket.create_connection(("127.0.0.1", port), timeout=60)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return tls.wrap_socket(stream, server_hostname=name)
    except BaseException:
        stream.close()
        raise


class Http1:
    """A persistent HTTP/1.1 connection."""

    tls = context("http/1.1")
    headers = HEADERS

    def __init__(self, port, tls=None):
        self.stream = connect(port, tls or self.tls)

    def ask(self, path, method="GET", *more):
        """Sends a request's head, with these fields as well."""
        fields = [f"host: {HOST}", *(f"{name}: {value}" for name, value in self.headers.items()), *more]
        self.stream.sendall("\r\n".join([f"{method} {path} HTTP/1.1", *fields, "", ""]).encode())

    def get(self, path):
        """The body of the answer."""
        self.ask(path)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._some()
        head, body = bytes(received[:end]), received[end + 4 :]
        if not head.startswith(b"HTTP/1.1 200 "):
            raise Unexpected(head)
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        if b"content-length" in fields:
            wanted = int(fields[b"content-length"])
            while len(body) < wanted:
                body += self._some()
            return bytes(body)
        return self._chunks(body)

    def _chunks(self, rest):
        body = bytearray()
        while True:
            while (end := rest.find(b"\r\n")) < 0:
                rest += self._some()
            size = int(rest[:end], 16)
            while len(rest) < end + 2 + size + 2:
                rest += self._some()
            if size == 0:
                return bytes(body)
            body += rest[end + 2 : end + 2 + size]
            del rest[: end + 2 + size + 2]

    def _some(self):
        some = self.stream.recv(1 << 18)
        if not some:
            raise Unexpected("the end of the connection")
        return some

    def close(self):
        """Closes in order: close_notify, then FIN."""
        try:
            self.stream.unwrap()
        except (ssl.SSLError, OSError):
            pass
        self.stream.close()


class Http2:
    """An HTTP/2 connection with windows so large that it needs no window updates."""

    tls = context("h2")
    DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
    END, ACK, END_HEADERS = 1, 1, 4
    WIDEST = (1 << 31) - 1

    def __init__(self, port):
        self.stream = connect(port, self.tls)
        if self.stream.selected_alpn_protocol() != "h2":
            raise Unexpected("no HTTP/2")
        self.received = bytearray()
        self.number = -1
        initial_window = struct.pack(">HI", 4, self.WIDEST)
        window = b"\0\0\4\x08\0" + struct.pack(">II", 0, self.WIDEST - 65535)
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        self.stream.sendall(preface + self._frame(self.SETTINGS, 0, 0, initial_window) + window)

    def get(self, path):
        """The body of the answer."""
        self.number += 2
        flags = self.END | self.END_HEADERS
        self.stream.sendall(self._frame(self.HEADERS, flags, self.number, self._fields(path)))
        head, body = b"", bytearray()
        while True:
            kind, flags, stream, payload = self._next()
            if kind == self.SETTINGS and not flags & self.ACK:
                self.stream.sendall(self._frame(self.SETTINGS, self.ACK, 0, b""))
            elif kind == self.PING and not flags & self.ACK:
                self.stream.sendall(self._frame(self.PING, self.ACK, 0, payload))
            elif kind in (self.RESET, self.GOAWAY):
                raise Unexpected(f"HTTP/2 frame {kind}: {payload.hex()}")
            elif kind == self.HEADERS and stream == self.number:
                head = payload
            elif kind == self.DATA and stream == self.number:
                body += payload
            if kind in (self.HEADERS, self.DATA) and stream == self.number and flags & self.END:
                # 0x88 is `:status: 200` in HPACK's static table.
                if b"\x88" not in head[:4]:
                    raise Unexpected(f"HTTP/2 head {head.hex()}")
                return bytes(body)

    def _fields(self, path):
        # GET and https are in the static table; repeated fields go into the dynamic table, as in browsers.
        block = b"\x82\x87" + self._literal(0x04, 4, path)
        if self.number == 1:
            block += self._literal(0x40, 1, HOST)
            block += self._literal(0x40, 58, HEADERS["user-agent"]) + self._literal(0x40, 19, HEADERS["accept"])
            return block
        return block + b"\xc0\xbf\xbe"

    @staticmethod
    def _literal(kind, name, value):
        # A literal with a name of the static table: kind 0x40 is indexed, 0 is not.
        bits = 6 if kind == 0x40 else 4
        limit = (1 << bits) - 1
        kind = 0x40 if kind == 0x40 else 0
        begin = bytes([kind | name]) if name < limit else bytes([kind | limit, name - limit])
        return begin + bytes([len(value)]) + value.encode()

    @staticmethod
    def _frame(kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload

    def _next(self):
        while len(self.received) < 9 or len(self.received) < 9 + int.from_bytes(self.received[:3], "big"):
            some = self.stream.recv(1 << 18)
            if not some:
                raise Unexpected("the end of the connection")
            self.received += some
        size = int.from_bytes(self.received[:3], "big")
        kind, flags = self.received[3], self.received[4]
        stream = int.from_bytes(self.received[5:9], "big") & self.WIDEST
        payload = bytes(self.received[9 : 9 + size])
        del self.received[: 9 + size]
        return kind, flags, stream, payload

    close = Http1.close


def is_refused(port, name):
    """Whether the handshake for `name` is refused."""
    try:
        connect(port, Http1.tls, name).close()
    except (ssl.SSLError, ConnectionError):
        return True
    return False


def hello(name):
    """A ClientHello for `name`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context("h2", "http/1.1").wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()
