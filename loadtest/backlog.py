#!/usr/bin/env python3
"""What a sink that is down costs the serving of requests: two programs under the same load, in turns, in one run.

    STORE=$PWD/target/backlog RECORDS=10000000 cargo bench --profile guard --bench backlog
    loadtest/backlog.py --program target/guard/icpgate --store target/backlog [--rounds 15] [--seconds 2]

One program has no sink and an empty store. The other has the store that the benchmark made, and two sinks that are down: every record of it
waits. Each round loads both with wrk, in changing order: redirects over clear text, the cheapest exchange that has a record. CPU time is the
kernel's, of all threads of the process, divided by the requests of the round; ratios are taken within a round. Then the rsyslog sink comes
back, and the rounds go on while it catches up: there the threads that ship are counted apart. Needs wrk, and rsyslog with RELP.
"""

import argparse
import json
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

import fixture
from generators import RESOLVE

# The lowest and highest quarter of the rounds are noise of the machine.
QUARTERS = 4

ICPGATE = """
filings: filings.yaml
listeners: [{{name: http, addresses: ["127.0.0.1:{http}"], protocol: http}}]
sites: [{{hosts: [{host}], routes: [{{origins: [main]}}]}}]
origins: [{{name: main, region: mainland, scheme: http, servers: ["127.0.0.1:9"]}}]
access_log: {{directory: {store}, reserve: 1MiB, sinks: [{sinks}]}}
admin: {{address: "127.0.0.1:{admin}"}}
"""

FILINGS = """filings:
  - {{domain: {domain}, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}}
"""

RSYSLOG = """
global(maxMessageSize="512k" workDirectory="{folder}")
module(load="imrelp")
ruleset(name="records" queue.type="direct") {{ action(type="omfile" file="/dev/null") }}
input(type="imrelp" address="127.0.0.1" port="{port}" maxDataSize="512k" ruleset="records")
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Program:
    """icpgate with its own folder and ports."""

    def __init__(self, program, folder, store, sinks):
        self.folder, self.http, self.admin = folder, free_port(), free_port()
        folder.mkdir()
        domain = ".".join(fixture.HOST.split(".")[-2:])
        (folder / "filings.yaml").write_text(FILINGS.format(domain=domain))
        text = ICPGATE.format(host=fixture.HOST, http=self.http, admin=self.admin, store=store, sinks=sinks)
        (folder / "icpgate.yaml").write_text(text)
        log = open(folder / "log", "w")
        self.child = subprocess.Popen([program, "run", "--config", folder / "icpgate.yaml"], stderr=log, stdout=log)
        self.until("it serves", lambda: socket.create_connection(("127.0.0.1", self.http)).close() is None)

    def until(self, what, holds, patience=120):
        deadline = time.monotonic() + patience
        while True:
            if self.child.poll() is not None:
                sys.exit(f"backlog: icpgate ended: {(self.folder / 'log').read_text()}")
            try:
                if holds():
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                sys.exit(f"backlog: not within {patience} s: {what}")
            time.sleep(0.1)

    def sinks(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/status.json") as answer:
            return json.load(answer)["retention"]["sinks"]

    def cpu(self):
        """Nanoseconds of CPU time: of the threads that ship, and of all others."""
        shipping = others = 0
        for task in pathlib.Path(f"/proc/{self.child.pid}/task").iterdir():
            try:
                spent = int((task / "schedstat").read_text().split()[0])
                name = (task / "comm").read_text()
            except OSError:
                continue
            if name.startswith("ship-"):
                shipping += spent
            else:
                others += spent
        return shipping, others

    def memory(self):
        """MiB that no file backs."""
        status = pathlib.Path(f"/proc/{self.child.pid}/status").read_text()
        return int(re.search(r"^RssAnon:\s+(\d+)", status, re.MULTILINE)[1]) / 1024

    def load(self, seconds):
        """Loads it: requests, microseconds of CPU time a request without and with those that ship, p99 in milliseconds."""
        before = self.cpu()
        words = ["wrk", "-t", "1", "-c", "16", "-d", f"{seconds}s", "--latency", "-s", RESOLVE, f"http://{fixture.HOST}:{self.http}/path"]
        text = subprocess.run([str(word) for word in words], check=True, capture_output=True, text=True).stdout
        shipping, others = (now - then for now, then in zip(self.cpu(), before))
        if "Socket errors" in text:
            sys.exit(f"backlog: {text}")
        count = int(re.search(r"(\d+) requests in", text)[1])
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()
        p99 = float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
        return {"requests": count, "cpu": others / count / 1000, "all": (others + shipping) / count / 1000, "p99": p99}

    def stop(self):
        self.child.terminate()
        self.child.wait(60)


def median(rounds, key):
    """The median ratio of the second program to the first, and the middle half of the ratios."""
    ratios = sorted(second[key] / first[key] for first, second in rounds)
    cut = len(ratios) // QUARTERS
    return statistics.median(ratios), ratios[cut], ratios[len(ratios) - 1 - cut]


def compare(what, rounds):
    print(f"{what}: {len(rounds)} rounds of {sum(one['requests'] for pair in rounds for one in pair) // len(rounds) // 2} requests each")
    for key, name in [("cpu", "CPU time a request, threads that serve and record"), ("all", "CPU time a request, all threads"), ("p99", "p99")]:
        ratio, low, high = median(rounds, key)
        first, second = (statistics.median(pair[place][key] for pair in rounds) for place in (0, 1))
        unit = "ms" if key == "p99" else "µs"
        print(f"  {name}: {first:.2f} {unit} without, {second:.2f} {unit} with the backlog; ratio {ratio:.3f} (middle half {low:.3f} to {high:.3f})")


def alternate(first, second, seconds, turn):
    """A round: both under load, in changing order."""
    order = [first, second] if turn % 2 else [second, first]
    results = {program: program.load(seconds) for program in order}
    return results[first], results[second]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True, type=pathlib.Path, help="icpgate")
    parser.add_argument("--store", required=True, type=pathlib.Path, help="the folder of the benchmark")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2)
    args = parser.parse_args()
    program, store = args.program.resolve(), args.store.resolve()
    if not (store / "access").is_dir():
        sys.exit(f"backlog: {store} holds no store; `cargo bench --bench backlog` with STORE makes it")
    with tempfile.TemporaryDirectory(prefix="icpgate-backlog-", dir=store) as name:
        folder = pathlib.Path(name)
        (folder / "blocked").write_text("a file where a directory should be")
        port = free_port()
        down = f'{{name: nas, type: directory, path: {folder}/blocked}}, {{name: syslog, type: relp, address: "127.0.0.1:{port}"}}'
        without = Program(program, folder / "without", folder / "without-access", "")
        backlog = Program(program, folder / "with", store / "access", down)
        backlog.until("both sinks have failed", lambda: all(sink["last_error"] for sink in backlog.sinks()))
        lag = {sink["name"]: sink["lag_bytes"] >> 20 for sink in backlog.sinks()}
        print(f"waiting for the sinks: {lag} MiB")
        for one in (without, backlog):
            one.load(args.seconds)
        rounds = [alternate(without, backlog, args.seconds, turn) for turn in range(args.rounds)]
        compare("sinks down", rounds)
        print(f"  memory: {without.memory():.1f} MiB without, {backlog.memory():.1f} MiB with the backlog")

        (folder / "rsyslog.conf").write_text(RSYSLOG.format(folder=folder, port=port))
        words = ["/usr/sbin/rsyslogd", "-n", "-f", folder / "rsyslog.conf", "-i", folder / "rsyslog.pid"]
        rsyslog = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
        syslog = lambda: next(sink for sink in backlog.sinks() if sink["name"] == "syslog")
        backlog.until("rsyslog is found", lambda: syslog()["acknowledged_seq"] > 0)
        began, start, rounds = time.monotonic(), syslog()["acknowledged_seq"], []
        while syslog()["lag_bytes"] >> 20 > 1 and len(rounds) < args.rounds:
            rounds.append(alternate(without, backlog, args.seconds, len(rounds)))
        rate = (syslog()["acknowledged_seq"] - start) / (time.monotonic() - began)
        served = sum(pair[1]["requests"] for pair in rounds) / (time.monotonic() - began)
        compare("rsyslog catches up", rounds)
        print(f"  {rate:.0f} records/s, while {served:.0f} requests/s came in; {backlog.memory():.1f} MiB with the backlog")
        for one in (without, backlog):
            one.stop()
        rsyslog.kill()
        rsyslog.wait()


if __name__ == "__main__":
    main()
