# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each kind of work with the permissions of docs/permissions.md and no other.

And with each of them taken away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault import client as _client
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import (
    Cloud,
    parse_address,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.credentials import (
    make_credential,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import (
    PERMISSIONS,
    Need,
    needed_operations,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import Lab, Result, Vault, run
from azure.identity import ClientSecretCredential
from azure.keyvault.keys import (
    KeyClient,
    KeyRotationLifetimeAction,
    KeyRotationPolicy,
    KeyRotationPolicyAction,
)

Declare = Callable[..., Result]
NewVault = Callable[..., Vault]

VAULT, HSM = "vault.azure.net", "managedhsm.azure.net"
KINDS_OF_VAULT = pytest.mark.parametrize("domain", [VAULT, HSM])

#: What to do about a permission that is missing
REMEDIES = ("access policy", "Managed HSM Crypto", "a Managed HSM wants", "by hand")


@pytest.fixture(autouse=True, scope="module")
def _one_login() -> Iterator[None]:
    """Log in once: what is tried here is what a token may do."""
    known: dict[str, Any] = {}

    def cached(options: Result, cloud: Cloud, clock: Any) -> Any:
        return known.setdefault(cloud.login_host, make_credential(options, cloud))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_client, "make_credential", cached)
        yield


@pytest.fixture
def new_vault(lab: Lab, driver: str) -> NewVault:
    """One vault of each kind for all tests, so that one KEK does; each test has its own keys."""

    def reset(domain: str = VAULT) -> Vault:
        vault = Vault(lab, f"keyferry-lab-allowed.{domain}", driver)
        lab.control("PUT", f"/vaults/{vault.host}", {"roles": {}})
        return vault

    return reset


class Identity:
    """What the clients of this process may do in a vault."""

    def __init__(self, vault: Vault) -> None:
        self.vault, self.is_hsm = vault, vault.host.endswith(HSM)

    def permission(self, operation: str) -> str:
        """What an administrator gives for it.

        That is a permission of an access policy, or a data action of a Managed HSM.
        """
        return (
            PERMISSIONS[operation].hsm_action
            if self.is_hsm
            else PERMISSIONS[operation].access_policy
        )

    def may(self, operations: Iterable[str], never: str | None = None) -> None:
        """Let it do these, but for what takes the permission ``never``."""
        given = [each for each in operations if self.permission(each) != never]
        roles = {"operator": sorted({self._in_the_lab(each) for each in given})}
        self.vault.lab.control("PUT", f"/vaults/{self.vault.host}", {"roles": roles})

    def _in_the_lab(self, operation: str) -> str:
        if self.is_hsm and PERMISSIONS[operation].hsm_action.endswith("/keys/read/action"):
            return "Managed HSM Crypto Auditor"  # there, what gets keys does not get deleted ones
        if self.is_hsm and PERMISSIONS[operation].hsm_action.endswith("/keys/write/action"):
            return "update"
        return operation if self.is_hsm else PERMISSIONS[operation].access_policy


class Work:
    """A kind of work: what it is done to, and the run that is tried.

    An item is what one run is about: a key, and for the first run a second one, where that takes
    another permission.
    """

    kinds: tuple[str, ...]
    ephemeral_kek = True
    rotation: ClassVar[Result | None] = None

    def __init__(self, vault: Vault, key: Declare) -> None:
        self.vault, self.key, self.identity = vault, key, Identity(vault)
        self.items: list[list[Result]] = []

    def begin(self, count: int) -> None:
        """Make what the work is done to, ``count`` times; with all permissions."""
        self.items = [self.declare() for _each in range(count)]
        self.bring(*(key for item in self.items for key in item))

    def declare(self) -> list[Result]:
        return [{**self.key(), "rotation": self.rotation}]

    def run(self, keys: list[Result]) -> Result:
        raise NotImplementedError

    def check(self, item: list[Result], read: dict[str, Result], made: dict[str, int]) -> None:
        """See that the work was done, and once.

        :param read: what byok_plan tells of all versions of each key
        :param made: how many generations of each key there are
        """

    def needs(self) -> dict[str, Need]:
        return needed_operations(
            self.kinds, self.ephemeral_kek, [_parsed(key) for key in self.declare()]
        )

    def taken_away(self, required: list[str]) -> list[str]:
        """The permissions that are taken away in turn: first the one that the second key takes."""
        permissions = list(dict.fromkeys(map(self.identity.permission, required)))
        return sorted(permissions, key=lambda each: each != self.identity.permission("update"))

    def said(self, keys: list[Result]) -> tuple[Result | None, str]:
        """Run; returns the result, and what went wrong in words."""
        try:
            result = self.run(keys)
        except ByokError as error:
            return None, str(error)
        return result, " ".join(
            [*(each["msg"] for each in result["failures"]), *result["warnings"]]
        )

    def read(self, keys: list[Result]) -> tuple[dict[str, Result], dict[str, int]]:
        """Return what check() takes."""
        in_token = run("byok_target_key", True, target_keys=keys)["target_keys"]
        plan = self.vault.run(
            "byok_plan", declarations=keys, target_keys=in_token, all_versions=True
        )
        made = {each["name"]: len(each["generations"]) for each in in_token}
        return {each["name"]: each for each in plan["versions"]["target_keys"]}, made

    def bring(self, *keys: Result) -> None:
        """Bring keys, with one KEK for all."""
        self.kek = self.vault.run("byok_kek", name="kek", size=2048)
        brought = self.vault.rotate(*keys, kek_id=self.kek["kek_id"], allow_unverified_kek=True)
        assert brought["failures"] == []


def _parsed(key: Result) -> Declaration:
    defaults = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()}
    rotation = {
        name: spec.get("default")
        for name, spec in DECLARATION_OPTIONS["rotation"]["options"].items()
    }
    return parse_declaration(
        {**defaults, **key, "rotation": key["rotation"] and {**rotation, **key["rotation"]}}
    )


class Transfer(Work):
    """What byok.yml does: a new key, and one whose tags have to be brought in line."""

    kinds: tuple[str, ...] = ("transfer",)

    @property
    def options(self) -> Result:
        """Variables of the role, without their byok_."""
        return {}

    def begin(self, count: int) -> None:
        self.items = [self.declare(), *(self.declare()[:1] for _each in range(count - 1))]
        self.bring({**self.items[0][1], "tags": None})

    def declare(self) -> list[Result]:
        return [
            {**self.key(), "rotation": None},
            {**self.key(), "rotation": None, "tags": {"owner": "payments"}},
        ]

    def run(self, keys: list[Result]) -> Result:
        return self.vault.transfer(*keys, **self.options)

    def check(self, item: list[Result], read: dict[str, Result], made: dict[str, int]) -> None:
        new, *others = (read[key["name"]]["versions"] for key in item)
        assert (len(new), made[item[0]["name"]]) == (1, 1)
        assert [[version["tags"]["owner"] for version in other] for other in others] == [
            ["payments"]
        ] * len(others)


class TransferAndPurge(Transfer):
    """The same with byok_kek_purge."""

    kinds: tuple[str, ...] = ("transfer", "purge_keks")

    @property
    def options(self) -> Result:
        return {"kek_purge": True}

    def taken_away(self, required: list[str]) -> list[str]:
        return [self.identity.permission("purge")]


class TransferByHsmbyok(Transfer):
    """What hsmbyok.yml does: the KEK is there, and stays."""

    ephemeral_kek = False

    @property
    def options(self) -> Result:
        return {"kek_id": self.kek["kek_id"], "approved_keks": [self.kek["kek_fingerprint"]]}


class Rotate(Work):
    """What rotate.yml does, or byok_rotate.

    That is for a key that is due, and for one whose tags have to be brought in line.
    """

    kinds: tuple[str, ...] = ("rotate",)
    options: ClassVar[Result] = {}

    def begin(self, count: int) -> None:
        self.items = [self.declare(), *(self.declare()[:1] for _each in range(count - 1))]
        self.bring(*({**key, "tags": None} for item in self.items for key in item))
        self.vault.lab.forward(days=31)

    def declare(self) -> list[Result]:
        return [self.key(every="P30D"), {**self.key(every="P9Y"), "tags": {"owner": "payments"}}]

    def run(self, keys: list[Result]) -> Result:
        return self.vault.rotate(*keys, **self.options)

    def check(self, item: list[Result], read: dict[str, Result], made: dict[str, int]) -> None:
        due, *others = (read[key["name"]]["versions"] for key in item)
        assert (len(due), made[item[0]["name"]]) == (2, 2)
        assert [[version["tags"]["owner"] for version in other] for other in others] == [
            ["payments"]
        ] * len(others)


class RotateAndPurge(Rotate):
    """The same with byok_kek_purge."""

    kinds: tuple[str, ...] = ("rotate", "purge_keks")
    options: ClassVar[Result] = {"kek_purge": True}

    def taken_away(self, required: list[str]) -> list[str]:
        return [self.identity.permission("purge")]


class Prepare(Rotate):
    """What prepare.yml does."""

    kinds: tuple[str, ...] = ("prepare",)
    options: ClassVar[Result] = {"stage": "prepare"}

    def check(self, item: list[Result], read: dict[str, Result], made: dict[str, int]) -> None:
        assert (len(read[item[0]["name"]]["versions"]), made[item[0]["name"]]) == (1, 2)


class Retire(Work):
    """What retire.yml does, or byok_rotate; in a Managed HSM with oct keys."""

    kinds: tuple[str, ...] = ("retire",)

    def begin(self, count: int) -> None:
        super().begin(count)
        self.vault.lab.forward(days=31)
        self.bring(*(key for item in self.items for key in item))
        self.vault.lab.forward(days=3)

    def declare(self) -> list[Result]:
        return [self.key("oct" if self.identity.is_hsm else "EC", every="P30D", retire="disable")]

    def run(self, keys: list[Result]) -> Result:
        reencrypted = [{**key, "data_reencrypted": True} for key in keys]
        return self.vault.rotate(*reencrypted, stage="retire")

    def check(self, item: list[Result], read: dict[str, Result], made: dict[str, int]) -> None:
        assert [each["enabled"] for each in read[item[0]["name"]]["versions"]] == [True, False]


class Delete(Work):
    """What delete.yml does."""

    kinds: tuple[str, ...] = ("delete",)
    options: ClassVar[Result] = {"state": "absent"}
    left: tuple[int, bool] = (0, True)

    def begin(self, count: int) -> None:
        super().begin(count)
        read, _made = self.read([key for (key,) in self.items])
        self.newest = {name: found["versions"][0]["version"] for name, found in read.items()}

    def run(self, keys: list[Result], **options: Any) -> Result:
        imports = [{**key, "confirm": self.newest[key["name"]]} for key in keys]
        return self.vault.run("byok_import", imports=imports, **{**self.options, **options})

    def check(self, item: list[Result], read: dict[str, Result], made: dict[str, int]) -> None:
        found = read[item[0]["name"]]
        assert (len(found["versions"]), found["deleted"]) == self.left


class DeleteAndPurge(Delete):
    """The same with byok_delete_purge."""

    kinds: tuple[str, ...] = ("delete", "purge")
    options: ClassVar[Result] = {"state": "absent", "purge": True}
    left = (0, False)


class Purge(DeleteAndPurge):
    """The same for a key that was deleted before."""

    kinds: tuple[str, ...] = ("purge",)

    def begin(self, count: int) -> None:
        super().begin(count)
        deleted = self.run([key for (key,) in self.items], state="absent", purge=False)
        assert len(deleted["deletions"]) == count


class Recover(Purge):
    """What recover.yml does."""

    kinds: tuple[str, ...] = ("recover",)
    options: ClassVar[Result] = {"state": "recovered"}
    left = (1, False)


class Show(Work):
    """What show.yml does."""

    kinds: tuple[str, ...] = ("show",)
    rotation: ClassVar[Result | None] = {"every": "P30D"}

    def run(self, keys: list[Result]) -> Result:
        in_token = run("byok_target_key", True, target_keys=keys)["target_keys"]
        result = self.vault.run(
            "byok_plan", declarations=keys, target_keys=in_token, rotate=True, all_versions=True
        )
        assert result["failures"] or [
            len(each["versions"]) for each in result["versions"]["target_keys"]
        ] == [1] * len(keys)
        return result


_read_so_far: list[Result] = []


def _journal(vault: Vault) -> list[Result]:
    """What the vault answered since this was asked before."""
    answers: list[Result] = vault.lab.control("GET", f"/requests?since={len(_read_so_far)}")
    _read_so_far.extend(answers)
    return [each for each in answers if each["vault"] == vault.host]


#: Each kind of work and who does it; only the role transfers
ALL_WORK = [
    (Transfer, "role"),
    (TransferAndPurge, "role"),
    (TransferByHsmbyok, "role"),
    (Rotate, "role"),
    (Rotate, "byok_rotate"),
    (RotateAndPurge, "role"),
    (Prepare, "role"),
    (Prepare, "byok_rotate"),
    (Retire, "role"),
    (Delete, "role"),
    (DeleteAndPurge, "role"),
    (Purge, "role"),
    (Recover, "role"),
    (Show, "role"),
]


@KINDS_OF_VAULT
@pytest.mark.parametrize(("kind", "driver"), ALL_WORK, indirect=["driver"])
def test_the_least_permissions_do_and_none_of_them_can_be_missing(
    kind: type[Work], domain: str, new_vault: NewVault, key: Declare, no_sleep: list[float]
) -> None:
    vault = new_vault(domain)
    work = kind(vault, key)
    needs = work.needs()
    required = [operation for operation, need in needs.items() if need.must]
    permissions = work.taken_away(required)
    work.begin(len(permissions) + 1)
    for permission, item in zip(permissions, work.items, strict=False):
        work.identity.may(required, never=permission)
        _result, said = work.said(item)
        assert str(parse_address(vault.url, "AzureCloud")) in said, permission
        assert any(name in said for name in (*(each["name"] for each in item), "keyferry-kek-")), (
            permission,
            said,
        )
        assert any(remedy in said for remedy in REMEDIES), (permission, said)
    # With these permissions alone, what was left undone is done, and nothing is done again.
    work.identity.may(required)
    keys = [each for item in work.items for each in item]
    looked = vault.run(
        "byok_vault_info",
        work=list(work.kinds),
        ephemeral_kek=work.ephemeral_kek,
        declarations=keys,
    )["vault"]
    assert looked["missing"] == []
    _journal(vault)
    result, said = work.said(keys)
    assert result is not None, said
    assert result["failures"] == [], said
    sent = {each["operation"] for each in _journal(vault)}
    same = {"versions": "list", "attestation": "get"}  # which take the same permission
    assert {same.get(each, each) for each in sent} <= needs.keys()
    work.identity.may(PERMISSIONS)
    found = work.read(keys)
    for item in work.items:
        work.check(item, *found)


BOTH_ROLES = ["Managed HSM Crypto User", "Managed HSM Crypto Officer"]


def give(vault: Vault, *roles: str) -> None:
    vault.lab.control("PUT", f"/vaults/{vault.host}", {"roles": {"operator": list(roles)}})


def tried(work: Work, *roles: str) -> tuple[Result | None, str]:
    """Let an identity with these roles do the work once, and check the result of a success."""
    work.begin(1)
    give(work.vault, *roles)
    result, said = work.said(work.items[0])
    if result and not result["failures"] and result.get("changed", True):
        work.identity.may(PERMISSIONS)
        work.check(work.items[0], *work.read(work.items[0]))
    return result, said


@pytest.mark.parametrize("kind", [TransferAndPurge, DeleteAndPurge, Recover])
def test_both_roles_of_a_managed_hsm_do_for_everything(
    kind: type[Work], hsm: Vault, key: Declare, no_sleep: list[float]
) -> None:
    result, said = tried(kind(hsm, key), *BOTH_ROLES)
    assert result is not None, said
    assert (result["failures"], said) == ([], "")


@pytest.mark.parametrize(
    ("kind", "fails", "says"),
    [
        (Transfer, False, ""),
        (TransferAndPurge, True, "Purging the deleted key keyferry-kek-"),
        (Delete, False, "Azure has taken the deletion"),
        (Purge, False, "whether there is a deleted key to purge"),
        (Recover, True, "There is no deleted key"),
    ],
)
def test_crypto_user_alone_brings_and_deletes_but_neither_purges_nor_recovers(
    kind: type[Work], fails: bool, says: str, hsm: Vault, key: Declare, no_sleep: list[float]
) -> None:
    result, said = tried(kind(hsm, key), "Managed HSM Crypto User")
    assert (result is None or result["failures"] != []) == fails, said
    assert says in said
    assert bool(says) == bool(said), said
    assert (str(parse_address(hsm.url, "AzureCloud")) in said) == bool(says)


def test_what_has_arrived_is_reported_although_its_versions_cannot_be_listed(
    vault: Vault, key: Declare
) -> None:
    work = TransferByHsmbyok(vault, key)
    work.begin(2)
    needs = [operation for operation, need in work.needs().items() if need.must]
    work.identity.may(needs, never="list")
    result, said = work.said(work.items[1])
    assert result is not None, said
    assert result["failures"] == []
    assert "does not have keys list permission" in said
    work.identity.may(PERMISSIONS)
    work.check(work.items[1], *work.read(work.items[1]))


def test_crypto_user_alone_learns_of_a_deleted_key_from_azure(
    hsm: Vault, key: Declare, no_sleep: list[float]
) -> None:
    deleting = Delete(hsm, key)
    deleting.begin(1)
    keys = deleting.items[0]
    deleting.run(keys)
    give(hsm, "Managed HSM Crypto User")
    read, made = deleting.read(keys)
    assert [each["deleted"] for each in read.values()] == [None]
    for _run in range(2):
        (failure,) = hsm.rotate(*keys)["failures"]
        assert "409 (ObjectIsDeletedButRecoverable" in failure["msg"]
        assert "Recover the deleted key, purge it, or use another name" in failure["msg"]
    deleting.identity.may(PERMISSIONS)
    read, made_then = deleting.read(keys)
    assert ([each["deleted"] for each in read.values()], made_then) == ([True], made)


@pytest.mark.parametrize(
    ("role", "kind", "says"),
    [
        ("Key Vault Reader", Show, ""),
        ("Key Vault Reader", Transfer, "Making the KEK keyferry-kek-"),
        ("Key Vault Crypto Officer without purge", DeleteAndPurge, "Purging the deleted key"),
    ],
)
def test_a_role_of_azure_rbac_that_is_too_narrow_is_named_so(
    role: str, kind: type[Work], says: str, vault: Vault, key: Declare, no_sleep: list[float]
) -> None:
    work = kind(vault, key)
    result, said = tried(work, role)
    assert says in said
    assert bool(says) == bool(said), said
    assert (
        ("(ForbiddenByRbac, " in said)
        == ("Give the identity the role Key Vault Crypto Officer" in said)
        == bool(says)
    )
    if kind is DeleteAndPurge:  # half of it was done, and that is no secret
        assert result is not None
        assert ([each["state"] for each in result["deletions"]], result["changed"]) == (
            ["deleted"],
            True,
        )


def rotate_by_azure(vault: Vault, name: str) -> None:
    """Set a policy by which Azure would make key material."""
    variables = (os.environ[f"AZURE_{name}"] for name in ("TENANT", "CLIENT_ID", "SECRET"))
    client = KeyClient(vault.url, ClientSecretCredential(*variables))
    action = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P90D")
    client.update_key_rotation_policy(
        name, KeyRotationPolicy(lifetime_actions=[action], expires_in="P2Y")
    )


def test_a_policy_is_looked_at_and_changed_as_far_as_permissions_go(
    vault: Vault, key: Declare
) -> None:
    work = Show(vault, key)
    work.begin(1)
    (declared,) = work.items[0]
    required = [operation for operation, need in Rotate(vault, key).needs().items() if need.must]
    rotate_by_azure(vault, declared["name"])
    work.identity.may(required)
    unseen = vault.rotate(declared)
    assert (unseen["failures"], unseen["changed"], unseen["warnings"]) == ([], False, [])
    work.identity.may([*required, "get_policy"])
    (failure,) = vault.rotate(declared)["failures"]
    assert (
        f"Setting the rotation policy of the key {declared['name']} in the vault" in failure["msg"]
    )
    assert "setrotationpolicy" in failure["msg"]
    work.identity.may([*required, "get_policy", "set_policy"])
    assert (vault.rotate(declared)["changed"], vault.rotate(declared)["changed"]) == (True, False)


@pytest.mark.parametrize("missing", ["get_policy", "set_policy"])
def test_a_notification_that_is_declared_takes_both_permissions(
    missing: str, vault: Vault, key: Declare
) -> None:
    work = Rotate(vault, key)
    declared = key(every="P90D", valid_for="P1Y", notify_before="P45D")
    needs = needed_operations(["rotate"], True, [_parsed(declared)])
    required = [operation for operation, need in needs.items() if need.must]
    assert missing in required
    work.identity.may(required, never=work.identity.permission(missing))
    (failure,) = vault.rotate(declared)["failures"]
    assert work.identity.permission(missing) in failure["msg"]
    work.identity.may(required)
    assert vault.rotate(declared)["failures"] == []
    assert [len(each) for each in work.read([declared])] == [1, 1]
