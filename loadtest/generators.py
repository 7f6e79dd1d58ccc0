"""What makes the load: wrk, oha and h2load as processes, and clients of our own where none of them will do.

A generator is started, runs until it is over, and then says how many answers it had; any that was not right voids
the run. How many there were in a span of time is not asked of it: the origin counts (`bench`), so that the
beginning of a tool, its handshakes and its connections, is in no figure.
"""

import json
import os
import pathlib
import re
import socket
import subprocess
import threading

import client
import fixture
from fixture import HOST

RESOLVE = pathlib.Path(__file__).resolve().with_name("loopback.lua")


class Failed(Exception):
    """Answers were wrong, or none came: there is nothing to report of such a run."""


class Tool:
    """A load generator of somebody else's."""

    reaches_origin = True

    def __init__(self, folder, cores):
        self.out = (folder / "generator.log").open("w+")
        self.cores = cores

    def start(self, port, path, seconds):
        self.child = subprocess.Popen(
            [str(word) for word in self.command(port, path, seconds)],
            stdout=self.out,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
        )

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


class Clients:
    """Clients of our own, in threads of this process, each doing one thing after the other until stopped."""

    reaches_origin = True

    def __init__(self, threads=8):
        self.threads = threads
        self.counts = [0] * threads

    def start(self, port, path, _):
        self.port, self.path = port, path
        self.over = False
        self.failures = []
        self.running = [threading.Thread(target=self._run, args=(index,)) for index in range(self.threads)]
        for thread in self.running:
            thread.start()

    def done(self):
        """How often it was done so far."""
        return sum(self.counts)

    def finish(self):
        self.stop()
        if self.failures:
            raise Failed(f"{type(self).__name__}: {self.failures[0]!r}, and {len(self.failures) - 1} more")
        return self.done()

    def stop(self):
        self.over = True
        for thread in self.running:
            thread.join()

    def _run(self, index):
        act = self.begin()
        while not self.over:
            try:
                act()
                self.counts[index] += 1
            except Exception as failure:  # Whatever it is, the run is void.
                self.failures.append(failure)
                return


class FreshHandshakes(Clients):
    """A full handshake for each request, from a client that remembers nothing."""

    def begin(self):
        def act():
            connection = client.Http1(self.port, client.context("http/1.1"))
            if connection.stream.session_reused:
                raise Failed("a session was resumed")
            connection.get(self.path)
            connection.close()

        return act


class ResumedHandshakes(Clients):
    """A resumed handshake for each request, each with the ticket that came over the connection before."""

    def begin(self):
        tls = client.context("http/1.1")
        first = client.Http1(self.port, tls)
        first.get(self.path)
        session = first.stream.session
        first.close()

        def act():
            nonlocal session
            connection = client.Http1(self.port, tls, session)
            if not connection.stream.session_reused:
                raise Failed("a session was not resumed")
            connection.get(self.path)
            session = connection.stream.session
            connection.close()

        return act


class RefusedNames(Clients):
    """A ClientHello with a name that is not filed, as a browser would send it, and whatever comes back."""

    reaches_origin = False

    def begin(self):
        hello = client.hello(fixture.UNFILED)

        def act():
            with socket.create_connection(("127.0.0.1", self.port)) as stream:
                stream.sendall(hello)
                try:
                    while some := stream.recv(4096):
                        # Of TLS's records, an alert alone says no.
                        if some[0] != 21:
                            raise Failed(f"an unfiled name is answered: {some.hex()}")
                except ConnectionResetError:
                    pass

        return act
