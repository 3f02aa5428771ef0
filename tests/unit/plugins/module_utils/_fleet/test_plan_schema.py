# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/plan.schema.json against summaries of plans that byok_plan makes."""

from __future__ import annotations

import copy
import json
import typing as t
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import jsonschema
import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core import plan as planner
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    RsaPublicKey,
    thumbprint,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import ActionName
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import summarise
from ansible_collections.keyferry.azure.plugins.module_utils._host.journal import Journal
from ansible_collections.keyferry.azure.plugins.module_utils._steps.plan import Asked, plan
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import parse_address
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Patience, Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace
from ansible_collections.keyferry.azure.plugins.module_utils._vault.unmanaged import list_unmanaged
from azure.core.exceptions import ResourceNotFoundError

SCHEMA = json.loads((Path(planner.__file__).parents[3] / "docs/plan.schema.json").read_text())
URL = "https://contoso.vault.azure.net"
NOW = datetime.now(timezone.utc).replace(microsecond=0)
CREATED = NOW - timedelta(days=30)

#: Number of the key that is the newest version, by name; the token has key 1 of each name but "new"
NEWEST = {"there": 1, "locked": 1, "foreign": 2, "due": 1}
DELETED = {"gone": 1}


def bundle(name: str, number: int) -> SimpleNamespace:
    """A key as Azure's SDK returns it."""
    version = f"{number:032x}"
    properties = SimpleNamespace(
        name=name,
        id=f"{URL}/keys/{name}",
        version=version,
        enabled=True,
        not_before=None,
        expires_on=NOW + timedelta(days=300),
        created_on=CREATED,
        tags={"owner": "payments"},
        recovery_level="Recoverable",
        managed=False,
    )
    return SimpleNamespace(
        id=f"{URL}/keys/{name}/{version}",
        key_type="RSA-HSM",
        key_operations=["sign", "verify"],
        key=SimpleNamespace(n=bytes([number + 3]), e=b"\x01\x00\x01"),
        properties=properties,
    )


class Client:
    """A KeyClient of azure-keyvault-keys that only reads."""

    def get_key(
        self, name: str, version: str | None, raw_response_hook: t.Any, **_: t.Any
    ) -> t.Any:
        headers = {"Date": format_datetime(NOW, usegmt=True)}
        response = SimpleNamespace(headers=headers, status_code=200)
        raw_response_hook(SimpleNamespace(http_response=response))
        return self._of(NEWEST, name)

    def get_deleted_key(self, name: str, **_: t.Any) -> t.Any:
        return self._of(DELETED, name)

    def list_properties_of_key_versions(self, name: str, **_: t.Any) -> list[t.Any]:
        version = bundle(name, NEWEST[name])
        return [SimpleNamespace(**{**vars(version.properties), "id": version.id})]

    def list_properties_of_keys(self, **_: t.Any) -> list[t.Any]:
        return [bundle(name, number).properties for name, number in NEWEST.items()]

    def _of(self, numbers: dict[str, int], name: str) -> t.Any:
        if name not in numbers:
            error = ResourceNotFoundError("no such key")
            error.status_code = 404
            raise error
        return bundle(name, numbers[name])


def declared(name: str, **options: t.Any) -> dict[str, t.Any]:
    empty = {option: spec.get("default") for option, spec in DECLARATION_OPTIONS.items()}
    return {**empty, "name": name, "type": "RSA", "size": 2048, **options}


def in_token(name: str) -> dict[str, t.Any]:
    """A key as byok_target_key reports it."""
    if name == "new":
        return {"name": name, "generation": None, "generations": []}
    generation = {
        "generation": "01",
        "thumbprint": thumbprint(RsaPublicKey(4, 65537)),
        "made_by_keyferry": True,
        "made": "2026-01-02T00:00:00Z",
        "CKA_EXTRACTABLE": True,
    }
    return {"name": name, "generation": "01", "generations": [generation]}


def planned(*items: dict[str, t.Any], force: frozenset[str] | None = None) -> dict[str, t.Any]:
    """The variables of a host after the role's entry point plan."""
    address = parse_address(URL, "AzureCloud")
    vault = Vault(address, Client(), Patience(0, 0), Pace(1, None), lambda seconds: None)
    asked = Asked(force, "fail", Journal("/nowhere", URL))
    outcome = plan(vault, items, [in_token(item["name"]) for item in items], asked)
    assert not outcome.failures
    return {
        "inventory_hostname": "contoso",
        "byok_vault_url": URL,
        "byok_keys": items,
        "byok_standing": {"there": "01"},
        "byok_planned": {
            "vault_url": URL,
            "plan": outcome.result["plan"],
            "unmanaged": list_unmanaged(vault, [item["name"] for item in items]),
        },
    }


def summary() -> t.Any:
    """What plan.json holds of a vault and a run that meet everything."""
    host = planned(
        declared("there"),
        declared("new"),
        declared("missing", tags={"owner": "web"}),
        declared("foreign"),
        declared("gone"),
        declared("locked", enabled=False, after_transfer="lock"),
    )
    return json.loads(json.dumps(summarise([host], "2026-11-22T12:00:00Z")))


def test_a_summary_fits() -> None:
    made = summary()
    (host,) = made["hosts"].values()
    assert {entry["name"]: (entry["action"], entry["code"]) for entry in host["plan"]} == {
        "there": ("none", "in_place"),
        "new": ("transfer", "not_anywhere"),
        "missing": ("transfer", "not_in_vault"),
        "foreign": ("conflict", "foreign_version"),
        "gone": ("conflict", "deleted_name"),
        "locked": ("update", "attributes_differ"),
    }
    assert [key["name"] for key in host["unmanaged"]] == ["due"]
    jsonschema.validate(made, SCHEMA)


def test_a_summary_of_nothing_to_do_fits() -> None:
    jsonschema.validate(summarise([planned(declared("there"))], "2026-11-22T12:00:00Z"), SCHEMA)
    jsonschema.validate(summarise([], "2026-11-22T12:00:00Z"), SCHEMA)


def test_a_rotation_fits() -> None:
    forced = frozenset([thumbprint(RsaPublicKey(4, 65537))])
    host = planned(declared("due"), force=forced)
    assert [entry["action"] for entry in host["byok_planned"]["plan"]] == ["rotate"]
    jsonschema.validate(summarise([host], "2026-11-22T12:00:00Z"), SCHEMA)


def test_the_schema_knows_the_actions() -> None:
    assert SCHEMA["$defs"]["action"]["enum"] == list(t.get_args(ActionName))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made, entry: made.update(status="maybe"),
        lambda made, entry: made.pop("made_at"),
        lambda made, entry: made["actions"].update(purge=1),
        lambda made, entry: entry.update(action="purge"),
        lambda made, entry: entry.update(code="No Code"),
        lambda made, entry: entry.pop("code"),
        lambda made, entry: entry.update(pin="1234"),
        lambda made, entry: entry.update(next_due="tomorrow"),
        lambda made, entry: entry.update(version="latest"),
        lambda made, entry: entry.update(changes={"enabled": True}),
    ],
)
def test_something_else_does_not_fit(
    spoil: t.Callable[[dict[str, t.Any], dict[str, t.Any]], t.Any],
) -> None:
    made = copy.deepcopy(summary())
    spoil(made, made["hosts"]["contoso"]["plan"][0])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, SCHEMA)
