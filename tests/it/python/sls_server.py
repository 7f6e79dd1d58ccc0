"""The Log Service as far as the tests need it: `server PORT FOLDER [CERT KEY]` prints its port.

Requests are judged by Alibaba's own SDK: the signature by its AuthV4, the body by its protobuf. FOLDER/state.json holds keys,
region, project, logstore, ttl, an optional security token, the server's clock (seconds off) and `next`: answers to give to the
next requests instead of judging them. Each log that is taken becomes a line of FOLDER/logs.ndjson.
"""

import calendar
import json
import os
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import zstd
from aliyun.log.auth import AuthV4
from aliyun.log.credentials import StaticCredentialsProvider
from aliyun.log.log_logs_pb2 import LogGroup

FOLDER = sys.argv[3]
LOCK = threading.Lock()
MAX_RAW = 10 * 1024 * 1024
MAX_LOGS = 4096


class Failure(Exception):
    def __init__(self, status, code, message):
        self.status, self.code, self.message = status, code, message


def state():
    with open(os.path.join(FOLDER, "state.json")) as file:
        return json.load(file)


def take_next():
    """The next scripted answer, if any."""
    with LOCK:
        now = state()
        if not now.get("next"):
            return None
        first = now["next"].pop(0)
        with open(os.path.join(FOLDER, "state.json.new"), "w") as file:
            json.dump(now, file)
        os.rename(os.path.join(FOLDER, "state.json.new"), os.path.join(FOLDER, "state.json"))
        return first


def judge(handler, body):
    now, url, headers = state(), urlsplit(handler.path), {k.lower(): v for k, v in handler.headers.items()}
    if "x-log-apiversion" not in headers:
        raise Failure(400, "MissingAPIVersion", "x-log-apiversion does not exist in http header")
    if "x-log-bodyrawsize" not in headers:
        raise Failure(400, "MissingBodyRawSize", "x-log-bodyrawsize does not exist in header when it is necessary")
    if not headers["host"].startswith(now["project"] + "."):
        raise Failure(404, "ProjectNotExist", f"The Project does not exist : {headers['host'].split('.')[0]}")
    signed_at = calendar.timegm(time.strptime(headers["x-log-date"], "%Y%m%dT%H%M%SZ"))
    if abs(time.time() + now.get("clock", 0) - signed_at) > 900:
        raise Failure(400, "RequestTimeExpired", f"{headers['x-log-date']} has been expired")
    token = now.get("token")
    if headers.get("x-acs-security-token") != token:
        raise Failure(401, "Unauthorized", "The security token you provided is invalid")
    if now.get("token_expired"):
        raise Failure(401, "Unauthorized", f"The security token you provided has expired: {token}")
    keys = StaticCredentialsProvider(now["access_key_id"], now["access_key_secret"], token)
    sent = headers.pop("authorization")
    unsigned = {name: value for name, value in headers.items() if name not in ("x-log-date", "x-log-content-sha256")}
    expected = AuthV4(keys, now["region"])._do_sign_request(
        handler.command, url.path, dict(parse_qsl(url.query, keep_blank_values=True)), unsigned, body, headers["x-log-date"]
    )
    if sent != expected or unsigned["x-log-content-sha256"] != headers["x-log-content-sha256"]:
        raise Failure(401, "SignatureNotMatch", f"signature {sent} not match")
    parts = url.path.split("/")
    if parts[2] != now["logstore"]:
        raise Failure(404, "LogStoreNotExist", f"logstore {parts[2]} does not exist")
    return now, parts


def put_logs(headers, body):
    if headers.get("content-type") != "application/x-protobuf":
        raise Failure(415, "InvalidContentType", "Content-Type is unsupported")
    raw = zstd.decompress(body) if headers.get("x-log-compresstype") == "zstd" else body
    if len(raw) != int(headers["x-log-bodyrawsize"]):
        raise Failure(400, "InvalidBodyRawSize", "x-log-bodyrawsize is invalid")
    if len(raw) > MAX_RAW:
        raise Failure(400, "PostBodyTooLarge", f"Body size {len(raw)} must little than {MAX_RAW}")
    group = LogGroup()
    try:
        group.ParseFromString(raw)
    except Exception:
        raise Failure(400, "PostBodyInvalid", "Protobuffer content cannot be parsed")
    if not group.Logs or len(group.Logs) > MAX_LOGS:
        raise Failure(400, "InvalidLogSize", f"{len(group.Logs)} logs")
    lines = []
    for log in group.Logs:
        contents = {content.Key: content.Value for content in log.Contents}
        # A record that the service refuses.
        if "poison" in contents.get("path", ""):
            raise Failure(400, "PostBodyInvalid", "a log is invalid")
        line = {"topic": group.Topic, "source": group.Source, "time": log.Time, "time_ns": log.Time_ns}
        lines.append(json.dumps({**line, "contents": contents}, ensure_ascii=False) + "\n")
    with LOCK, open(os.path.join(FOLDER, "logs.ndjson"), "a") as file:
        # On a new line, even if a kill has cut the previous one.
        file.write("\n" + "".join(lines))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with open(os.path.join(FOLDER, "requests"), "a") as file:
            file.write(f"{self.command} {self.path}\n")
        planned = take_next()
        request_id = ("x-log-requestid", "5E0A0B0C")
        if planned and planned.get("close"):
            self.close_connection = True
            return
        if planned and "half" in planned:
            # An answer shorter than its content-length.
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-log-requestid: 1\r\nContent-Length: 10\r\n\r\nhal")
            self.close_connection = True
            return
        if planned:
            self.answer(planned["status"], planned.get("body", "").encode(), planned.get("headers", {}).items())
            return
        try:
            now, parts = judge(self, body)
            if self.command == "GET":
                logstore = {"logstoreName": parts[2], "ttl": now["ttl"], "shardCount": 2}
                self.answer(200, json.dumps(logstore).encode(), [request_id])
            else:
                put_logs({k.lower(): v for k, v in self.headers.items()}, body)
                self.answer(200, b"", [request_id])
        except Failure as failure:
            error = {"errorCode": failure.code, "errorMessage": failure.message}
            self.answer(failure.status, json.dumps(error).encode(), [request_id])

    do_GET = do_POST = handle_one


def server(port, cert=None, key=None):
    listener = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    # Clients that refuse the certificate end the handshake; tests expect it.
    listener.handle_error = lambda *_: None
    listener.daemon_threads = True
    if cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    print(listener.server_port, flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    server(sys.argv[2], *sys.argv[4:])
