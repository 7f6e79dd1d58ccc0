"""The report of a run: medians and spread, ratios by round, goals and misses; as Markdown and JSON."""

import json
import statistics

from cases import OURS


def spread(values):
    """Median, minimum and maximum."""
    return statistics.median(values), min(values), max(values)


def number(value):
    """A figure with its significant digits."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ranged(values, form=number):
    middle, least, most = spread(values)
    return form(middle) if len(values) == 1 else f"{form(middle)} ({form(least)}–{form(most)})"


class Results:
    """The figures of all rounds, by case and subject."""

    def __init__(self, cases):
        self.cases = {case.name: case for case in cases}
        self.rounds = {case.name: [] for case in cases}
        self.skipped = {}

    def of(self, name, subject, figure):
        """A figure in all rounds."""
        return [one[subject][figure] for one in self.rounds[name] if subject in one]

    def ratios(self, name, figure, against):
        """Ratios of the first subject's figure to another's, by round."""
        first = self.cases[name].subjects[0]
        pairs = [(one[first], one[against]) for one in self.rounds[name] if first in one and against in one]
        return [ours[figure] / other[figure] for ours, other in pairs]

    def verdicts(self):
        """Each goal: the case, the goal, the result, and whether it is met."""
        for name, case in self.cases.items():
            for goal in case.goals:
                if not self.rounds[name]:
                    continue
                if goal.against:
                    values = self.ratios(name, goal.figure, goal.against)
                else:
                    values = self.of(name, case.subjects[0], goal.figure)
                if not values:
                    continue
                middle = statistics.median(values)
                met = middle >= goal.limit if goal.least else middle <= goal.limit
                yield name, goal, values, met


def goal_text(case, goal):
    """A goal in words."""
    sign = "≥" if goal.least else "≤"
    if goal.against:
        return f"{sign} {goal.limit:g} of {goal.against.removeprefix('icpgate, ')}'s" if goal.against != OURS else f"{sign} {goal.limit:g} of one's"
    units = dict([case.shown, *case.more])
    return f"{sign} {goal.limit:,g} {units.get(goal.figure, goal.figure)}"


def table(heads, rows):
    """An aligned Markdown table."""
    rows = [heads, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def goals(results):
    """The table of goals."""
    rows = []
    for name, goal, values, met in results.verdicts():
        case = results.cases[name]
        ratio = (lambda value: f"{value:.2f}") if goal.against else number
        rows.append([name, case.title, goal_text(case, goal), ranged(values, ratio), "met" if met else "**MISS**"])
    rows += [[name, results.cases[name].title, "", f"not measured: {why}", ""] for name, why in results.skipped.items()]
    return table(["case", "what", "goal", "measured (least–most)", ""], rows)


def figures(results):
    """The table of figures by subject."""
    rows = []
    for name, case in results.cases.items():
        for figure, unit in [case.shown, *case.more]:
            for subject in case.subjects:
                values = results.of(name, subject, figure)
                if values:
                    ratio = ""
                    if subject != case.subjects[0]:
                        ratio = ranged(results.ratios(name, figure, subject), lambda value: f"{value:.2f}")
                    rows.append([name, unit, subject, ranged(values), ratio])
    return table(["case", "figure", "of", "median (least–most)", "the first by it"], rows)


def document(facts, results):
    """The whole report as Markdown."""
    lines = [f"# {facts['machine']['date']}, commit {facts['machine']['commit']}", ""]
    lines += [f"- {fact}: {value}" for fact, value in conditions(facts)]
    lines += [f"- **{remark}**" for remark in facts["remarks"]]
    return "\n".join([*lines, "", "## Goals", "", goals(results), "", "## Figures", "", figures(results), ""])


def summary(facts, results, place):
    """The table of goals, with a link to the report."""
    machine = facts["machine"]
    remarks = "".join(f" **{remark[0].upper()}{remark[1:]}.**" for remark in facts["remarks"])
    said = f"Commit {machine['commit']}, {machine['date']}, {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}"
    return f"{said}; [all of it]({place}).{remarks}\n\n{goals(results)}\n"


def conditions(facts):
    """The conditions of the measurement."""
    machine = facts["machine"]
    yield "machine", f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB; {machine['system']}, Linux {machine['kernel']}"
    yield "compared", "; ".join(facts["versions"].values())
    yield "generators", "; ".join(one for one in (machine["wrk"], machine["h2load"]) if one)
    yield "TLS, the same for all", ", ".join(f"{key} {value}" for key, value in facts["terms"].items())
    yield "session tickets after a handshake", ", ".join(f"{name} {count}" for name, count in facts["tickets"].items())
    yield "run", f"{facts['rounds']} rounds, {facts['seconds']} s each time after {facts['warm_up']} s to warm up; `{facts['command']}`"
    if "origin" in facts:
        yield "origin", f"{facts['origin']['per_second']:,.0f} requests/s of 1 KB when asked directly, {facts['origin']['times']:.1f} times the most that came through a proxy"
    load, foreign = facts["load"], facts["foreign"]
    yield "load average", f"{load[0]} before, {load[1]} after"
    if foreign:
        yield "others on the server's core", f"{foreign['median']:.1%} of the time at the median, {foreign['most']:.1%} at most; it was interrupted {foreign['interrupted']:,.0f} times a second"


def raw(facts, results):
    """Every figure as JSON."""
    return json.dumps({**facts, "skipped": results.skipped, "cases": results.rounds}, indent=1, ensure_ascii=False) + "\n"
