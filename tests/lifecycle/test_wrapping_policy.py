# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wrapping policy of the token's host in whole runs, of the role and of byok_rotate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import (
    summarise,
    to_markdown,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host import policy_files
from ansible_collections.keyferry.azure.tests.lifecycle import role
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    BY_ROLE,
    Declare,
    Lab,
    Result,
    Vault,
    only,
    run,
)
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._approval.signers import (
    Signer,
    allowed_signers,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/plan.schema.json").read_text())

Keep = Callable[..., None]


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Write the policy of this host."""
    path = tmp_path / "keyferry/policy.json"
    path.parent.mkdir(mode=0o755)
    monkeypatch.setattr(policy_files, "DEFAULT_PLACES", (str(path),))

    def write(vault: Vault, trust: str = "created", names: str = "*", **policy: Any) -> None:
        rule = {"names": [names], "vaults": [vault.url], "kek_trust": [trust]}
        rule.update(policy.pop("rule", {}))
        path.write_text(json.dumps({"version": 1, "rules": [rule], "make": ["*"], **policy}))
        path.chmod(0o644)

    return write


def untouched(vault: Vault, declared: Result) -> None:
    """Nothing was made, wrapped or imported."""
    assert vault.versions(declared) == []
    assert vault.generations(declared) == []
    assert vault.keks() == []


def codes(vault: Vault, declared: Result, check: bool = False, **options: Any) -> set[str]:
    """Run, and return why the key was left out."""
    result = vault.rotate(declared, check=check, **options)
    assert not result["changed"]
    return {failure["code"] for failure in result["failures"]}


@BOTH
def test_a_key_that_may_leave_arrives(vault: Vault, key: Declare, keep: Keep) -> None:
    keep(vault)
    assert only(vault.rotate(key()))["receipt"]["predicate"]["kek"]["trust"] == "created"


@BOTH
@pytest.mark.parametrize("check", [True, False])
def test_a_name_without_a_rule_is_left_out_before_anything_is_made(
    vault: Vault, key: Declare, keep: Keep, check: bool
) -> None:
    keep(vault, names="payments-*")
    declared = key()
    assert codes(vault, declared, check) == {"policy_refused"}
    keep(vault)
    untouched(vault, declared)


@BOTH
def test_a_key_that_may_not_be_made_is_not(vault: Vault, key: Declare, keep: Keep) -> None:
    keep(vault, make=[])
    declared = key()
    assert codes(vault, declared) == {"policy_refused"}
    assert vault.keks() == []
    keep(vault)
    assert vault.generations(declared) == []


@pytest.mark.parametrize("check", [True, False])
def test_byok_rotate_makes_nothing_for_a_kek_that_cannot_be_what_a_rule_wants(
    vault: Vault, key: Declare, keep: Keep, check: bool, tmp_path: Path
) -> None:
    declared = key()
    keep(vault, trust="attested")
    assert codes(vault, declared, check, allow_unverified_kek=True) == {"policy_refused"}
    signers = allowed_signers(tmp_path / "signers")
    keep(vault, allowed_signers=signers, rule={"kek_approvals": 1})
    assert codes(vault, declared, check) == {"policy_refused"}
    demand = {"allowed_signers": signers, "required_approvals": {"kek": 1}}
    keep(vault)
    assert codes(vault, declared, check, **demand) == {"policy_refused"}
    untouched(vault, declared)


@BOTH
def test_another_vault_gets_nothing(
    vault: Vault, new_vault: Callable[..., Vault], key: Declare, keep: Keep
) -> None:
    keep(vault)
    other, declared = new_vault(), key()
    result = other.rotate(declared)
    (failed,) = result["failures"]
    assert failed["code"] == "policy_refused"
    assert f"may not leave to {other.url}" in failed["msg"]
    assert other.versions(declared) == []


@BOTH
def test_people_approve_the_kek_of_a_run(
    vault: Vault, key: Declare, keep: Keep, tmp_path: Path
) -> None:
    anna, bob = Signer(tmp_path, "anna"), Signer(tmp_path, "bob")
    signers = allowed_signers(tmp_path / "signers", anna=anna.public, bob=bob.public)
    keep(vault, trust="approved", allowed_signers=signers, rule={"kek_approvals": 2})
    kek = vault.run("byok_kek", name="kek-of-the-vault", size=2048)
    given = {"kek_id": kek["kek_id"], "approved_keks": [kek["kek_fingerprint"]]}
    line, declared = f"kek {kek['kek_fingerprint']} {vault.url}", key()
    one, both = [anna.sign(line)], [anna.sign(line), bob.sign(line)]
    # The role makes the generation before the token's host is shown the KEK; the next run takes it.
    (failed,) = vault.rotate(declared, **given, approvals=one)["failures"]
    assert failed["code"] == "approvals_missing"
    assert "has 1 of 2 approvals; approved by anna" in failed["msg"]
    assert vault.versions(declared) == []
    assert only(vault.rotate(declared, **given, approvals=both))["changed"]


def test_approvals_are_files_beside_the_inventory(
    vault: Vault, key: Declare, keep: Keep, tmp_path: Path
) -> None:
    anna = Signer(tmp_path, "anna")
    signers = allowed_signers(tmp_path / "signers", anna=anna.public)
    keep(vault, trust="approved", allowed_signers=signers, rule={"kek_approvals": 1})
    kek = vault.run("byok_kek", name="kek-of-the-vault", size=2048)
    given = {"kek_id": kek["kek_id"], "approved_keks": [kek["kek_fingerprint"]]}
    folder = tmp_path / "approvals"
    folder.mkdir()
    declared = key()
    given["approvals_directory"] = str(folder)
    assert vault.transfer(declared, **given)["failures"][0]["code"] == "approvals_missing"
    digest = kek["kek_fingerprint"]
    (folder / f"{digest}.anna.sig").write_text(anna.sign(f"kek {digest} {vault.url}"))
    assert only(vault.transfer(declared, **given))["changed"]


@BOTH
def test_what_the_hardware_attests_by_the_policys_roots(
    hsm: Vault, key: Declare, keep: Keep
) -> None:
    """The controller pins nothing, and the policy does."""
    (root,) = hsm.run("byok_kek", name="kek", size=2048)["kek_owner_roots"]
    maker = (hsm.lab.folder / "maker-root.pem").read_text()
    pinned = {
        "attestation_owner_roots": {hsm.url: root},
        "attestation_maker_roots": [maker],
    }
    keep(hsm, trust="attested", **pinned)
    declared = key()
    assert only(hsm.rotate(declared))["receipt"]["predicate"]["kek"]["trust"] == "attested"
    keep(hsm, trust="attested", attestation_owner_roots={hsm.url: "00" * 32})
    with pytest.raises(ByokError, match="is not of the pool whose root is pinned"):
        hsm.rotate(key())


def test_a_run_that_looks_needs_no_policy(vault: Vault, key: Declare, keep: Keep) -> None:
    declared = key()
    keep(vault)
    only(vault.rotate(declared))
    keep(vault, names="payments-*", make=[])
    assert vault.rotate(declared)["failures"] == []
    assert len(run("byok_target_key", target_keys=[declared])["target_keys"]) == 1


def plan_of(vault: Vault, declared: Result) -> Result:
    """What the playbook plan tells of a host."""
    variables = {
        "inventory_hostname": vault.host,
        "byok_vault_url": vault.url,
        "byok_keys": [declared],
        "byok_plan_rotates": True,
    }
    play = role.Play(variables)
    play.perform("plan")
    summary = summarise([{**variables, **play.facts}], "2026-11-30T12:00:00Z")
    jsonschema.validate(summary, SCHEMA)
    of_host = next(iter(summary["hosts"].values()))
    return {**of_host, "told": to_markdown(summary)}


@BY_ROLE
def test_people_approve_what_the_plan_showed(
    lab: Lab, vault: Vault, key: Declare, tmp_path: Path
) -> None:
    anna, bob = Signer(tmp_path, "anna"), Signer(tmp_path, "bob")
    signers = allowed_signers(tmp_path / "signers", anna=anna.public, bob=bob.public)
    demand: Result = {"plan_approvals": 2, "plan_allowed_signers": signers}
    declared = key(every="P30D", min_interval="P1D")
    shown = plan_of(vault, declared)
    assert f"plan {shown['digest']} ({vault.host})" in shown["told"]
    for check in (True, False):
        with pytest.raises(ByokError, match="has 0 of 2 approvals") as error:
            vault.rotate(declared, check=check, **demand)
        assert f"echo 'plan {shown['digest']}'" in str(error.value)
    assert vault.generations(declared) == []
    lab.forward(hours=3)  # the plan of another time that does the same is the same
    both = [each.sign(f"plan {shown['digest']}") for each in (anna, bob)]
    folder = tmp_path / "receipts"
    folder.mkdir()
    given = {**demand, "approvals": both, "receipt_directory": str(folder)}
    assert only(vault.rotate(declared, **given))["changed"]
    (line,) = (folder / vault.host / "runs.intoto.jsonl").read_text().splitlines()
    run_of_plan = parse_envelope(line, "runs").statement()["predicate"]
    assert run_of_plan["plan"] == shown["digest"]
    assert run_of_plan["approvals"] == [
        {"subject": "plan", "digest": shown["digest"], "principals": ["anna", "bob"]}
    ]
    # What does nothing needs no approval, and what does something else needs its own.
    assert plan_of(vault, declared)["digest"] is None
    assert not only(vault.rotate(declared, **demand))["changed"]
    lab.forward(days=40)
    with pytest.raises(ByokError, match="signatures of something else, or changed: 2"):
        vault.rotate(declared, **demand, approvals=both)
    due = plan_of(vault, declared)["digest"]
    assert due not in (None, shown["digest"])
    texts = [each.sign(f"plan {due}") for each in (anna, bob)]
    assert only(vault.rotate(declared, **demand, approvals=texts))["changed"]


@BY_ROLE
def test_a_plan_needs_a_file_of_signers(vault: Vault, key: Declare) -> None:
    with pytest.raises(ByokError, match="and byok_plan_allowed_signers is not"):
        vault.rotate(key(), plan_approvals=1)
