# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workload identity instead of a secret, and what is said where it fails.

That is one sentence, and never a token or secret.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Lab,
    Result,
    Vault,
    only,
)


def said(vault: Vault, declared: Result) -> str:
    """What a run says that fails."""
    try:
        result = vault.rotate(declared)
    except ByokError as error:
        return str(error)
    return " ".join(each["msg"] for each in result["failures"])


@pytest.fixture
def federated(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of a workload identity; there is no secret."""
    monkeypatch.delenv("AZURE_SECRET")
    client = lab.facts["clients"]["operator"]
    return {
        "auth_source": "workload_identity",
        "client_id": client["client_id"],
        "federated_token_file": client["federated_token_file"],
    }


def test_a_federated_token_is_enough(vault: Vault, key: Declare, federated: dict[str, Any]) -> None:
    vault.options = federated
    declared = key()
    assert only(vault.rotate(declared))["identity"] == "public_key"
    assert only(vault.rotate(declared))["changed"] is False


def test_it_is_found_in_the_environment(
    lab: Lab, vault: Vault, key: Declare, federated: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", federated["federated_token_file"])
    assert only(vault.rotate(key()))["imported"] is True
    vault.options = {"auth_source": "workload_identity"}
    assert only(vault.rotate(key()))["imported"] is True


def _changed(token: str, **claims: Any) -> str:
    head, payload, signature = token.split(".")
    told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ".".join(
        (
            head,
            base64.urlsafe_b64encode(json.dumps({**told, **claims}).encode()).decode().rstrip("="),
            signature,
        )
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda token: _changed(token, exp=1), "AADSTS"),
        (lambda token: _changed(token, sub="system:serviceaccount:other:other"), "AADSTS"),
        (lambda token: _changed(token, iss="https://oidc.example"), "AADSTS"),
        (lambda token: "not.a.token", "AADSTS"),
        (lambda token: "", "AADSTS"),
        (lambda token: "\udcff", "federated"),
        (None, "federated"),
    ],
)
def test_a_token_that_is_not_taken_is_said_in_a_sentence(
    vault: Vault, key: Declare, federated: dict[str, Any], tmp_path: Path, change: Any, says: str
) -> None:
    token = Path(federated["federated_token_file"]).read_text()
    path = tmp_path / "federated"
    if change:
        path.write_text(change(token), errors="surrogateescape")
    vault.options = {**federated, "federated_token_file": str(path)}
    text = said(vault, key())
    assert says in text
    assert text.endswith(".")
    assert "Traceback" not in text
    assert not any(part in text for part in token.split("."))
    assert len(text) < 1000


def test_a_secret_is_in_no_message_or_result(lab: Lab, vault: Vault, key: Declare) -> None:
    expired = lab.as_client("expired")
    vault.options = expired
    text = said(vault, key())
    assert "AADSTS7000222" in text
    assert expired["secret"] not in text
    vault.options = {**lab.as_client("operator"), "secret": "wrong-and-secret"}
    text = said(vault, key())
    assert "AADSTS7000215" in text
    assert "wrong-and-secret" not in text
    vault.options = lab.as_client("operator")
    secrets = [vault.options["secret"], Path(lab.facts["token"]["pin_file"]).read_text().strip()]
    result = json.dumps(vault.rotate(key()), default=vars)
    assert not any(secret in result for secret in secrets)


@pytest.mark.parametrize("client", ["reader", "nobody"])
def test_a_missing_role_is_said_by_key_and_action(
    lab: Lab, vault: Vault, key: Declare, client: str
) -> None:
    vault.options = lab.as_client(client)
    declared = key()
    text = said(vault, declared)
    assert "403 (ForbiddenByRbac" in text
    assert "Key Vault Crypto Officer" in text
