"""Compares icpgate with nginx and HAProxy on this machine, and prints goals and results.

usage: make loadtest   or   loadtest/run.sh [OPTION ...]
"""

import argparse
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time

import cases
import checks
import client
import generators
import machine
import ours
import peers
import report
from bench import Bench

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = [*cases.CASES, *ours.CASES]
# The origin alone must serve this many times the requests per second of any proxy.
HEAD_ROOM = 1.5
# Attempts per run, and the errors that void a run.
ATTEMPTS = 3
VOID = (checks.Unfair, generators.Failed, client.Unexpected, OSError, subprocess.SubprocessError)


def options():
    parser = argparse.ArgumentParser(prog="loadtest/run.sh", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, help="how often each case is measured (5)")
    parser.add_argument("--seconds", type=float, help="how long each time (2.8)")
    parser.add_argument("--cases", type=lambda text: text.split(","), help=",".join(case.name for case in CASES))
    parser.add_argument("--peers", type=lambda text: text.split(","), default=list(peers.PEERS), help=",".join(peers.PEERS))
    parser.add_argument("--program", type=pathlib.Path, required=True, help="the program to measure")
    parser.add_argument("--without-records", type=pathlib.Path, help="a build with the feature `unrecorded`")
    parser.add_argument("--quick", action="store_true", help="about three minutes: 2 rounds of 1 s, fewer slow cases")
    parser.add_argument("--no-results", action="store_true", help="print only; write nothing to loadtest/results/")
    parser.add_argument("--publish", action="store_true", help="put the table of goals into docs/benchmarks.md")
    given = parser.parse_args()
    for path in (given.program, given.without_records):
        if path and not path.is_file():
            parser.error(f"{path}: there is no such program")
    given.rounds = given.rounds or (2 if given.quick else 5)
    given.seconds = given.seconds or (1.0 if given.quick else 2.8)
    given.warm_up = 0.7 if given.quick else 0.8
    given.idle = min(1000 if given.quick else 3000, peers.CONNECTIONS * 3 // 4)
    for kind, words, known in (("case", given.cases or [], [case.name for case in CASES]), ("peer", given.peers, peers.PEERS)):
        if unknown := set(words) - set(known):
            parser.error(f"no such {kind}: {', '.join(unknown)}; there are: {', '.join(known)}")
    return given


def chosen(given):
    """The cases to measure, and reasons for those that are skipped."""
    wanted = [case for case in CASES if (not given.cases or case.name in given.cases)]
    results = report.Results(wanted)
    if any(case.tool == generators.Clients.program for case in wanted):
        generators.Clients.build()
    for case in wanted:
        if case.tool and not shutil.which(case.tool):
            results.skipped[case.name] = f"there is no {case.tool} here"
        if case.name == "records" and not given.without_records:
            results.skipped[case.name] = "--without-records is not given; loadtest/run.sh builds that program when all cases are measured"
        if case.name == "decide" and given.quick and not given.cases:
            results.skipped[case.name] = "--quick"
    return results


def subjects(given):
    """All subjects by name."""
    found = {name: peers.PEERS[name]() for name in given.peers}
    found[cases.OURS] = peers.Icpgate(given.program)
    found["icpgate, two workers"] = peers.Icpgate(given.program)
    if given.without_records:
        found["icpgate, records"] = peers.Icpgate(given.without_records)
        found["icpgate, no records"] = peers.Icpgate(given.without_records, records=False)
    return found


def rounds(bench, results, given):
    """Measures all cases, round by round."""
    for turn in range(given.rounds):
        for name, case in results.cases.items():
            if turn >= min(case.rounds or given.rounds, given.rounds):
                continue
            for turn_of_case in range(turn * case.times, (turn + 1) * case.times):
                if name not in results.skipped:
                    in_turn(bench, results, case, turn_of_case)


def in_turn(bench, results, case, turn):
    """Measures a case with each of its subjects, in rotating order; counts only if all succeed."""
    present = [subject for subject in case.subjects if subject in bench.subjects]
    measured = {}
    for subject in present[turn % len(present) :] + present[: turn % len(present)]:
        if (figures := attempt(bench, case, subject, results)) is None:
            return
        measured[subject] = figures
        shown = report.number(figures[case.shown[0]])
        print(f"round {turn + 1}  {case.name:<10} {subject:<22} {shown:>10} {case.shown[1]}", flush=True)
    results.rounds[case.name].append(measured)


def attempt(bench, case, subject, results):
    """The figures of one run. A void run is repeated; after ATTEMPTS void runs the case is skipped."""
    for again in range(ATTEMPTS):
        try:
            return case.measure(bench, subject)
        except VOID as failure:
            reason = str(failure) or repr(failure)
            print(f"void: {case.name} of {subject}: {reason}", flush=True)
            time.sleep(again)
    results.skipped[case.name] = f"void {ATTEMPTS} times: {reason.splitlines()[0][:120]}"
    return None


def origin_head_room(bench, given):
    """Requests per second of the origin alone, driven from the server's core."""
    load = generators.Wrk(bench.folder, {bench.server_core}, scheme="http")
    bench.origin.port = bench.origin_port
    begin = bench.origin_count(), time.monotonic()
    load.start(bench.origin_port, "/data.json", 2)
    load.finish()
    return (bench.origin_count() - begin[0]) / (time.monotonic() - begin[1])


def facts_of(bench, results, given, load, origin, command):
    """Conditions and remarks for the report."""
    most = max((value for name, case in results.cases.items() if isinstance(case, cases.Load)
                for subject in case.subjects for value in results.of(name, subject, "per_second")
                if name != "refused"), default=0)
    facts = {
        "machine": machine.described(),
        "versions": {name: subject.version() for name, subject in bench.subjects.items() if "," not in name},
        "terms": checks.same_terms(bench.terms) if bench.terms else {},
        "tickets": bench.tickets,
        "rounds": given.rounds, "seconds": given.seconds, "warm_up": given.warm_up, "command": command,
        "load": [load, machine.load()],
        "foreign": {
            "median": statistics.median(bench.foreign), "most": max(bench.foreign),
            "interrupted": statistics.median(bench.interrupted),
        } if bench.foreign else None,
        "remarks": [],
    }
    if most:
        facts["origin"] = {"per_second": origin, "times": origin / most}
        if origin < HEAD_ROOM * most:
            facts["remarks"].append("the origin has too little headroom: requests per second are limited by it, not by the proxies")
    late = results.of("p99", cases.OURS, "late_p99_ms") if "p99" in results.cases else []
    if late and statistics.median(late) > 1:
        facts["remarks"].append("the generator itself was late: p99 is meaningless")
    if load > 1 or bench.foreign and facts["foreign"]["median"] > 0.03:
        facts["remarks"].append("the machine was busy: trust ratios more than figures, and neither too much")
    return facts


def main():
    given = options()
    command = "loadtest/run.sh " + " ".join(sys.argv[1:])
    load = machine.load()
    results = chosen(given)
    with Bench(given, subjects(given)) as bench:
        origin = origin_head_room(bench, given)
        print(f"the origin alone: {origin:,.0f} requests/s", flush=True)
        rounds(bench, results, given)
        facts = facts_of(bench, results, given, load, origin, command)
    text = report.document(facts, results)
    print("\n" + text)
    if not given.no_results:
        name = facts["machine"]["date"][:16].replace(" ", "-").replace(":", "") + "-" + facts["machine"]["commit"]
        folder = ROOT / "loadtest" / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.md").write_text(text)
        (folder / f"{name}.json").write_text(report.raw(facts, results))
        print(f"written: loadtest/results/{name}.md and .json")
        if given.publish:
            publish(facts, results, name)
    if any(reason.startswith("void") for reason in results.skipped.values()):
        sys.exit("loadtest: some cases are void")


def publish(facts, results, name):
    """Writes the table of goals between the marks in docs/benchmarks.md."""
    page = ROOT / "docs" / "benchmarks.md"
    begin, end = "<!-- results -->\n", "<!-- /results -->"
    before, _, rest = page.read_text().partition(begin)
    _, _, after = rest.partition(end)
    summary = report.summary(facts, results, f"../loadtest/results/{name}.md")
    page.write_text(before + begin + summary + end + after)


if __name__ == "__main__":
    # SIGTERM also ends the started processes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main()
    except VOID as failure:
        sys.exit(f"loadtest: void: {failure}")
