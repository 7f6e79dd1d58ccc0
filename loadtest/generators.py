"""Load generators, each a process: wrk, oha, h2load, and the project's own clients.

A generator runs for a fixed time and then reports its number of answers. Any wrong answer voids
the run. The requests of an interval are counted by the origin (`bench`), so that the
start of a tool is in no figure. Requests that do not reach the origin are counted
by the generator.
"""

import json
import os
import pathlib
import re
import subprocess

import client
import fixture
from fixture import HOST

HERE = pathlib.Path(__file__).resolve().parent
RESOLVE = HERE / "loopback.lua"
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or HERE.parent / "target").resolve()


class Failed(Exception):
    """Answers were wrong or missing: the run is void."""


class Tool:
    """A load generator as a separate program on `cores`."""

    reaches_origin = True

    def __init__(self, folder, cores):
        self.out = (folder / "generator.log").open("w+")
        self.cores = cores

    def start(self, port, path, seconds):
        self.child = subprocess.Popen(
            [str(word) for word in self.command(port, path, seconds)],
            **self.pipes(),
            preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
        )

    def pipes(self):
        """Its standard streams."""
        return {"stdout": self.out, "stderr": subprocess.STDOUT}

    def finish(self):
        """Waits for its end; the checked number of answers."""
        self.child.wait(120)
        self.out.seek(0)
        text = self.out.read()
        self.out.close()
        if self.child.returncode:
            raise Failed(f"{self.child.args[0]} ended with {self.child.returncode}: {text[-2000:]}")
        return self.check(text)

    def stop(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


class Wrk(Tool):
    """Persistent HTTP/1.1 connections, back to back."""

    tool = "wrk"

    def __init__(self, folder, cores, connections=64, scheme="https", fields=()):
        super().__init__(folder, cores)
        self.connections, self.scheme, self.fields = connections, scheme, fields

    def command(self, port, path, seconds):
        options = ["-t", 1, "-c", self.connections, "-d", f"{seconds}s", "-s", RESOLVE]
        options += [word for field in self.fields for word in ("-H", field)]
        return ["wrk", *options, f"{self.scheme}://{HOST}:{port}{path}"]

    def check(self, text):
        if failed := re.search(r"(Socket errors|Non-2xx).*", text):
            raise Failed(f"wrk: {failed[0]}")
        return int(re.search(r"(\d+) requests in", text)[1])


class Oha(Tool):
    """The same load as wrk, as a cross-check."""

    tool = "oha"

    def __init__(self, folder, cores, connections=64):
        super().__init__(folder, cores)
        self.connections, self.trusted = connections, folder / "chain.pem"

    def command(self, port, path, seconds):
        options = ["--no-tui", "--output-format", "json", "--cacert", self.trusted, "--connect-to", f"{HOST}:{port}:127.0.0.1:{port}"]
        return ["oha", *options, "-z", f"{seconds}s", "-c", self.connections, f"https://{HOST}:{port}{path}"]

    def check(self, text):
        result = json.loads(text)
        codes = result["statusCodeDistribution"]
        # Requests in flight at the end are no failures.
        errors = {error: count for error, count in result["errorDistribution"].items() if "deadline" not in error}
        if set(codes) != {"200"} or errors:
            raise Failed(f"oha: {codes} {errors}")
        return codes["200"]


class H2load(Tool):
    """HTTP/2 connections with several concurrent requests each."""

    tool = "h2load"

    def __init__(self, folder, cores, connections=16, streams=4):
        super().__init__(folder, cores)
        self.connections, self.streams = connections, streams

    def command(self, port, path, seconds):
        options = ["-t", 1, "-c", self.connections, "-m", self.streams, "-D", seconds, "--warm-up-time", 0]
        options += ["--npn-list", "h2", "--connect-to", f"127.0.0.1:{port}"]
        return ["h2load", *options, f"https://{HOST}:{port}{path}"]

    def check(self, text):
        counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
        codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
        if not counts or not codes:
            raise Failed(f"h2load: {text[-2000:]}")
        if int(counts[1]) == 0 or any(int(one) for one in [*counts.groups()[1:], *codes.groups()[1:]]):
            raise Failed(f"h2load: {counts[0]}; {codes[0]}")
        return int(counts[1])


class Clients(Tool):
    """The project's own clients (`clients/`): eight in parallel, each sequential."""

    program = TARGET / "release" / "icpgate-clients"

    def __init__(self, folder, cores):
        super().__init__(folder, cores)
        self.folder, self.child, self.count = folder, None, 0

    @classmethod
    def build(cls):
        """Builds the clients if they are missing or outdated."""
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "clients" / "Cargo.toml"]
        subprocess.run([*command, "--target-dir", TARGET], check=True)

    def pipes(self):
        return {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.out}

    def done(self):
        """The number of requests so far. The program prints it for each line it reads."""
        if self.child and self.child.poll() is None:
            self.child.stdin.write(b"\n")
            self.child.stdin.flush()
            self._count(self.child.stdout.readline())
        return self.count

    def check(self, _):
        self._count(self.child.stdout.read())
        return self.count

    def stop(self):
        super().stop()
        self.child.stdin.close()
        self.child.stdout.close()

    def _count(self, said):
        # A failed program prints nothing; its exit status tells.
        self.count = int(said or self.count)

    def _written(self, name, content):
        file = self.folder / name
        file.write_bytes(content)
        return file


class Handshakes(Clients):
    """One request per connection."""

    def command(self, port, path, seconds):
        body = self._written("expected", fixture.BODIES[path][1])
        return [self.program, self.kind, port, seconds, HOST, path, self.folder / "chain.pem", body]


class FreshHandshakes(Handshakes):
    """A full handshake for each request."""

    kind = "fresh"


class ResumedHandshakes(Handshakes):
    """A resumed handshake for each request, with the previous connection's ticket."""

    kind = "resumed"


class RefusedNames(Clients):
    """An OpenSSL ClientHello with an unfiled name, read to the end of the connection."""

    reaches_origin = False

    def command(self, port, _, seconds):
        return [self.program, "refused", port, seconds, self._written("hello", client.hello(fixture.UNFILED))]
