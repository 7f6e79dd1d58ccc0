"""The DNS services of three clouds, as far as the tests need them, judged by the vendors' own SDKs.

`sign FILE` reads requests as JSON, one a line, and prints the field `Authorization` that the vendor's SDK makes of each.
`server VENDOR FOLDER` prints its port. FOLDER/state.json holds the keys, the zones, `next` (errors to answer with instead
of doing what is asked), `undo` (how many changes somebody else undoes at once) and `shows`: the address of pebble's
challenge server, which then shows the records. Each change becomes a line of FOLDER/changes.ndjson.
"""

import calendar
import hashlib
import itertools
import json
import os
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qsl, urlsplit

from alibabacloud_openapi_util.client import Client as Alibaba
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from tencentcloud.common.abstract_client import AbstractClient

LOCK = threading.Lock()


def acs3(keys, request):
    signed = SimpleNamespace(
        method=request["method"], pathname=request["path"], query=dict(request["query"]), headers=dict(request["headers"])
    )
    digest = hashlib.sha256(request["body"].encode()).hexdigest()
    return Alibaba.get_authorization(signed, "ACS3-HMAC-SHA256", digest, keys["id"], keys["secret"])


def tc3(keys, request):
    headers = {name.lower(): value for name, value in request["headers"]}
    seconds = headers["x-tc-timestamp"]
    header = {"Content-Type": headers["content-type"], "Host": headers["host"], "X-TC-Timestamp": seconds}
    signed = SimpleNamespace(method=request["method"], uri=request["path"], header=header, data=request["body"])
    day = time.strftime("%Y-%m-%d", time.gmtime(int(seconds)))
    signature = AbstractClient._get_tc3_signature(None, None, signed, day, "dnspod", keys["secret"])
    scope = f"{keys['id']}/{day}/dnspod/tc3_request"
    return f"TC3-HMAC-SHA256 Credential={scope}, SignedHeaders=content-type;host, Signature={signature}"


def sdk(keys, request):
    headers = dict(request["headers"])
    query = [tuple(pair) for pair in request["query"]]
    signed = SdkRequest(
        method=request["method"],
        schema="https",
        host=headers["host"],
        resource_path=request["path"],
        query_params=query,
        header_params=headers,
        body=request["body"],
    )
    return Signer(SimpleNamespace(ak=keys["id"], sk=keys["secret"])).sign(signed).header_params["Authorization"]


SCHEMES = {"alidns": acs3, "dnspod": tc3, "huawei": sdk}


def sign(path):
    with open(path) as file:
        for line in file:
            request = json.loads(line)
            print(SCHEMES[request["vendor"]](request, request))


class Failure(Exception):
    def __init__(self, status, code, message):
        self.status, self.code, self.message = status, code, message


class Cloud:
    """Zones and their records. What each vendor says of them is in its child."""

    def __init__(self, folder):
        self.folder, self.records, self.ids, self.nonces = folder, [], itertools.count(1001), set()

    def state(self):
        with open(os.path.join(self.folder, "state.json")) as file:
            return json.load(file)

    def take(self, key):
        """Takes one from the list or the count `key` of the state."""
        state = self.state()
        value = state.get(key)
        if not value:
            return None
        state[key] = value[1:] if isinstance(value, list) else value - 1
        aside = os.path.join(self.folder, "state.new")
        with open(aside, "w") as file:
            json.dump(state, file)
        os.rename(aside, os.path.join(self.folder, "state.json"))
        return value[0] if isinstance(value, list) else value

    def judge(self, request, headers, fresh):
        """The signature by the SDK, over the fields that it names. `fresh` is when it was made, and for how long it counts."""
        state = self.state()
        signed_at, seconds = fresh
        if abs(time.time() - signed_at) > seconds:
            raise Failure(400, self.EXPIRED, "the signature has expired")
        if headers.get(self.TOKEN) != state.get("token"):
            raise Failure(400, self.BAD_TOKEN, f"the token {headers.get(self.TOKEN)} is invalid")
        if request["body"] and headers.get("content-type") != "application/json":
            raise Failure(400, "UnsupportedMediaType", "the body is not JSON")
        sent = headers["authorization"]
        names = sent.split("SignedHeaders=")[1].split(",")[0].split(";")
        must = {"host"} | {name for name in headers if name.startswith(self.SIGNED)}
        if not must <= set(names):
            raise Failure(400, self.BAD_SIGNATURE, f"not signed: {must - set(names)}")
        request["headers"] = [(name, headers[name]) for name in names]
        if self.NAME == "dnspod":
            request["headers"].append(("x-tc-timestamp", headers["x-tc-timestamp"]))
        if sent != SCHEMES[self.NAME](state, request):
            raise Failure(400, self.BAD_SIGNATURE, f"the signature {sent} does not match")

    def zone(self, name):
        return name if name in self.state()["zones"] else None

    def changed(self, word, record):
        standing = [other["value"] for other in self.records if other["name"] == record["name"]]
        line = {"change": word, "zone": record["zone"], "name": record["name"], "standing": len(standing)}
        with open(os.path.join(self.folder, "changes.ndjson"), "a") as file:
            file.write(json.dumps(line) + "\n")
        self.show(record["name"], standing)

    def show(self, name, values):
        shows = self.state().get("shows")
        if not shows:
            return
        tell = lambda path, body: urllib.request.urlopen(f"http://{shows}/{path}", json.dumps(body).encode()).read()
        tell("clear-txt", {"host": name + "."})
        for value in values:
            tell("set-txt", {"host": name + ".", "value": value})

    def at(self, name):
        return [record for record in self.records if record["name"] == name]

    def add(self, zone, name, value):
        record = {"id": next(self.ids), "zone": zone, "name": name, "value": value}
        self.records.append(record)
        self.changed("add", record)
        return record

    def remove(self, record):
        self.records.remove(record)
        self.changed("remove", record)


class Alidns(Cloud):
    NAME, SIGNED, TOKEN = "alidns", "x-acs-", "x-acs-security-token"
    EXPIRED, BAD_TOKEN, BAD_SIGNATURE = "InvalidTimeStamp.Expired", "InvalidSecurityToken.Expired", "SignatureDoesNotMatch"

    def answer(self, request, headers):
        date = calendar.timegm(time.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ"))
        self.judge(request, headers, (date, 900))
        if headers["x-acs-signature-nonce"] in self.nonces:
            raise Failure(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(headers["x-acs-signature-nonce"])
        if headers["x-acs-version"] != "2015-01-09" or (request["method"], request["path"]) != ("POST", "/"):
            raise Failure(404, "InvalidAction.NotFound", "Specified api is not found")
        return 200, getattr(self, headers["x-acs-action"])(**dict(request["query"]))

    def own(self, name):
        if not self.zone(name):
            raise Failure(400, "InvalidDomainName.NoExist", "The specified domain name does not exist.")

    def DescribeSubDomainRecords(self, DomainName, SubDomain, Type, PageSize):
        self.own(DomainName)
        assert Type == "TXT" and 1 <= int(PageSize) <= 500
        records = [{"RecordId": str(r["id"]), "Value": r["value"], "Type": "TXT"} for r in self.at(SubDomain)]
        return {"TotalCount": len(records), "DomainRecords": {"Record": records}}

    def AddDomainRecord(self, DomainName, RR, Type, Value):
        self.own(DomainName)
        name = f"{RR}.{DomainName}"
        if any(record["value"] == Value for record in self.at(name)):
            raise Failure(400, "DomainRecordDuplicate", "The DNS record already exists.")
        return {"RecordId": str(self.add(DomainName, name, Value)["id"])}

    def DeleteDomainRecord(self, RecordId):
        for record in self.records:
            if str(record["id"]) == RecordId:
                self.remove(record)
                return {"RecordId": RecordId}
        raise Failure(400, "DomainRecordNotBelongToUser", "The DNS record does not belong to this user.")

    def error(self, failure):
        return failure.status, {"Code": failure.code, "Message": failure.message, "RequestId": "1"}


class Dnspod(Cloud):
    NAME, SIGNED, TOKEN = "dnspod", "content-type", "x-tc-token"
    EXPIRED, BAD_TOKEN = "AuthFailure.SignatureExpire", "AuthFailure.TokenFailure"
    BAD_SIGNATURE = "AuthFailure.SignatureFailure"

    def answer(self, request, headers):
        self.judge(request, headers, (int(headers["x-tc-timestamp"]), 300))
        if headers["x-tc-version"] != "2021-03-23" or (request["method"], request["path"]) != ("POST", "/"):
            raise Failure(200, "InvalidAction", "the action is unknown")
        answer = getattr(self, headers["x-tc-action"])(**json.loads(request["body"]))
        return 200, {"Response": {**answer, "RequestId": "1"}}

    def own(self, name):
        if not self.zone(name):
            raise Failure(200, "InvalidParameterValue.DomainNotExists", "当前域名有误，请返回重新操作。")

    def DescribeRecordList(self, Domain, Subdomain, RecordType, Limit):
        self.own(Domain)
        assert RecordType == "TXT" and 1 <= Limit <= 3000
        found = self.at(f"{Subdomain}.{Domain}")
        if not found:
            raise Failure(200, "ResourceNotFound.NoDataOfRecord", "记录列表为空。")
        entry = lambda r: {"RecordId": r["id"], "Name": Subdomain, "Type": "TXT", "Value": r["value"], "Line": "默认"}
        return {"RecordCountInfo": {"TotalCount": len(found)}, "RecordList": [entry(record) for record in found]}

    def CreateRecord(self, Domain, SubDomain, RecordType, RecordLine, RecordLineId, Value):
        self.own(Domain)
        assert (RecordType, RecordLine, RecordLineId) == ("TXT", "默认", "0")
        name = f"{SubDomain}.{Domain}"
        if any(record["value"] == Value for record in self.at(name)):
            raise Failure(200, "InvalidParameter.DomainRecordExist", "记录已经存在，无需再次添加。")
        return {"RecordId": self.add(Domain, name, Value)["id"]}

    def DeleteRecord(self, Domain, RecordId):
        self.own(Domain)
        for record in self.records:
            if record["id"] == RecordId:
                self.remove(record)
                return {}
        raise Failure(200, "InvalidParameter.RecordIdInvalid", "记录编号错误。")

    def error(self, failure):
        return 200, {"Response": {"Error": {"Code": failure.code, "Message": failure.message}, "RequestId": "1"}}


class Huawei(Cloud):
    NAME, SIGNED, TOKEN = "huawei", "x-", "x-security-token"
    EXPIRED = BAD_TOKEN = BAD_SIGNATURE = "APIGW.0301"

    def __init__(self, folder):
        super().__init__(folder)
        # Names whose record set is being changed: they are shown once as such, and cannot be changed meanwhile.
        self.pending = {}

    def answer(self, request, headers):
        date = calendar.timegm(time.strptime(headers["x-sdk-date"], "%Y%m%dT%H%M%SZ"))
        self.judge(request, headers, (date, 900))
        parts, query = request["path"].strip("/").split("/"), dict(request["query"])
        body = json.loads(request["body"]) if request["body"] else None
        if parts == ["v2", "zones"] and request["method"] == "GET":
            assert (query["type"], query["search_mode"]) == ("public", "equal")
            zone = self.zone(query["name"])
            return 200, {"zones": [{"id": f"zone-{zone}", "name": f"{zone}.", "status": "ACTIVE"}] if zone else []}
        zone = self.zone(parts[2].removeprefix("zone-"))
        if not zone or parts[3] != "recordsets":
            raise Failure(404, "DNS.0302", "This zone does not exist.")
        if request["method"] == "GET":
            assert (query["type"], query["search_mode"]) == ("TXT", "equal")
            return 200, {"recordsets": self.listed(query["name"])}
        return 202, self.change(zone, request["method"], parts[4:], body)

    def listed(self, name):
        status = self.pending.pop(name, "ACTIVE")
        records = [f"\"{record['value']}\"" for record in self.at(name)]
        if not records and status != "PENDING_DELETE":
            return []
        return [{"id": f"set-{name}", "name": f"{name}.", "type": "TXT", "records": records, "status": status, "ttl": 300}]

    def change(self, zone, method, rest, body):
        name = rest[0].removeprefix("set-") if rest else body["name"].rstrip(".")
        if not rest and self.at(name):
            raise Failure(400, "DNS.0312", "This record set already exists.")
        if rest and not self.at(name):
            raise Failure(404, "DNS.0313", "This record set does not exist.")
        if name in self.pending:
            raise Failure(400, "DNS.0321", "This record set is being changed.")
        before = [record["value"] for record in self.at(name)]
        after = [] if method == "DELETE" else [record.strip('"') for record in body["records"]]
        assert method == "DELETE" or (body["records"] and all(r[0] == r[-1] == '"' for r in body["records"]))
        if self.take("undo"):
            after = before
        for record in [record for record in self.at(name) if record["value"] not in after]:
            self.remove(record)
        for value in [value for value in after if value not in before]:
            self.add(zone, name, value)
        if before or after:
            self.pending[name] = {"POST": "PENDING_CREATE", "PUT": "PENDING_UPDATE", "DELETE": "PENDING_DELETE"}[method]
        return {"id": f"set-{name}"}

    def error(self, failure):
        if failure.code.startswith("APIGW"):
            return 401, {"error_code": failure.code, "error_msg": failure.message, "request_id": "1"}
        return failure.status, {"code": failure.code, "message": failure.message}


def server(vendor, folder):
    cloud = {"alidns": Alidns, "dnspod": Dnspod, "huawei": Huawei}[vendor](folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def handle_one(self):
            url, headers = urlsplit(self.path), {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0))).decode()
            query = parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query))
            request = {"method": self.command, "path": url.path, "query": query, "body": body}
            with LOCK:
                try:
                    planned = cloud.take("next")
                    if planned:
                        raise Failure(planned["status"], planned["code"], planned["message"])
                    status, answer = cloud.answer(request, headers)
                except Failure as failure:
                    status, answer = cloud.error(failure)
            text = json.dumps(answer, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PUT = do_DELETE = handle_one

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    print(listener.server_port, flush=True)
    listener.serve_forever()


if __name__ == "__main__":
    {"sign": sign, "server": server}[sys.argv[1]](*sys.argv[2:])
