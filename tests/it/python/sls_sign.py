"""Signature V4 by Alibaba's SDK: `sign FILE` reads requests as JSON, one a line, and prints the field `Authorization` of each."""

import json
import sys

from aliyun.log.auth import AuthV4
from aliyun.log.credentials import StaticCredentialsProvider


def sign(path):
    with open(path) as file:
        for line in file:
            request = json.loads(line)
            keys = StaticCredentialsProvider(request["id"], request["secret"], request.get("token"))
            print(
                AuthV4(keys, request["region"])._do_sign_request(
                    request["method"],
                    request["path"],
                    dict(request["query"]),
                    dict(request["headers"]),
                    request["body"].encode(),
                    request["date"],
                )
            )


if __name__ == "__main__":
    {"sign": sign}[sys.argv[1]](*sys.argv[2:])
