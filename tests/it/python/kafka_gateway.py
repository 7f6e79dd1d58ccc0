"""What stands before a Kafka broker that can neither TLS nor SASL: `server BROKER USER PASSWORD [CERT KEY] [CODES]` prints
its port, authenticates (PLAIN, SCRAM), and passes on everything else.

It answers the next Produce requests with the error codes in the file CODES, one a line, as long as there are any.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import sys
import threading

PRODUCE, HANDSHAKE, VERSIONS, AUTHENTICATE = 0, 17, 18, 36
MECHANISMS = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
ITERATIONS = 4096


def exactly(connection, count):
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def frame(connection):
    return exactly(connection, struct.unpack(">I", exactly(connection, 4))[0])


def send(connection, body):
    connection.sendall(struct.pack(">I", len(body)) + body)


def string(text):
    data = text.encode()
    return struct.pack(">h", len(data)) + data


class Refused(Exception):
    pass


class Sasl:
    """The server side of SASL PLAIN (RFC 4616) and SCRAM (RFC 5802)."""

    def __init__(self, mechanism, user, password):
        self.mechanism, self.user, self.password, self.step = mechanism, user, password, 0

    def answer(self, message):
        if self.mechanism == "PLAIN":
            _, user, password = message.decode().split("\0")
            if (user, password) != (self.user, self.password):
                raise Refused
            self.step = 2
            return b""
        self.step += 1
        return self.first(message.decode()) if self.step == 1 else self.final(message.decode())

    def first(self, message):
        assert message.startswith("n,,"), message
        self.bare = message[3:]
        name, nonce = self.bare.split(",")
        self.known = name == f"n={self.user}"
        self.nonce = nonce[2:] + base64.b64encode(os.urandom(18)).decode()
        salt = os.urandom(16)
        self.server_first = f"r={self.nonce},s={base64.b64encode(salt).decode()},i={ITERATIONS}"
        self.hash = MECHANISMS[self.mechanism]
        self.salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), salt, ITERATIONS)
        return self.server_first.encode()

    def mac(self, key, text):
        return hmac.new(key, text, self.hash).digest()

    def final(self, message):
        without_proof, proof = message.rsplit(",p=", 1)
        binding, nonce = without_proof.split(",")
        assert binding == "c=biws" and nonce == f"r={self.nonce}", message
        signed = f"{self.bare},{self.server_first},{without_proof}".encode()
        stored = hashlib.new(self.hash, self.mac(self.salted, b"Client Key")).digest()
        signature = self.mac(stored, signed)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
        if not self.known or hashlib.new(self.hash, key).digest() != stored:
            raise Refused
        verifier = self.mac(self.mac(self.salted, b"Server Key"), signed)
        return b"v=" + base64.b64encode(verifier)


class Gateway:
    def __init__(self, broker, user, password, codes):
        host, port = broker.rsplit(":", 1)
        self.broker, self.user, self.password, self.codes = (host, int(port)), user, password, codes

    def next_code(self):
        try:
            with open(self.codes) as file:
                codes = file.read().split()
        except (FileNotFoundError, TypeError):
            return None
        if not codes:
            return None
        with open(self.codes + ".new", "w") as file:
            file.write("\n".join(codes[1:]))
        os.rename(self.codes + ".new", self.codes)
        return int(codes[0])

    def serve(self, near):
        far = socket.create_connection(self.broker)
        sasl, authenticated = None, not self.user
        try:
            while True:
                request = frame(near)
                api, version, correlation, name = struct.unpack(">hhih", request[:10])
                body = request[10 + max(name, 0):]
                head = struct.pack(">i", correlation)
                if api == HANDSHAKE:
                    mechanism = body[2:].decode()
                    known = mechanism == "PLAIN" or mechanism in MECHANISMS
                    sasl = Sasl(mechanism, self.user, self.password)
                    offered = ["PLAIN", *MECHANISMS]
                    answer = struct.pack(">hi", 0 if known else 33, len(offered)) + b"".join(map(string, offered))
                    send(near, head + answer)
                elif api == AUTHENTICATE:
                    try:
                        answer = sasl.answer(body[4:])
                        authenticated = sasl.step == 2
                        answer = struct.pack(">hhi", 0, -1, len(answer)) + answer
                    except Refused:
                        answer = struct.pack(">h", 58) + string("Authentication failed") + struct.pack(">i", 0)
                    send(near, head + answer + (struct.pack(">q", 0) if version == 1 else b""))
                elif not authenticated and api != VERSIONS:
                    return
                elif api == PRODUCE and (code := self.next_code()) is not None:
                    send(near, head + refusal(body, version, code))
                else:
                    send(far, request)
                    send(near, frame(far))
        except (EOFError, ConnectionError, ssl.SSLError):
            pass
        finally:
            near.close()
            far.close()


def refusal(body, version, code):
    """The answer to a Produce request for one partition, up to version 7."""
    transaction = struct.unpack(">h", body[:2])[0]
    at = 2 + max(transaction, 0) + 2 + 4 + 4
    length = struct.unpack(">h", body[at:at + 2])[0]
    topic = body[at:at + 2 + length]
    partition = body[at + 2 + length + 4:at + 2 + length + 8]
    answer = struct.pack(">i", 1) + topic + struct.pack(">i", 1) + partition + struct.pack(">hqq", code, -1, -1)
    return answer + (struct.pack(">q", -1) if version >= 5 else b"") + struct.pack(">i", 0)


def server(port, broker, user, password, codes=None, cert=None, key=None):
    context = None
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
    listener = socket.create_server(("127.0.0.1", int(port)))
    print(listener.getsockname()[1], flush=True)
    gateway = Gateway(broker, user, password, codes)

    def one(near):
        try:
            near = context.wrap_socket(near, server_side=True) if context else near
        except (OSError, ssl.SSLError):
            return
        gateway.serve(near)

    while True:
        near, _ = listener.accept()
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=one, args=(near,), daemon=True).start()


if __name__ == "__main__":
    server(*sys.argv[2:])
