# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the tests that Microsoft ships with azure-keyvault-keys against a lab.

They come from the source distribution of the version that is installed; only their harness is
replaced. What fails must stand in failures.yml with its reason, and what stands there must fail.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PACKAGE = "azure-keyvault-keys"
VAULT = "https://keyferry-lab-sdk.vault.azure.net"
HSM = "https://keyferry-lab-sdk.managedhsm.azure.net"
# They were made for a service with limits that are met by sleeping, which is shortened here.
RATE_FACTOR = "1000"
FEWEST = 1500  # tests that pass; 4.11.3 has 1746


@dataclass(frozen=True)
class Expected:
    """Why some tests fail; each is named by a pattern of fnmatch in which [ stands for itself."""

    reason: str
    tests: tuple[str, ...]


def unpacked(folder: Path) -> Path:
    """Download the source distribution, and return the folder of its tests."""
    version = importlib.metadata.version(PACKAGE)
    pip = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, f"{PACKAGE}=={version}", "-d", folder], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    (tests,) = folder.glob("azure_keyvault_keys-*/tests")
    return tests


@contextlib.contextmanager
def running_lab(folder: Path) -> Iterator[dict[str, str]]:
    """Start a lab, and give what tests need in their environment."""

    def lab(*arguments: str) -> str:
        command = [sys.executable, "-m", "lab", *arguments, "--dir", str(folder)]
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open with the lab
            subprocess.run(command, cwd=ROOT, check=True, stdout=output)
            output.seek(0)
            return output.read()

    lab("start", "--port", "0", "--no-token", "--rate-factor", RATE_FACTOR)
    try:
        variables: dict[str, str] = json.loads(lab("env", "--json"))
        secret = Path(variables.pop("AZURE_SECRET_FILE")).read_text()
        identity = {
            "TENANT_ID": variables["AZURE_TENANT"],
            "CLIENT_ID": variables["AZURE_CLIENT_ID"],
            "CLIENT_SECRET": secret,
        }
        yield {
            **variables,
            **{f"KEYVAULT_{name}": value for name, value in identity.items()},
            "KEYVAULT_SKU": "premium",
            "AZURE_KEYVAULT_URL": VAULT,
            "AZURE_MANAGEDHSM_URL": HSM,
            # It is there to answer in the place of a stranger; the lab attests nothing.
            "AZURE_KEYVAULT_ATTESTATION_URL": VAULT.replace("sdk", "attestation"),
            "LAB_STATE": str(folder / "lab.json"),
        }
    finally:
        lab("stop")


def outcomes(tests: Path, environment: dict[str, str], report: Path) -> tuple[dict[str, str], str]:
    """Run the tests.

    Returns by their names what became of each (passed, failed, error or skipped), and what pytest
    wrote.
    """
    pytest = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider"]
    own = ["-p", "against_the_lab", "-c", os.devnull, "--rootdir", str(tests)]
    path = os.pathsep.join(map(str, (HERE / "harness", HERE.parent)))
    done = subprocess.run(
        [*pytest, *own, f"--junit-xml={report}", "."],
        cwd=tests,
        env={**os.environ, **environment, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,  # what fails is compared with what is expected
    )
    found: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        tags = {child.tag.replace("failure", "failed") for child in case}
        outcome = next((tag for tag in ("failed", "error", "skipped") if tag in tags), "passed")
        found[f"{case.get('classname')}.{case.get('name')}"] = outcome
    return found, done.stdout


def expected() -> list[Expected]:
    """Read failures.yml."""
    rows: list[dict[str, Any]] = yaml.safe_load((HERE / "failures.yml").read_text())
    return [Expected(row["reason"], tuple(row["tests"])) for row in rows]


def surprises(found: dict[str, str], rows: list[Expected]) -> Iterator[str]:
    """Say what is not as expected, in both directions."""
    patterns = [pattern for row in rows for pattern in row.tests]
    for name, outcome in found.items():
        is_listed = any(matches(name, pattern) for pattern in patterns)
        if outcome in ("failed", "error") and not is_listed:
            yield f"{name} failed"
        elif is_listed and outcome not in ("failed", "error"):
            yield f"{name} is listed in failures.yml, but {outcome}"
    for pattern in patterns:
        if not any(matches(name, pattern) for name in found):
            yield f"{pattern} of failures.yml is no test"


def matches(name: str, pattern: str) -> bool:
    """Tell whether a pattern with * alone fits the name of a test, which can end with [...]."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


def main() -> int:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keyferry-sdk-") as temporary:
        folder = Path(temporary)
        tests = unpacked(folder)
        with running_lab(folder / "lab") as environment:
            found, output = outcomes(tests, environment, folder / "report.xml")
    rows, counts = expected(), Counter(found.values())
    wrong = list(surprises(found, rows))
    if counts["passed"] < FEWEST:
        wrong.append(f"only {counts['passed']} tests passed: most did not run")
    if wrong:
        print(output)
    else:
        print(*re.findall(r"^SKIPPED .*", output, re.MULTILINE), sep="\n")
    for row in rows:
        listed = [name for name in found if any(matches(name, each) for each in row.tests)]
        print(f"{len(listed)} fail as listed: {row.reason}")
    print(*wrong, sep="\n")
    seconds = time.monotonic() - start
    print(f"{counts['passed']} passed, {counts['skipped']} skipped in {seconds:.2f}s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
