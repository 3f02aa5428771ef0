# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A controller that was taken over sets every option as it likes, and nothing leaves the token."""

from __future__ import annotations

import functools
import hashlib
import json
import ssl
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_certificate,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import FAILURES
from ansible_collections.keyferry.azure.tests.long import mostly_long
from ansible_collections.keyferry.azure.tests.token.conftest import (
    escrow_options,
    pem_and_fingerprint,
)
from ansible_collections.keyferry.azure.tests.token.tokens import Options
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._approval.signers import (
    Signer,
    allowed_signers,
)
from cryptography.hazmat.primitives.asymmetric import rsa

from lab import adapter
from lab.material import from_private_key

Result = dict[str, Any]
Run = Callable[..., Result]

VAULT = "https://contoso-hsm.managedhsm.azure.net"
VERSION = "0123456789abcdef0123456789abcdef"
KID = f"{VAULT}/keys/kek/{VERSION}"
NOW = datetime.now(timezone.utc)

#: May leave, with a rule that asks for little
WEB = {"name": "web", "type": "EC", "curve": "P-256"}
#: May leave, with a rule that asks for much
PAYMENTS = {"name": "payments-1", "type": "EC", "curve": "P-256"}
#: May never leave
ROOT = {"name": "root", "type": "EC", "curve": "P-256"}


@functools.cache
def private_key(owner: str) -> rsa.RSAPrivateKey:
    assert owner in ("vault", "mallory")
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def fingerprint_of(owner: str) -> str:
    return pem_and_fingerprint(private_key(owner))[1]


def kek(owner: str = "vault", kid: str = KID) -> Result:
    """The options of byok_wrap that give a KEK, and say nothing for it."""
    return {"kek_id": kid, "kek_public_key": pem_and_fingerprint(private_key(owner))[0]}


@functools.cache
def maker(owner: str) -> adapter.Root:
    return adapter.Root.new(f"maker of {owner}", NOW)


@functools.cache
def pool(owner: str) -> adapter.Pool:
    """A Managed HSM of the vault's name, with a root of its own and adapters of its own maker."""
    return adapter.Pool.new(adapter.Root.new("contoso-hsm", NOW), maker(owner), NOW)


def attestation(owner: str) -> str:
    """What the adapter of a pool states of the owner's KEK."""
    held = adapter.HeldKey("RSA", "kek", VERSION, from_private_key(private_key(owner)))
    stated = adapter.state(pool(owner).partitions[0], held, 2)
    return json.dumps({"attributes": {"attestation": stated}})


def roots(owner: str) -> Result:
    """The roots of a pool and its maker, by the names of options and of the policy."""
    pem = ssl.DER_cert_to_PEM_cert(maker(owner).certificate)
    root = read_certificate(pool(owner).owner.certificate).fingerprint
    return {"attestation_owner_roots": {"contoso-hsm": root}, "attestation_maker_roots": [pem]}


class Host:
    """The token's host: its token, its policy, and the people who may approve."""

    def __init__(self, run: Run, token: Options, folder: Path) -> None:
        self.run_module, self.token, self.folder = run, token, folder
        self.places = folder / "keyferry"
        self.places.mkdir(mode=0o755)
        self.anna = Signer(folder, "anna")
        self.anna_too = Signer(folder, "anna-too", "ecdsa")
        self.bob = Signer(folder, "bob", "ecdsa")
        self.mallory = Signer(folder, "mallory")
        self.signers = allowed_signers(
            self.places / "allowed_signers", anna=self.anna.public, bob=self.bob.public
        )
        with open(self.signers, "a") as file:
            file.write(f"anna {self.anna_too.public}\n")
        self.made = {
            key["name"]: key
            for key in self.run("byok_target_key", target_keys=[WEB, PAYMENTS, ROOT])["target_keys"]
        }

    def run(self, module: str, check: bool = False, **options: Any) -> Result:
        zeros = {} if module == "byok_target_key" else {"allow_trailing_zeros": True}
        return self.run_module(module, self.token, check=check, **zeros, **options)

    def keep(self, *rules: Result, **policy: Any) -> None:
        """Write the policy."""
        document = {"version": 1, "allowed_signers": self.signers, "rules": list(rules), **policy}
        (self.places / "policy.json").write_text(json.dumps(document))
        (self.places / "policy.json").chmod(0o644)

    def wrap(self, *keys: Result, check: bool = False, **options: Any) -> Result:
        wanted = [{**key, "path": str(self.folder / f"{key['name']}.byok")} for key in keys]
        return self.run("byok_wrap", check=check, packages=wanted, **options)

    def held_back(self, *keys: Result, code: str = "policy_refused", **options: Any) -> str:
        """Try to wrap keys, really and in check mode; returns why none of them left."""
        before = set(self.folder.rglob("*"))
        done = self.wrap(*keys, **options)
        seen = self.wrap(*keys, check=True, **options)
        for result in (done, seen):
            assert result["failed"]
            assert result["packages"] == result["escrows"] == []
            codes = {failure["code"] for failure in result["failures"]} or {result["code"]}
            assert codes == {code}, result["msg"]
            assert not result["changed"]
        assert code in FAILURES
        assert set(self.folder.rglob("*")) - before <= {self.folder / "softhsm" / "lock"}
        assert seen["msg"] == done["msg"]
        return str(done["msg"])

    def approvals(self, line: str, *signers: Signer) -> list[str]:
        return [signer.sign(line) for signer in signers]


@pytest.fixture
def host(run: Run, softhsm: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host whose policy is to be kept."""
    made = Host(run, softhsm, tmp_path)
    monkeypatch.setenv("POLICY_PLACES", str(made.places))
    return made


CREATED = {"names": ["web"], "vaults": [VAULT], "kek_trust": ["created"]}
APPROVED = {"names": ["payments-*"], "vaults": [VAULT], "kek_trust": ["approved"]}


@pytest.fixture
def strict(host: Host) -> Host:
    """Payments leave under a KEK that two people approved."""
    host.keep({**APPROVED, "kek_approvals": 2})
    return host


def approve_kek(host: Host, owner: str, *signers: Signer) -> list[str]:
    return host.approvals(f"kek {fingerprint_of(owner)} {VAULT}", *signers)


def test_a_kek_that_two_people_approved_gets_the_key(strict: Host) -> None:
    texts = approve_kek(strict, "vault", strict.anna, strict.bob)
    done = strict.wrap(PAYMENTS, **kek(), approvals=texts)
    (package,) = done["packages"]
    assert package["receipt"]["predicate"]["kek"]["trust"] == "pinned"
    assert done["approvals"] == [
        {"subject": "kek", "digest": fingerprint_of("vault"), "principals": ["anna", "bob"]}
    ]
    assert done["warnings"] == []


def test_who_signs_twice_is_said_and_counts_once(strict: Host) -> None:
    signers = (strict.anna, strict.anna_too, strict.bob)
    done = strict.wrap(PAYMENTS, **kek(), approvals=approve_kek(strict, "vault", *signers))
    assert len(done["packages"]) == 1
    assert done["approvals"][0]["principals"] == ["anna", "bob"]
    (warning,) = done["warnings"]
    assert "anna signed more than once, which counts once" in warning


#: What a controller can say for its own KEK
WORDS: dict[str, Result] = {
    "nothing": {},
    "kek_created": {"kek_created": True},
    "kek_trust": {"kek_created": True, "kek_trust": "created"},
    "approved_keks": {"approved_keks": [fingerprint_of("mallory")]},
    "allow_unverified_kek": {"allow_unverified_kek": True},
    "required_kek_trust": {"required_kek_trust": ["created"], "kek_created": True},
}


@pytest.mark.parametrize("said", mostly_long(WORDS))
def test_no_word_of_the_controller_lets_a_key_out(strict: Host, said: str) -> None:
    options = {**kek("mallory"), **WORDS[said]}
    if said == "nothing":
        told = strict.held_back(PAYMENTS, code="kek_unverified", **options)
        assert "Nothing shows that the KEK" in told
        return
    told = strict.held_back(PAYMENTS, code="approvals_missing", **options)
    assert "has 0 of 2 approvals; approved by nobody" in told


def test_one_person_is_not_two(strict: Host) -> None:
    texts = approve_kek(strict, "mallory", strict.anna, strict.anna_too)
    told = strict.held_back(
        PAYMENTS, code="approvals_missing", **kek("mallory"), kek_created=True, approvals=texts
    )
    assert "has 1 of 2 approvals; approved by anna; anna signed more than once" in told


def test_the_approvals_of_another_kek_are_none(strict: Host) -> None:
    texts = approve_kek(strict, "vault", strict.anna, strict.bob)
    told = strict.held_back(
        PAYMENTS, code="approval_other_subject", **kek("mallory"), kek_created=True, approvals=texts
    )
    assert "signatures of something else, or changed: 2" in told


def test_the_approvals_of_strangers_are_none(strict: Host) -> None:
    """The options name whom they like; the policy has a file of its own."""
    theirs = allowed_signers(
        strict.folder / "theirs", mallory=strict.mallory.public, eve=strict.bob.public
    )
    texts = approve_kek(strict, "mallory", strict.mallory)
    told = strict.held_back(
        PAYMENTS,
        code="approval_unknown_signer",
        **kek("mallory"),
        approvals=texts,
        allowed_signers=theirs,
        required_approvals={"kek": 1},
    )
    assert "by nobody in the file of allowed signers" in told


def test_a_namespace_of_the_controller_does_not_count(strict: Host) -> None:
    line = f"kek {fingerprint_of('mallory')} {VAULT}"
    texts = [signer.sign(line, namespace="git") for signer in (strict.anna, strict.bob)]
    told = strict.held_back(
        PAYMENTS,
        code="approval_wrong_namespace",
        **kek("mallory"),
        kek_created=True,
        approvals=texts,
        approval_namespace="git",
    )
    assert "has the namespace git" in told


def test_a_policy_of_the_controller_takes_no_limit_away(strict: Host) -> None:
    lax = strict.folder / "lax.json"
    rule = {**APPROVED, "kek_trust": ["created"]}
    lax.write_text(json.dumps({"version": 1, "rules": [rule], "make": ["*"]}))
    told = strict.held_back(
        PAYMENTS,
        code="approvals_missing",
        **kek("mallory"),
        kek_created=True,
        policy_file=str(lax),
    )
    assert "has 0 of 2 approvals" in told


def test_a_further_policy_adds_its_limits(host: Host) -> None:
    host.keep(CREATED)
    assert host.wrap(WEB, **kek(), kek_created=True)["packages"]
    (host.folder / "web.byok").unlink()
    more = host.folder / "more.json"
    more.write_text(json.dumps({"version": 1, "rules": []}))
    told = host.held_back(WEB, **kek(), kek_created=True, policy_file=str(more))
    assert f"no rule is for the name web: the wrapping policy {more} refuses it" in told


def test_a_policy_that_others_can_write_lets_nothing_out(host: Host) -> None:
    host.keep(CREATED)
    (host.places / "policy.json").chmod(0o666)
    told = host.held_back(WEB, code="policy_unusable", **kek(), kek_created=True)
    assert "can be written by others than its owner" in told


def test_another_vault_gets_nothing(host: Host) -> None:
    host.keep(CREATED)
    other = KID.replace("contoso", "mallory")
    told = host.held_back(WEB, **kek(kid=other), kek_created=True)
    assert "The key web may not leave to https://mallory-hsm.managedhsm.azure.net" in told


def test_created_is_the_controllers_word_and_counts_where_a_rule_lists_it(host: Host) -> None:
    host.keep(CREATED)
    (package,) = host.wrap(WEB, **kek(), kek_created=True)["packages"]
    assert package["receipt"]["predicate"]["kek"]["trust"] == "created"
    (host.folder / "web.byok").unlink()
    told = host.held_back(WEB, **kek(), allow_unverified_kek=True)
    assert "which is not created by what this host knows itself" in told


def test_the_other_keys_of_a_run_leave(host: Host) -> None:
    host.keep(CREATED)
    done = host.wrap(WEB, ROOT, **kek(), kek_created=True)
    assert [package["name"] for package in done["packages"]] == ["web"]
    assert [failure["name"] for failure in done["failures"]] == ["root"]


@pytest.mark.parametrize(
    "key",
    [
        ROOT,
        {**WEB, "label": "root"},
        {**ROOT, "label": "web"},
        {**WEB, "label": "payments-1"},
        {**PAYMENTS, "label": "web"},
        {**WEB, "name": "PAYMENTS-1", "label": "web"},
    ],
    ids=lambda key: f"{key['name']} {key.get('label')}",
)
def test_neither_name_nor_label_lets_another_key_out(host: Host, key: Result) -> None:
    host.keep(CREATED, APPROVED)
    told = host.held_back(key, **kek(), kek_created=True)
    assert "may not leave" in told


def test_a_generation_of_another_key_is_not_found(host: Host) -> None:
    host.keep(CREATED)
    for named in ("generation", "thumbprint"):
        key = {**WEB, "generation": host.made["root"][named]}
        done = host.wrap(key, **kek(), kek_created=True)
        assert done["failed"]
        assert done["packages"] == []


def test_an_adopted_key_obeys_the_same_rules(host: Host) -> None:
    host.keep(CREATED)
    key = {**ROOT, "allow_external_origin": True}
    assert "no rule is for the name root" in host.held_back(key, **kek(), kek_created=True)


@pytest.mark.parametrize("with_kek", [False, True])
def test_no_escrow_key_of_the_controller_gets_a_key(host: Host, with_kek: bool) -> None:
    host.keep(CREATED, escrow=[fingerprint_of("vault")])
    theirs: Result = escrow_options(private_key("mallory"))
    whole = {**kek(), "kek_created": True} if with_kek else {}
    told = host.held_back(WEB, **theirs, **whole)
    assert f"for the escrow key {fingerprint_of('mallory')}, because escrow does not list" in told
    ours: Result = escrow_options(private_key("vault"))
    assert len(host.wrap(WEB, **ours, **whole)["escrows"]) == 1


def attesting(owner: str) -> Result:
    return {**kek(owner), "kek_attestation": attestation(owner)}


@pytest.fixture
def attested(host: Host) -> Host:
    """Payments leave under a KEK that the pool attests, by the policy's own roots."""
    host.keep({**APPROVED, "kek_trust": ["attested"]}, **roots("vault"))
    return host


def test_what_the_hardware_attests_is_judged_by_the_policys_roots(attested: Host) -> None:
    (package,) = attested.wrap(PAYMENTS, **attesting("vault"))["packages"]
    assert package["receipt"]["predicate"]["kek"]["trust"] == "attested"


@pytest.mark.parametrize("said", mostly_long((each for each in WORDS if each != "nothing"), 2))
def test_no_root_of_the_controller_replaces_the_policys(attested: Host, said: str) -> None:
    for statement in (attesting("mallory"), kek("mallory")):
        for theirs in ({}, roots("mallory")):
            done = attested.wrap(PAYMENTS, **statement, **theirs, **WORDS[said])
            assert done["failed"]
            assert done["packages"] == []


def test_a_root_of_the_controller_counts_if_people_approved_it(host: Host) -> None:
    makers: Result = {"attestation_maker_roots": roots("vault")["attestation_maker_roots"]}
    host.keep({**APPROVED, "kek_trust": ["attested"]}, **makers)
    told = host.held_back(PAYMENTS, **attesting("vault"), **roots("vault"))
    assert "pins no root for the pool" in told
    host.keep({**APPROVED, "kek_trust": ["attested"]}, **makers, owner_root_approvals=2)
    (root,) = roots("vault")["attestation_owner_roots"].values()
    one = host.approvals(f"owner-root {root}", host.anna)
    told = host.held_back(PAYMENTS, **attesting("vault"), **roots("vault"), approvals=one)
    assert "The root that is given for https://contoso-hsm" in told
    assert "has 1 of 2 approvals; approved by anna" in told
    both = host.approvals(f"owner-root {root}", host.anna, host.bob)
    done = host.wrap(PAYMENTS, **attesting("vault"), **roots("vault"), approvals=both)
    assert done["packages"][0]["receipt"]["predicate"]["kek"]["trust"] == "attested"
    assert done["approvals"] == [
        {"subject": "owner-root", "digest": root, "principals": ["anna", "bob"]}
    ]


def test_a_kek_of_the_policy_needs_no_word_of_the_controller(host: Host) -> None:
    host.keep(APPROVED, approved_keks={VAULT: [fingerprint_of("vault")]})
    (package,) = host.wrap(PAYMENTS, **kek())["packages"]
    assert package["receipt"]["predicate"]["kek"]["trust"] == "pinned"
    (host.folder / "payments-1.byok").unlink()
    words: Result = {"approved_keks": [fingerprint_of("mallory")]}
    assert "which is not approved" in host.held_back(PAYMENTS, **kek("mallory"), **words)


OTHER = "https://test.vault.azure.net"


@pytest.mark.parametrize("by", ["people", "policy"])
def test_the_approved_kek_of_another_vault_does_not_stand_for_this_ones(
    host: Host, by: str
) -> None:
    """Or else a key for one vault would leave under the KEK of another, which could import it."""
    other = {**APPROVED, "vaults": [OTHER], "names": ["test-*"]}
    ours, theirs = fingerprint_of("vault"), fingerprint_of("mallory")
    if by == "policy":
        host.keep(APPROVED, other, approved_keks={VAULT: [ours], OTHER: [theirs]})
        told = host.held_back(PAYMENTS, **kek("mallory"), kek_created=True)
        assert "which is not approved" in told
        return
    host.keep({**APPROVED, "kek_approvals": 1}, other)
    texts = host.approvals(f"kek {theirs} {OTHER}", host.anna)
    host.held_back(
        PAYMENTS,
        code="approval_other_subject",
        **kek("mallory"),
        kek_created=True,
        approvals=texts,
    )


@pytest.mark.parametrize("name", ["policy.json", "allowed_signers"])
def test_a_package_in_the_place_of_the_policy_lets_nothing_out(host: Host, name: str) -> None:
    """Where the acting user owns these files, a run could write over them."""
    host.keep(CREATED, {**APPROVED, "kek_approvals": 1})
    over = {**WEB, "path": str(host.places / name)}
    host.run("byok_wrap", packages=[over], **kek(), kek_created=True)
    code = {"policy.json": "policy_unusable", "allowed_signers": "approval_unknown_signer"}[name]
    texts = approve_kek(host, "mallory", host.mallory)
    host.held_back(PAYMENTS, code=code, **kek("mallory"), kek_created=True, approvals=texts)


def test_an_evidence_key_is_made_if_it_is_listed(host: Host) -> None:
    host.keep(make=["evidence-*"])
    for check in (True, False):
        failed = host.run_module("byok_evidence_key", host.token, check=check, evidence_key="web-2")
        assert failed["code"] == "policy_refused"
    made = host.run_module("byok_evidence_key", host.token, evidence_key="evidence-1")
    assert made["created"]


def test_before_the_kek_is_made_a_check_knows_the_names(host: Host) -> None:
    host.keep(CREATED)
    seen = host.wrap(WEB, ROOT, check=True)
    assert [failure["name"] for failure in seen["failures"]] == ["root"]
    assert [failure["code"] for failure in seen["failures"]] == ["policy_refused"]


# Without a policy


def test_options_can_demand_approvals_as_well(host: Host) -> None:
    demand: Result = {"allowed_signers": host.signers, "required_approvals": {"kek": 2}}
    one = approve_kek(host, "vault", host.bob)
    told = host.held_back(
        WEB, code="approvals_missing", **kek(), kek_created=True, **demand, approvals=one
    )
    assert "has 1 of 2 approvals; approved by bob" in told
    both = approve_kek(host, "vault", host.bob, host.anna)
    done = host.wrap(WEB, **kek(), **demand, approvals=both)
    assert done["packages"][0]["receipt"]["predicate"]["kek"]["trust"] == "pinned"


def test_options_can_demand_approvals_of_a_root(host: Host) -> None:
    demand: Result = {"allowed_signers": host.signers, "required_approvals": {"owner-root": 1}}
    told = host.held_back(
        WEB, code="approvals_missing", **attesting("vault"), **roots("vault"), **demand
    )
    assert "The root that is given for https://contoso-hsm" in told
    (root,) = roots("vault")["attestation_owner_roots"].values()
    texts = host.approvals(f"owner-root {root}", host.anna)
    done = host.wrap(WEB, **attesting("vault"), **roots("vault"), **demand, approvals=texts)
    assert done["packages"][0]["receipt"]["predicate"]["kek"]["trust"] == "attested"


@pytest.mark.parametrize(
    ("required", "why"),
    [
        ({"keks": 2}, "required_approvals has keks: 2"),
        ({"plan": 2}, "required_approvals has plan: 2"),
        ({"kek": -1}, "required_approvals has kek: -1"),
        ({"kek": True}, "required_approvals has kek: True"),
        ({"kek": "two"}, "required_approvals has kek: two"),
        ({"kek": 2}, "required_approvals is given without allowed_signers"),
    ],
)
def test_demands_that_cannot_be(host: Host, required: Result, why: str) -> None:
    failed = host.wrap(WEB, **kek(), kek_created=True, required_approvals=required)
    assert why in failed["msg"]
    assert failed["packages"] == []


# What is changed in the token


def test_only_listed_keys_are_made(host: Host) -> None:
    host.keep(make=["new-*"])
    keys = [
        {**WEB, "name": "new-1"},
        {**WEB, "name": "old-1"},
        {**WEB, "name": "new-2", "label": "old-2"},
        {**WEB, "name": "old-3", "label": "new-3"},
    ]
    for check in (True, False):
        done = host.run("byok_target_key", check=check, target_keys=keys)
        assert [key["name"] for key in done["target_keys"]] == ["new-1"]
        refused = {failure["name"]: failure["code"] for failure in done["failures"]}
        assert refused == dict.fromkeys(("old-1", "new-2", "old-3"), "policy_refused")
    there = {name for name in ("new-1", "old-1", "old-2", "new-3") if in_token(host, name)}
    assert there == {"new-1"}


def test_looking_at_a_key_needs_no_permission(host: Host) -> None:
    host.keep()
    done = host.run("byok_target_key", target_keys=[WEB, ROOT])
    assert not done.get("failed")
    assert len(done["target_keys"]) == 2


def test_a_newer_generation_is_made_of_listed_keys_alone(host: Host) -> None:
    host.keep(make=["web"])
    orders = [
        {"name": key["name"], "newer_than": host.made[key["name"]]["generation"]}
        for key in (WEB, ROOT)
    ]
    done = host.run("byok_target_key", target_keys=[WEB, ROOT], orders=orders)
    assert [key["name"] for key in done["target_keys"]] == ["web"]
    assert "The key root may not be made" in done["msg"]


def test_only_listed_keys_are_locked_and_withdrawn(host: Host) -> None:
    host.keep(make=["web"])
    keys = [{**key, "after_transfer": "lock"} for key in (WEB, ROOT)]
    arrived = [host.made[key["name"]]["thumbprint"] for key in keys]
    done = host.run("byok_target_key", target_keys=keys, transferred=arrived)
    assert [(key["name"], key["locked"]) for key in done["target_keys"]] == [("web", True)]
    assert "The key root may not be locked" in done["msg"]
    done = host.run("byok_target_key", target_keys=[WEB, ROOT], withdraw=arrived)
    assert [key["name"] for key in done["withdrawn"]] == ["web"]
    assert "The key root may not be withdrawn" in done["msg"]


def destroy(host: Host, key: Result, **options: Any) -> Result:
    read_at = datetime.now(timezone.utc).isoformat()
    nothing = [{"name": key["name"], "versions": [], "deleted": False}]
    versions = [{"vault_url": VAULT, "read_at": read_at, "target_keys": nothing}]
    return host.run(
        "byok_target_key",
        target_keys=[key],
        state="absent",
        destroy=[host.made[key["name"]]["thumbprint"]],
        vaults=[VAULT],
        versions=versions,
        **options,
    )


def in_token(host: Host, name: str) -> bool:
    keys = host.run("byok_hsm_info", list_keys=True)["listing"]["target_keys"]
    return name in [key["name"] for key in keys if key["generations"]]


def digest_of(host: Host, key: Result) -> str:
    return hashlib.sha256(host.made[key["name"]]["thumbprint"].encode()).hexdigest()


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        ({"make": ["web"]}, "policy_refused"),
        ({"destroy_approvals": 0}, "policy_refused"),
        ({"make": ["web"], "destroy_approvals": 2}, "approvals_missing"),
    ],
)
def test_nothing_is_destroyed_that_the_policy_keeps(host: Host, policy: Result, code: str) -> None:
    host.keep(**policy)
    one = host.approvals(f"destroy {digest_of(host, WEB)}", host.anna)
    for check in (True, False):
        failed = destroy(host, WEB, check=check, approvals=one, accept_last_copy=True)
        assert failed["failed"]
        assert code in (failed.get("code"), *(each["code"] for each in failed["failures"]))
        assert failed["destroyed"] == []
    assert in_token(host, "web")


def test_a_destruction_that_two_people_approved(host: Host) -> None:
    host.keep(make=["web"], destroy_approvals=2)
    texts = host.approvals(f"destroy {digest_of(host, WEB)}", host.anna, host.bob)
    done = destroy(host, WEB, approvals=texts)
    assert [each["name"] for each in done["destroyed"]] == ["web"]
    assert done["approvals"] == [
        {"subject": "destroy", "digest": digest_of(host, WEB), "principals": ["anna", "bob"]}
    ]
    assert not in_token(host, "web")


def test_options_can_demand_approvals_of_a_destruction(host: Host) -> None:
    demand: Result = {"allowed_signers": host.signers, "required_approvals": {"destroy": 1}}
    failed = destroy(host, WEB, **demand)
    assert failed["code"] == "approvals_missing"
    assert in_token(host, "web")
    texts = host.approvals(f"destroy {digest_of(host, WEB)}", host.bob)
    assert destroy(host, WEB, **demand, approvals=texts)["destroyed"]


# What is told


def test_hsm_info_tells_the_policy_or_that_there_is_none(host: Host) -> None:
    told = host.run("byok_hsm_info")["hsm"]["wrapping_policy"]
    assert told["files"] == []
    assert told["told"].startswith("There is no wrapping policy on this host (/")
    host.keep(CREATED, make=["web"])
    path = host.places / "policy.json"
    told = host.run("byok_hsm_info")["hsm"]["wrapping_policy"]
    assert told["told"].startswith(f"{path} decides what may leave the token")
    (file,) = told["files"]
    assert file["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert file["demands"][0] == f"web to {VAULT} under a KEK that is created"
    assert file["owner"] in ("root", "the acting user")


def test_the_rehearsal_names_the_keys_that_could_go_nowhere(host: Host) -> None:
    host.keep(CREATED)
    done = host.run("byok_hsm_info", rehearse=True, declarations=[WEB, ROOT])
    assert {failure["name"]: failure["code"] for failure in done["failures"]} == {
        "root": "policy_refused"
    }
