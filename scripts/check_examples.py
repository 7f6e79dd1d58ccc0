"""Checks every configuration in config/ and packaging/, in the manifests and in the rendered Helm chart with `icpgate check`.

Works on copies in a temporary folder, with certificates made for the occasion: the examples name
certificate files, and none belong into a repository.

usage: check_examples.py ICPGATE
"""

import collections
import pathlib
import shutil
import subprocess
import sys
import tempfile

import yaml
from helm_python.chart import Chart

# The chart refuses to make a load balancer of its own.
CHART_VALUES = {
    "service": {"type": "ClusterIP"},
    "filings": [
        {"domain": "example.cn", "number": "京ICP备2024012345号-1", "status": "approved", "approved_on": "2026-03-02"}
    ],
}


def manifests():
    """Every manifest, and what the chart renders, as (name, text)."""
    for manifest in sorted(pathlib.Path("kubernetes").glob("*.yaml")):
        yield manifest.stem, manifest.read_text()
    rendered = Chart.load("kubernetes/chart").render(CHART_VALUES, name="edge", namespace="default")
    yield "chart", "\n---\n".join(rendered.values())


def copied(folder):
    """Copies every example into `folder`; every icpgate.yaml among them."""
    shutil.copytree("config", folder / "config")
    shutil.copytree("packaging", folder / "packaging", ignore=shutil.ignore_patterns("debian"))
    for source, text in manifests():
        for document in filter(None, yaml.safe_load_all(text)):
            if document["kind"] == "ConfigMap" and "icpgate.yaml" in document["data"]:
                place = folder / "kubernetes" / source / document["metadata"]["name"]
                place.mkdir(parents=True)
                for name, text in document["data"].items():
                    (place / name).write_text(text)
    return sorted(folder.rglob("icpgate.yaml"))


def certify(chain, key, hosts):
    """Writes a certificate for `hosts`, signed by itself, and its key."""
    for file in (chain, key):
        file.parent.mkdir(parents=True, exist_ok=True)
    names = ",".join(f"DNS:{host}" for host in hosts)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=example", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, "-keyout", key, "-out", chain], check=True, capture_output=True)
    key.chmod(0o600)


def provide(config):
    """Makes the certificates that `config` names; the files that it is made of."""
    content = yaml.safe_load(config.read_text())
    # Sites may share a certificate.
    hosts = collections.defaultdict(list)
    for site in content["sites"]:
        if "certificate" in site:
            pair = site["certificate"]
            hosts[config.parent / pair["chain"], config.parent / pair["key"]] += site["hosts"]
    for (chain, key), names in hosts.items():
        certify(chain, key, names)
    for origin in content.get("origins", []):
        if "trust" in origin:
            certify(config.parent / origin["trust"], config.parent / "unused.key", [origin["server_name"]])
    return [config, config.parent / content["filings"]]


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        configs = copied(folder)
        unused = set(folder.rglob("*.yaml"))
        failed = not configs
        for config in configs:
            print(f"   {config.relative_to(folder)}")
            unused -= set(provide(config))
            check = subprocess.run([program, "check", "--config", config], capture_output=True, text=True)
            print("\n".join("      " + line for line in (check.stdout + check.stderr).splitlines()))
            failed |= check.returncode != 0
        for file in sorted(unused):
            print(f"   {file.relative_to(folder)}: no configuration uses it")
        return 1 if failed or unused else 0


sys.exit(main())
