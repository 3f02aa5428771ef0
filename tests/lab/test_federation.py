# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Workload identity: the tokens of the lab's own issuer, and those that Entra refuses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.keys import KeyClient
from conftest import Lab, Vault
from joserfc import jwt
from joserfc.jwk import RSAKey

SCOPE = "https://vault.azure.net/.default"


def credential(lab: Lab, client: str, token_file: str | Path = "") -> WorkloadIdentityCredential:
    facts = lab.facts["clients"][client]
    path = str(token_file or facts["federated_token_file"])
    return WorkloadIdentityCredential(
        tenant_id=lab.facts["tenant"], client_id=facts["client_id"], token_file_path=path
    )


def claims_of(lab: Lab, client: str = "operator") -> dict[str, Any]:
    token = Path(lab.facts["clients"][client]["federated_token_file"]).read_text()
    key = RSAKey.import_key((lab.folder / "issuer.pem").read_bytes())
    return jwt.decode(token, key, algorithms=["RS256"]).claims


def test_a_federated_token_is_enough(lab: Lab, vault: Vault) -> None:
    client = KeyClient(vault.url, credential(lab, "operator"))
    assert client.create_ec_key("name").name == "name"
    nobody = KeyClient(vault.url, credential(lab, "nobody"))
    with pytest.raises(Exception, match="not authorized"):
        nobody.get_key("name")


def test_what_a_token_says(lab: Lab) -> None:
    claims = claims_of(lab)
    issued = claims["iat"]
    assert claims == {
        "iss": f"https://oidc.keyferry-lab.example/{lab.facts['tenant']}",
        "sub": "system:serviceaccount:keyferry-lab:operator",
        "aud": "api://AzureADTokenExchange",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 86400,
    }
    assert abs(issued - time.time()) < 3600


def test_an_audience_can_be_a_list(lab: Lab, tmp_path: Path) -> None:
    """As in the tokens of Kubernetes."""
    key = RSAKey.import_key((lab.folder / "issuer.pem").read_bytes())
    claims = claims_of(lab)
    (tmp_path / "token").write_text(
        jwt.encode({"alg": "RS256"}, claims | {"aud": [claims["aud"]]}, key)
    )
    assert credential(lab, "operator", tmp_path / "token").get_token(SCOPE).token


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"iss": "https://token.actions.githubusercontent.com"},
            "AADSTS700211: .* issuer 'https://token",
        ),
        (
            {"sub": "system:serviceaccount:keyferry-lab:Operator"},
            "AADSTS700213: .* subject 'system",
        ),
        ({"aud": "https://vault.azure.net"}, "AADSTS700212: .* audience 'https"),
        ({"exp": 1_700_000_000}, "AADSTS700024: .* expiry time of assertion 2023-11-14T22:13:20"),
        ({"nbf": 4_000_000_000}, "AADSTS700024: "),
    ],
)
def test_refused_tokens(lab: Lab, tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    key = RSAKey.import_key((lab.folder / "issuer.pem").read_bytes())
    (tmp_path / "token").write_text(jwt.encode({"alg": "RS256"}, claims_of(lab) | change, key))
    with pytest.raises(ClientAuthenticationError, match=expected):
        credential(lab, "operator", tmp_path / "token").get_token(SCOPE)


def test_a_token_is_for_one_client(lab: Lab) -> None:
    readers = lab.facts["clients"]["reader"]["federated_token_file"]
    with pytest.raises(ClientAuthenticationError, match="AADSTS700213"):
        credential(lab, "operator", readers).get_token(SCOPE)


def test_signatures_are_checked(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(
        jwt.encode({"alg": "RS256"}, claims_of(lab), RSAKey.generate_key(2048))
    )
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        credential(lab, "operator", tmp_path / "token").get_token(SCOPE)


@pytest.mark.parametrize("text", ["no token", "a.b.c", "a.W10.c"])
def test_what_is_no_token(lab: Lab, tmp_path: Path, text: str) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(ClientAuthenticationError, match="AADSTS700211"):
        credential(lab, "operator", tmp_path / "token").get_token(SCOPE)
