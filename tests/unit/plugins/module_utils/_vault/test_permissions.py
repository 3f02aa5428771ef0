# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import (
    BRINGING,
    HSM_CRYPTO_OFFICER,
    IN_WORDS,
    PERMISSIONS,
    WITHOUT,
    WORK,
    Need,
    needed_operations,
)

BROUGHT = {"list", "get", "create", "delete", "import", "update"}
POLICY = {"get_policy", "set_policy"}
DOC = (Path(__file__).parents[5] / "docs/permissions.md").read_text()


def declared(**options: t.Any) -> Declaration:
    empty = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()}
    return parse_declaration({**empty, "name": "key", **options})


EC = declared(type="EC", curve="P-256")
RSA = declared(type="RSA", size=2048, operations=["wrapKey", "unwrapKey"])
OCT = declared(type="oct", size=256)


def rotated(type: str = "EC", **rotation: str) -> Declaration:
    empty = {
        name: spec.get("default")
        for name, spec in DECLARATION_OPTIONS["rotation"]["options"].items()
    }
    shape: dict[str, t.Any] = {"curve": "P-256"} if type == "EC" else {"size": 256}
    return declared(type=type, **shape, rotation={**empty, "valid_for": "P2Y", **rotation})


def musts(needs: dict[str, Need]) -> set[str]:
    return {operation for operation, need in needs.items() if need.must}


def test_every_operation_is_described_and_every_one_that_can_be_missing_says_what_then() -> None:
    for kind, (required, optional) in WORK.items():
        assert {*required, *optional} <= PERMISSIONS.keys()
        assert not set(required) & set(optional)
        assert set(optional) == {operation for operation, kinds in WITHOUT.items() if kind in kinds}
    assert {*BRINGING, *IN_WORDS} <= WORK.keys()


def test_deleted_keys_are_the_other_role_s_on_a_managed_hsm() -> None:
    officer = {
        operation
        for operation, permission in PERMISSIONS.items()
        if permission.hsm_role == HSM_CRYPTO_OFFICER
    }
    assert officer == {"get_deleted", "recover", "purge"}
    assert all(
        ("/deletedKeys/" in each.hsm_action) == (name in officer)
        for name, each in PERMISSIONS.items()
    )


@pytest.mark.parametrize(
    ("work", "required", "optional"),
    [
        (["transfer"], BROUGHT, {"get_deleted", *POLICY}),
        (["rotate"], BROUGHT, {"get_deleted", *POLICY}),
        (["prepare"], {"list", "get"}, {"get_deleted", "get_policy"}),
        (["retire"], {"list", "get", "update"}, set()),
        (["delete"], {"get", "delete"}, {"get_deleted"}),
        (["purge"], {"get", "get_deleted", "purge"}, set()),
        (["purge_keks"], {"purge"}, {"get_deleted"}),
        (["recover"], {"get", "get_deleted", "recover"}, set()),
        (["show"], {"list", "get"}, {"get_deleted", "get_policy"}),
        (["transfer", "purge"], BROUGHT | {"get_deleted", "purge"}, POLICY),
        ([], set(), set()),
    ],
)
def test_what_each_kind_of_work_takes(
    work: list[str], required: set[str], optional: set[str]
) -> None:
    needs = needed_operations(work, True)
    assert musts(needs) == required
    assert needs.keys() == required | optional
    assert list(needs) == [operation for operation in PERMISSIONS if operation in needs]


def test_a_kek_that_stays_is_neither_made_nor_deleted() -> None:
    assert musts(needed_operations(["transfer"], False)) == BROUGHT - {"create", "delete"}
    assert needed_operations(["transfer"], False).keys().isdisjoint({"create", "delete"})
    assert needed_operations(["transfer", "delete"], False)["delete"].work == ("delete",)


def test_a_need_names_the_work_and_what_cannot_do_without() -> None:
    need = needed_operations(["purge", "transfer"], True)["get_deleted"]
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
        (
            [declared(type="oct", size=128, operations=["wrapKey", "unwrapKey"])],
            False,
            {"unwrapKey"},
        ),
        ([declared(type="oct", size=128, operations=["encrypt"])], False, set()),
        (
            [declared(type="oct", size=128, operations=["decrypt"], token_operations=["encrypt"])],
            False,
            {"decrypt"},
        ),
    ],
)
def test_what_the_declared_keys_are_proved_by(
    declarations: list[Declaration], prove: bool, operations: set[str]
) -> None:
    assert musts(needed_operations(["transfer"], True, declarations, prove)) == BROUGHT | operations
    assert musts(needed_operations(["show"], True, declarations, prove)) == {
        "list",
        "get",
    }  # which brings nothing to be proved


def test_an_oct_key_is_proved_again_before_an_older_version_is_disabled() -> None:
    retired = {"list", "get", "update"}
    assert musts(
        needed_operations(["retire"], True, [rotated("oct", retire="disable")])
    ) == retired | {"decrypt"}
    assert musts(needed_operations(["retire"], True, [rotated("oct"), OCT], True)) == retired
    assert musts(needed_operations(["retire"], True, [rotated(retire="disable")], True)) == retired


def test_policies_count_where_a_key_declares_its_rotation() -> None:
    for kind, looked_at in (
        ("transfer", POLICY),
        ("rotate", POLICY),
        ("prepare", {"get_policy"}),
        ("show", {"get_policy"}),
    ):
        assert needed_operations([kind], True).keys() >= looked_at
        assert needed_operations([kind], True, [EC]).keys().isdisjoint(POLICY)
        assert needed_operations([kind], True, [EC, rotated()]).keys() >= looked_at
        assert musts(needed_operations([kind], True, [EC, rotated()])).isdisjoint(POLICY)
        assert (
            musts(needed_operations([kind], True, [rotated(notify_before="P30D")])) & POLICY
            == looked_at
        )


def in_code(names: t.Iterable[str]) -> str:
    return "".join(f" `{name}`" for name in dict.fromkeys(names)) + " "


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Access policies", lambda operation: PERMISSIONS[operation].access_policy),
        (
            "Azure RBAC",
            lambda operation: PERMISSIONS[operation].rbac_action.removeprefix(
                "Microsoft.KeyVault/vaults/"
            ),
        ),
        (
            "Managed HSM",
            lambda operation: PERMISSIONS[operation].hsm_action.removeprefix(
                "Microsoft.KeyVault/managedHsm/"
            ),
        ),
    ],
)
def test_the_documentation_has_what_each_kind_of_work_takes(
    title: str, name: t.Callable[[str], str]
) -> None:
    section = DOC.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = [row for row in section.splitlines() if re.match(r"\| `", row)][1:]  # without the head
    expected = []
    for kind, (required, optional) in WORK.items():
        musts = [name(operation) for operation in required]
        cans = [name(operation) for operation in optional if name(operation) not in musts]
        expected.append(f"| `{kind}` |{in_code(musts)}|{in_code(cans)}|")
    assert rows == expected


def test_the_documentation_has_every_kind_of_work_and_what_becomes_of_it_without() -> None:
    playbooks = DOC.partition("## What each playbook does")[2].partition("\n## ")[0]
    assert all(f"`{kind}`" in playbooks for kind in WORK)
    without = DOC.partition("## What happens without")[2].partition("\n## ")[0]
    assert all(what in without for kinds in WITHOUT.values() for what in kinds.values())


ROLES = {
    "Keyferry look": ("show", "prepare"),
    "Keyferry bring": ("transfer", "rotate"),
    "Keyferry retire": ("retire",),
    "Keyferry delete": ("delete", "purge", "recover"),
}


def test_the_roles_to_copy_have_what_their_work_takes_and_no_more() -> None:
    found = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", DOC, re.DOTALL)]
    vault = {role["Name"]: role["DataActions"] for role in found if "Name" in role}
    hsm = {role["roleName"]: role["dataActions"] for role in found if "roleName" in role}
    assert len(found) == len(vault) + len(hsm)
    for roles, action in ((vault, "rbac_action"), (hsm, "hsm_action")):
        needed = {name: needed_operations(kinds, True) for name, kinds in ROLES.items()}
        assert {name: sorted(actions) for name, actions in roles.items()} == {
            name: sorted({getattr(PERMISSIONS[operation], action) for operation in needs})
            for name, needs in needed.items()
        }
