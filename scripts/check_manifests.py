"""Validates every document of kubernetes/*.yaml, strictly, against the schemas of Kubernetes itself.

Both ends of the range that the manifests are for are tried: the first release with sidecar containers
on by default, and the newest one known here.
"""

import pathlib
import sys

import kubernetes_validate
import yaml

RELEASES = ["1.29", kubernetes_validate.latest_version()]

failed = False
for manifest in sorted(pathlib.Path("kubernetes").glob("*.yaml")):
    for document in yaml.safe_load_all(manifest.read_text()):
        name = f"{manifest}: {document['kind']} {document['metadata']['name']}"
        for release in RELEASES:
            try:
                kubernetes_validate.validate(document, release, strict=True)
                print(f"   {name}: valid for Kubernetes {release}")
            except kubernetes_validate.ValidationError as error:
                print(f"   {name}: not valid for Kubernetes {release}: {error.message}")
                failed = True
sys.exit(1 if failed else 0)
