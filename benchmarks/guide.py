# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guides' side: one command after the other.

The commands are the unmodified az CLI and, at the token, a script like a vendor's tool. Nobody
types here and nobody waits for a person, so by hand it takes longer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from measured_process import run
from playbook_run import url
from running_lab import ROOT, RunningLab

_VENV = ROOT / ".cache/bench/az"
_REQUIREMENTS = Path(__file__).with_name("requirements.txt")


def install_az() -> None:
    """Install the az CLI by pip, once per list of requirements."""
    mark = _VENV / "requirements.txt"
    if mark.exists() and mark.read_bytes() == _REQUIREMENTS.read_bytes():
        return
    print("Installing the az CLI by pip (a few minutes, once)", flush=True)
    venv.create(_VENV, with_pip=True, clear=True)
    subprocess.run(
        [_VENV / "bin/pip", "install", "-qq", "--disable-pip-version-check", "-r", _REQUIREMENTS],
        check=True,
    )
    shutil.copy(_REQUIREMENTS, mark)


class Guide:
    """A person's shell, logged in to a lab, with a KEK in a vault and its public key in a file."""

    def __init__(self, lab: RunningLab, vault: str, kind: str) -> None:
        self._lab, self._vault, self._kind = lab, vault, kind
        self._folder = lab.path.with_name(f"guide-{vault}")
        self._folder.mkdir()
        self._environment = {
            **lab.environment,
            "AZURE_CONFIG_DIR": str(self._folder / "az"),
            "AZURE_CORE_COLLECT_TELEMETRY": "false",
        }
        client = [
            "--username",
            lab.environment["AZURE_CLIENT_ID"],
            "--password",
            lab.environment["AZURE_SECRET"],
        ]
        tenant = [
            "--tenant",
            lab.environment["AZURE_TENANT"],
            "--allow-no-subscriptions",
            "--skip-subscription-discovery",
        ]
        self._az("login", "--service-principal", *client, *tenant)

    def make_kek(self) -> float:
        """Make the shared KEK and download its public key; return the seconds."""
        options = [
            "--kty",
            "RSA-HSM",
            "--size",
            "4096",
            "--ops",
            "import",
            "--query",
            "key.kid",
            "--output",
            "tsv",
        ]
        seconds, self._kid = self._key("create", "kek", *options)
        downloaded, _output = self._key("download", "kek", "--file", str(self._folder / "kek.pem"))
        return seconds + downloaded

    def make_target_key(self, name: str) -> None:
        """Make a key in the token; not measured."""
        self._script(name, "make")

    def bring(self, name: str, *, made: bool = False) -> float:
        """Make a key unless it is made, wrap, import and look at it; return the seconds."""
        package = str(self._folder / f"{name}.byok")
        wrapped = self._script(
            name,
            "wrap" if made else "make",
            "wrap",
            str(self._folder / "kek.pem"),
            self._kid,
            package,
        )
        kind = ["--kty", "EC", "--curve", "P-256"] if self._kind == "EC" else ["--kty", "RSA"]
        imported, _output = self._key("import", name, *kind, "--byok-file", package)
        shown, _output = self._key("show", name)
        return wrapped + imported + shown

    def _script(self, name: str, *arguments: str) -> float:
        command = [
            sys.executable,
            str(Path(__file__).with_name("wrap_one.py")),
            self._kind,
            name,
            *arguments,
        ]
        return run(command, self._environment, self._folder).seconds

    def _key(self, verb: str, name: str, *options: str) -> tuple[float, str]:
        return self._az(
            "keyvault",
            "key",
            verb,
            "--vault-name",
            url(self._vault)[len("https://") :].partition(".")[0],
            "--name",
            name,
            *options,
        )

    def _az(self, *arguments: str) -> tuple[float, str]:
        done = run([os.fspath(_VENV / "bin/az"), *arguments], self._environment, self._folder)
        return done.seconds, done.output.strip()
