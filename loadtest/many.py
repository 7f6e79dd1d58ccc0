#!/usr/bin/env python3
"""Writes a very large configuration into a folder: icpgate.yaml, filings.yaml, certs/.

usage: many.py FOLDER [--filings 100000] [--sites 10000] [--pairs 100] [--listen 127.0.0.1:8443]
               [--admin 127.0.0.1:9180] [--origin 127.0.0.1:8000]

Filing N is for d<N>.cn, site N for www.d<N>.cn and d<N>.cn. The sites share the certificates evenly;
with as many `--pairs` as sites, each has its own. All are signed by certs/ca.pem. The keys are
ECDSA P-256, made by openssl, one process per core: about 10 ms per pair.
"""

import argparse
import concurrent.futures
import os
import pathlib
import subprocess

PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, capture_output=True)


def authority(folder):
    """Makes a certificate authority, unless the folder has one."""
    if (folder / "ca.pem").exists():
        return
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 3650,
        "-subj", "/CN=many.py", "-keyout", folder / "ca.key", "-out", folder / "ca.pem",
    )


def pair(folder, number, names):
    """Makes a certificate for `names` and its key, unless they exist."""
    if (folder / f"{number}.pem").exists():
        return
    alternatives = "subjectAltName=" + ",".join(f"DNS:{name}" for name in names)
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 3650,
        "-subj", f"/CN=pair {number}", "-addext", alternatives, "-addext", "basicConstraints=critical,CA:FALSE",
        "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
        "-keyout", folder / f"{number}.key", "-out", folder / f"{number}.pem",
    )
    os.chmod(folder / f"{number}.key", 0o600)


def filing(number):
    """A filing; some have hosts, deadlines or a public security filing."""
    province = PROVINCES[number % len(PROVINCES)]
    lines = [
        f"  - domain: d{number}.cn",
        f"    number: {province}ICP备{2000 + number % 25}{(number + 1) % 1_000_000:06}号-{number % 9 + 1}",
        "    status: approved",
        "    approved_on: 2026-03-02",
    ]
    if number % 5 == 0:
        lines.append(f'    hosts: [d{number}.cn, "*.d{number}.cn"]')
    if number % 7 == 0:
        lines.append("    valid_until: 2041-03-01")
    if number % 11 == 0:
        lines.append("    live_on: 2026-03-05")
        lines.append(f"    public_security: {{number: 京公网安备{11_010_500_000_000 + number}号}}" if province == "京" else
                     "    access: [{provider: aliyun, addresses: [203.0.113.10]}]")
    return "\n".join(lines)


def hosts(number):
    return [f"www.d{number}.cn", f"d{number}.cn"]


def site(number, pairs):
    return (
        f"  - hosts: [{', '.join(hosts(number))}]\n"
        f"    certificate: {{chain: certs/{number % pairs}.pem, key: certs/{number % pairs}.key}}\n"
        "    routes: [{origins: [app]}]"
    )


def configuration(options):
    sites = "\n".join(site(number, options.pairs) for number in range(options.sites))
    return f"""filings: filings.yaml
listeners:
  - name: https
    addresses: ["{options.listen}"]
    protocol: https
    public_addresses: [203.0.113.10]
sites:
{sites}
origins:
  - {{name: app, region: mainland, scheme: http, servers: ["{options.origin}"]}}
access_log: {{directory: access, reserve: 0}}
admin: {{address: "{options.admin}"}}
limits: {{connections_per_client: 65536}}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--filings", type=int, default=100_000)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--listen", default="127.0.0.1:8443")
    parser.add_argument("--admin", default="127.0.0.1:9180")
    parser.add_argument("--origin", default="127.0.0.1:8000")
    options = parser.parse_args()
    if not 1 <= options.pairs <= options.sites <= options.filings:
        parser.error("there are at least as many filings as sites, and as many sites as pairs")

    certs = options.folder / "certs"
    certs.mkdir(parents=True, exist_ok=True)
    authority(certs)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        covered = lambda number: [name for one in range(number, options.sites, options.pairs) for name in hosts(one)]
        list(pool.map(lambda number: pair(certs, number, covered(number)), range(options.pairs)))
    filings = "\n".join(filing(number) for number in range(options.filings))
    (options.folder / "filings.yaml").write_text(f"filings:\n{filings}\n")
    (options.folder / "icpgate.yaml").write_text(configuration(options))


main()
