"""Resource use of processes from the kernel's accounting: CPU time, memory, context switches.

Figures are for a process tree: the started process and its descendants.
"""

import os
import pathlib
import time

TICK = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and its descendants."""
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [pid] + [one for file in children for child in file.read_text().split() for one in tree(int(child))]


def cpu_ns(pids):
    """CPU time of all past and present threads of `pids`, in nanoseconds."""
    # The CPU clock of another process: clock_getcpuclockid(3), which Python lacks.
    return sum(time.clock_gettime_ns((~pid << 3) | 2) for pid in pids)


def cpu_ticks_ns(pids):
    """The CPU time from /proc/PID/stat, in steps of 10 ms, to check `cpu_ns`."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * 1_000_000_000 // TICK


def pss(pids):
    """Proportional set size in bytes."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def involuntary_switches(pids):
    """Involuntary context switches of all threads."""
    total = 0
    for pid in pids:
        for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"):
            total += int(status.read_text().rpartition("nonvoluntary_ctxt_switches:")[2].split()[0])
    return total


def busy_ns(core):
    """Busy time of a core in nanoseconds, including time stolen by the hypervisor."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _, _, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * 1_000_000_000 // TICK
    raise ValueError(f"there is no core {core}")
