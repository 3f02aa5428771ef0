# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in: Entra's tokens, the vaults' challenge, roles and the firewall."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError
from azure.identity import CertificateCredential
from conftest import API, Lab, Vault
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import RSAKey
from wrapping import base64url

from lab.hosts import CLOUDS

SCOPE = "https://vault.azure.net/.default"
NOBODYS = "11111111-2222-3333-4444-555555555555"


@pytest.mark.parametrize("cloud", CLOUDS, ids=lambda cloud: cloud.login)
def test_challenge_names_the_clouds_login_host_and_resource(lab: Lab, cloud: Any) -> None:
    for domain in (cloud.vault, cloud.managed_hsm):
        response = requests.post(
            f"https://keyferry-lab-x.{domain}/keys/name/create", params=API, timeout=30
        )
        assert response.status_code == 401
        authorization = f"https://{cloud.login}/{lab.facts['tenant']}"
        expected = f'Bearer authorization="{authorization}", resource="https://{domain}"'
        assert response.headers["WWW-Authenticate"] == expected
        if domain == cloud.vault:
            message = "AKV10000: Request is missing a Bearer, PoP, or MTLS_POP token."
            assert response.json() == {"error": {"code": "Unauthorized", "message": message}}
        else:
            assert response.content == b""


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_every_method_is_challenged(vault: Vault, method: str) -> None:
    assert (
        requests.request(method, f"{vault.url}/keys/name", params=API, timeout=30).status_code
        == 401
    )


def with_token(vault: Vault, token: str) -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"}
    response = requests.get(f"{vault.url}/keys", params=API, headers=headers, timeout=30)
    return response.status_code, response.text


def claims(lab: Lab, **changes: Any) -> dict[str, Any]:
    client_id = lab.facts["clients"]["operator"]["client_id"]
    return {
        "aud": "https://vault.azure.net",
        "appid": client_id,
        "exp": int(time.time()) + 60,
    } | changes


def test_tokens_are_checked(lab: Lab, vault: Vault) -> None:
    key = RSAKey.import_key((lab.folder / "entra.pem").read_bytes())

    def token(signing_key: RSAKey = key, **changes: Any) -> str:
        return jwt.encode({"alg": "RS256"}, claims(lab, **changes), signing_key)

    assert with_token(vault, token())[0] == 200
    for bad, expected in (
        (token(exp=int(time.time()) - 1), "expired"),
        (
            token(aud="https://managedhsm.azure.net"),
            "AKV10022: Invalid audience. Expected https://vault.azure.net",
        ),
        (token(appid=NOBODYS), "AKV10032"),
        (token(RSAKey.generate_key(2048)), "AKV10046"),
        ("a.b.c", "AKV10046"),
    ):
        status, text = with_token(vault, bad)
        assert status == 401
        assert expected in text


def test_lab_tokens_last_an_hour(lab: Lab) -> None:
    assert 3500 < lab.credential().get_token(SCOPE).expires_on - time.time() <= 3600


@pytest.mark.parametrize(
    ("client", "changes", "expected"),
    [
        ("operator", {"client_secret": "wrong"}, "AADSTS7000215"),
        ("expired", {}, "AADSTS7000222"),
        ("expired", {"client_secret": "wrong"}, "AADSTS7000215"),
        ("operator", {"tenant_id": NOBODYS}, "This is the lab: it knows no tenant but its own"),
        ("operator", {"client_id": NOBODYS}, "This is the lab: it knows no client but its own"),
    ],
)
def test_entra_refuses(lab: Lab, client: str, changes: dict[str, str], expected: str) -> None:
    with pytest.raises(ClientAuthenticationError, match=expected):
        lab.credential(client, **changes).get_token(SCOPE)


def certificate_credential(lab: Lab, client: str, certificate_of: str) -> CertificateCredential:
    clients = lab.facts["clients"]
    return CertificateCredential(
        lab.facts["tenant"],
        clients[client]["client_id"],
        clients[certificate_of]["certificate_file"],
    )


def test_certificate_assertions(lab: Lab) -> None:
    assert certificate_credential(lab, "reader", "reader").get_token(SCOPE).token
    with pytest.raises(ClientAuthenticationError, match="AADSTS700027"):
        certificate_credential(lab, "operator", "reader").get_token(SCOPE)


@pytest.mark.parametrize(
    "change", [{"aud": "https://elsewhere"}, {"exp": 1}, {"iss": NOBODYS}, {"nbf": 4_000_000_000}]
)
def test_assertion_claims_are_checked(lab: Lab, change: dict[str, Any]) -> None:
    """A good assertion as MSAL makes it now (PS256, x5t#S256), then with one claim wrong."""
    operator = lab.facts["clients"]["operator"]
    pem = Path(operator["certificate_file"]).read_bytes()
    url = f"https://login.microsoftonline.com/{lab.facts['tenant']}/oauth2/v2.0/token"
    header = {
        "alg": "PS256",
        "x5t#S256": base64url(x509.load_pem_x509_certificate(pem).fingerprint(SHA256())),
    }
    good = {
        "aud": url,
        "iss": operator["client_id"],
        "sub": operator["client_id"],
        "exp": int(time.time()) + 60,
    }

    def status(assertion_claims: dict[str, Any]) -> int:
        key = RSAKey.import_key(pem[: pem.index(b"-----BEGIN CERT")])
        form = {
            "grant_type": "client_credentials",
            "client_id": operator["client_id"],
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "client_assertion": jwt.encode(header, assertion_claims, key, algorithms=["PS256"]),
            "scope": SCOPE,
        }
        return requests.post(url, data=form, timeout=30).status_code

    assert status(good) == 200
    assert status(good | change) == 401


def test_discovery(lab: Lab) -> None:
    base = f"https://login.microsoftonline.com/{lab.facts['tenant']}"
    for path in ("/.well-known/openid-configuration", "/v2.0/.well-known/openid-configuration"):
        found = requests.get(base + path, timeout=30).json()
        assert found["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    instance = requests.get(
        "https://login.microsoftonline.us/common/discovery/instance", timeout=30
    ).json()
    assert {entry["preferred_network"] for entry in instance["metadata"]} == {
        cloud.login for cloud in CLOUDS
    }
    keys = requests.get(found["jwks_uri"], timeout=30).json()["keys"]
    assert "d" not in keys[0]


# What each client may not do, in a vault and in a Managed HSM.
DENIED = {
    "operator": ((), ()),
    "user": (("purge",), ("get_deleted", "list_deleted", "recover", "purge")),
    "reader": (
        ("create", "update", "delete", "set_policy", "rotate", "sign"),
        ("create", "delete", "rotate", "get_deleted"),
    ),
    "nobody": (("create", "get", "list", "get_policy"), ("create", "get", "list", "get_policy")),
}
REQUESTS = {
    "create": ("POST", "/keys/name/create"),
    "get": ("GET", "/keys/name"),
    "list": ("GET", "/keys"),
    "update": ("PATCH", "/keys/name"),
    "delete": ("DELETE", "/keys/name"),
    "get_policy": ("GET", "/keys/name/rotationpolicy"),
    "set_policy": ("PUT", "/keys/name/rotationpolicy"),
    "rotate": ("POST", "/keys/name/rotate"),
    "sign": ("POST", "/keys/name/0/sign"),
    "list_deleted": ("GET", "/deletedkeys"),
    "get_deleted": ("GET", "/deletedkeys/name"),
    "recover": ("POST", "/deletedkeys/name/recover"),
    "purge": ("DELETE", "/deletedkeys/name"),
}


@pytest.mark.parametrize("client", DENIED)
def test_roles(vault: Vault, hsm: Vault, client: str) -> None:
    for asked, denied in zip((vault, hsm), DENIED[client], strict=True):
        for operation, (method, path) in REQUESTS.items():
            forbidden = asked.ask(method, path, {}, client=client).status_code == 403
            if client in ("operator", "user") or operation in denied:
                assert forbidden == (operation in denied), (asked.host, operation)


def test_text_of_a_missing_role(vault: Vault, hsm: Vault) -> None:
    """As recorded of a vault, and published of a Managed HSM."""
    error = vault.ask("DELETE", "/keys/name", client="reader").json()["error"]
    assert (error["code"], error["innererror"]["code"]) == ("Forbidden", "ForbiddenByRbac")
    assert "\r\nAction: 'Microsoft.KeyVault/vaults/keys/delete'\r\n" in error["message"]
    assert "Assignment: (not found)" in error["message"]
    response = hsm.ask("DELETE", "/keys/name", client="reader")
    action = "Microsoft.KeyVault/managedHsm/keys/delete"
    assert response.json()["error"] == {
        "code": "AccessDenied",
        "message": f"Not authorized to access {action} on '/keys/name' "
        f"(Activity ID: {response.headers['x-ms-request-id']})",
    }


HSM_ACTIONS = {
    "create": ("keys/create", "/keys"),
    "list": ("keys/read/action", "/keys"),
    "update": ("keys/write/action", "/keys/name"),
    "set_policy": ("keys/write/action", "/keys/name"),
    "get_deleted": ("keys/deletedKeys/read/action", "/keys/name"),
    "purge": ("keys/deletedKeys/delete", "/keys/name"),
    "sign": ("keys/sign/action", "/keys/name"),
}


@pytest.mark.parametrize("operation", HSM_ACTIONS)
def test_action_that_a_managed_hsm_names(hsm: Vault, operation: str) -> None:
    action, scope = HSM_ACTIONS[operation]
    method, path = REQUESTS[operation]
    message = hsm.ask(method, path, {}, client="nobody").json()["error"]["message"]
    assert f" Microsoft.KeyVault/managedHsm/{action} on '{scope}' " in message


def test_roles_can_be_given_and_taken(vault: Vault) -> None:
    vault.set(roles={"nobody": ["Key Vault Reader"], "operator": []})
    assert vault.ask("GET", "/keys", client="nobody").ok
    assert vault.ask("POST", "/keys/name/create", {"kty": "EC"}, client="nobody").status_code == 403
    assert vault.ask("GET", "/keys").status_code == 403
    assert vault.ask("GET", "/keys", client="reader").ok


def test_firewall(vault: Vault) -> None:
    vault.set(firewall=True)
    response = vault.ask("GET", "/keys")
    assert response.status_code == 403
    assert response.json()["error"]["innererror"]["code"] == "ForbiddenByFirewall"
    assert json.dumps(vault.answers("list")).count("403") == 1


GRANTED = {
    "get": ("get", "get_deleted"),
    "list": ("list", "list_deleted"),
    "get_deleted": ("get_deleted",),
    "list_deleted": ("list_deleted",),
    "purge": ("purge",),
    "getrotationpolicy": ("get_policy",),
    "set_policy": ("set_policy",),
    "rotate": ("rotate",),
}


@pytest.mark.parametrize("single", GRANTED)
def test_single_operations_are_given_as_by_an_access_policy(vault: Vault, single: str) -> None:
    vault.set(roles={"nobody": [single]})
    for operation, (method, path) in REQUESTS.items():
        forbidden = vault.ask(method, path, {}, client="nobody").status_code == 403
        assert forbidden == (operation not in GRANTED[single]), operation


def test_list_covers_versions_and_import_is_itself(vault: Vault, hsm: Vault) -> None:
    for asked in (vault, hsm):
        asked.set(roles={"nobody": ["list", "import"]})
        assert asked.ask("GET", "/keys/name/versions", client="nobody").ok
        assert asked.ask("PUT", "/keys/name", {}, client="nobody").status_code == 400
        assert asked.ask("GET", "/keys/name", client="nobody").status_code == 403


def test_text_of_a_missing_permission(vault: Vault, hsm: Vault) -> None:
    """As recorded of a vault with access policies."""
    vault.set(roles={"nobody": ["get", "list"]})
    hsm.set(roles={"nobody": ["get", "list"]})
    error = vault.ask("GET", "/keys/name/rotationpolicy", client="nobody").json()["error"]
    assert (error["code"], error["innererror"]["code"]) == ("Forbidden", "ForbiddenByPolicy")
    name = vault.host.partition(".")[0]
    assert (
        f"does not have keys getrotationpolicy permission on key vault '{name};location=lab'."
        in error["message"]
    )
    assert error["message"].startswith("The user, group or application 'appid=")
    assert (
        "keys purge permission"
        in vault.ask("DELETE", "/deletedkeys/name", client="nobody").json()["error"]["message"]
    )
    assert "innererror" not in hsm.ask("DELETE", "/keys/name", client="nobody").json()["error"]
    vault.set(roles={"nobody": ["get", "Key Vault Reader"]})
    error = vault.ask("PUT", "/keys/name/rotationpolicy", {}, client="nobody").json()["error"]
    assert error["innererror"]["code"] == "ForbiddenByRbac"
    assert "Action: 'Microsoft.KeyVault/vaults/keyrotationpolicies/write'" in error["message"]
