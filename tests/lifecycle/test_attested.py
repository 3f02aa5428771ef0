# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Managed HSM's KEK is trusted because its hardware says so, and refused where it does not."""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.lifecycle import role
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    Declare,
    Lab,
    Result,
    Vault,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.modules import attempt

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/receipt.schema.json").read_text())


def kek_of(hsm: Vault, name: str = "kek") -> Result:
    return hsm.run("byok_kek", name=name, size=2048)


def owner_root(hsm: Vault) -> str:
    """What two people would compare and pin."""
    (root,) = kek_of(hsm)["kek_owner_roots"]
    return str(root)


@pytest.fixture
def maker_root(lab: Lab, hsm: Vault) -> str:
    kek_of(hsm)  # the maker's root is made when a key is attested for the first time
    return (lab.folder / "maker-root.pem").read_text()


@pytest.fixture
def pinned(hsm: Vault, maker_root: str) -> Result:
    return {
        "attestation_owner_roots": {hsm.url: owner_root(hsm)},
        "attestation_maker_roots": [maker_root],
    }


def demanding_attested(vault: Vault) -> Result:
    option = "kek_trust" if vault.driver == "role" else "required_kek_trust"
    return {option: ["attested"]}


@BOTH
def test_what_the_hardware_attests_is_enough(hsm: Vault, key: Declare, pinned: Result) -> None:
    arrived = only(hsm.rotate(key(), **pinned, **demanding_attested(hsm)))
    jsonschema.validate(arrived["receipt"], SCHEMA)
    assert arrived["receipt"]["predicate"]["kek"]["trust"] == "attested"


@BOTH
def test_a_vault_cannot_attest_what_is_demanded(vault: Vault, key: Declare) -> None:
    declared = key()
    with pytest.raises(ByokError, match=r"is created .*, and attested is demanded"):
        vault.rotate(declared, **demanding_attested(vault))
    assert vault.versions(declared) == []
    assert vault.keks() == []


@BOTH
def test_a_pool_that_is_misspelt_is_no_pool_without_attestation(
    hsm: Vault, key: Declare, pinned: Result
) -> None:
    """Or else one letter would switch the attestation off."""
    (root,) = pinned["attestation_owner_roots"].values()
    misspelt = {**pinned, "attestation_owner_roots": {"keyferry-lab-other": root}}
    declared = key()
    with pytest.raises(ByokError, match="pins keyferry-lab-other, and not https://keyferry-lab"):
        hsm.rotate(declared, **misspelt)
    assert hsm.versions(declared) == []


@BOTH
def test_another_pools_root_stops_the_run(
    hsm: Vault, new_vault: Callable[..., Vault], key: Declare, pinned: Result
) -> None:
    other = owner_root(new_vault("managedhsm.azure.net"))
    declared = key()
    with pytest.raises(ByokError, match="is not of the pool whose root is pinned"):
        hsm.rotate(declared, **{**pinned, "attestation_owner_roots": {hsm.url: other}})
    assert hsm.versions(declared) == []


def test_a_host_that_is_not_trusted_can_make_an_attested_kek(
    hsm: Vault, key: Declare, pinned: Result
) -> None:
    arrived = only(hsm.transfer(key(), **pinned, azure_host_trusted=False))
    assert arrived["receipt"]["predicate"]["kek"]["trust"] == "attested"


class Liar:
    """Modules of which byok_kek answers what a host makes up."""

    def __init__(self, true: Result, lie: Result) -> None:
        self.answer = {**true, **lie}
        self.wrapped = False

    def __call__(self, module: str, check: bool, **options: Any) -> Result:
        self.wrapped = self.wrapped or module == "byok_wrap"
        result = attempt(module, check, **options)
        lies = module == "byok_kek" and result.get("kek_id")
        return {**result, **self.answer} if lies else result


def test_a_host_that_lies_gets_no_key(
    hsm: Vault, new_vault: Callable[..., Vault], key: Declare, pinned: Result
) -> None:
    """It gives a KEK of its own, with any attestation that it can have."""
    own = kek_of(new_vault("managedhsm.azure.net"))
    true = kek_of(hsm)
    of_own = {each: own[each] for each in ("kek_public_key", "kek_fingerprint")}
    lies: list[tuple[Result, str]] = [
        ({"kek_attestation": None}, "is not attested"),
        (of_own, "is of another public key"),
        ({**own, "kek_id": true["kek_id"], "kek_trust": "created"}, "is not of the pool whose"),
        ({"kek_attestation": kek_of(hsm, "other")["kek_attestation"]}, "another key or version"),
        ({"kek_attestation": "{}"}, "cannot be read"),
    ]
    options = {"vault_url": hsm.url, "allow_trailing_zeros": True, "kek_size": 2048, **pinned}
    for lie, said in lies:
        liar = Liar(true, lie)
        with pytest.raises(ByokError, match=said):
            role.perform({**options, "stage": "transfer"}, [key()], run_module=liar)
        assert not liar.wrapped


def test_byok_wrap_judges_by_itself(
    hsm: Vault, key: Declare, pinned: Result, tmp_path: Path
) -> None:
    declared, kek = key(), kek_of(hsm)
    run("byok_target_key", target_keys=[declared])
    path = tmp_path / "attestation.json"
    path.write_text(kek["kek_attestation"])
    given = {each: kek[each] for each in ("kek_id", "kek_public_key")}
    options = {"declarations": [declared], "allow_trailing_zeros": True, **given, **pinned}
    wrapped = run("byok_wrap", **options, kek_attestation_path=str(path))
    (package,) = wrapped["packages"]
    told = package["receipt"]["predicate"]["kek"]
    assert (told["trust"], told["maker"]) == ("attested", "not Marvell")
    assert told["attestation"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["owner_root"] in pinned["attestation_owner_roots"].values()
    with pytest.raises(ByokError, match="There is no file"):
        run("byok_wrap", **options, kek_attestation_path=str(tmp_path / "none"))
    with pytest.raises(ByokError, match="is not attested, and the root of its pool is pinned"):
        run("byok_wrap", **options, kek_created=True)


def test_a_vault_has_no_attestation(vault: Vault) -> None:
    kek = kek_of(vault)
    assert (kek["kek_attestation"], kek["kek_owner_roots"]) == (None, [])


def test_a_look_at_a_pool_shows_the_root_to_compare(hsm: Vault, vault: Vault) -> None:
    def looked(at: Vault) -> Result:
        return dict(at.run("byok_vault_info", work=["show"])["vault"])

    empty = looked(hsm)
    assert empty["owner_roots"] == []
    assert any("as there is no key to ask of" in note for note in empty["notes"])
    root = owner_root(hsm)
    assert looked(hsm)["owner_roots"] == [root]
    kek_of(vault)
    assert looked(vault)["owner_roots"] == []


def test_the_roots_stay_when_partitions_change(hsm: Vault, lab: Lab) -> None:
    answers = [kek_of(hsm)["kek_attestation"] for _time in range(2)]
    first, second = (json.loads(each)["attributes"]["attestation"] for each in answers)
    assert first["certificatePemFile"] != second["certificatePemFile"]
    assert parse_answer(answers[0]).shown_roots == parse_answer(answers[1]).shown_roots
    (root,) = parse_answer(answers[0]).shown_roots
    kept = (lab.folder / "pools" / f"{hsm.host}.pem").read_text()
    assert root == hashlib.sha256(ssl.PEM_cert_to_DER_cert(kept)).hexdigest()
