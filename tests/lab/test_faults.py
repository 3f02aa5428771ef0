# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand, as the SDK meets them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import requests
from azure.core.exceptions import HttpResponseError, ServiceRequestError, ServiceResponseError
from azure.keyvault.keys import JsonWebKey, KeyClient
from conftest import Lab, Vault
from wrapping import ec_key, pkcs8, wrap

Fault = Callable[..., None]
# Behind a proxy azure-core takes a lost answer for a request that was never sent: neither error
# tells what happened.
LOST = (ServiceRequestError, ServiceResponseError)


@pytest.fixture
def client(vault: Vault) -> KeyClient:
    return KeyClient(vault.url, vault.lab.credential())


@pytest.fixture
def target(vault: Vault) -> JsonWebKey:
    return JsonWebKey(kty="EC-HSM", crv="P-256", t=wrap(vault.kek(), pkcs8(ec_key())))


def versions(vault: Vault, name: str = "target") -> int:
    return len(vault.do("GET", f"/keys/{name}/versions")["value"])


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("throttle", (429, {})),
        ("unavailable", (503, {})),
        ("firewall", (403, {"code": "ForbiddenByFirewall"})),
    ],
)
def test_refusals_commit_nothing(
    vault: Vault,
    client: KeyClient,
    target: JsonWebKey,
    fault: Fault,
    kind: str,
    answer: tuple[int, dict[str, str]],
) -> None:
    fault(operation="import", kind=kind, count=2, vault=vault.host)
    for _time in range(2):
        with pytest.raises(HttpResponseError) as error:
            client.import_key("target", target, retry_total=0)
        inner = error.value.error.innererror or {}  # type: ignore[union-attr]
        assert (error.value.status_code, inner) == answer
        assert "Retry-After" not in error.value.response.headers  # type: ignore[union-attr]
    assert versions(vault) == 0
    client.import_key("target", target, retry_total=0)
    assert versions(vault) == 1


def test_commit_and_drop(vault: Vault, client: KeyClient, target: JsonWebKey, fault: Fault) -> None:
    fault(operation="import", kind="commit_and_drop", vault=vault.host)
    with pytest.raises(LOST):
        client.import_key("target", target, retry_total=0)
    assert versions(vault) == 1
    assert [(each["status"], each["fault"]) for each in vault.answers("import")] == [
        (200, "commit_and_drop")
    ]


def test_the_sdks_own_retry_makes_a_second_version(
    vault: Vault, client: KeyClient, target: JsonWebKey, fault: Fault
) -> None:
    fault(operation="import", kind="commit_and_drop", vault=vault.host)
    client.import_key("target", target)
    assert versions(vault) == 2


def test_drop_and_commit(vault: Vault, client: KeyClient, target: JsonWebKey, fault: Fault) -> None:
    fault(operation="import", kind="drop_and_commit", seconds=0.2, vault=vault.host)
    with pytest.raises(LOST):
        client.import_key("target", target, retry_total=0)
    assert versions(vault) == 0
    deadline = time.monotonic() + 5
    while not versions(vault):
        assert time.monotonic() < deadline
    assert versions(vault) == 1


def test_stall(vault: Vault, client: KeyClient, target: JsonWebKey, fault: Fault) -> None:
    """A client that waits gets its answer.

    For one that does not, the import is made all the same.
    """
    fault(operation="import", kind="stall", seconds=0.3, count=2, vault=vault.host)
    started = time.monotonic()
    client.import_key("target", target, retry_total=0)
    assert time.monotonic() - started >= 0.3
    with pytest.raises(ServiceResponseError):
        client.import_key("target", target, retry_total=0, read_timeout=0.1)
    assert versions(vault) == 1
    deadline = time.monotonic() + 5
    while versions(vault) < 2:
        assert time.monotonic() < deadline


def test_faults_meet_what_they_name(vault: Vault, hsm: Vault, fault: Fault) -> None:
    fault(operation="*", kind="unavailable", count=1, vault=vault.host, key="name")
    assert hsm.ask("GET", "/keys").ok
    assert vault.ask("GET", "/keys").ok
    assert vault.ask("GET", "/keys/other").status_code == 404
    assert vault.ask("GET", "/keys/name").status_code == 503
    assert vault.ask("GET", "/keys/name").status_code == 404
    assert vault.lab.control("GET", "/faults") == []


def test_faults_left(lab: Lab, vault: Vault, fault: Fault) -> None:
    fault(operation="get", kind="throttle", count=3, vault=vault.host)
    vault.ask("GET", "/keys/name")
    assert [(each["kind"], each["count"]) for each in lab.control("GET", "/faults")] == [
        ("throttle", 2)
    ]
    lab.control("DELETE", "/faults")
    assert vault.ask("GET", "/keys/name").status_code == 404


def test_entra_has_faults_too(lab: Lab, fault: Fault) -> None:
    url = f"https://login.microsoftonline.com/{lab.facts['tenant']}/oauth2/v2.0/token"
    fault(operation="token", kind="throttle")
    assert requests.post(url, timeout=10).status_code == 429
    fault(operation="token", kind="commit_and_drop")
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.post(url, timeout=10)
    assert lab.credential().get_token("https://vault.azure.net/.default").token
