# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens as fixtures, and modules run against them, each in a process of its own as Ansible runs
them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token import tokens
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).parents[2]
TIMEOUT = 120  # seconds for a module


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of the stand-in, compiled once."""
    return tokens.build_stand_in(tmp_path_factory.mktemp("stand_in"))


@pytest.fixture
def softhsm(tmp_path: Path) -> Options:
    """A SoftHSM token of the test's own."""
    return tokens.softhsm(_made(tmp_path / "softhsm"))


@pytest.fixture
def nss(tmp_path: Path) -> Options:
    """An NSS token of the test's own."""
    return tokens.nss(_made(tmp_path / "nss"))


@pytest.fixture
def luna(stand_in: Path) -> Callable[..., Options]:
    """tokens.luna() with the compiled library: ``luna(nss, fips=1)``."""
    return functools.partial(tokens.luna, library=stand_in)


@pytest.fixture
def futurex(stand_in: Path) -> Callable[..., Options]:
    """tokens.futurex() with the compiled library."""
    return functools.partial(tokens.futurex, library=stand_in)


@pytest.fixture
def plain(stand_in: Path) -> Callable[..., Options]:
    """tokens.plain() with the compiled library."""
    return functools.partial(tokens.plain, library=stand_in)


@pytest.fixture
def run() -> Callable[..., dict[str, Any]]:
    """Run a module and return its result:
    ``run("byok_target_key", luna(nss), name="key", type="EC", curve="P-256")``.
    """
    return _run


def pem_and_fingerprint(key: rsa.RSAPrivateKey) -> tuple[str, str]:
    """The public key as PEM, and the SHA-256 of its SubjectPublicKeyInfo in hexadecimal digits."""
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    public_key = key.public_key()
    der = public_key.public_bytes(serialization.Encoding.DER, subject)
    return public_key.public_bytes(serialization.Encoding.PEM, subject).decode(), hashlib.sha256(
        der
    ).hexdigest()


def escrow_options(key: rsa.RSAPrivateKey) -> dict[str, str]:
    """The options of byok_wrap that name the escrow key, a key to wrap under without a vault."""
    pem, fingerprint = pem_and_fingerprint(key)
    return {"escrow_public_key": pem, "escrow_fingerprint": fingerprint}


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _run(name: str, options: Options, check: bool = False, **params: Any) -> dict[str, Any]:
    """Return the module's result; of one that was killed, ``{"killed_by": 9}``. One that crashes
    fails the test.
    """
    ours = ("ANSIBLE_", "AZURE_", "BYOK_", "STAND_IN_", "SOFTHSM2_CONF", "FXPKCS11_CFG")
    environment = {
        variable: value for variable, value in os.environ.items() if not variable.startswith(ours)
    }
    environment["PYTHONPATH"] = str(ROOT / ".collections")
    arguments = {**options, **params, "_ansible_check_mode": check, "_ansible_diff": True}
    command = [sys.executable, str(Path(__file__).with_name("run_module.py")), name]
    done = subprocess.run(
        command,
        input=json.dumps(arguments),
        env=environment,
        text=True,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode < 0:
        return {"killed_by": -done.returncode}
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("{"):
        pytest.fail(f"{name} crashed:\n{done.stdout}{done.stderr}")
    result: dict[str, Any] = json.loads(lines[-1])
    # ansible-core 2.19 and later wrap them up.
    result["warnings"] = [
        each if isinstance(each, str) else each["event"]["msg"]
        for each in result.get("warnings") or []
    ]
    return result
