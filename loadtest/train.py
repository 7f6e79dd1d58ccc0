"""Training requests for profile-guided optimisation: `scripts/dist` runs them against the instrumented build.

usage: loadtest/train.py --program PATH

Every answer is checked. The program writes its profile at exit, to LLVM_PROFILE_FILE or its built-in path.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import threading

import client
import exchanges
import fixture
from origin import Origin

CLIENTS = 8
# Requests per client, by case.
TIMES = {"json": 1500, "browser": 500, "html": 1500, "chunked": 300, "html_h2": 1500, "large": 30, "handshake": 150, "refused": 400}


class Browser(client.Http1):
    """Sends a browser's request fields."""

    headers = {
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
        "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "accept-language": "zh-CN,zh;q=0.8,en-US;q=0.5,en;q=0.3",
        "accept-encoding": "gzip, deflate, br, zstd",
        "referer": f"https://{fixture.HOST}/",
        "cookie": "session=0123456789abcdef0123456789abcdef; seen=1",
        "sec-fetch-dest": "document",
        "sec-fetch-mode": "navigate",
        "sec-fetch-site": "same-origin",
        "priority": "u=0, i",
    }


CASES = {**exchanges.CASES, "browser": exchanges.kept(Browser, "/index.html", 400)}


def ask(port, failures):
    """Runs every case sequentially."""
    try:
        for name, times in TIMES.items():
            case = CASES[name]
            shared = case.begin(port) if case.begin else None
            for _ in range(times):
                case.ask(shared, port)
            if shared:
                shared.close()
    except Exception as failure:  # Whatever it is, the program is not the one to ship.
        failures.append(failure)


def main():
    parser = argparse.ArgumentParser(prog="loadtest/train.py", description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, required=True)
    program = parser.parse_args().program.resolve()
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fixture.certify(folder, fixture.HOST)
        port, admin_port = fixture.free_ports(2)
        config = fixture.configure(folder, port, admin_port, Origin().port)
        with (folder / "program.log").open("w+") as log:
            process = subprocess.Popen([program, "run", "--config", config], stdout=log, stderr=log)
            if fixture.answers(port, lambda: process.poll() is None):
                clients = [threading.Thread(target=ask, args=(port, failures)) for _ in range(CLIENTS)]
                for one in clients:
                    one.start()
                for one in clients:
                    one.join()
            process.terminate()
            if process.wait(60) != 0 or failures:
                log.seek(0)
                sys.exit(f"train: {failures or 'not served'}\n{log.read()}")


if __name__ == "__main__":
    main()
