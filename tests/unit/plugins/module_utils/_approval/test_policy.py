# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wrapping policy as a text, and what its rules decide."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._approval.policy import (
    PolicyRefused,
    WrappingPolicy,
    read_policy,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from hypothesis import given
from hypothesis import strategies as st

HSM = "https://contoso-hsm.managedhsm.azure.net"
VAULT = "https://contoso.vault.azure.net"
PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
DOCUMENT: dict[str, t.Any] = {
    "version": 1,
    "allowed_signers": "/etc/keyferry/allowed_signers",
    "approval_namespace": "keyferry-approval@contoso.example",
    "attestation_owner_roots": {"contoso-hsm": "3F:" + "0C" * 31},
    "attestation_maker_roots": [PEM],
    "owner_root_approvals": 2,
    "approved_keks": {f"{HSM}/": ["AB" * 32]},
    "rules": [
        {
            "names": ["payments-*"],
            "vaults": [f"{HSM.upper().replace('HTTPS', 'https')}:443/"],
            "kek_trust": ["attested"],
            "kek_approvals": 2,
        },
        {"names": ["*"], "vaults": [HSM, VAULT], "kek_trust": ["created", "approved"]},
    ],
    "escrow": ["cd" * 32],
    "make": ["payments-*", "web"],
    "destroy_approvals": 2,
}


def policy(**changes: t.Any) -> WrappingPolicy:
    return read_policy({**DOCUMENT, **changes}, "/etc/keyferry/policy.yml", "00")


def kek_trust(name: str, label: str, vault: str | None) -> list[str]:
    return [" ".join(rule.kek_trust) for rule in policy().rules_for(name, label, vault)]


def test_a_whole_policy_is_read() -> None:
    read = policy()
    assert read.owner_roots == {"contoso-hsm": "3f" + "0c" * 31}
    assert read.rules[0].vaults == (HSM,)
    assert (read.owner_root_approvals, read.destroy_approvals) == (2, 2)
    assert read.namespace == "keyferry-approval@contoso.example"
    assert read.demands() == [
        f"payments-* to {HSM} under a KEK that is attested, 2 approvals of the KEK",
        f"* to {HSM}, {VAULT} under a KEK that is created or approved",
        f"escrow keys: {'cd' * 32}",
        "may be made and changed in the token: payments-*, web",
        "approvals of a destruction: 2",
    ]


def test_a_kek_is_approved_for_its_vault() -> None:
    assert policy().approves("ab" * 32, HSM)
    assert not policy().approves("ab" * 32, VAULT)
    assert not policy().approves("ac" * 32, HSM)


def test_the_smallest_policy_allows_nothing() -> None:
    read = read_policy({"version": 1, "rules": []}, "policy.json", "00")
    with pytest.raises(PolicyRefused):
        read.rules_for("web", "web", None)
    with pytest.raises(PolicyRefused):
        read.check_change("web", "web", "made")
    with pytest.raises(PolicyRefused):
        read.check_escrow("cd" * 32)
    assert (read.owner_root_approvals, read.destroy_approvals) == (None, None)


RULE = DOCUMENT["rules"][0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"version": 2}, "has no version: 1"),
        ({"version": True}, "has no version: 1"),
        ({"version": "1"}, "has no version: 1"),
        ({"rule": []}, "has 'rule', which is no member of it"),
        ({"rules": {}}, "rules is no list of rules"),
        ({"rules": [1]}, "rules is no list of rules"),
        (
            {"rules": [{**RULE, "kek_approval": 2}]},
            "rule 1.*has 'kek_approval', which is no member of it",
        ),
        ({"rules": [{"names": ["*"], "vaults": [VAULT]}]}, "rule 1.*lacks kek_trust"),
        ({"rules": [{**RULE, "names": []}]}, "rule 1.*names is no list with something in it"),
        ({"rules": [{**RULE, "names": "payments-*"}]}, "rule 1.*names is no list"),
        ({"rules": [RULE, {**RULE, "vaults": ["contoso-hsm"]}]}, "rule 2.*no URL of a vault"),
        ({"rules": [{**RULE, "vaults": ["https://*.vault.azure.net"]}]}, "no URL of a vault"),
        ({"rules": [{**RULE, "kek_trust": ["unverified"]}]}, "'unverified', which is none of"),
        ({"rules": [{**RULE, "kek_trust": []}]}, "kek_trust is no list with something"),
        ({"rules": [{**RULE, "kek_approvals": True}]}, "kek_approvals is no number of people"),
        ({"rules": [{**RULE, "kek_approvals": -1}]}, "kek_approvals is no number of people"),
        ({"owner_root_approvals": "2"}, "owner_root_approvals is no number of people"),
        ({"destroy_approvals": 2.5}, "destroy_approvals is no number of people"),
        ({"allowed_signers": "allowed_signers"}, "no absolute path"),
        ({"allowed_signers": None}, "allowed_signers holds something that is no line of text"),
        ({"approval_namespace": "of us"}, "approval_namespace has blanks"),
        ({"attestation_owner_roots": {"pool": 12}}, "no line of text"),
        ({"attestation_owner_roots": {"pool": "3f"}}, "no fingerprint"),
        ({"attestation_owner_roots": []}, "no mapping of pools"),
        ({"attestation_maker_roots": ["MIIB"]}, "no certificate in PEM"),
        ({"approved_keks": {VAULT: ["x"]}}, "no fingerprint"),
        ({"approved_keks": ["ab" * 32]}, "no mapping of vaults"),
        ({"approved_keks": {VAULT: [], VAULT + "/": []}}, "names a vault twice"),
        ({"escrow": "cd" * 32}, "escrow is no list"),
        ({"make": ["a\nb"]}, "no line of text"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, t.Any], why: str) -> None:
    with pytest.raises(ByokError, match=why) as error:
        policy(**changes)
    assert error.value.reason == "policy_unusable"
    assert "/etc/keyferry/policy.yml" in str(error.value)


@pytest.mark.parametrize("document", [None, [], "version: 1", 1, {}])
def test_what_is_no_policy_is_refused(document: t.Any) -> None:
    with pytest.raises(ByokError, match="has no version: 1"):
        read_policy(document, "policy.json", "00")


def test_a_policy_without_rules_is_refused() -> None:
    with pytest.raises(ByokError, match="lacks rules"):
        read_policy({"version": 1}, "policy.json", "00")


@pytest.mark.parametrize(
    "changes",
    [{"owner_root_approvals": 1}, {"destroy_approvals": 1}, {"rules": [{**RULE}]}],
    ids=lambda changes: next(iter(changes)),
)
def test_approvals_without_a_file_of_signers_are_refused(changes: dict[str, t.Any]) -> None:
    with pytest.raises(ByokError, match="names no file of allowed signers"):
        read_policy({"version": 1, "rules": [], **changes}, "policy.json", "00")


def test_the_first_rule_that_matches_decides() -> None:
    assert kek_trust("payments-1", "payments-1", HSM) == ["attested"]
    assert kek_trust("web", "web", HSM) == ["created approved"]
    # The first rule is for another vault.
    assert kek_trust("payments-1", "payments-1", VAULT) == ["created approved"]
    assert kek_trust("payments-1", "payments-1", None) == ["attested"]
    with pytest.raises(PolicyRefused, match="may not leave to https://fabrikam"):
        kek_trust("web", "web", "https://fabrikam.vault.azure.net")


def test_neither_name_nor_label_is_a_way_around_a_rule() -> None:
    assert kek_trust("web", "payments-1", HSM) == ["created approved", "attested"]
    assert kek_trust("payments-1", "web", HSM) == ["attested", "created approved"]
    # Azure ignores the case of names, so this would be a version of payments-1.
    assert kek_trust("PAYMENTS-1", "web", HSM) == ["attested", "created approved"]


@pytest.mark.parametrize("vault", [HSM, HSM + "/", HSM + ":443", HSM.upper()])
def test_a_vault_has_several_spellings(vault: str) -> None:
    assert kek_trust("payments-1", "payments-1", vault) == ["attested"]


def test_patterns_are_of_whole_names() -> None:
    read = policy(make=["pay", "w?b", "x[12]"])
    for name in ("pay", "web", "x1"):
        read.check_change(name, name, "made")
    for name in ("payments", "epay", "wb", "x3"):
        with pytest.raises(PolicyRefused, match=f"The key {name} may not be made"):
            read.check_change(name, name, "made")
    with pytest.raises(PolicyRefused, match="does not list the label root"):
        read.check_change("web", "root", "locked")
    with pytest.raises(PolicyRefused, match="does not list the label WEB"):
        read.check_change("WEB", "WEB", "made")


def test_only_listed_escrow_keys_are_ways_out() -> None:
    policy().check_escrow("cd" * 32)
    with pytest.raises(PolicyRefused, match="because escrow does not list it") as error:
        policy().check_escrow("ce" * 32)
    assert error.value.reason == "policy_refused"


NAMES = st.from_regex(r"[a-c-]{1,4}", fullmatch=True)


@given(name=NAMES, label=NAMES, patterns=st.lists(NAMES | st.just("*"), min_size=1, max_size=3))
def test_a_key_leaves_only_if_each_of_its_names_has_a_rule(
    name: str, label: str, patterns: list[str]
) -> None:
    rules = [{"names": [each], "vaults": [VAULT], "kek_trust": ["created"]} for each in patterns]
    read = policy(rules=rules)
    allowed = all("*" in patterns or each in patterns for each in (name, label))
    try:
        assert bool(read.rules_for(name, label, VAULT)) == allowed
    except PolicyRefused:
        assert not allowed


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(member=st.sampled_from(sorted(DOCUMENT)), value=PLAIN)
def test_whatever_a_member_holds_is_read_or_refused_in_a_sentence(
    member: str, value: t.Any
) -> None:
    with contextlib.suppress(ByokError):  # any other exception fails the test
        policy(**{member: value})
