"""Instructions per request of the real program, case by case, beside those that are kept.

usage: scripts/instructions [CASE ...]          prints; says so and ends with 1 when one grew by more than 5 %
       scripts/instructions [CASE ...] --keep   takes what is measured for the ones to keep

A fixed client asks one request after the other; what valgrind counts is what the program does in user space
for them, without its start. Profiles are left for callgrind_annotate.
"""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

import exchanges
import fixture
from callgrind import Callgrind
from origin import Origin

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "instructions.json"
# By how much a figure may grow. The writer of records works by the clock, and a slow machine gives it more to do.
TOLERANCE = {"instructions": 0.05, "system_calls": 0.05, "writer": 0.30}


def figures(dumps, requests):
    """Per request: what the threads that serve did, and what the writer of records did."""
    writer = [dump for dump in dumps if any("retention::spool" in name for name in dump.functions)]
    serving = [dump for dump in dumps if dump not in writer]
    return {
        "instructions": round(sum(dump.instructions for dump in serving) / requests),
        "system_calls": round(sum(dump.system_calls for dump in serving) / requests, 1),
        "writer": round(sum(dump.instructions for dump in writer) / requests),
    }


def measure(program, cases, out):
    """Runs `program`, and yields the name and the figures of each case."""
    core, *others = sorted(os.sched_getaffinity(0), reverse=True)
    if others:
        os.sched_setaffinity(0, others)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fixture.certify(folder, fixture.HOST)
        port, admin_port = fixture.free_ports(2)
        config = fixture.configure(folder, port, admin_port, Origin().port)
        process = Callgrind([program, "run", "--config", config], folder, core)
        try:
            if not fixture.answers(port, process.running):
                sys.exit("instructions: not served:\n" + (folder / "program.log").read_text(errors="replace"))
            for name in cases:
                dumps = exchanges.CASES[name].run(port, process)
                keep_profiles(name, dumps, out)
                yield name, figures(dumps, exchanges.CASES[name].requests)
        finally:
            process.stop()


def keep_profiles(name, dumps, out):
    """The profile of the busiest thread, under the case's name; the others with a number."""
    ranked = sorted(dumps, key=lambda dump: dump.instructions, reverse=True)
    for rank, dump in enumerate(ranked):
        shutil.copy(dump.path, out / (f"{name}.out" if rank == 0 else f"{name}.out.{rank}"))


def judge(name, kind, figure, kept):
    """Prints a figure beside the kept one; whether it may stand."""
    if kept is None:
        print(f"{name:<12}{kind:<14}{figure:>12,}{'':>12}   new: --keep it")
        return False
    growth = figure / kept - 1 if kept else 0
    # A system call is a whole one.
    grew = growth > TOLERANCE[kind] and not (kind == "system_calls" and figure - kept < 0.5)
    remark = "GREW" if grew else "shrank: --keep it" if growth < -TOLERANCE[kind] else ""
    print(f"{name:<12}{kind:<14}{figure:>12,}{kept:>12,}{growth:>+9.1%}   {remark}", flush=True)
    return not grew


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/instructions", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(exchanges.CASES))
    parser.add_argument("--keep", action="store_true", help=f"write what is measured to {KEPT.relative_to(ROOT)}")
    parser.add_argument("--program", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "target" / "instructions", help="for profiles")
    given = parser.parse_args()
    if unknown := set(given.cases) - set(exchanges.CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are: {', '.join(exchanges.CASES)}")
    return given


def main():
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    print(f"{'case':<12}{'per request':<14}{'measured':>12}{'kept':>12}")
    stands = True
    for name, measured in measure(given.program.resolve(), given.cases or exchanges.CASES, given.out):
        for kind, figure in measured.items():
            stands &= judge(name, kind, figure, kept.get(name, {}).get(kind))
        if given.keep:
            kept[name] = measured
    print(f"profiles: callgrind_annotate {given.out}/CASE.out")
    if given.keep:
        KEPT.write_text(json.dumps(kept, indent=2) + "\n")
        print(f"kept in {KEPT.relative_to(ROOT)}")
    elif not stands:
        sys.exit(
            "instructions: more work per request than is kept. If that is what the change is worth, say so in its\n"
            "commit, with the figures of `scripts/instructions --keep` in it."
        )


if __name__ == "__main__":
    main()
