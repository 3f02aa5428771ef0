# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._arguments import DECLARATION_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._declaration import Declaration, parse_declaration
from ansible_collections.keyferry.azure.plugins.module_utils._vault._permissions import (
    HSM_CRYPTO_OFFICER,
    PERMISSIONS,
    WITHOUT,
    WORK,
    Need,
    declared_operations,
    needed_operations,
)

BROUGHT = {"list", "get", "create", "delete", "import", "update"}


def declared(**options: t.Any) -> Declaration:
    empty = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()}
    return parse_declaration({**empty, "name": "key", **options})


EC = declared(type="EC", curve="P-256")
RSA = declared(type="RSA", size=2048, operations=["wrapKey", "unwrapKey"])
OCT = declared(type="oct", size=256)


def musts(needs: dict[str, Need]) -> set[str]:
    return {operation for operation, need in needs.items() if need.must}


def test_every_operation_is_described_and_every_one_that_can_be_missing_says_what_then() -> None:
    for required, optional in WORK.values():
        assert {*required, *optional} <= PERMISSIONS.keys()
        assert not set(required) & set(optional)
        assert set(optional) <= WITHOUT.keys()


def test_deleted_keys_are_the_other_role_s_on_a_managed_hsm() -> None:
    officer = {operation for operation, permission in PERMISSIONS.items() if permission.hsm_role == HSM_CRYPTO_OFFICER}
    assert officer == {"get_deleted", "recover", "purge"}
    assert all(("/deletedKeys/" in each.hsm_action) == (name in officer) for name, each in PERMISSIONS.items())


@pytest.mark.parametrize(
    ("work", "required", "optional"),
    [
        (["transfer"], BROUGHT, {"get_deleted"}),
        (["rotate"], BROUGHT, {"get_deleted", "get_policy", "set_policy"}),
        (["retire"], {"list", "get", "update"}, set()),
        (["delete"], {"get", "delete"}, {"get_deleted"}),
        (["purge"], {"get_deleted", "purge"}, set()),
        (["recover"], {"get", "get_deleted", "recover"}, set()),
        (["show"], {"list", "get"}, {"get_policy"}),
        (["transfer", "purge"], BROUGHT | {"get_deleted", "purge"}, set()),
        ([], set(), set()),
    ],
)
def test_what_each_kind_of_work_takes(work: list[str], required: set[str], optional: set[str]) -> None:
    needs = needed_operations(work, True, ())
    assert musts(needs) == required
    assert needs.keys() == required | optional
    assert list(needs) == [operation for operation in PERMISSIONS if operation in needs]


def test_a_kek_that_stays_is_neither_made_nor_deleted() -> None:
    assert musts(needed_operations(["transfer"], False, ())) == BROUGHT - {"create", "delete"}
    assert needed_operations(["transfer"], False, ()).keys().isdisjoint({"create", "delete"})
    assert needed_operations(["transfer", "delete"], False, ())["delete"].work == ("delete",)


def test_a_need_names_the_work_and_what_cannot_do_without() -> None:
    need = needed_operations(["purge", "transfer"], True, ())["get_deleted"]
    assert (need.work, need.must) == (("transfer", "purge"), ("purge",))


@pytest.mark.parametrize(
    ("declarations", "prove", "operations"),
    [
        ([], False, set()),
        ([], True, {"sign", "decrypt", "unwrapKey"}),
        ([EC, RSA], False, set()),
        ([EC], True, {"sign"}),
        ([EC, RSA], True, {"sign", "unwrapKey"}),
        ([declared(type="EC", curve="P-256", operations=["verify"])], True, set()),
        ([OCT], False, {"decrypt"}),
        ([declared(type="oct", size=128, operations=["wrapKey", "unwrapKey"])], False, {"unwrapKey"}),
        ([declared(type="oct", size=128, operations=["encrypt"])], False, set()),
        ([declared(type="oct", size=128, operations=["decrypt"], token_operations=["encrypt"])], False, {"decrypt"}),
    ],
)
def test_what_the_declared_keys_are_proved_by(declarations: list[Declaration], prove: bool, operations: set[str]) -> None:
    found = declared_operations(declarations, prove)
    assert found == operations
    assert musts(needed_operations(["transfer"], True, found)) == BROUGHT | operations
    assert musts(needed_operations(["show"], True, found)) == {"list", "get"}  # which brings nothing that could be proved


def test_a_notification_that_is_declared_has_to_be_set_when_the_key_is_rotated() -> None:
    empty = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS["rotation"]["options"].items()}
    rotation = {**empty, "valid_for": "P2Y", "notify_before": "P30D"}
    found = declared_operations([declared(type="EC", curve="P-256", rotation=rotation)], False)
    assert musts(needed_operations(["rotate"], True, found)) == BROUGHT | {"get_policy", "set_policy"}
    assert musts(needed_operations(["transfer"], True, found)) == BROUGHT
