# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys in a vault: names, versions, pages, attributes, deletion and what comes after it."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from conftest import Vault

from lab import rules
from lab.hosts import Kind
from lab.refusals import Refusal

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
    assert bundle["key"]["e"] == "AAEAAQ"
    created = bundle["attributes"]["created"]
    assert bundle["attributes"] == {
        "enabled": True,
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
    assert bundle["key"]["key_ops"] == [
        "wrapKey",
        "decrypt",
        "encrypt",
        "unwrapKey",
        "sign",
        "verify",
    ]
    assert bundle["key"]["e"] == "AQAB"
    assert "hsmPlatform" not in bundle["attributes"]
    assert response.headers["X-Frame-Options"] == "SAMEORIGIN"


def test_exponent_can_be_written_as_elsewhere(vault: Vault, hsm: Vault) -> None:
    vault.set(rsa_exponent_padded=False)
    hsm.set(rsa_exponent_padded=True)
    assert (vault.kek()["e"], hsm.kek()["e"]) == ("AQAB", "AAEAAQ")


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


def test_api_version_and_unknown_requests(vault: Vault) -> None:
    assert "api-version" in error_of(vault.ask("GET", f"{vault.url}/keys"), 400)["message"]
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
    assert ("hsmPlatform" in shown["attributes"], "hsmPlatform" in deleted["attributes"]) == (
        False,
        True,
    )
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
