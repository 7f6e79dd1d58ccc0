"""Takes figures out of what a load generator prints, and sums up those of a whole run.

usage: figures.py wrk|oha < OUTPUT       prints: requests, requests a second, p99 in milliseconds
       figures.py table < FIGURES        lines of: generator case peer requests rate p99 cpu-milliseconds
"""

import collections
import json
import re
import statistics
import sys

MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def wrk(text):
    if failed := re.search(r"(Socket errors|Non-2xx).*", text):
        sys.exit(f"loadtest: {failed[0].strip()}")
    requests = int(re.search(r"(\d+) requests in", text)[1])
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1])
    value, unit = re.search(r"99%\s+([\d.]+)([a-z]+)", text).groups()
    return requests, rate, float(value) * MILLISECONDS[unit]


def oha(text):
    result = json.loads(text)
    codes = result["statusCodeDistribution"]
    # What is under way when the time is over is no failure.
    errors = {error: count for error, count in result["errorDistribution"].items() if "deadline" not in error}
    if set(codes) != {"200"} or errors:
        sys.exit(f"loadtest: {codes} {errors}")
    return codes["200"], result["summary"]["requestsPerSec"], result["latencyPercentiles"]["p99"] * 1000


def table(lines):
    runs = collections.defaultdict(list)
    for line in lines:
        generator, case, peer, requests, rate, p99, cpu = line.split()
        figures = {"rate": float(rate), "cpu": float(cpu) * 1000 / int(requests), "p99": float(p99)}
        runs[generator, case].append((peer, figures))
    print(f"\n{'case':<22}{'figure':<22}{'icpgate':>10}{'nginx':>10}{'ratio':>8}  {'ratio from .. to':<18}")
    units = {"rate": "requests/s", "cpu": "CPU us/request", "p99": "p99 ms"}
    for (generator, case), figures in runs.items():
        for key, unit in units.items():
            ours = [one[key] for peer, one in figures if peer == "icpgate"]
            theirs = [one[key] for peer, one in figures if peer == "nginx"]
            ratios = [our / their for our, their in zip(ours, theirs)]
            medians = statistics.median(ours), statistics.median(theirs)
            digits = 0 if key == "rate" else 2
            print(
                f"{generator + ' ' + case:<22}{unit:<22}{medians[0]:>10.{digits}f}{medians[1]:>10.{digits}f}"
                f"{statistics.median(ratios):>8.2f}  {min(ratios):.2f} .. {max(ratios):.2f}"
            )
    pages = [one["rate"] for (_, case), run in runs.items() if case == "html" for peer, one in run if peer == "icpgate"]
    return statistics.median(pages)


if sys.argv[1] == "table":
    goal = float(sys.argv[2])
    seen = table(sys.stdin)
    met = seen >= goal
    print(f"\nicpgate, HTML with footer and records: {seen:.0f} requests/s; the goal of {goal:.0f} is {'met' if met else 'MISSED'}")
    sys.exit(0 if met else 1)
requests, rate, p99 = {"wrk": wrk, "oha": oha}[sys.argv[1]](sys.stdin.read())
print(f"{requests} {rate:.0f} {p99:.2f}")
