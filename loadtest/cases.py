"""The comparing cases: what is measured, for which servers, with which goals.

A case measures one subject in one round; `run` decides rounds and their order. Figures have names. A goal
limits a figure of icpgate, or its ratio to another subject's figure in the same round.
"""

import collections
import time

import accounting
import client
import exchanges
import generators
import openloop

# `against` names another subject for a ratio; without it, the limit is for the figure. `least`: a lower limit.
Goal = collections.namedtuple("Goal", "figure limit against least", defaults=(None, False))
OURS = "icpgate"
ALL = (OURS, "nginx", "haproxy")
WITH_FOOTER = (OURS, "nginx")


class Case:
    """The interface of cases. `shown` is the figure in the table, with its unit."""

    subjects = (OURS,)
    goals = ()
    shown = ("cpu_us", "CPU µs/request")
    # Figures for the second table.
    more = ()
    # A tool that only this case needs.
    tool = None
    # Slow and stable cases have fewer rounds.
    rounds = None
    # Measurements per round, more than one for small differences.
    times = 1

    def measure(self, bench, subject):
        """Measures one subject in one round; its figures by name."""
        raise NotImplementedError


class Load(Case):
    """CPU time per request under load."""

    more = (("per_second", "requests/s"), ("busy", "share of its core"))

    def __init__(self, name, title, path, generator, subjects, goals, tool=None):
        self.name, self.title, self.path, self.generator = name, title, path, generator
        self.subjects, self.goals, self.tool = subjects, goals, tool

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            return bench.span(process, self.generator(process.place, {bench.other_core}), self.path)


def ratio(limit, against="nginx"):
    """A goal for the CPU time per request."""
    return Goal("cpu_us", limit, against)


class FixedRate(Case):
    """Tail latency at a fixed rate of 2,000 requests/s, measured from the time each request was due."""

    name, title = "p99", "2,000 requests/s, 1 KB JSON, HTTP/1.1"
    shown = ("p99_ms", "p99 ms")
    more = (("p50_ms", "median ms"), ("worst_ms", "worst ms"), ("late_p99_ms", "generator late, p99 ms"))
    subjects = ALL
    goals = (Goal("p99_ms", 1.0, "nginx"),)

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            times = openloop.run(process.port, "/data.json", 2000, bench.options.seconds + 1)
            return {
                "p50_ms": openloop.percentile(times.took, 0.5),
                "p99_ms": openloop.percentile(times.took, 0.99),
                "worst_ms": max(times.took),
                "late_p99_ms": openloop.percentile(times.late, 0.99),
            }


class Idle(Case):
    """User-space memory of an idle connection after one request."""

    name, title = "idle", "an idle TLS connection"
    shown = ("kib", "KiB of PSS")
    subjects = ALL
    goals = (Goal("kib", 15.0), Goal("kib", 1.0, "nginx"))
    rounds = 2

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            # Warm-up: the first connections allocate more than further ones.
            for connection in [self.connection(process.port) for _ in range(64)]:
                connection.close()
            time.sleep(1)
            before = accounting.pss(process.pids)
            held = [self.connection(process.port) for _ in range(bench.options.idle)]
            time.sleep(2)
            after = accounting.pss(process.pids)
            held[0].get("/data.json")
            held[-1].get("/data.json")
            for connection in held:
                connection.stream.close()
            return {"kib": (after - before) / len(held) / 1024}

    @staticmethod
    def connection(port):
        connection = client.Http1(port)
        connection.get("/data.json")
        return connection


class Compressed(Case):
    """A page that gets its footer and is compressed for the client, by both at about the same ratio."""

    name, title = "gzip", "10 KB HTML with footer and gzip, HTTP/1.1 (wrk)"
    more = (("per_second", "requests/s"), ("bytes", "bytes of the body"))
    subjects = WITH_FOOTER
    goals = (ratio(0.8), Goal("bytes", 1.1, "nginx"))

    def measure(self, bench, subject):
        with bench.serving(subject, use="gzip") as process:
            length = exchanges.gzip_length(process.port, "/index.html")
            generator = generators.Wrk(process.place, {bench.other_core}, fields=["Accept-Encoding: gzip"])
            return bench.span(process, generator, "/index.html") | {"bytes": length}


class CacheHit(Case):
    """A stored answer, without the origin."""

    name, title = "cache_hit", "10 KB from the cache, HTTP/1.1 (wrk)"
    more = (("per_second", "requests/s"), ("busy", "share of its core"))
    subjects = WITH_FOOTER
    goals = (ratio(0.8),)

    def measure(self, bench, subject):
        with bench.serving(subject, use="cache") as process:
            connection = client.Http1(process.port)
            exchanges.expect("/style.css", connection.get("/style.css"))
            connection.close()
            return bench.hits(process, generators.Wrk(process.place, {bench.other_core}), "/style.css")


class Stalled(Case):
    """User-space memory of a client that asks for 64 MB over HTTP/1.1 and reads nothing."""

    name, title = "stalled", "a client that does not read 64 MB"
    shown = ("kib", "KiB of PSS")
    subjects = ALL
    goals = (Goal("kib", 256.0),)
    rounds = 2

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            for connection in [self.stalled(process.port) for _ in range(8)]:
                connection.stream.close()
            time.sleep(1)
            before = accounting.pss(process.pids)
            held = [self.stalled(process.port) for _ in range(200)]
            time.sleep(2)
            after = accounting.pss(process.pids)
            for connection in held:
                connection.stream.close()
            return {"kib": (after - before) / len(held) / 1024}

    @staticmethod
    def stalled(port):
        connection = client.Http1(port)
        connection.ask("/huge.bin")
        return connection


class Uploads(Case):
    """User-space memory of an upload that has sent 1,000 of its bytes and goes on later."""

    name, title = "uploads", "a slow upload"
    shown = ("kib", "KiB of PSS")
    subjects = ALL
    goals = ()
    rounds = 2

    def measure(self, bench, subject):
        with bench.serving(subject) as process:
            for connection in [self.begun(process.port) for _ in range(64)]:
                connection.stream.close()
            time.sleep(1)
            before = accounting.pss(process.pids)
            held = [self.begun(process.port) for _ in range(2000)]
            time.sleep(2)
            after = accounting.pss(process.pids)
            for connection in held:
                # None was cut: all of them may go on.
                connection.stream.sendall(b"x")
                connection.stream.close()
            return {"kib": (after - before) / len(held) / 1024}

    @staticmethod
    def begun(port):
        connection = client.Http1(port)
        connection.ask("/upload", "PUT", "content-length: 100000")
        connection.stream.sendall(b"x" * 1000)
        return connection


def large(folder, cores):
    """wrk with few connections, for large bodies."""
    return generators.Wrk(folder, cores, connections=16)


CASES = [
    Load("json", "1 KB JSON, HTTP/1.1 kept alive (wrk)", "/data.json", generators.Wrk, ALL,
         [ratio(0.9), ratio(0.8, "haproxy")]),
    Load("html", "10 KB HTML with footer, HTTP/1.1 (wrk)", "/index.html", generators.Wrk, WITH_FOOTER,
         [ratio(0.65), Goal("per_second", 5000, least=True)]),
    Load("html_h2", "10 KB HTML with footer, HTTP/2 (h2load)", "/index.html", generators.H2load, WITH_FOOTER,
         [ratio(0.7)], "h2load"),
    Compressed(),
    CacheHit(),
    Load("large", "1 MB bodies, HTTP/1.1 (wrk)", "/large.bin", large, ALL, [ratio(0.8)]),
    Load("handshake", "full handshake for each request", "/data.json", generators.FreshHandshakes, ALL, [ratio(0.5)],
         generators.Clients.program),
    Load("resumed", "resumed handshake for each request", "/data.json", generators.ResumedHandshakes, ALL, [ratio(0.65)],
         generators.Clients.program),
    Load("refused", "a name that is not filed", "/", generators.RefusedNames, ALL, [ratio(0.5)], generators.Clients.program),
    Load("json_oha", "1 KB JSON, HTTP/1.1 kept alive (oha)", "/data.json", generators.Oha, ALL, [], "oha"),
    Load("html_oha", "10 KB HTML with footer, HTTP/1.1 (oha)", "/index.html", generators.Oha, WITH_FOOTER, [], "oha"),
    Idle(),
    Stalled(),
    Uploads(),
    FixedRate(),
]
