# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The token side on a large token, against a bare script with the same library.

Run it with ``python benchmarks/token_side.py``.

Makes a SoftHSM token with 5,000 EC key pairs, once (a few minutes), in .cache/bench. Then, in turn:

- bare: a process that logs in by python-pkcs11 and reads the attributes that byok_target_key reads,
  of the same objects;
- byok_target_key: a process that is asked for 1,000 of these keys, all there.

The goal is at most 1.5 times the bare process. Also: what a rehearsal costs, whose goal is less
than 150 ms.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / ".collections"))

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (  # noqa: E402
    HOST_OPTIONS,
    TOKEN_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.rehearsal import rehearse  # noqa: E402
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import open_token  # noqa: E402
from ansible_collections.keyferry.azure.tests.token import tokens  # noqa: E402

PAIRS, DECLARED, ROUNDS = 5000, 1000, 5

BARE = f"""
import json, os, sys, pkcs11
from pkcs11 import Attribute as A, KeyType, ObjectClass
options = json.load(sys.stdin)
os.environ.update(options["library_environment"])
names = {{f"key-{{number}}" for number in range({DECLARED})}}
token = pkcs11.lib(options["pkcs11_library"]).get_token(token_label=options["token_label"])
evidence = [A.LOCAL, A.ALWAYS_SENSITIVE, A.SENSITIVE, A.EXTRACTABLE, A.NEVER_EXTRACTABLE]
evidence.append(A.EC_PARAMS)
with token.open(rw=True, user_pin=open(options["pin_file"]).read()) as session:
    points = {{}}
    for key in session.get_objects({{A.CLASS: ObjectClass.PUBLIC_KEY, A.KEY_TYPE: KeyType.EC}}):
        read = key.get_attributes([A.LABEL, A.ID, A.EC_POINT])
        points[read[A.ID]] = read[A.EC_POINT]
    found = []
    for key in session.get_objects({{A.CLASS: ObjectClass.PRIVATE_KEY, A.KEY_TYPE: KeyType.EC}}):
        read = key.get_attributes([A.LABEL, A.ID])
        if read[A.LABEL] in names:
            found.append((read, key.get_attributes(evidence), points[read[A.ID]]))
assert len(found) == {DECLARED}
"""


def fill(options: tokens.Options) -> None:
    """Make the pairs that are missing, as byok_target_key makes them."""
    keys = [{"name": f"key-{number}", "type": "EC", "curve": "P-256"} for number in range(PAIRS)]
    for at in range(0, PAIRS, 500):
        module(options, keys[at : at + 500])


def module(options: tokens.Options, keys: list[dict[str, str]]) -> None:
    arguments = {**options, "target_keys": keys}
    command = [sys.executable, str(ROOT / "tests/token/run_module.py"), "byok_target_key"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
    done = subprocess.run(
        command,
        input=json.dumps(arguments),
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    if len(json.loads(done.stdout.splitlines()[-1])["target_keys"]) != len(keys):
        raise RuntimeError(done.stdout)


def seconds(what: object, *arguments: object) -> float:
    start = time.perf_counter()
    what(*arguments)  # type: ignore[operator]
    return time.perf_counter() - start


def main() -> None:
    """Measure, and print a table."""
    directory = ROOT / ".cache/bench"
    directory.mkdir(parents=True, exist_ok=True)
    options = tokens.softhsm(directory)
    fill(options)
    declared = [
        {"name": f"key-{number}", "type": "EC", "curve": "P-256"} for number in range(DECLARED)
    ]
    given = json.dumps(options)
    bare, ours = [], []
    for _round in range(ROUNDS):
        bare.append(
            seconds(
                lambda: subprocess.run(
                    [sys.executable, "-c", BARE], input=given, text=True, check=True
                )
            )
        )
        ours.append(seconds(module, options, declared))
    rehearsals = []
    groups = {**HOST_OPTIONS, **TOKEN_OPTIONS}
    defaults = {name: spec.get("default") for name, spec in groups.items()}
    with open_token({**defaults, **options}) as token:
        for _round in range(50):
            rehearsals.append(1000 * seconds(rehearse, token, True))
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"SoftHSM, {PAIRS} EC pairs"
    )
    print(
        f"| {DECLARED} of them declared | median of {ROUNDS} | of the bare process | goal |\n"
        "| --- | --- | --- | --- |"
    )
    print(f"| bare process | {statistics.median(bare):.2f} s | 1 | |")
    ratio = statistics.median(ours) / statistics.median(bare)
    print(f"| byok_target_key | {statistics.median(ours):.2f} s | {ratio:.2f} | 1.5 |")
    print(
        f"| a rehearsal | {statistics.median(rehearsals):.0f} ms "
        f"(at most {max(rehearsals):.0f} ms of 50) | | 150 ms |"
    )


if __name__ == "__main__":
    main()
