"""The machine and the versions of a measurement."""

import datetime
import os
import pathlib
import platform
import re
import subprocess


def described():
    """The machine, its system, tool versions and the commit."""
    cpu = re.search(r"^model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text(), re.MULTILINE)
    release = re.search(r'^PRETTY_NAME="?(.*?)"?$', pathlib.Path("/etc/os-release").read_text(), re.MULTILINE)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / (1 << 20), 1),
        "system": release[1] if release else platform.system(),
        "kernel": platform.release(),
        "openssl": said("openssl", "version"),
        "wrk": said("wrk", "-v").partition(" Copyright")[0],
        "h2load": said("h2load", "--version"),
        "rustc": said("rustc", "--version"),
    }


def commit():
    """The commit, with `-modified` if files differ from it."""
    try:
        hash = said("git", "rev-parse", "--short=10", "HEAD")
        # Results of earlier runs do not count.
        changed = said("git", "status", "--porcelain", "--", ".", ":!loadtest/results")
        return hash + ("-modified" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def said(*command):
    """The first line of a program's output, whatever its exit status."""
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return process.stdout.strip().partition("\n")[0]


def load():
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)
