"""SeaweedFS as an S3 server with Object Lock: `server FOLDER` prints its port; `client PORT BUCKET KEY` tries to break a lock; `fetch PORT
BUCKET PREFIX FOLDER` copies the objects whose keys begin with PREFIX.

The server has a bucket of each kind: `locked` (190 days by default), `bare` (a lock without a default), `short` (30 days), `governed` (190 days
in GOVERNANCE mode) and `plain` (no lock). It dies with this process, by SIGKILL, which it needs. Started again over the same FOLDER, it has
the same ports and objects.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time

from botocore.config import Config
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.session import Session

ID, SECRET = "AKID", "k3y-Secret"


def s3(port):
    return Session().create_client(
        "s3",
        region_name="cn-north-1",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=ID,
        aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}),
    )


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def server(folder):
    with open(os.path.join(folder, "s3.json"), "w") as file:
        keys = [{"accessKey": ID, "secretKey": SECRET}]
        json.dump({"identities": [{"name": "edge", "credentials": keys, "actions": ["Admin", "Read", "Write", "List"]}]}, file)
    # A server that was killed with its process may need a moment to go.
    deadline = time.time() + 120
    saved = os.path.join(folder, "ports.json")
    is_new = not os.path.exists(saved)
    names = ["master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc"]
    if is_new:
        with open(saved, "w") as file:
            json.dump(dict(zip(names, free_ports(len(names)))), file)
    with open(saved) as file:
        ports = json.load(file)
    while any(is_taken(port) for port in ports.values()) and time.time() < deadline:
        time.sleep(0.02)
    weed = os.path.join(os.path.dirname(sys.executable), "weed")
    subprocess.Popen(
        [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={folder}/s3.json"]
        + ["-master.volumeSizeLimitMB=64", "-volume.max=32", "-master.telemetry=false", "-master.electionTimeout=500ms", "-master.heartbeatInterval=100ms", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        + [f"-{name}={port}" for name, port in ports.items()],
        cwd=folder,
        stdout=open(os.path.join(folder, "weed.log"), "a"),
        stderr=subprocess.STDOUT,
        # PR_SET_PDEATHSIG: it ends with this process.
        preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL),
    )
    client = s3(ports["s3.port"])
    while True:
        try:
            client.create_bucket(Bucket="plain") if is_new else client.head_bucket(Bucket="plain")
            break
        except (ClientError, EndpointConnectionError, OSError):
            if time.time() > deadline:
                raise
            time.sleep(0.2)
    if is_new:
        make_buckets(client)
    print(ports["s3.port"], flush=True)
    signal.pause()


def is_taken(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def make_buckets(client):
    for bucket, mode, days in [("locked", "COMPLIANCE", 190), ("bare", None, 0), ("short", "COMPLIANCE", 30), ("governed", "GOVERNANCE", 190)]:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
        if mode:
            rule = {"DefaultRetention": {"Mode": mode, "Days": days}}
            client.put_object_lock_configuration(
                Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
            )


def client(port, bucket, key):
    """Nothing that would undo a lock succeeds; prints until when the object is locked."""
    import datetime

    api = s3(port)
    head = api.head_object(Bucket=bucket, Key=key)
    version, until = head["VersionId"], head["ObjectLockRetainUntilDate"]
    assert head["ObjectLockMode"] == "COMPLIANCE", head
    sooner = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
    retention = {"Mode": "COMPLIANCE", "RetainUntilDate": sooner}
    governed = {"Mode": "GOVERNANCE", "RetainUntilDate": until}
    for what, attempt in [
        ("deleting", lambda: api.delete_object(Bucket=bucket, Key=key, VersionId=version)),
        ("shortening", lambda: api.put_object_retention(Bucket=bucket, Key=key, VersionId=version, Retention=retention)),
        ("weakening", lambda: api.put_object_retention(
            Bucket=bucket, Key=key, VersionId=version, Retention=governed, BypassGovernanceRetention=True)),
    ]:
        try:
            attempt()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied", (what, error)
        else:
            raise AssertionError(f"{what} succeeded")
    print(f"all is well: locked until {until.timestamp():.0f}")


def fetch(port, bucket, prefix, folder):
    api = s3(port)
    for page in api.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for entry in page.get("Contents", []):
            with open(os.path.join(folder, os.path.basename(entry["Key"])), "wb") as file:
                file.write(api.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
    print("all is well")


if __name__ == "__main__":
    {"server": server, "client": client, "fetch": fetch}[sys.argv[1]](*sys.argv[2:])
