"""Checks before measuring: every peer does the whole job under the same conditions."""

import re
import subprocess

import client
import exchanges
from fixture import HOST, UNFILED


class Unfair(Exception):
    """The comparison would be unfair."""


def handshake(port):
    """The TLS parameters that the server chooses, and the number of session tickets."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", HOST, "-alpn", "http/1.1", "-showcerts"]
    request = f"GET /data.json HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode()
    process = subprocess.run([*command, "-ign_eof"], input=request, capture_output=True, timeout=20)
    text = process.stdout.decode(errors="replace")

    def only(pattern):
        found = re.search(pattern, text, re.MULTILINE)
        if not found:
            raise Unfair(f"openssl s_client does not show {pattern}:\n{text[-2000:]}{process.stderr.decode()[-2000:]}")
        return found[1]

    return {
        "version": only(r"^New, (TLSv[\d.]+),"),
        "cipher": only(r"^New, .*Cipher is (\S+)"),
        "curve": only(r"^Server Temp Key: (.*)"),
        "signature": only(r"^Peer signature type: (\S+)"),
        "certificate": re.sub(r"\s", "", only(r"(?s)-----BEGIN CERTIFICATE-----(.*?)-----END")),
        "protocol": only(r"^ALPN protocol: (\S+)"),
        "tickets": str(text.count("Post-Handshake New Session Ticket arrived")),
    }


def does_the_job(peer, port):
    """Raises unless all answers are right and an unfiled name is refused."""
    kinds = [client.Http1, client.Http2] if "http2" in peer.does else [client.Http1]
    for kind in kinds:
        connection = kind(port)
        for path in ("/data.json", "/index.html", "/large.bin"):
            body = connection.get(path)
            if path == "/index.html" and "footer" not in peer.does:
                continue
            exchanges.expect(path, body)
        connection.close()
    if not client.is_refused(port, UNFILED):
        raise Unfair(f"{peer.name} serves an unknown name")


def same_terms(found):
    """Raises unless all peers negotiate the same TLS parameters; these parameters."""
    terms = {name: {key: value for key, value in one.items() if key != "tickets"} for name, one in found.items()}
    first, *others = terms.values()
    for one in others:
        if one != first:
            raise Unfair(f"the peers negotiate different terms: {terms}")
    return {key: value for key, value in first.items() if key != "certificate"}
