"""Validates the manifests and the Helm chart of kubernetes/ against the schemas of Kubernetes itself.

The chart is linted and rendered by Helm's own engine, once for each case below. Every document is tried at both ends
of the supported range: the first release with sidecar containers on by default, and the newest one known here.
Kinds of the Prometheus operator have no schema there; their presence is checked, and their expressions by promtool.
"""

import pathlib
import sys

import helm_python
import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

RELEASES = ["1.29", kubernetes_validate.latest_version()]
CHART = pathlib.Path("kubernetes/chart")
OPERATOR_KINDS = {"ServiceMonitor", "PrometheusRule"}

FILED = {"service": {"loadBalancerId": "nlb-filed"}}
LOG = {"directory": "/var/lib/icpgate/access"}
SINK = {"name": "nas", "type": "directory", "path": "/mnt/audit", "require": True}
# What a case is called, its values, and what the rendered documents must hold.
RENDERED = [
    ("an NLB whose address is filed", FILED, ["nlb-filed", "kind: StatefulSet", "storage: 100Gi", "seconds: 10"]),
    (
        "behind an ALB whose address is filed",
        {
            "service": {"type": "ClusterIP"},
            "ingress": {"enabled": True, "albId": "alb-filed", "hosts": ["www.example.cn"]},
        },
        ['alb.ingress.kubernetes.io/alb-id: "alb-filed"', "kind: Ingress"],
    ),
    (
        "a Deployment that ships its records",
        FILED | {"workload": {"kind": "Deployment"}, "config": {"access_log": LOG | {"sinks": [SINK]}}},
        ["kind: Deployment", "emptyDir"],
    ),
    (
        "scraped by the Prometheus operator",
        FILED
        | {
            "serviceMonitor": {"enabled": True},
            "prometheusRule": {"enabled": True, "rules": pathlib.Path("monitoring/rules.yaml").read_text()},
        },
        ["kind: ServiceMonitor", "alert: IcpgateDown"],
    ),
    (
        "an allowlist and certificates that others keep",
        FILED | {"existingFilings": "filed", "extraSecrets": [{"name": "docs", "path": "certs/docs"}]},
        ["name: filed", "certs/docs/tls.key"],
    ),
]
# Values that must be refused, and a word of the reason.
REFUSED = [
    ({}, "loadBalancerId"),
    ({"service": {"type": "ClusterIP"}, "ingress": {"enabled": True}}, "albId"),
    (FILED | {"workload": {"kind": "Deployment"}}, "loses its records"),
    (FILED | {"workload": {"replica": 3}}, "replica"),
    (FILED | {"records": {"size": "lots"}}, "size"),
    (FILED | {"prometheusRule": {"enabled": True}}, "set-file"),
]

problems = []


def validate(where, text):
    """Holds each document of a rendered text to every release."""
    for document in filter(None, yaml.safe_load_all(text)):
        name = f"{where}: {document['kind']} {document['metadata']['name']}"
        if document["kind"] in OPERATOR_KINDS:
            continue
        for release in RELEASES:
            try:
                kubernetes_validate.validate(document, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{name}: not valid for Kubernetes {release}: {error.message}")


def undocumented(text):
    """Values without a comment on the line before them or before their section."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line and not line.startswith(("#", " ")) and not line.startswith(("resources", "ports")):
            following = lines[number + 1] if number + 1 < len(lines) else ""
            if not lines[number - 1].startswith("#") and "#" not in following:
                yield line


for manifest in sorted(pathlib.Path("kubernetes").glob("*.yaml")):
    validate(manifest, manifest.read_text())
    print(f"   {manifest}: read")

chart = Chart.load(str(CHART))
for what, values, expected in RENDERED:
    chart.validate_schema(values)
    text = "\n---\n".join(chart.render(values, name="edge", namespace="default").values())
    validate(f"chart, {what}", text)
    problems += [f"chart, {what}: lacks {words!r}" for words in expected if words not in text]
    print(f"   chart, {what}: rendered")
for values, word in REFUSED:
    try:
        chart.validate_schema(values)
        chart.render(values, name="edge", namespace="default")
        problems.append(f"chart: accepts {values}")
    except helm_python.HelmError as error:
        if word not in str(error):
            problems.append(f"chart: {values} is refused without the word {word}: {error}")
linted = lint(str(CHART), values=FILED)
# 1 is information, 2 a warning, 3 an error.
problems += [f"chart, lint: {message}" for message in linted["messages"] if message["severity"] > 1]
problems += [f"chart, lint: {error}" for error in linted["errors"]]
print(f"   chart: {linted['total_charts_linted']} linted")
problems += [f"values.yaml: {line} has no comment" for line in undocumented((CHART / "values.yaml").read_text())]
print("\n".join(problems) or "   all documents are valid for Kubernetes " + " and ".join(RELEASES))
sys.exit(1 if problems else 0)
