# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sigstore's own verifier accepts each line of a receipt folder, and none that was changed."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / ".collections")]

from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E402, E501
    AZURE,
    TOKEN,
    small,
)

PACKAGES = ("@sigstore/verify@4", "@sigstore/bundle@5")

Envelope = dict[str, t.Any]


def envelopes() -> list[Envelope]:
    """The envelopes of a folder, with one signature each, as Sigstore wants them."""
    lines = [line for lines in small().lines.values() for line in lines]
    told = [json.loads(line.to_line()) for line in lines]
    return [{**each, "signatures": [one]} for each in told for one in each["signatures"]]


def changed(envelope: Envelope) -> Envelope:
    """The same with another time in it."""
    payload = base64.b64decode(envelope["payload"]).replace(b"2026-11-", b"2027-11-")
    return {**envelope, "payload": base64.b64encode(payload).decode()}


def verdicts(folder: Path, told: list[Envelope]) -> list[str]:
    keys = {each.keyid: each.pem for each in (TOKEN, AZURE)}
    verified = subprocess.run(
        ["node", "verify.js"],
        cwd=folder,
        input=json.dumps({"keys": keys, "envelopes": told}),
        capture_output=True,
        text=True,
        check=True,
    )
    return t.cast("list[str]", json.loads(verified.stdout))


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copy(Path(__file__).with_name("verify.js"), folder)
        (folder / "package.json").write_text('{"private": true}')
        subprocess.run(["npm", "install", "--silent", *PACKAGES], cwd=folder, check=True)
        true = envelopes()
        false = [changed(each) for each in true]
        assert verdicts(folder, true) == ["verified"] * len(true)
        assert verdicts(folder, false) == ["SIGNATURE_ERROR"] * len(false)
        print(f"{len(true)} signatures verified, and {len(false)} changed statements refused")


if __name__ == "__main__":
    main()
