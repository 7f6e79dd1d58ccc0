"""The test bench: pinned cores, the origin, freshly started peers, measured intervals.

The server under test has a core to itself. The origin, the generators and this program share the other core. A peer
runs only while it is measured.
"""

import collections
import contextlib
import http.client
import math
import os
import pathlib
import shutil
import tempfile
import time

import accounting
import checks
import fixture
import peers
from processes import Process

# Counters read at one moment.
Moment = collections.namedtuple("Moment", "time cpu ticks requests switches core")


class Bench:
    """What all measurements share. Use it as a context manager."""

    def __init__(self, options, subjects):
        self.options, self.subjects = options, subjects
        self.all_cores = os.sched_getaffinity(0)
        self.server_core, self.other_core = max(self.all_cores), min(self.all_cores)
        self.terms, self.tickets, self.proved = {}, {}, set()
        # Per interval: the share of the server's core used by others, and the server's involuntary switches.
        self.foreign, self.interrupted = [], []

    def __enter__(self):
        os.sched_setaffinity(0, {self.other_core})
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="icpgate-loadtest-"))
        self.origin_port, = fixture.free_ports(1)
        origin = self.folder / "origin"
        origin.mkdir()
        self.origin = Process("origin", peers.nginx_origin(origin, self.origin_port), origin, {self.other_core})
        if not fixture.answers(self.origin_port, self.origin.runs):
            raise checks.Unfair(f"the origin does not answer: {self.origin.said()}")
        return self

    def __exit__(self, *_):
        self.origin.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.sched_setaffinity(0, self.all_cores)

    def place(self):
        """Makes a folder for a run, with the certificate that all peers share."""
        place = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        shared = self.folder / "certificate"
        if not shared.exists():
            shared.mkdir()
            fixture.certify(shared, fixture.HOST)
        for file in shared.iterdir():
            shutil.copy(file, place)
        return place

    @contextlib.contextmanager
    def serving(self, subject, cores=None, use=None):
        """Runs `subject`, configured for `use`, and checks that it does the job; yields the process with its port and folder."""
        peer, place = self.subjects[subject], self.place()
        port, = fixture.free_ports(1)
        command = peer.command(place, port, self.origin_port, use)
        with Process(peer.name, command, place, cores or {self.server_core}) as process:
            process.port, process.place = port, place
            if not fixture.answers(port, process.runs):
                raise checks.Unfair(f"{subject} does not answer: {process.said()}")
            if subject not in self.proved:
                self.prove(subject, peer, process)
            yield process
            if not process.runs():
                raise checks.Unfair(f"{subject} ended: {process.said()}")
        shutil.rmtree(place, ignore_errors=True)

    def prove(self, subject, peer, process):
        """Checks a peer before its first measurement."""
        checks.does_the_job(peer, process.port)
        found = checks.handshake(process.port)
        self.tickets[subject] = found.pop("tickets")
        if not peer.logged(process):
            raise checks.Unfair(f"{subject} has no log where it should, or one where it should not")
        self.terms[subject] = found
        checks.same_terms(self.terms)
        self.proved.add(subject)

    def origin_count(self):
        """Requests that the origin has served, without those of this function."""
        connection = http.client.HTTPConnection("127.0.0.1", self.origin_port, timeout=10)
        connection.request("GET", "/count")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        self.asked = getattr(self, "asked", 0) + 1
        return int(lines[2].split()[2]) - self.asked

    def moment(self, pids, count):
        return Moment(
            time.monotonic_ns(), accounting.cpu_ns(pids), accounting.cpu_ticks_ns(pids), count(),
            accounting.involuntary_switches(pids), accounting.busy_ns(self.server_core),
        )

    def hits(self, process, generator, path):
        """Figures per request of a load that does not reach the origin, from its start to its end."""
        asked = self.origin_count()
        seconds, pids = math.ceil(self.options.seconds + self.options.warm_up), process.pids
        begin, cpu = time.monotonic_ns(), accounting.cpu_ns(pids)
        generator.start(process.port, path, seconds)
        try:
            answers = generator.finish()
        finally:
            generator.stop()
        cpu, took = accounting.cpu_ns(pids) - cpu, time.monotonic_ns() - begin
        if self.origin_count() - asked > 2:
            raise checks.Unfair(f"{process.name} asked the origin for what it has stored")
        return {"cpu_us": cpu / answers / 1000, "per_second": answers / took * 1e9, "busy": cpu / took}

    def span(self, process, generator, path, pinned=True):
        """Figures per request during a load, without its start and end."""
        seconds, warm_up = self.options.seconds, self.options.warm_up
        count = self.origin_count if generator.reaches_origin else generator.done
        before = count()
        generator.start(process.port, path, math.ceil(warm_up + seconds + 0.3))
        try:
            time.sleep(warm_up)
            pids = process.pids
            begin = self.moment(pids, count)
            time.sleep(seconds)
            end = self.moment(pids, count)
            answers = generator.finish()
        finally:
            generator.stop()
        # Origin and generator must agree, but for requests in flight at the end.
        if abs(count() - before - answers) > 200 + 0.01 * answers:
            raise checks.Unfair(f"{process.name}: {answers} answers of {count() - before} requests to the origin")
        spent = Moment(*(after - before for before, after in zip(begin, end)))
        if spent.requests < 20:
            raise checks.Unfair(f"{process.name} served {spent.requests} requests in {seconds} s: {process.said()}")
        # Both CPU clocks must agree; the second has steps of 10 ms.
        if abs(spent.cpu - spent.ticks) > 0.02 * spent.cpu + 30_000_000:
            raise checks.Unfair(f"the kernel's CPU clocks disagree: {spent.cpu} and {spent.ticks} ns")
        if pinned:
            self.foreign.append(max(0, spent.core - spent.ticks) / spent.time)
            self.interrupted.append(spent.switches / spent.time * 1e9)
        return {
            "cpu_us": spent.cpu / spent.requests / 1000,
            "per_second": spent.requests / spent.time * 1e9,
            "busy": spent.cpu / spent.time,
        }
