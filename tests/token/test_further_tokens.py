# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Further real tokens, where they are installed: the whole job, with the strict rehearsal."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.tests.token import tokens
from ansible_collections.keyferry.azure.tests.token.test_wrap import (
    kek,
    private_key,
    public_pem,
    unwrap,
)
from ansible_collections.keyferry.azure.tests.token.tokens import Options

Run = Callable[..., dict[str, Any]]

FURTHER: dict[str, Callable[[Path], Options]] = {
    "SoftHSM 2.7": tokens.softhsm_2_7,
    "openCryptoki": tokens.opencryptoki,
}


@pytest.fixture(params=FURTHER)
def token(request: pytest.FixtureRequest, tmp_path: Path) -> Options:
    try:
        return FURTHER[request.param](tmp_path)
    except tokens.Unavailable as why:
        pytest.skip(str(why))


def test_a_further_token_carries_the_whole_job(run: Run, token: Options) -> None:
    # A machine may have one such token for all runs.
    prefix = f"t-{secrets.token_hex(4)}"
    pairs: list[dict[str, Any]] = [
        {"name": f"{prefix}-rsa", "type": "RSA", "size": 2048},
        {"name": f"{prefix}-p256", "type": "EC", "curve": "P-256"},
        {"name": f"{prefix}-p521", "type": "EC", "curve": "P-521"},
    ]
    secret = {"name": f"{prefix}-aes", "type": "oct", "size": 256}
    keys = [*pairs, secret]
    hsm = run("byok_hsm_info", token, rehearse=True)["hsm"]
    assert hsm["rehearsal"]["finding"] == "RFC 5649 over PKCS#8"
    made = run("byok_target_key", token, target_keys=keys)
    assert [key["created"] for key in made["target_keys"]] == [True] * 4
    wrapped = run("byok_wrap", token, packages=keys, **kek(3072))["packages"]
    for key, package in zip(made["target_keys"], wrapped[:3], strict=False):
        arrived = unwrap(package, private_key(3072))
        assert public_pem(arrived) == key["generations"][0]["public_key"]
    assert len(unwrap(wrapped[3], private_key(3072))) == 32
    again = run("byok_target_key", token, target_keys=keys)
    assert not again["changed"]
    assert [key["thumbprint"] for key in again["target_keys"]] == [
        key["thumbprint"] for key in made["target_keys"]
    ]
    locked = run(
        "byok_target_key",
        token,
        target_keys=[{**pairs[1], "after_transfer": "lock"}],
        transferred=[made["target_keys"][1]["thumbprint"]],
    )
    assert locked["target_keys"][0]["locked"]
    refused = run("byok_wrap", token, packages=[pairs[1]], **kek(3072))["msg"]
    assert "CKA_EXTRACTABLE false" in refused
