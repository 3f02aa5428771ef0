# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in a vault: names, versions, pages, attributes, deletion and what comes after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from azure.keyvault.keys import KeyClient
from conftest import Vault
from wrapping import number

from lab import rules
from lab.adapter import Adapters
from lab.clock import Clock
from lab.folder import Folder
from lab.hosts import Kind, find_host
from lab.refusals import Refusal
from lab.store import Properties, Store
from lab.vault import Call, Shared
from lab.vault import Vault as LabVault

DAY = 86400
EC = {"kty": "EC-HSM"}


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    return error


def inner_code(response: Any, status: int) -> str:
    return str(error_of(response, status)["innererror"]["code"])


def test_shape_of_a_created_key(vault: Vault) -> None:
    """As recorded of a Premium vault."""
    response = vault.ask("POST", "/keys/Name/create", {"kty": "RSA-HSM"})
    bundle = response.json()
    assert re.fullmatch(re.escape(vault.url) + "/keys/Name/[0-9a-f]{32}", bundle["key"]["kid"])
    assert bundle["key"]["key_ops"] == [
        "encrypt",
        "decrypt",
        "sign",
        "verify",
        "wrapKey",
        "unwrapKey",
    ]
    assert bundle["key"]["e"] == "AQAB"
    created = bundle["attributes"]["created"]
    assert bundle["attributes"] == {
        "enabled": True,
        "key_size": 2048,
        "created": created,
        "updated": created,
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": 90,
        "exportable": False,
        "hsmPlatform": "2",
    }
    assert "tags" not in bundle
    assert {"x-ms-request-id", "x-ms-keyvault-region"} <= set(response.headers)
    assert abs(parsedate_to_datetime(response.headers["Date"]).timestamp() - created) <= 2


def test_shape_of_a_managed_hsms_key(hsm: Vault) -> None:
    """As recorded of a Managed HSM: another order of operations, no platform, and no Date."""
    response = hsm.ask("POST", "/keys/name/create", {"kty": "RSA-HSM"})
    assert "Date" not in response.headers
    bundle = response.json()
    assert bundle["key"]["e"] == "AQAB"
    assert "hsmPlatform" not in bundle["attributes"]
    assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
    orders = {tuple(hsm.do("GET", "/keys/name")["key"]["key_ops"]) for _time in range(20)}
    assert len(orders) > 1
    assert {frozenset(order) for order in orders} == {frozenset(bundle["key"]["key_ops"])}


def test_former_platform_of_a_vault(vault: Vault, hsm: Vault) -> None:
    """Recorded: it writes 65537 as 00 01 00 01, of keys in its HSMs alone."""
    for each in (vault, hsm):
        each.set(hsm_platform="1")
    made = vault.native("name", kty="RSA-HSM")
    assert (made["key"]["e"], made["attributes"]["hsmPlatform"]) == ("AAEAAQ", "1")
    software = vault.native("software", kty="RSA")
    assert (software["key"]["e"], software["attributes"]["hsmPlatform"]) == ("AQAB", "0")
    assert hsm.kek()["e"] == "AQAB"


@pytest.mark.parametrize("kty", ["RSA", "EC", "oct"])
def test_a_managed_hsm_makes_an_hsms_key_of_it(hsm: Vault, kty: str) -> None:
    assert hsm.do("POST", "/keys/name/create", {"kty": kty})["key"]["kty"] == f"{kty}-HSM"


@pytest.mark.parametrize("exponent", [3, 17, 65537, 2**32 - 1])
def test_public_exponent(vault: Vault, hsm: Vault, exponent: int) -> None:
    """As recorded of a Managed HSM; a vault takes no notice, which is not known of the service."""
    body = {"kty": "RSA-HSM", "public_exponent": exponent}
    assert number(hsm.do("POST", "/keys/name/create", body)["key"]["e"]) == exponent
    assert number(vault.do("POST", "/keys/name/create", body)["key"]["e"]) == 65537


@pytest.mark.parametrize("exponent", [1, 4, -3, 2**33 + 1, "17"])
def test_bad_public_exponent(hsm: Vault, exponent: object) -> None:
    body = {"kty": "RSA-HSM", "public_exponent": exponent}
    assert "exponent" in error_of(hsm.ask("POST", "/keys/name/create", body), 400)["message"]


def test_operations_of_an_ec_key(vault: Vault, hsm: Vault) -> None:
    """Recorded: deriveKey is one of a Managed HSM's."""
    assert vault.native("name")["key"]["key_ops"] == ["sign", "verify"]
    assert sorted(hsm.native("name")["key"]["key_ops"]) == ["deriveKey", "sign", "verify"]
    derive = EC | {"key_ops": ["deriveKey"]}
    assert hsm.do("POST", "/keys/name/create", derive)["key"]["key_ops"] == ["deriveKey"]
    assert "deriveKey" in error_of(vault.ask("POST", "/keys/name/create", derive), 400)["message"]


def test_versions_of_one_second_have_one_time(tmp_path: Path) -> None:
    """Recorded. In a Managed HSM the oldest comes first, in a vault the lowest id."""

    class StoppedClock(Clock):
        def now(self) -> float:
            return 1_700_000_000.5

    async def versions(host: str) -> list[dict[str, Any]]:
        found = find_host(host)
        assert found
        vault = LabVault(
            found, Properties(), Shared(store, clock, Adapters(Folder(tmp_path), clock), False)
        )
        for order in range(6):
            await vault.create(Call("create", "name", body=EC | {"tags": {"order": str(order)}}))
        listed: list[dict[str, Any]] = (await vault.list_versions(Call("versions", "name")))[
            "value"
        ]
        return listed

    store, clock = Store(tmp_path / "vaults.sqlite"), StoppedClock()
    in_vault = asyncio.run(versions("keyferry-lab-x.vault.azure.net"))
    in_hsm = asyncio.run(versions("keyferry-lab-x.managedhsm.azure.net"))
    store.close()
    assert {each["attributes"]["created"] for each in in_vault + in_hsm} == {1_700_000_000}
    assert [each["tags"]["order"] for each in in_hsm] == list("012345")
    assert [each["kid"] for each in in_vault] == sorted(each["kid"] for each in in_vault)


@pytest.mark.parametrize(
    "body",
    [
        {"kty": "RSA-HSM", "key_size": 1024},
        {"kty": "RSA-HSM", "key_size": "2048"},
        {"kty": "EC-HSM", "crv": "P-257"},
        {"kty": "oct-HSM"},
        {"kty": "oct"},
        {},
        {"kty": "EC-HSM", "key_ops": "sign"},
        {"kty": "EC-HSM", "attributes": {"exp": "soon"}},
        {"kty": "EC-HSM", "attributes": {"exportable": True}},
        {"kty": "EC-HSM", "tags": {str(number): "" for number in range(16)}},
        {"kty": "EC-HSM", "tags": {"name": "v" * 257}},
        ["no object"],
    ],
)
def test_bad_requests(vault: Vault, body: Any) -> None:
    assert error_of(vault.ask("POST", "/keys/name/create", body), 400)["code"] == "BadParameter"
    assert vault.ask("GET", "/keys/name").status_code == 404


def test_limits_of_tags_are_reached(vault: Vault) -> None:
    tags = {"n" * 240 + str(number): "v" * 256 for number in range(15)}
    assert vault.native("name", tags=tags)["tags"] == tags


@pytest.mark.parametrize("name", ["under_score", "dot.dot", "n" * 128])
def test_names_that_no_key_can_have(vault: Vault, name: str) -> None:
    assert "invalid name" in error_of(vault.ask("POST", f"/keys/{name}/create", EC), 400)["message"]


def test_names_compare_case_insensitively(vault: Vault) -> None:
    vault.native("Name")
    newest = vault.native("NAME")["key"]["kid"]
    assert newest.startswith(f"{vault.url}/keys/Name/")
    assert vault.do("GET", "/keys/nAME")["key"]["kid"] == newest


@pytest.mark.parametrize("kind", ["vault", "hsm"])
def test_api_versions(request: pytest.FixtureRequest, kind: str) -> None:
    """A vault knows the versions up to its latest one; so clouds lag behind the SDKs."""
    asked: Vault = request.getfixturevalue(kind)

    def answer(version: str) -> Any:
        return asked.ask("GET", "/keys", api_version=version)

    newest = rules.API_VERSIONS[-1]
    assert all(answer(version).ok for version in rules.API_VERSIONS)
    assert f"latest supported version ({newest})" in error_of(answer("2099-01-01"), 400)["message"]
    asked.set(latest_api_version="7.6")
    assert answer("7.6").ok
    assert (
        "version (2025-07-01) is not recognized" in error_of(answer("2025-07-01"), 400)["message"]
    )


def test_api_version_and_unknown_requests(vault: Vault) -> None:
    assert "api-version" in error_of(vault.ask("GET", "/keys", api_version=None), 400)["message"]
    assert "does not model" in error_of(vault.ask("POST", "/keys/name/backup"), 404)["message"]


def test_get_by_version_and_trailing_slash(vault: Vault) -> None:
    first, second = vault.native("name"), vault.native("name")
    path = first["key"]["kid"][len(vault.url) :]
    assert vault.do("GET", path) == first
    assert vault.do("GET", "/keys/name/") == vault.do("GET", "/keys/name") == second
    assert error_of(vault.ask("GET", "/keys/name/" + "0" * 32), 404)["code"] == "KeyNotFound"
    assert "recovery command" in error_of(vault.ask("GET", "/keys/other"), 404)["message"]


def pages(vault: Vault, path: str, **query: Any) -> list[list[str]]:
    """Follow the links of a list, and return the kids of each page."""
    answer, found = vault.do("GET", path, **query), []
    while True:
        found.append([item["kid"] for item in answer["value"]])
        if not answer.get("nextLink"):
            assert ("nextLink" in answer) == vault.host.endswith(".vault.azure.net")
            return found
        answer = vault.do("GET", answer["nextLink"])


@pytest.mark.parametrize("kind", ["vault", "hsm"])
def test_pages(request: pytest.FixtureRequest, kind: str) -> None:
    vault: Vault = request.getfixturevalue(kind)
    kids = {vault.native(f"name{number}")["key"]["kid"] for number in range(27)}
    found = pages(vault, "/keys")
    assert [len(page) for page in found] == [25, 2]
    assert {kid for page in found for kid in page} == {kid.rpartition("/")[0] for kid in kids}
    assert [len(page) for page in pages(vault, "/keys", maxresults=10)] == [10, 10, 7]
    assert error_of(vault.ask("GET", "/keys", maxresults=26), 400)["code"] == "BadParameter"


def test_sparse_pages_have_all_items(vault: Vault) -> None:
    vault.set(sparse_pages=True)
    for _time in range(3):
        vault.native("name")
    assert [len(page) for page in pages(vault, "/keys/name/versions")] == [0, 1, 0, 1, 0, 1]
    client = KeyClient(vault.url, vault.lab.credential())
    assert len([*client.list_properties_of_key_versions("name")]) == 3


def test_list_of_versions(vault: Vault) -> None:
    kids = {vault.native("name", tags={"number": str(number)})["key"]["kid"] for number in range(3)}
    answer = vault.do("GET", "/keys/name/versions")
    assert {item["kid"] for item in answer["value"]} == kids
    assert set(answer["value"][0]) == {"kid", "attributes", "tags"}
    assert vault.do("GET", "/keys/unknown/versions") == {"value": [], "nextLink": None}


def test_update_changes_what_it_names(vault: Vault, clock: Callable[[float], None]) -> None:
    old = vault.native("name", tags={"a": "1", "b": "2"}, attributes={"exp": 4_000_000_000})
    clock(60)
    new = vault.do(
        "PATCH",
        "/keys/name/",
        {"attributes": {"enabled": False}, "tags": {"c": "3"}, "key_ops": ["verify"]},
    )
    assert (new["tags"], new["key"]) == ({"c": "3"}, old["key"] | {"key_ops": ["verify"]})
    assert new["attributes"]["updated"] >= old["attributes"]["updated"] + 59
    assert {name: new["attributes"][name] for name in ("enabled", "exp", "created")} == {
        "enabled": False,
        "exp": 4_000_000_000,
        "created": old["attributes"]["created"],
    }
    assert (
        vault.do("PATCH", "/keys/name", {"attributes": {"exp": None}})["attributes"]["exp"]
        == 4_000_000_000
    )
    assert (
        "Supported values"
        in error_of(vault.ask("PATCH", "/keys/name", {"key_ops": ["encrypt"]}), 400)["message"]
    )


def test_deletion_shows_after_its_delay(vault: Vault, clock: Callable[[float], None]) -> None:
    vault.set(delete_delay=60)
    vault.native("name")
    deleted = vault.do("DELETE", "/keys/name")
    assert deleted["recoveryId"] == f"{vault.url}/deletedkeys/name"
    assert deleted["scheduledPurgeDate"] == deleted["deletedDate"] + 90 * DAY
    assert (
        "Deleted Key not found" in error_of(vault.ask("GET", "/deletedkeys/name"), 404)["message"]
    )
    assert (
        vault.ask("GET", "/keys/name").status_code
        == vault.ask("DELETE", "/keys/name").status_code
        == 404
    )
    assert vault.do("GET", "/keys")["value"] == vault.do("GET", "/deletedkeys")["value"] == []
    assert inner_code(vault.ask("POST", "/keys/name/create", EC), 409) == "ObjectIsBeingDeleted"
    clock(61)
    assert (
        inner_code(vault.ask("POST", "/keys/name/create", EC), 409)
        == "ObjectIsDeletedButRecoverable"
    )
    shown = vault.do("GET", "/deletedkeys/name")
    assert shown == deleted
    assert [item["recoveryId"] for item in vault.do("GET", "/deletedkeys")["value"]] == [
        shown["recoveryId"]
    ]
    assert vault.do("GET", "/keys/name/versions")["value"] == []


def test_recovery_shows_after_its_delay(vault: Vault, clock: Callable[[float], None]) -> None:
    vault.set(delete_delay=60)
    kid = vault.native("name")["key"]["kid"]
    vault.do("DELETE", "/keys/name")
    clock(61)
    assert vault.do("POST", "/deletedkeys/name/recover")["key"]["kid"] == kid
    assert (
        vault.ask("GET", "/keys/name").status_code
        == vault.ask("GET", "/deletedkeys/name").status_code
        == 404
    )
    assert inner_code(vault.ask("POST", "/keys/name/create", EC), 409) == "ObjectIsBeingRecovered"
    clock(122)
    assert vault.do("GET", "/keys/name")["key"]["kid"] == kid


def test_purge_frees_the_name_after_its_delay(vault: Vault, clock: Callable[[float], None]) -> None:
    vault.set(delete_delay=60)
    vault.native("name")
    vault.do("DELETE", "/keys/name")
    assert vault.ask("DELETE", "/deletedkeys/name").status_code == 404
    clock(61)
    assert vault.ask("DELETE", "/deletedkeys/name").status_code == 204
    assert inner_code(vault.ask("POST", "/keys/name/create", EC), 409) == "ObjectIsBeingDeleted"
    clock(122)
    kid = vault.do("POST", "/keys/name/create", EC)["key"]["kid"]
    assert [item["kid"] for item in vault.do("GET", "/keys/name/versions")["value"]] == [kid]


def test_a_managed_hsm_deletes_at_once(hsm: Vault) -> None:
    """Recorded of deletion, recovery and purge. The lab is started without a delay for this test's
    vaults too, so the properties tell."""
    assert hsm.lab.control("GET", f"/vaults/{hsm.host}")["delete_delay"] == 0
    hsm.native("name")
    hsm.do("DELETE", "/keys/name")
    assert hsm.ask("GET", "/keys/name").status_code == 404
    assert hsm.do("GET", "/deletedkeys/name")["recoveryId"] == f"{hsm.url}/deletedkeys/name"
    hsm.do("POST", "/deletedkeys/name/recover")
    assert hsm.ask("GET", "/keys/name").ok


def test_texts_of_a_managed_hsms_404(hsm: Vault) -> None:
    """Recorded of keys and deleted keys: the URL, and the request's id."""
    version = "0" * 32
    hsm.native("there")
    for path in ("/keys/name", f"/keys/there/{version}", "/deletedkeys/name"):
        response = hsm.ask("GET", path)
        assert error_of(response, 404) == {
            "code": "KeyNotFound",
            "message": f"Key not found: {hsm.url}{path} "
            f"(Activity ID: {response.headers['x-ms-request-id']})",
        }


def test_retention_ends(vault: Vault, clock: Callable[[float], None]) -> None:
    vault.set(retention_days=7)
    vault.native("name")
    vault.do("DELETE", "/keys/name")
    clock(7 * DAY - 10)
    assert vault.ask("GET", "/deletedkeys/name").status_code == 200
    clock(7 * DAY + 1)
    assert vault.ask("GET", "/deletedkeys/name").status_code == 404
    assert vault.ask("POST", "/keys/name/create", EC).ok


@pytest.mark.parametrize(
    ("protected", "days", "level"),
    [
        (False, 90, "Recoverable+Purgeable"),
        (False, 7, "CustomizedRecoverable+Purgeable"),
        (True, 90, "Recoverable"),
        (True, 30, "CustomizedRecoverable"),
    ],
)
def test_recovery_levels_and_purge_protection(
    vault: Vault, protected: bool, days: int, level: str
) -> None:
    vault.set(purge_protection=protected, retention_days=days)
    attributes = vault.native("name")["attributes"]
    assert (attributes["recoveryLevel"], attributes["recoverableDays"]) == (level, days)
    vault.do("DELETE", "/keys/name")
    assert vault.ask("DELETE", "/deletedkeys/name").status_code == (403 if protected else 204)


def test_rate_limit(vault: Vault, clock: Callable[[float], None]) -> None:
    """The recorded 429; what was refused does not count, and after 10 s there is room again."""
    for _time in range(10):
        assert vault.ask("POST", "/keys/name/create", EC).ok
    for _time in range(3):
        throttled = vault.ask("POST", "/keys/name/create", EC)
        assert error_of(throttled, 429) == {
            "code": "Throttled",
            "message": (
                "Request was not processed because too many requests were received. "
                "Reason: VaultRequestTypeLimitReached"
            ),
        }
        assert "Retry-After" not in throttled.headers
    clock(10)
    assert vault.ask("POST", "/keys/name/create", EC).ok


def test_software_keys_have_a_rate_of_their_own(vault: Vault) -> None:
    for _time in range(20):
        assert vault.ask("POST", "/keys/name/create", {"kty": "EC"}).ok
    assert vault.ask("POST", "/keys/name/create", {"kty": "EC"}).status_code == 429


def test_managed_hsm_takes_100_versions(hsm: Vault) -> None:
    for _time in range(100):
        hsm.native("name")
    assert "100 versions" in error_of(hsm.ask("POST", "/keys/name/create", EC), 409)["message"]
    assert hsm.ask("POST", "/keys/other/create", EC).ok


def test_managed_hsm_takes_5000_keys() -> None:
    rules.room(Kind.MANAGED_HSM, keys=5000, versions=1)
    rules.room(Kind.MANAGED_HSM, keys=4999, versions=0)
    rules.room(Kind.VAULT, keys=100_000, versions=100_000)
    with pytest.raises(Refusal, match="5000 keys"):
        rules.room(Kind.MANAGED_HSM, keys=5000, versions=0)
