"""Cases for icpgate alone: reloads, records, workers, very many names."""

import http.client
import json
import os
import pathlib
import subprocess
import sys
import time

import accounting
import checks
import fixture
import generators
import openloop
from cases import OURS, Case, Goal
from processes import Process

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Reload(Case):
    """Tail latency with an allowlist of 10,000 filings, with and without a reload every second."""

    name, title = "reload", "a new allowlist of 10,000 filings each second, under 2,000 requests/s"
    shown = ("added_p99_ms", "ms added to p99")
    more = (("quiet_p99_ms", "p99 ms without"), ("reloading_p99_ms", "p99 ms with"), ("worst_ms", "worst ms"), ("reloads", "reloads"))
    goals = (Goal("added_p99_ms", 1.0),)
    filings = 10_000
    rounds = 3

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            peer, seconds = bench.subjects[subject], bench.options.seconds + 1
            # Written in advance: during the load each is only renamed.
            new = [self.write(process.place, note) for note in range(int(seconds) + 2)]
            replace = lambda: new.pop().rename(process.place / "filings.yaml")
            replace()
            self.wait_for(peer, 1)
            quiet = openloop.run(process.port, "/data.json", 2000, seconds)
            before = reloads(peer)
            disturbed = openloop.run(process.port, "/data.json", 2000, seconds, each_second=replace)
            self.wait_for(peer, before + 1)
            p99 = [openloop.percentile(times.took, 0.99) for times in (quiet, disturbed)]
            return {
                "quiet_p99_ms": p99[0],
                "reloading_p99_ms": p99[1],
                "added_p99_ms": p99[1] - p99[0],
                "worst_ms": max(disturbed.took),
                "reloads": reloads(peer) - before,
            }

    def write(self, place, note):
        path = place / f"filings.{note}"
        path.write_text(fixture.filings(self.filings, note))
        return path

    @staticmethod
    def wait_for(peer, count):
        deadline = time.monotonic() + 20
        while reloads(peer) < count:
            if time.monotonic() > deadline:
                raise checks.Unfair("the allowlist is not applied")
            time.sleep(0.05)


def admin(peer, path):
    """Status and text of an admin page."""
    connection = http.client.HTTPConnection("127.0.0.1", peer.admin_port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def reloads(peer):
    """The number of applied reloads."""
    line = next(line for line in admin(peer, "/metrics")[1].splitlines() if line.startswith('icpgate_reloads_total{result="applied"'))
    return int(float(line.split()[-1]))


class Workers(Case):
    """Two workers on both cores, which generator and origin share, against one worker."""

    name, title = "workers", "1 KB JSON: two workers against one, cores shared with the generator"
    more = (("per_second", "requests/s"),)
    subjects = ("icpgate, two workers", OURS)
    goals = (Goal("cpu_us", 1.1, OURS),)

    def measure(self, bench, subject):
        two = subject != OURS
        with bench.serving(subject, cores=bench.all_cores if two else None) as process:
            generator = generators.Wrk(process.place, bench.all_cores if two else {bench.other_core})
            if two:
                bench.origin.spread(bench.all_cores)
            try:
                return bench.span(process, generator, "/data.json", pinned=not two)
            finally:
                bench.origin.spread({bench.other_core})


class Records(Case):
    """A build with the feature `unrecorded`, with and without records."""

    name, title = "records", "1 KB JSON: with records against without, four times a round"
    more = (("per_second", "requests/s"),)
    subjects = ("icpgate, records", "icpgate, no records")
    goals = (Goal("cpu_us", 1.03, "icpgate, no records"),)
    times = 4

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            return bench.span(process, generators.Wrk(process.place, {bench.other_core}), "/data.json")


class Many(Case):
    """Start time and memory with 100,000 filings and 10,000 sites with certificates."""

    name, title = "many", "start with 100,000 filings and 10,000 sites, all cores"
    shown = ("start_s", "s until ready")
    more = (("pss_mib", "MiB of PSS"), ("pairs", "certificates"))
    goals = (Goal("start_s", 5.0), Goal("pss_mib", 400.0))
    rounds = 2

    def measure(self, bench, subject):
        pairs = 100 if bench.options.quick else 10_000
        port, admin_port = fixture.free_ports(2)
        place = self.written(pairs, port, admin_port, bench.origin_port, bench.all_cores)
        began = time.monotonic()
        command = [bench.subjects[subject].path, "run", "--config", place / "icpgate.yaml"]
        with Process(subject, command, bench.folder, bench.all_cores) as process:
            while not is_ready(admin_port):
                if not process.runs() or time.monotonic() > began + 120:
                    raise checks.Unfair(f"not ready: {process.said()}")
                time.sleep(0.005)
            ready = time.monotonic() - began
            answer = subprocess.run(
                ["curl", "-s", "--cacert", place / "certs" / "ca.pem", "--resolve", f"www.d9999.cn:{port}:127.0.0.1",
                 f"https://www.d9999.cn:{port}/data.json"],
                check=True, capture_output=True,
            )
            if answer.stdout != fixture.BODIES["/data.json"][1]:
                raise checks.Unfair("the last of 10,000 sites is not served")
            time.sleep(2)
            return {"start_s": ready, "pss_mib": accounting.pss(process.pids) / (1 << 20), "pairs": pairs}

    @staticmethod
    def written(pairs, port, admin_port, origin_port, cores):
        """Writes the configuration; its folder. The certificates take a minute to make, and are kept."""
        place = ROOT / "target" / "loadtest" / f"many-{pairs}"
        script = [sys.executable, ROOT / "loadtest" / "many.py", place, "--pairs", str(pairs)]
        script += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin_port}", "--origin", f"127.0.0.1:{origin_port}"]
        subprocess.run(script, check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        return place


def is_ready(admin_port):
    try:
        connection = http.client.HTTPConnection("127.0.0.1", admin_port, timeout=1)
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False


class Decide(Case):
    """One decision of the gate among 100,000 filings, by criterion."""

    name, title = "decide", "the gate's answer among 100,000 filings (criterion)"
    shown = ("ns", "ns")
    goals = (Goal("ns", 300.0),)
    rounds = 1

    def measure(self, bench, subject):
        command = ["cargo", "bench", "--locked", "--bench", "hot_paths", "--", "decide/permit/100000"]
        subprocess.run(
            command, check=True, capture_output=True, cwd=ROOT, preexec_fn=lambda: os.sched_setaffinity(0, bench.all_cores)
        )
        found = (ROOT / "target" / "criterion" / "decide").glob("permit_100000_*/new/estimates.json")
        return {"ns": max(json.loads(file.read_text())["median"]["point_estimate"] for file in found)}


CASES = [Reload(), Workers(), Records(), Many(), Decide()]
