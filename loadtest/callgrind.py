"""A program under valgrind's callgrind, told from outside when to begin and to end counting.

Counted is what it does in user space between `begin` and `dump`: start and stop are not in it. The program has
one core, so that it runs as many workers as one core gets.
"""

import collections
import os
import re
import signal
import subprocess

# What a thread did: the file says where, function by function, for callgrind_annotate.
Dump = collections.namedtuple("Dump", "path instructions system_calls functions places")

# Waits, of which a slow machine has more; `syscall` stands for futexes. And the clock: valgrind hides the kernel's page
# that tells the time without a system call.
NOT_COUNTED = ("clock_gettime", "epoll_wait", "futex", "syscall")


class Failed(Exception):
    """Nothing was counted."""


class Callgrind:
    """A program that runs until `stop`."""

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
        """Forgets what was counted."""
        # Callgrind's own `zero` leaves the system calls as they are.
        self.dump()

    def dump(self):
        """What each thread did since the last time."""
        self.dumps += 1
        self._tell("dump")
        paths = sorted(self.folder.glob(f"callgrind.out.{self.dumps}-*"))
        if not paths:
            raise Failed("callgrind left no dump")
        return [read(path) for path in paths]

    def running(self):
        """Whether the program has not ended."""
        return self.process.poll() is None

    def stop(self):
        """Stops the program as an operator would."""
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
            # A program that waits can only be told where ptrace is permitted, as it is by default.
            raise Failed(f"valgrind cannot be told to {word} (is ptrace forbidden here?): {failure.stderr or failure}") from None


def read(path):
    """The dump at `path`: callgrind's text format, of which costs of functions themselves are wanted."""
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
            # After `calls=`, what the callee cost; that stands with the callee too.
            if not called:
                costs = line.split()[1:]
                functions[function] += int(costs[0])
                places[place(file)] += int(costs[0])
                if len(costs) > 1 and not any(name in function for name in NOT_COUNTED):
                    system_calls += int(costs[1])
            called = False
    return Dump(path, functions.total(), system_calls, functions, places)


def place(file):
    """Whose source a file is: a module of ours, a crate, the standard library, or the system's."""
    if found := re.search(r"/registry/src/[^/]+/([^/]+)-\d+\.\d+[^/]*/", file):
        return found[1]
    if file.startswith("/rustc/"):
        return "(standard library)"
    if "aws-lc" in file:
        return "(aws-lc)"
    found = re.search(r"(?:^|/)src/(\w+)", file)
    return f"icpgate::{found[1]}" if found else "(libc)"
