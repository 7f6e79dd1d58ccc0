"""Processes on chosen cores, which end with the measurement."""

import os
import signal
import subprocess

import accounting


class Process:
    """A started program; its output is in `log`."""

    def __init__(self, name, command, folder, cores):
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )

    @property
    def pids(self):
        """The ids of the process and its descendants."""
        return accounting.tree(self.child.pid)

    def spread(self, cores):
        """Moves all threads to `cores`."""
        for pid in self.pids:
            for thread in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(thread), cores)

    def runs(self):
        """Whether it runs."""
        return self.child.poll() is None

    def said(self):
        """The beginning and the end of its output."""
        text = self.log.read_text(errors="replace")
        return text if len(text) < 4000 else f"{text[:2000]}\n...\n{text[-2000:]}"

    def stop(self):
        """Terminates it; kills it after a while."""
        if self.runs():
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
