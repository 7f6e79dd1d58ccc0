"""What makes the load, each a process: wrk, oha and h2load, and clients of our own where none of them will do.

A generator is started, runs until it is over, and then says how many answers it had; any that was not right voids
the run. How many there were in a span of time is not asked of it: the origin counts (`bench`), so that the
beginning of a tool, its handshakes and its connections, is in no figure. What does not reach the origin is counted
by who asks.
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
    """Answers were wrong, or none came: there is nothing to report of such a run."""


class Tool:
    """A load generator that is a program of its own, on `cores`."""

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
        """Where it reads and writes."""
        return {"stdout": self.out, "stderr": subprocess.STDOUT}

    def finish(self):
        """Waits for its end; what it says of its answers is checked."""
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
    """Kept connections of HTTP/1.1, asked as fast as they answer."""

    tool = "wrk"

    def __init__(self, folder, cores, connections=64, scheme="https"):
        super().__init__(folder, cores)
        self.connections, self.scheme = connections, scheme

    def command(self, port, path, seconds):
        options = ["-t", 1, "-c", self.connections, "-d", f"{seconds}s", "-s", RESOLVE]
        return ["wrk", *options, f"{self.scheme}://{HOST}:{port}{path}"]

    def check(self, text):
        if failed := re.search(r"(Socket errors|Non-2xx).*", text):
            raise Failed(f"wrk: {failed[0]}")
        return int(re.search(r"(\d+) requests in", text)[1])


class Oha(Tool):
    """As wrk: another opinion."""

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
        # What is under way when the time is over is no failure.
        errors = {error: count for error, count in result["errorDistribution"].items() if "deadline" not in error}
        if set(codes) != {"200"} or errors:
            raise Failed(f"oha: {codes} {errors}")
        return codes["200"]


class H2load(Tool):
    """Kept connections of HTTP/2, several requests under way on each."""

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
    """Clients of our own (`clients/`): eight at once, each doing one thing after the other."""

    program = TARGET / "release" / "icpgate-clients"

    def __init__(self, folder, cores):
        super().__init__(folder, cores)
        self.folder, self.child, self.count = folder, None, 0

    @classmethod
    def build(cls):
        """Builds the program, unless it is there and current."""
        command = ["cargo", "build", "--release", "--locked", "--manifest-path", HERE / "clients" / "Cargo.toml"]
        subprocess.run([*command, "--target-dir", TARGET], check=True)

    def pipes(self):
        return {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.out}

    def done(self):
        """How often it was done so far: each line that is sent is answered by that."""
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
        # Nothing is said where the program failed; its status tells.
        self.count = int(said or self.count)

    def _written(self, name, content):
        file = self.folder / name
        file.write_bytes(content)
        return file


class Handshakes(Clients):
    """A request on a connection of its own."""

    def command(self, port, path, seconds):
        body = self._written("expected", fixture.BODIES[path][1])
        return [self.program, self.kind, port, seconds, HOST, path, self.folder / "chain.pem", body]


class FreshHandshakes(Handshakes):
    """A full handshake for each request, from a client that remembers nothing."""

    kind = "fresh"


class ResumedHandshakes(Handshakes):
    """A resumed handshake for each request, each with the ticket that came over the connection before."""

    kind = "resumed"


class RefusedNames(Clients):
    """A ClientHello with a name that is not filed, as OpenSSL sends it, and whatever comes back."""

    reaches_origin = False

    def command(self, port, _, seconds):
        return [self.program, "refused", port, seconds, self._written("hello", client.hello(fixture.UNFILED))]
