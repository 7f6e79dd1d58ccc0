"""Checks monitoring/ with promtool: the alerts' syntax and tests, and every expression of the dashboard.

A dashboard has no linter, so each of its expressions becomes a recording rule that promtool parses. Every metric
that an alert or a panel names must be one that the program shows.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

FOLDER = pathlib.Path("monitoring")
# What Grafana puts in before it asks Prometheus.
VARIABLES = {"$__rate_interval": "5m", "$instance": ".*"}


def promtool(*arguments):
    """Runs promtool; says what it said when it fails."""
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        print(ran.stdout + ran.stderr)
    return ran.returncode == 0


def panel_expressions():
    """The expressions of the dashboard, by panel."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            yield f"{panel['title']}/{target['refId']}", expression


def unknown_metrics(expressions):
    """Metrics that no source file of the program names."""
    source = "".join(path.read_text() for path in pathlib.Path("src").rglob("*.rs"))
    for where, expression in expressions:
        for name in re.findall(r"icpgate_[a-z_]+", expression):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            if f'"{family}"' not in source:
                yield f"{where}: the program shows no {name}"


def main():
    rules = yaml.safe_load((FOLDER / "rules.yaml").read_text())["groups"][0]["rules"]
    panels = list(panel_expressions())
    alerts = [(rule["alert"], rule["expr"]) for rule in rules]
    problems = list(unknown_metrics(alerts + panels))
    tested = (FOLDER / "rules-test.yaml").read_text()
    problems += [f"{alert}: has no test" for alert, _ in alerts if f"alertname: {alert}\n" not in tested]
    runbook = pathlib.Path("docs/operations.md").read_text()
    problems += [f"{alert}: has no paragraph in docs/operations.md" for alert, _ in alerts if f"**{alert}**" not in runbook]
    with tempfile.TemporaryDirectory() as folder:
        recording = pathlib.Path(folder) / "panels.yaml"
        recorded = [{"record": f"panel:{n}", "expr": expression} for n, (_, expression) in enumerate(panels)]
        recording.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
        is_well = promtool("check", "rules", str(recording))
    is_well &= promtool("check", "rules", str(FOLDER / "rules.yaml"))
    is_well &= promtool("test", "rules", str(FOLDER / "rules-test.yaml"))
    print("\n".join(problems) or f"   {len(alerts)} alerts tested, {len(panels)} expressions of the dashboard parsed")
    sys.exit(0 if is_well and not problems else 1)


main()
