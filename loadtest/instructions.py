"""Instructions per request of the real program, case by case, compared with the recorded counts.

usage: scripts/instructions [CASE ...]          prints the counts; exit code 1 if one grew by more than 5 %
       scripts/instructions [CASE ...] --keep   records the measured counts
       scripts/instructions [CASE ...] --where  also lists the source files they are in

A fixed client sends sequential requests; valgrind counts the program's user-space instructions
for them, without its start. The profiles stay for callgrind_annotate.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import sys
import tempfile

import callgrind
import client
import exchanges
import fixture
from origin import Origin

ROOT = pathlib.Path(__file__).resolve().parent.parent
KEPT = ROOT / "tests" / "instructions.json"
# The accepted growth. Instructions differ by 0.6 % between runs of
# one build, and by 3 % at nine times the machine's capacity. System calls exclude waits; with large bodies
# their number depends on timing.
TOLERANCE = {"instructions": 0.05, "system_calls": 0.05}
ROOM = {"instructions": 0, "system_calls": 0.4}
UNSTEADY = {
    ("large", "system_calls"): 0.3,
    ("handshake", "system_calls"): 0.15,
    # A ClientHello that is present at accept costs less than one that is awaited, and which of the two
    # happens depends on timing.
    ("refused", "instructions"): 0.2,
    ("refused", "system_calls"): 0.45,
}


def figures(dumps, requests, where):
    """Per request: the counts of the serving threads, and of the record writer, which has no limit.

    The writer and timer threads work by the clock: on a slow machine they do more per request.
    """
    writer = [dump for dump in dumps if any("retention::write::spool" in name for name in dump.functions)]
    others = [dump for dump in dumps if dump not in writer]
    busiest = max(dump.instructions for dump in others)
    serving = [dump for dump in others if dump.instructions > busiest / 10]
    if where:
        places = sum((dump.places for dump in serving), collections.Counter())
        for place, count in places.most_common(16):
            print(f"  {count / requests:>12,.0f}  {count / places.total():>6.1%}  {place}")
    return {
        "instructions": round(sum(dump.instructions for dump in serving) / requests),
        "system_calls": round(sum(dump.system_calls for dump in serving) / requests, 1),
    }, round(sum(dump.instructions for dump in writer) / requests)


def measure(program, cases, out, where):
    """Runs `program`; yields the name and the figures of each case."""
    core, *others = sorted(os.sched_getaffinity(0), reverse=True)
    if others:
        os.sched_setaffinity(0, others)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        fixture.certify(folder, fixture.HOST)
        port, admin_port = fixture.free_ports(2)
        config = fixture.configure(folder, port, admin_port, Origin().port)
        process = callgrind.Callgrind([program, "run", "--config", config], folder, core)
        try:
            if not fixture.answers(port, process.running):
                sys.exit("instructions: not served:\n" + (folder / "program.log").read_text(errors="replace"))
            for name in cases:
                dumps = exchanges.CASES[name].run(port, process)
                keep_profiles(name, dumps, out)
                if where:
                    print(f"{name}: instructions per request by source")
                yield name, figures(dumps, exchanges.CASES[name].requests, where)
        finally:
            process.stop()


def keep_profiles(name, dumps, out):
    """Saves the busiest thread's profile under the name of the case, the others with a number."""
    ranked = sorted(dumps, key=lambda dump: dump.instructions, reverse=True)
    for rank, dump in enumerate(ranked):
        # callgrind_annotate counts an unfinished call, such as a thread's first, as the caller's own work.
        text = re.sub(r"^calls=0 ", "calls=1 ", dump.path.read_text(errors="replace"), flags=re.MULTILINE)
        (out / (f"{name}.out" if rank == 0 else f"{name}.out.{rank}")).write_text(text)


def judge(name, kind, figure, kept):
    """Prints a figure beside the recorded one; whether the growth is accepted."""
    if kept is None:
        print(f"{name:<12}{kind:<14}{figure:>12,}{'':>21}   not recorded yet", flush=True)
        return False
    tolerance = UNSTEADY.get((name, kind), TOLERANCE[kind])
    grew = figure > kept * (1 + tolerance) and figure > kept + ROOM[kind]
    shrank = figure < kept * (1 - tolerance) and figure < kept - ROOM[kind]
    remark = "GREW" if grew else "shrank: --keep it" if shrank else ""
    print(f"{name:<12}{kind:<14}{figure:>12,}{kept:>12,}{figure / kept - 1:>+9.1%}   {remark}", flush=True)
    return not grew


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/instructions", description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(exchanges.CASES))
    parser.add_argument("--keep", action="store_true", help=f"write the counts to {KEPT.relative_to(ROOT)}")
    parser.add_argument("--where", action="store_true", help="also list the source files")
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
    for name, (measured, writer) in measure(given.program.resolve(), given.cases or exchanges.CASES, given.out, given.where):
        print(f"{name:<12}{'(writer)':<14}{writer:>12,}")
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
            "instructions: more instructions per request than recorded. If the change is worth it, commit the output of\n"
            "`scripts/instructions --keep` with it."
        )


if __name__ == "__main__":
    try:
        main()
    except (callgrind.Failed, client.Unexpected, OSError) as failure:
        sys.exit(f"instructions: {failure}")
