"""Alibaba Cloud OSS as far as the tests need it: `server PORT FOLDER` prints its port; `sign s3|oss FILE` signs requests.

Requests are judged by Alibaba's own SDK (oss2): signature V4, and what BucketWorm and x-oss-forbid-overwrite refuse. FOLDER/state.json
holds keys, region, bucket, `worm` ({"state", "days"} or null), the server's clock (seconds off) and `next`: statuses and codes to answer
the next requests with instead of judging them. Objects are files under FOLDER/objects, their metadata beside them.
"""

import base64
import calendar
import hashlib
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

LOCK = threading.Lock()


class Failure(Exception):
    def __init__(self, status, code):
        self.status, self.code = status, code


def oss_authorization(keys, region, method, bucket, key, params, headers, date):
    """The field `authorization` of oss2 for a request that was signed at `date`."""
    import oss2
    from oss2 import auth

    class Fixed(auth.datetime):
        @classmethod
        def utcnow(cls):
            return cls.strptime(date, "%Y%m%dT%H%M%SZ")

    class Request:
        pass

    request = Request()
    request.method, request.params, request.headers = method, dict(params), dict(headers)
    request.region, request.product, request.cloudbox_id = region, "oss", None
    before, auth.datetime = auth.datetime, Fixed
    try:
        if keys.get("token"):
            provider = oss2.credentials.StaticCredentialsProvider(keys["id"], keys["secret"], keys["token"])
        else:
            provider = oss2.credentials.StaticCredentialsProvider(keys["id"], keys["secret"])
        oss2.ProviderAuthV4(provider)._sign_request(request, bucket, key)
    finally:
        auth.datetime = before
    return request.headers["authorization"]


def s3_authorization(keys, region, method, url, headers, payload, date):
    """The same of botocore for S3."""
    import datetime

    from botocore import auth, awsrequest, credentials

    now = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    request = awsrequest.AWSRequest(method=method, url=url, headers=headers)
    request.context["timestamp"] = date
    signer = auth.S3SigV4Auth(credentials.Credentials(keys["id"], keys["secret"], keys.get("token")), "s3", region)
    signer._modify_request_before_signing(request)
    for name, value in (("X-Amz-Date", date), ("X-Amz-Content-SHA256", payload)):
        if name in request.headers:
            del request.headers[name]
        request.headers[name] = value
    assert now
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    signer._inject_signature_to_request(request, signature)
    return request.headers["Authorization"]


def sign(dialect, path):
    with open(path) as file:
        for line in file:
            request = json.loads(line)
            if dialect == "oss":
                print(
                    oss_authorization(
                        request["keys"], request["region"], request["method"], request["bucket"], request["key"],
                        request["query"], request["headers"], request["date"],
                    )
                )
            else:
                print(
                    s3_authorization(
                        request["keys"], request["region"], request["method"], request["url"], request["headers"],
                        request["payload"], request["date"],
                    )
                )


def state(folder):
    with open(os.path.join(folder, "state.json")) as file:
        return json.load(file)


def take_next(folder):
    with LOCK:
        now = state(folder)
        if not now.get("next"):
            return None
        first = now["next"].pop(0)
        with open(os.path.join(folder, "state.json.new"), "w") as file:
            json.dump(now, file)
        os.rename(os.path.join(folder, "state.json.new"), os.path.join(folder, "state.json"))
        return first


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        length = len(body) if isinstance(body, bytes) else body
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if isinstance(body, bytes) and self.command != "HEAD":
            self.wfile.write(body)

    def handle_one(self):
        folder = self.server.folder
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        try:
            scripted = take_next(folder)
            if scripted:
                raise Failure(scripted["status"], scripted["code"])
            self.judge(folder, body)
        except Failure as failure:
            xml = f'<?xml version="1.0"?><Error><Code>{failure.code}</Code><Message>no</Message></Error>'
            self.answer(failure.status, xml.encode(), [("x-oss-request-id", "1")])

    do_GET = do_PUT = do_HEAD = handle_one

    def judge(self, folder, body):
        now, url = state(folder), urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        _, bucket, key = unquote(url.path).split("/", 2)
        if bucket != now["bucket"]:
            raise Failure(404, "NoSuchBucket")
        date = headers.get("x-oss-date", "")
        signed_at = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        if abs(time.time() + now.get("clock", 0) - signed_at) > 900:
            raise Failure(403, "RequestTimeTooSkewed")
        sent = headers.pop("authorization", "")
        keys = {"id": now["id"], "secret": now["secret"], "token": now.get("token")}
        if headers.get("x-oss-security-token") != now.get("token"):
            raise Failure(403, "InvalidSecurityToken")
        if sent != oss_authorization(keys, now["region"], self.command, bucket, key, params, headers, date):
            raise Failure(403, "SignatureDoesNotMatch")
        objects = os.path.join(folder, "objects")
        path = os.path.join(objects, key.replace("/", "%2F"))
        if self.command == "PUT":
            if headers.get("x-oss-forbid-overwrite") == "true" and os.path.exists(path):
                raise Failure(409, "FileAlreadyExists")
            if now.get("worm") and os.path.exists(path):
                raise Failure(409, "FileImmutable")
            if base64.b64encode(hashlib.md5(body).digest()).decode() != headers.get("content-md5"):
                raise Failure(400, "InvalidDigest")
            meta = {name: value for name, value in headers.items() if name.startswith("x-oss-meta-")}
            with open(path + ".meta~", "w") as file:
                json.dump(meta, file)
            with open(path + ".new~", "wb") as file:
                file.write(body)
            # Whole or not at all, whenever this process is killed.
            os.rename(path + ".new~", path)
            self.answer(200, b"", [("ETag", '"' + hashlib.md5(body).hexdigest().upper() + '"')])
        elif "worm" in params:
            if not now.get("worm"):
                raise Failure(404, "NoSuchWORMConfiguration")
            worm = now["worm"]
            xml = (
                f"<WormConfiguration><WormId>1</WormId><State>{worm['state']}</State>"
                f"<RetentionPeriodInDays>{worm['days']}</RetentionPeriodInDays></WormConfiguration>"
            )
            self.answer(200, xml.encode())
        elif params.get("list-type") == "2":
            names = sorted(name.replace("%2F", "/") for name in os.listdir(objects) if not name.endswith("~"))
            chosen = [
                name for name in names
                if name.startswith(params.get("prefix", "")) and name > params.get("start-after", "")
            ][: int(params["max-keys"])]
            contents = "".join(f"<Contents><Key>{escape(name)}</Key></Contents>" for name in chosen)
            self.answer(200, f"<ListBucketResult><Name>{bucket}</Name>{contents}</ListBucketResult>".encode())
        elif not os.path.exists(path):
            raise Failure(404, "NoSuchKey")
        else:
            with open(path, "rb") as file:
                content = file.read()
            with open(path + ".meta~") as file:
                meta = list(json.load(file).items())
            self.answer(200, content, meta)


def serve(port, folder):
    os.makedirs(os.path.join(folder, "objects"), exist_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.folder = folder
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    {"server": serve, "sign": sign}[sys.argv[1]](*sys.argv[2:])
