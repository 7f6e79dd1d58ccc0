#!/usr/bin/env python3
"""First-byte times over a long lossy path: icpgate and nginx in front of one origin, in the same run.

    loadtest/longhaul.py --program target/dist/icpgate [--loss 5] [--one-way 100] [--rate 20] [--seconds 60] [--http2]

Two network namespaces are joined by a pair of interfaces on which nftables drops segments at random, in both
directions. In the far namespace a TCP relay adds the delay in front of the origin (nginx, TLS). In the near one both
proxies send requests to that origin over TLS. Requests arrive at random times, as many at each proxy, over a new
clear-text connection each. The kernel retransmits a lost segment after about 200 ms: the lossy path is shorter than
the delay, so that a loss costs less than over a real border. Needs root, ip, nft, nginx and openssl.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NEAR, FAR = "10.77.0.1", "10.77.0.2"
HOST = "www.example.cn"
PEERS = {"icpgate": 9081, "nginx": 9082}

ORIGIN = """
daemon off; pid {folder}/origin.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  server {{
    listen 127.0.0.1:8443 ssl{http2}; ssl_certificate {folder}/origin.pem; ssl_certificate_key {folder}/origin.key;
    keepalive_timeout 75s; keepalive_requests 1000000;
    location / {{ return 200 "fine\\n"; }}
  }}
}}
"""

PROXY = """
daemon off; pid {folder}/proxy.pid; error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  upstream far {{ server {far}:443; keepalive 64; keepalive_timeout 60s; keepalive_requests 1000000; }}
  server {{
    listen 127.0.0.1:9082;
    location / {{
      proxy_pass https://far; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_ssl_server_name on; proxy_ssl_name app.example.com; proxy_ssl_verify on;
      proxy_ssl_trusted_certificate {folder}/origin.pem; proxy_ssl_session_reuse on;
      proxy_connect_timeout 3s; proxy_read_timeout 30s; proxy_next_upstream error timeout;
    }}
  }}
}}
"""

ICPGATE = """
filings: filings.yaml
listeners: [{{name: http, addresses: ["127.0.0.1:9081"], protocol: http, redirect: none}}]
sites: [{{hosts: [{host}], routes: [{{origins: [far]}}], footer: {{pages: off}}}}]
origins:
  - {{name: far, region: offshore, scheme: https, server_name: app.example.com, trust: origin.pem,
     servers: ["{far}:443"], pool: {{preconnect: 4}}{more}}}
access_log: {{directory: access, reserve: 1MiB}}
admin: {{address: "127.0.0.1:9083"}}
"""

FILINGS = """filings:
  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}
"""


async def relay(one_way):
    """In the far namespace: adds the delay to whatever passes."""

    async def carry(reader, writer):
        queue = asyncio.Queue()

        async def send():
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        sending = asyncio.create_task(send())
        try:
            while data := await reader.read(65536):
                queue.put_nowait((time.monotonic() + one_way, data))
        finally:
            queue.put_nowait((time.monotonic() + one_way, b""))
            await sending

    async def serve(reader, writer):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", 8443)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer), return_exceptions=True)

    async with await asyncio.start_server(serve, FAR, 443, backlog=1024) as server:
        await server.serve_forever()


async def ask(port):
    """The time to the first byte; nothing when there was no good answer."""
    began = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readline(), 30)
        took = time.monotonic() - began
        await reader.read()
        writer.close()
    except (OSError, asyncio.TimeoutError):
        return None
    return took if b" 200 " in head else None


async def client(rate, seconds):
    """In the near namespace: asks both at random times, and prints what every request took."""
    async def generate(name, port):
        asked = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            asked.append(asyncio.create_task(ask(port)))
            await asyncio.sleep(random.expovariate(rate))
        return name, [await task for task in asked]

    # Warm-up of both.
    for port in PEERS.values():
        await asyncio.gather(*(ask(port) for _ in range(8)))
    outcomes = await asyncio.gather(*(generate(name, port) for name, port in PEERS.items()))
    print(json.dumps(dict(outcomes)))


def run(*words, **more):
    return subprocess.run([str(word) for word in words], check=True, **more)


class Namespaces:
    """Two namespaces joined by a pair of interfaces that drops `loss` percent of the segments."""

    def __init__(self, loss):
        self.near, self.far = (f"icpgate-{side}-{os.getpid()}" for side in ("near", "far"))
        self.loss = loss

    def __enter__(self):
        try:
            self.join()
        except BaseException:
            self.__exit__()
            raise
        return self

    def join(self):
        for name in (self.near, self.far):
            run("ip", "netns", "add", name)
        run("ip", "-n", self.near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", self.far)
        for name, address, link in [(self.near, NEAR, "near"), (self.far, FAR, "far")]:
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", link)
            run("ip", "-n", name, "link", "set", link, "up")
            if self.loss:
                rules = (
                    "table inet loss {\n chain input {\n  type filter hook input priority 0;\n"
                    f'  iifname "{link}" meta l4proto tcp numgen random mod 100 < {self.loss} drop\n }}\n}}\n'
                )
                run("ip", "netns", "exec", name, "nft", "-f", "-", input=rules, text=True)

    def start(self, name, log, *words):
        with open(log, "wb") as out:
            command = ["ip", "netns", "exec", name, *map(str, words)]
            return subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def __exit__(self, *_):
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "del", name], check=False)


def shown(name, times):
    good = sorted(took for took in times if took is not None)
    at = lambda percent: good[min(len(good) - 1, len(good) * percent // 100)] * 1000 if good else float("nan")
    columns = "  ".join(f"p{percent} {at(percent):6.0f}" for percent in (50, 90, 95, 99))
    print(f"{name:8} {len(times):6} requests  {columns}  max {good[-1] * 1000:6.0f} ms  {len(times) - len(good)} failed")
    return at(99)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="target/dist/icpgate", help="icpgate")
    parser.add_argument("--loss", type=int, default=5, help="lost segments in percent, in each direction")
    parser.add_argument("--one-way", type=int, default=100, help="milliseconds")
    parser.add_argument("--rate", type=float, default=20, help="requests per second to each")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--http2", action="store_true", help="the origin speaks HTTP/2 as well")
    parser.add_argument("--origin", default="", help="more keys of icpgate's origin, such as 'retries: {attempts: 2}'")
    parser.add_argument("--part", choices=["relay", "client"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part == "relay":
        return asyncio.run(relay(args.one_way / 1000))
    if args.part == "client":
        return asyncio.run(client(args.rate, args.seconds))
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if os.geteuid() != 0 or not all(map(shutil.which, ["ip", "nft", "openssl"])) or not nginx:
        sys.exit("longhaul: it needs root, ip, nft, nginx and openssl: nothing was measured")
    with tempfile.TemporaryDirectory(prefix="icpgate-longhaul-") as name, Namespaces(args.loss) as spaces:
        folder = Path(name)
        os.chmod(folder, 0o755)
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=app.example.com", "-addext", "subjectAltName=DNS:app.example.com",
            "-addext", "basicConstraints=critical,CA:FALSE",
            "-keyout", folder / "origin.key", "-out", folder / "origin.pem", stderr=subprocess.DEVNULL)
        http2 = " http2" if args.http2 else ""
        (folder / "origin.conf").write_text(ORIGIN.format(folder=folder, http2=http2))
        (folder / "proxy.conf").write_text(PROXY.format(folder=folder, far=FAR))
        more = f", {args.origin}" if args.origin else ""
        (folder / "icpgate.yaml").write_text(ICPGATE.format(host=HOST, far=FAR, more=more))
        (folder / "filings.yaml").write_text(FILINGS)
        own = [sys.executable, os.path.abspath(__file__), "--one-way", args.one_way]
        started = [
            spaces.start(spaces.far, folder / "origin.log", nginx, "-c", folder / "origin.conf"),
            spaces.start(spaces.far, folder / "relay.log", *own, "--part", "relay"),
            spaces.start(spaces.near, folder / "nginx.log", nginx, "-c", folder / "proxy.conf"),
            spaces.start(spaces.near, folder / "icpgate.log", args.program, "run", "--config", folder / "icpgate.yaml"),
        ]
        try:
            time.sleep(5)
            asking = [*own, "--part", "client", "--rate", args.rate, "--seconds", args.seconds]
            out = run("ip", "netns", "exec", spaces.near, *asking, stdout=subprocess.PIPE, text=True).stdout
            for program in started:
                if program.poll() is not None:
                    sys.exit(f"longhaul: {program.args} ended:\n" + (folder / "icpgate.log").read_text())
        finally:
            for program in started:
                program.terminate()
            for program in started:
                program.wait()
    print(f"{args.one_way} ms each way, {args.loss} % lost in each direction, {args.rate:g} requests per second to each:")
    p99 = {name: shown(name, times) for name, times in json.loads(out).items()}
    print(f"p99 of icpgate is {p99['icpgate'] / p99['nginx']:.2f} of nginx's")


if __name__ == "__main__":
    main()
