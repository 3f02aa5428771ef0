# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotation policies: what a vault makes of them, and the versions that they make."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys import (
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)
from conftest import Vault
from wrapping import base64url, ec_key, number, pkcs8, wrap

from lab import rotation
from lab.hosts import Kind
from lab.material import generate
from lab.rotation import Action, Policy
from lab.store import Store, Version

DAY = 86400
PATH = "/keys/name/rotationpolicy"
NOTIFY = {"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "Notify"}}
Clock = Callable[[float], None]


def rotate(**trigger: str | None) -> dict[str, Any]:
    return {"trigger": trigger, "action": {"type": "Rotate"}}


def body(*actions: dict[str, Any], **attributes: str) -> dict[str, Any]:
    return {"lifetimeActions": list(actions), "attributes": attributes}


def versions(vault: Vault, name: str = "name") -> set[str]:
    return {item["kid"] for item in vault.do("GET", f"/keys/{name}/versions")["value"]}


def test_vault_adds_a_notify(vault: Vault) -> None:
    """As recorded, from the first PUT on; a key without a policy shows the same without times."""
    vault.native("name")
    url = vault.url + PATH
    assert vault.do("GET", PATH) == {"id": url, "lifetimeActions": [NOTIFY], "attributes": {}}
    empty = vault.do("PUT", PATH, body())
    created = empty["attributes"]["created"]
    assert empty == {
        "id": url,
        "lifetimeActions": [NOTIFY],
        "attributes": {"created": created, "updated": created},
    }
    assert vault.do("PUT", PATH, body(rotate(timeAfterCreate="P2M")))["lifetimeActions"] == [
        rotate(timeAfterCreate="P2M"),
        NOTIFY,
    ]
    later = {"trigger": {"timeBeforeExpiry": "P60D"}, "action": {"type": "Notify"}}
    replaced = vault.do("PUT", PATH, body(later, expiryTime="P90D"))
    assert (replaced["lifetimeActions"], replaced["attributes"]["expiryTime"]) == ([later], "P90D")
    assert vault.do("GET", PATH) == replaced


def test_policy_keeps_when_it_was_created(vault: Vault, clock: Clock) -> None:
    vault.native("name")
    first = vault.do("PUT", PATH, body())["attributes"]
    clock(60)
    second = vault.do("PUT", PATH, body(NOTIFY))["attributes"]
    assert (second["created"], second["updated"] >= first["updated"] + 59) == (
        first["created"],
        True,
    )


def test_the_sdk_reads_and_writes_policies(vault: Vault) -> None:
    client = KeyClient(vault.url, vault.lab.credential())
    client.create_ec_key("name", hardware_protected=True, curve="P-384", tags={"a": "b"})
    action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P15D")
    client.update_key_rotation_policy(
        "name", KeyRotationPolicy(lifetime_actions=[action], expires_in="P30D")
    )
    read = client.get_key_rotation_policy("name")
    assert [
        (each.action, each.time_after_create, each.time_before_expiry)
        for each in read.lifetime_actions
    ] == [
        (KeyRotationPolicyAction.rotate, "P15D", None),
        (KeyRotationPolicyAction.notify, None, "P30D"),
    ]
    assert read.expires_in == "P30D"
    old, new = client.get_key("name"), client.rotate_key("name")
    old_key, new_key = vars(old.key), vars(new.key)
    assert client.get_key("name").id == new.id
    assert (new.key_type, new_key["crv"], new.key_operations) == (
        old.key_type,
        "P-384",
        old.key_operations,
    )
    assert new_key["x"] != old_key["x"]
    assert new.properties.tags == {"a": "b"}
    created, expires = new.properties.created_on, new.properties.expires_on
    assert created is not None
    assert expires is not None
    assert (expires - created).days == 30
    assert old.properties.expires_on is None
    assert versions(vault) == {old.id, new.id}


@pytest.mark.parametrize(
    ("kind", "refused", "expected"),
    [
        ("vault", body(rotate(timeAfterCreate="P6D")), "7 days after the creation"),
        (
            "vault",
            body(rotate(timeAfterCreate="P25D"), expiryTime="P30D"),
            "7 days before the expiry",
        ),
        (
            "vault",
            body(rotate(timeBeforeExpiry="P6D"), expiryTime="P30D"),
            "7 days before the expiry",
        ),
        (
            "vault",
            body(rotate(timeBeforeExpiry="P24D"), expiryTime="P30D"),
            "7 days after the creation",
        ),
        ("vault", body(rotate(timeBeforeExpiry="P30D")), "needs an expiryTime"),
        ("vault", body(expiryTime="P27D"), "28 days"),
        (
            "vault",
            body(rotate(timeAfterCreate="P9D", timeBeforeExpiry="P9D"), expiryTime="P90D"),
            "one trigger",
        ),
        ("vault", body(rotate()), "one trigger"),
        ("vault", body(NOTIFY, NOTIFY), "at most one"),
        (
            "vault",
            body({"trigger": {"timeAfterCreate": "P30D"}, "action": {"type": "Notify"}}),
            "Rotate only",
        ),
        (
            "vault",
            body({"trigger": {"timeAfterCreate": "P30D"}, "action": {"type": "Destroy"}}),
            "Supported values",
        ),
        ("vault", body(rotate(timeAfterCreate="30 days")), "ISO 8601"),
        ("vault", body(rotate(timeAfterCreate="P")), "ISO 8601"),
        ("vault", body(expiryTime="PT48H"), "ISO 8601"),
        ("vault", {"lifetimeActions": {}, "attributes": 1}, "attributes"),
        ("vault", {"lifetimeActions": ["Rotate"]}, "an action and a trigger"),
        ("hsm", body(rotate(timeAfterCreate="P27D")), "28 days after the creation"),
        (
            "hsm",
            body(rotate(timeBeforeExpiry="P29D"), expiryTime="P56D"),
            "28 days after the creation",
        ),
        ("hsm", body(NOTIFY), "no Notify"),
        ("hsm", body(expiryTime="P27D"), "28 days"),
    ],
)
def test_refused_policies(
    request: pytest.FixtureRequest, kind: str, refused: Any, expected: str
) -> None:
    vault: Vault = request.getfixturevalue(kind)
    vault.native("name")
    before = vault.do("GET", PATH)
    response = vault.ask("PUT", PATH, refused)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "BadParameter"), (
        response.text
    )
    assert expected in response.json()["error"]["message"]
    assert vault.do("GET", PATH) == before


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("vault", body(rotate(timeAfterCreate="P7D"))),
        (
            "vault",
            body(rotate(timeAfterCreate="P18M", timeBeforeExpiry=None), NOTIFY, expiryTime="P2Y"),
        ),
        ("vault", body(rotate(timeBeforeExpiry="P7D"), expiryTime="P28D")),
        ("vault", body({"trigger": {"timeBeforeExpiry": "P30D"}, "action": {"type": "notify"}})),
        ("hsm", body(rotate(timeAfterCreate="P28D"))),
        ("hsm", body(rotate(timeBeforeExpiry="P28D"), expiryTime="P56D")),
    ],
)
def test_policies_at_the_limits(request: pytest.FixtureRequest, kind: str, taken: Any) -> None:
    vault: Vault = request.getfixturevalue(kind)
    vault.native("name")
    assert vault.ask("PUT", PATH, taken).ok


def test_rotation_in_a_managed_hsm_needs_a_policy(hsm: Vault) -> None:
    """Documented, and that an empty policy removes it; the answers without one are not known."""
    hsm.native("name", kty="oct-HSM", key_size=192)
    none = {"id": PATH.lstrip("/"), "lifetimeActions": [], "attributes": {}}
    assert hsm.do("GET", PATH) == none
    assert (
        "after its rotation policy was set"
        in hsm.ask("POST", "/keys/name/rotate").json()["error"]["message"]
    )
    # Recorded: the type comes back in lower case.
    assert hsm.do("PUT", PATH, body(rotate(timeAfterCreate="P28D")))["lifetimeActions"] == [
        {"trigger": {"timeAfterCreate": "P28D"}, "action": {"type": "rotate"}}
    ]
    assert hsm.do("POST", "/keys/name/rotate")["key"]["kty"] == "oct-HSM"
    assert hsm.do("PUT", PATH, body()) == hsm.do("GET", PATH) == none
    assert hsm.ask("POST", "/keys/name/rotate").status_code == 400


def test_a_key_exchange_key_does_not_rotate(vault: Vault) -> None:
    vault.kek()
    for method, path, sent in (
        ("POST", "/keys/kek/rotate", None),
        ("PUT", "/keys/kek/rotationpolicy", body(rotate(timeAfterCreate="P30D"))),
    ):
        assert "key exchange key" in vault.ask(method, path, sent).json()["error"]["message"]
    assert vault.ask("PUT", "/keys/kek/rotationpolicy", body(NOTIFY)).ok


def test_an_imported_key_rotates_to_one_made_in_azure(vault: Vault) -> None:
    key = {
        "kty": "EC-HSM",
        "crv": "P-256",
        "key_ops": ["sign"],
        "key_hsm": base64url(wrap(vault.kek(), pkcs8(ec_key()))),
    }
    imported = vault.do("PUT", "/keys/name", {"key": key})["key"]
    assert number(imported["x"]) == ec_key().public_key().public_numbers().x
    rotated = vault.do("POST", "/keys/name/rotate")
    assert (rotated["key"]["key_ops"], rotated["key"]["crv"]) == (["sign"], "P-256")
    assert rotated["key"]["x"] != imported["x"]
    assert "exp" not in rotated["attributes"]


@pytest.mark.parametrize("look", ["/keys", "/keys/name", "/keys/name/versions", PATH])
def test_a_policy_rotates_when_its_time_has_come(vault: Vault, clock: Clock, look: str) -> None:
    first = vault.native("name")["key"]["kid"]
    vault.do("PUT", PATH, body(rotate(timeAfterCreate="P30D"), expiryTime="P90D"))
    clock(30 * DAY - 60)
    vault.do("GET", look)
    assert versions(vault) == {first}
    clock(30 * DAY + 60)
    vault.do("GET", look)
    newest = vault.do("GET", "/keys/name")
    assert versions(vault) == {first, newest["key"]["kid"]}
    assert newest["attributes"]["exp"] == newest["attributes"]["created"] + 90 * DAY
    clock(365 * DAY)
    vault.do("GET", look)
    assert len(versions(vault)) == 3


def test_a_rotation_before_the_expiry_waits_for_one(vault: Vault, clock: Clock) -> None:
    created = vault.native("name")["attributes"]["created"]
    vault.do("PUT", PATH, body(rotate(timeBeforeExpiry="P10D"), expiryTime="P30D"))
    clock(365 * DAY)
    assert len(versions(vault)) == 1
    clock(0)
    vault.do("PATCH", "/keys/name", {"attributes": {"exp": created + 40 * DAY}})
    clock(29 * DAY)
    assert len(versions(vault)) == 1
    clock(30 * DAY + 60)
    assert len(versions(vault)) == 2
    clock(50 * DAY + 120)
    assert len(versions(vault)) == 3


def test_a_due_rotation_is_made_once(vault: Vault, clock: Clock) -> None:
    vault.native("name", kty="RSA-HSM", key_size=3072)
    vault.do("PUT", PATH, body(rotate(timeAfterCreate="P30D")))
    clock(31 * DAY)
    with ThreadPoolExecutor(4) as pool:
        kids = set(pool.map(lambda _: vault.do("GET", "/keys/name")["key"]["kid"], range(4)))
    assert len(kids) == 1
    assert len(versions(vault)) == 2


def test_a_full_managed_hsm_does_not_rotate(hsm: Vault, clock: Clock) -> None:
    for _time in range(100):
        hsm.native("name")
    newest = hsm.do("GET", "/keys/name")["key"]["kid"]
    hsm.do("PUT", PATH, body(rotate(timeAfterCreate="P28D")))
    clock(29 * DAY)
    assert hsm.do("GET", "/keys/name")["key"]["kid"] == newest
    assert hsm.ask("POST", "/keys/name/rotate").status_code == 409


def test_policy_outlives_recovery_but_not_purge(vault: Vault, clock: Clock) -> None:
    vault.native("name")
    policy = vault.do("PUT", PATH, body(rotate(timeAfterCreate="P30D")))
    vault.do("DELETE", "/keys/name")
    assert vault.ask("GET", PATH).status_code == vault.ask("PUT", PATH, body()).status_code == 404
    assert vault.ask("POST", "/keys/name/rotate").status_code == 404
    clock(31 * DAY)
    assert len(vault.do("GET", "/deletedkeys")["value"]) == 1
    vault.do("POST", "/deletedkeys/name/recover")
    assert vault.do("GET", PATH) == policy
    assert len(versions(vault)) == 2
    vault.do("DELETE", "/keys/name")
    assert vault.ask("DELETE", "/deletedkeys/name").status_code == 204
    vault.native("name")
    assert vault.do("GET", PATH)["attributes"] == {}


def test_rotation_counts_as_a_creation(vault: Vault) -> None:
    client = KeyClient(vault.url, vault.lab.credential())
    vault.native("name")
    for _time in range(10):
        client.rotate_key("name")
    with pytest.raises(HttpResponseError) as error:
        client.rotate_key("name", retry_total=0)
    assert error.value.status_code == 429


def seconds(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=timezone.utc).timestamp())


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("P1M", (2024, 2, 29)),
        ("P13M", (2025, 2, 28)),
        ("P1Y1M1W1D", (2025, 3, 8)),
        ("P30D", (2024, 3, 1)),
    ],
)
def test_durations_go_by_the_calendar(duration: str, expected: tuple[int, int, int]) -> None:
    assert Policy((), duration).expiry(seconds(2024, 1, 31)) == seconds(*expected)
    assert Policy((Action("Rotate", "timeAfterCreate", duration),), None).due(
        seconds(2024, 1, 31), None
    ) == seconds(*expected)


@pytest.mark.parametrize("expires", [-1, 0, 10**30])
def test_an_absurd_expiry_is_no_fault(expires: int) -> None:
    assert (
        Policy((Action("Rotate", "timeBeforeExpiry", "P999Y999M9999W99999D"),), None).due(
            0, expires
        )
        is not None
    )


def test_what_is_kept(tmp_path: Path) -> None:
    """A file of a lab that knew no policies opens; a policy stays until its key is forgotten."""
    path = tmp_path / "vaults.sqlite"
    version = Version(
        "0" * 32, "EC-HSM", generate("EC", 0, "P-256"), ["sign"], True, None, None, 1, 2, None
    )
    store = Store(path)
    store.add("host", "Name", version)
    store.close()
    with sqlite3.connect(path) as database:
        database.executescript("DROP TABLE policies; DROP INDEX versions_by_number;")
    policy = rotation.policy(Kind.VAULT, body(rotate(timeAfterCreate="P30D")), None, ["sign"], 7)
    for _time in range(2):
        store = Store(path)
        assert list(store.versions("host", "name")) == [version]
        store.set_policy("host", "NAME", policy)
        assert store.policy("host", "name") == policy
        assert store.names_with_policy("host") == ["NAME"]
        store.close()
    store = Store(path)
    store.forget("host", "name")
    assert store.policy("host", "name") is None
    store.close()
