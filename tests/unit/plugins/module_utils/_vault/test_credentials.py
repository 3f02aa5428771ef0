# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import Clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import CLOUDS
from ansible_collections.keyferry.azure.plugins.module_utils._vault.credentials import (
    make_credential,
)
from azure import identity

CLOUD = CLOUDS["AzureUSGovernment"]
LOGIN = CLOUD.login_host
SHOWN = ("secret", "secret_file", "x509_certificate_path", "federated_token_file")
IDS = {
    "tenant": "11111111-1111-1111-1111-111111111111",
    "client_id": "22222222-2222-2222-2222-222222222222",
}


def options(**given: t.Any) -> dict[str, t.Any]:
    """The credential's options, None where they are not given."""
    names = ("client_id", "tenant", *SHOWN)
    return {**dict.fromkeys(names), "auth_source": "auto", "throttle_timeout": 120, **given}


def certificate(folder: Path) -> str:
    """A PEM with a self-signed certificate and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "byok")])
    now = datetime.now(timezone.utc)
    signed = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now, now + timedelta(days=1)
    ).sign(key, hashes.SHA256())
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


def test_every_source_makes_its_credential(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("x")
    federated = {"federated_token_file": str(token_file)}
    by_certificate = {"x509_certificate_path": certificate(tmp_path)}
    for given, kind in (
        ({**IDS, "secret": "s", **by_certificate}, identity.ClientSecretCredential),
        ({**IDS, **by_certificate, **federated}, identity.CertificateCredential),
        ({**IDS, **federated}, identity.WorkloadIdentityCredential),
        (
            {**IDS, "secret": "s", **federated, "auth_source": "workload_identity"},
            identity.WorkloadIdentityCredential,
        ),
        ({**IDS, "secret": "s", "auth_source": "env"}, identity.ClientSecretCredential),
        ({"auth_source": "msi"}, identity.ManagedIdentityCredential),
        ({**IDS, "secret": "s", "auth_source": "cli"}, identity.AzureCliCredential),
        ({}, identity.AzureCliCredential),
        ({"secret": "s"}, identity.AzureCliCredential),
    ):
        assert isinstance(make_credential(options(**given), CLOUD).source, kind), given


@pytest.mark.parametrize("source", ["env", "workload_identity"])
def test_an_incomplete_credential_says_what_is_needed(source: str) -> None:
    with pytest.raises(ByokError, match=f"auth_source {source}.*AZURE_TENANT"):
        make_credential(options(**IDS, auth_source=source), CLOUD)


@pytest.mark.parametrize("missing", ["tenant", "client_id"])
@pytest.mark.parametrize("way", SHOWN)
def test_half_a_service_principal_is_not_replaced_by_the_login_of_az(
    missing: str, way: str
) -> None:
    with pytest.raises(ByokError, match=f"{missing} is not given.*AZURE_TENANT"):
        make_credential(options(**{**IDS, missing: None, way: "x"}), CLOUD)


def test_a_secret_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, given = tmp_path / "secret", []

    def make(tenant: str, client: str, secret: str, **_options: t.Any) -> str:
        given.append(secret)
        return "credential"

    monkeypatch.setattr(identity, "ClientSecretCredential", make)
    for content in (None, " \n"):
        if content:
            path.write_text(content)
        with pytest.raises(ByokError, match=r"no client secret in the file .*secret_file"):
            make_credential(options(**IDS, secret_file=str(path)), CLOUD)
    path.write_text("\ufeffof the file\r\n")
    make_credential(options(**IDS, secret_file=str(path)), CLOUD)
    make_credential(options(**IDS, secret_file=str(path), secret="given"), CLOUD)
    assert given == ["of the file", "given"]


def test_a_certificate_that_cannot_be_read_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "certificate.pem"
    for write in (lambda: None, lambda: path.write_text("nonsense")):
        write()
        with pytest.raises(ByokError, match="do not fit together"):
            make_credential(options(**IDS, x509_certificate_path=str(path)), CLOUD)


@pytest.mark.parametrize("way", ["secret", "x509_certificate_path", "federated_token_file"])
def test_the_date_of_entras_token_is_heard(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the answer that has the token: others may come from a cache on the way."""
    token_file = tmp_path / "token"
    token_file.write_text("x")
    given = {
        "secret": "s",
        "x509_certificate_path": certificate(tmp_path),
        "federated_token_file": str(token_file),
    }[way]

    def answer(
        adapter: t.Any, request: requests.PreparedRequest, **_options: t.Any
    ) -> requests.Response:
        response = requests.Response()
        response.status_code, response.request, response.url = 200, request, str(request.url)
        for_token = request.method == "POST"
        response.headers["Content-Type"] = "application/json"
        response.headers["Date"] = f"Sun, 22 Nov 2026 12:00:0{2 if for_token else 9} GMT"
        base = f"https://{LOGIN}/{IDS['tenant']}"
        body = {"token_type": "Bearer", "expires_in": 3600, "access_token": "t"}
        found = {
            "token_endpoint": f"{base}/token",
            "authorization_endpoint": f"{base}/authorize",
            "issuer": f"{base}/v2.0",
        }
        response._content = json.dumps(
            body if for_token else {**found, "tenant_discovery_endpoint": f"{base}/x"}
        ).encode()
        response.raw = SimpleNamespace(enforce_content_length=True)
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", answer)
    noon = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
    clock = Clock(lambda: noon, lambda: 0.0)
    make_credential(options(**IDS, **{way: given}), CLOUD, clock).get_token_info(
        "https://vault.azure.net/.default"
    )
    now = clock.look()
    assert (now.source, now.difference.total_seconds()) == ("entra", 2)
