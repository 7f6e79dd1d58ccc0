"""Runs a program under valgrind's callgrind; counting starts and stops on request.

Counts user-space instructions between `begin` and `dump`, without start and stop. The program has
one core, and therefore the number of workers for one core.
"""

import collections
import os
import re
import signal
import subprocess

# The counts of one thread. The file at `path` has them by function, for callgrind_annotate.
Dump = collections.namedtuple("Dump", "path instructions system_calls functions places")

# Waits, which are more frequent on a slow machine (`syscall` is futex). And the clock: valgrind hides the vDSO,
# so that reading it is a system call.
NOT_COUNTED = ("clock_gettime", "epoll_wait", "futex", "syscall")


class Failed(Exception):
    """Nothing could be counted."""


class Callgrind:
    """A program under callgrind that runs until `stop`."""

    def __init__(self, command, folder, core):
        self.folder = folder
        self.log = (folder / "program.log").open("wb")
        options = ["--tool=callgrind", "--separate-threads=yes", "--collect-systime=yes", "--fair-sched=yes"]
        options += [f"--callgrind-out-file={folder}/callgrind.out", f"--vgdb-prefix={folder}/vgdb"]
        self.process = subprocess.Popen(
            ["valgrind", *options, *command],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        self.dumps = 0

    def begin(self):
        """Resets the counters."""
        # Callgrind's `zero` does not reset the system calls.
        self.dump()

    def dump(self):
        """What each thread has done since the last `begin` or `dump`."""
        self.dumps += 1
        self._tell("dump")
        paths = sorted(self.folder.glob(f"callgrind.out.{self.dumps}-*"))
        if not paths:
            raise Failed("callgrind left no dump")
        return [read(path) for path in paths]

    def running(self):
        """Whether the program runs."""
        return self.process.poll() is None

    def stop(self):
        """Stops the program with SIGTERM."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def _tell(self, word):
        command = ["vgdb", f"--vgdb-prefix={self.folder}/vgdb", f"--pid={self.process.pid}", word]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        except subprocess.SubprocessError as failure:
            # Commands reach a waiting program only if ptrace is permitted, which is the default.
            raise Failed(f"valgrind does not accept {word} (is ptrace forbidden?): {failure.stderr or failure}") from None


def read(path):
    """Reads a dump in callgrind's text format; keeps the functions' own costs."""
    names, files = {}, {}
    functions, places, system_calls = collections.Counter(), collections.Counter(), 0
    function = file = ""
    called = False

    def named(table, text):
        number, _, name = text.partition(" ")
        return table.setdefault(number, name) if name else table.get(number, "")

    for line in path.read_text(errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key == "fn":
            function = named(names, value)
        elif key == "cfn":
            named(names, value)
        elif key in ("fl", "fi", "fe"):
            file = named(files, value)
        elif key in ("cfl", "cfi"):
            named(files, value)
        elif key == "calls":
            called = True
        elif line[:1] in tuple("0123456789+-*"):
            # The line after `calls=` has the callee's cost, which is also listed with the callee.
            if not called:
                costs = line.split()[1:]
                functions[function] += int(costs[0])
                places[place(file)] += int(costs[0])
                if len(costs) > 1 and not any(name in function for name in NOT_COUNTED):
                    system_calls += int(costs[1])
            called = False
    return Dump(path, functions.total(), system_calls, functions, places)


def place(file):
    """The owner of a source file: a module of the program, a crate, the standard library or the system."""
    if found := re.search(r"/registry/src/[^/]+/([^/]+)-\d+\.\d+[^/]*/", file):
        return found[1]
    if file.startswith("/rustc/"):
        return "(standard library)"
    if "aws-lc" in file:
        return "(aws-lc)"
    found = re.search(r"(?:^|/)src/(\w+)", file)
    return f"icpgate::{found[1]}" if found else "(libc)"
