"""Measures a start and the readers on a large store of access records.

usage: python3 scripts/large.py [--mib 10240] [--export-mib 1024] [--program target/release/icpgate] [--store DIRECTORY]

Reports how long a start takes on the whole store. Then, while the program has the store open for writing, it reports the time and peak memory of
`logs export` (of the oldest --export-mib) and of `logs verify` (of everything). Uses the store in DIRECTORY if there is one; else creates it there, or in
a temporary folder that is deleted at the end. Nothing else should run on the machine.
"""

import argparse
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "loadtest"))

import fixture  # noqa: E402: found by the line above

CONFIGURATION = """
node: bj-edge-1
filings: filings.yaml
listeners: [{{name: http, addresses: ["127.0.0.1:{port}"], protocol: http, redirect: none}}]
sites: [{{hosts: [www.example.cn], listeners: [http], routes: [{{match: {{path: /}}, origins: [main]}}]}}]
origins: [{{name: main, region: mainland, scheme: http, servers: ["127.0.0.1:{port}"]}}]
access_log: {{directory: "{store}", reserve: 64MiB}}
admin: {{address: "127.0.0.1:{admin}"}}
"""


def options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=10 * 1024, help="size of the store to create (10240)")
    parser.add_argument("--export-mib", type=int, default=1024, help="how much of it to export (1024)")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "target/release/icpgate")
    parser.add_argument("--store", type=pathlib.Path, help="where the store is, or is created; default: a temporary folder")
    return parser.parse_args()


def write(store, mib):
    """Creates a store of generated records, with the retention bench."""
    environment = os.environ | {"STORE": str(store), "MIB": str(mib)}
    subprocess.run(["cargo", "bench", "--quiet", "--locked", "--bench", "retention"], cwd=ROOT, env=environment, check=True)


def start(program, folder, admin):
    """Starts the program; returns its process and the seconds until it answered."""
    began = time.monotonic()
    process = subprocess.Popen([program, "run", "--config", folder / "icpgate.yaml"], stderr=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{admin}/livez").read()
            return process, time.monotonic() - began
        except OSError:
            if process.poll() is not None:
                sys.exit(f"{program} ended with {process.returncode}")
            time.sleep(0.005)


def measured(what, size, *command):
    """Runs a command to its end; prints time, throughput and peak memory."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    took = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    print(f"{what}: {took:.1f} s, {size / took:.0f} MiB/s, {used.ru_maxrss / 1024:.1f} MiB peak memory, exit code {code}")


def main():
    given = options()
    with tempfile.TemporaryDirectory(dir=given.store and given.store.parent) as name:
        folder = pathlib.Path(name)
        store = (given.store or folder / "access").resolve()
        if not any(store.glob("access-*.seg")):
            write(store, given.mib)
        segments = sorted(store.glob("access-*.seg"), key=lambda path: path.name[-24:])
        sizes = [path.stat().st_size / 2**20 for path in segments]
        print(f"{sum(sizes):.0f} MiB in {len(segments)} segments")
        port, admin = fixture.free_ports(2)
        (folder / "icpgate.yaml").write_text(CONFIGURATION.format(port=port, admin=admin, store=store))
        (folder / "filings.yaml").write_text("filings: []\n")
        process, seconds = start(given.program, folder, admin)
        print(f"start until it answers: {seconds:.2f} s")
        chosen, oldest = pathlib.Path(name, "oldest"), 0
        chosen.mkdir()
        for path, size in zip(segments, sizes):
            if oldest < given.export_mib:
                (chosen / path.name).hardlink_to(path)
                oldest += size
        measured(f"logs export of {oldest:.0f} MiB", oldest, given.program, "logs", "export", chosen)
        measured(f"logs verify of {sum(sizes):.0f} MiB", sum(sizes), given.program, "logs", "verify", store)
        process.send_signal(signal.SIGTERM)
        process.wait()


main()
