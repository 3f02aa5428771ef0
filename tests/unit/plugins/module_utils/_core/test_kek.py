# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    BYOK_ROTATE,
    BYOK_WRAP,
    ROLE,
    Kek,
    KekRules,
    UntrustedKek,
    check_fingerprint,
    judge,
    normalise_fingerprint,
    refuse_kek_of_other_vault,
    refuse_making_untrusted,
    report_trust,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from hypothesis import given
from hypothesis import strategies as st

VAULT = "https://contoso.vault.azure.net"
KID = f"{VAULT}/keys/kek/0123456789abcdef0123456789abcdef"
BEGIN, END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
#: What it holds is not looked at: the fingerprint is of these bytes
PEM = f"{BEGIN}\n{base64.b64encode(b'a key').decode()}\n{END}\n"
PRINT = fingerprint(PEM)
COLONS = ":".join(PRINT[at : at + 2] for at in range(0, 64, 2)).upper()
OTHER = "cd" * 32
ASSERTED = (None, "created", "pinned", "unverified")


def answer(**changes: Any) -> dict[str, Any]:
    """What byok_kek returns."""
    facts = {
        "kek_id": KID,
        "kek_public_key": PEM,
        "kek_fingerprint": PRINT,
        "kek_trust": "unverified",
    }
    return {**facts, **changes}


@pytest.mark.parametrize(
    ("made", "approved", "trust"),
    [
        (True, [], "created"),
        (False, [], "unverified"),
        (False, [OTHER], "unverified"),
        (False, [COLONS], "pinned"),
        (True, [OTHER, PRINT], "pinned"),
        (True, [OTHER], "unverified"),
    ],
)
def test_what_byok_kek_reports(made: bool, approved: list[str], trust: str) -> None:
    assert report_trust(Kek(KID, PRINT, made, maker_trusted=True), approved) == trust


@pytest.mark.parametrize(
    ("kek", "rules", "trust"),
    [
        (Kek(KID, PRINT), KekRules([PRINT], False, BYOK_WRAP), "pinned"),
        (Kek(KID, PRINT), KekRules([PRINT], False, BYOK_WRAP, "pinned"), "pinned"),
        (Kek(KID, PRINT), KekRules([PRINT], False, BYOK_WRAP, "unverified"), "pinned"),
        (Kek(KID, PRINT, True, True), KekRules([], False, BYOK_WRAP), "created"),
        (Kek(KID, PRINT, True, True), KekRules([], True, BYOK_WRAP), "created"),
        (Kek(KID, PRINT), KekRules([], True, BYOK_WRAP), "unverified"),
        (Kek(KID, PRINT, True, False), KekRules([], True, BYOK_WRAP), "unverified"),
    ],
)
def test_what_may_be_used(kek: Kek, rules: KekRules, trust: str) -> None:
    verdict = rules.judge(kek)
    assert verdict.trust == trust
    assert verdict.reason


@pytest.mark.parametrize(
    ("kek", "rules", "expected"),
    [
        (
            Kek(KID, PRINT),
            KekRules([], False, BYOK_WRAP),
            rf"^Nothing shows that the KEK {KID} is .* approved_keks: \[{PRINT}\]",
        ),
        (
            Kek(KID, PRINT),
            KekRules([], False, BYOK_ROTATE),
            "^Nothing shows .* leave kek_id out",
        ),
        (
            Kek(KID, PRINT, True, False),
            KekRules([], False, BYOK_WRAP),
            "is said to be created .* set kek_created: true",
        ),
        (
            Kek(KID, PRINT, True, False),
            KekRules([], False, ROLE),
            "made by a host that is not trusted like the controller.* byok_approved_keks.* "
            "byok_azure_host_trusted: true.* byok_allow_unverified_kek accepts",
        ),
        (
            Kek(KID, PRINT, True, True),
            KekRules([OTHER], True, ROLE),
            f"is not among the approved KEKs.* add {PRINT} to byok_approved_keks",
        ),
        (
            Kek(KID, PRINT),
            KekRules([], True, BYOK_WRAP, "pinned"),
            rf"is said to be pinned .* approved_keks: \[{PRINT}\]",
        ),
    ],
)
def test_what_is_refused_and_what_to_do(kek: Kek, rules: KekRules, expected: str) -> None:
    with pytest.raises(UntrustedKek, match=expected) as refused:
        rules.judge(kek)
    assert f"Its fingerprint is {PRINT}" in str(refused.value)
    assert "kek_trust: unverified" in str(refused.value)


@given(
    st.binary(),
    st.lists(st.binary(min_size=32, max_size=32), min_size=1),
    st.sampled_from(ASSERTED),
    st.booleans(),
    st.booleans(),
)
def test_where_some_are_approved_no_other_kek_passes(
    der: bytes, approved: list[bytes], asserted: str | None, allowed: bool, trusted: bool
) -> None:
    """Whatever byok_kek, the host that it runs on, or other options say."""
    pem = f"{BEGIN}\n{base64.b64encode(der).decode()}\n{END}\n"
    rules = KekRules([each.hex() for each in approved], allowed, BYOK_WRAP, asserted)
    presented = Kek(KID, fingerprint(pem), made=True, maker_trusted=True)
    with pytest.raises(UntrustedKek):
        rules.judge(presented)
    lie = answer(kek_public_key=pem, kek_fingerprint=fingerprint(pem), kek_trust=asserted)
    with pytest.raises(UntrustedKek):
        judge(lie, rules, trusted)
    approving = KekRules([*rules.approved, fingerprint(pem)], allowed, BYOK_WRAP, asserted)
    assert approving.judge(presented).trust == "pinned"


def test_nothing_but_approval_or_an_explicit_option_makes_a_kek_of_a_mistrusted_host_pass() -> None:
    for said in (*ASSERTED, "attested", True, ["created"]):
        with pytest.raises(UntrustedKek):
            judge(answer(kek_trust=said), KekRules([], False, ROLE), azure_host_trusted=False)


@pytest.mark.parametrize("text", ["", "abc"])
def test_an_approved_fingerprint_that_is_none_is_told_and_approves_nothing(text: str) -> None:
    with pytest.raises(ByokError, match="is no fingerprint of a public key"):
        KekRules([text], True, BYOK_WRAP).judge(Kek(KID, PRINT, True, True))
    with pytest.raises(ByokError, match="is no fingerprint of a public key"):
        report_trust(Kek(KID, PRINT, True, True), [text])


@pytest.mark.parametrize(
    ("said", "approved", "allow", "trusted", "created"),
    [
        ("created", [], False, True, True),
        ("created", [], True, False, False),
        ("pinned", [PRINT], False, False, False),
        ("unverified", [PRINT], False, False, False),
        ("unverified", [], True, True, False),
    ],
)
def test_what_byok_wrap_is_given(
    said: str, approved: list[str], allow: bool, trusted: bool, created: bool
) -> None:
    rules = KekRules(approved, allow, ROLE)
    assert judge(answer(kek_trust=said), rules, trusted).to_dict() == {
        "kek_id": KID,
        "kek_public_key": PEM,
        "kek_fingerprint": PRINT,
        "approved_keks": approved,
        "kek_created": created,
        "allow_unverified_kek": allow,
    }


def test_a_kek_that_would_be_made_is_not_judged_yet() -> None:
    nothing = dict.fromkeys(answer())
    assert judge(nothing, KekRules([], False, ROLE), azure_host_trusted=True).to_dict() == {
        "approved_keks": [],
        "kek_created": False,
        "allow_unverified_kek": False,
    }


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kek_fingerprint": OTHER}, "was substituted"),
        ({"kek_fingerprint": None}, "kek_fingerprint that is no text"),
        ({"kek_public_key": None}, "kek_public_key that is no text"),
        ({"kek_public_key": 7}, "kek_public_key that is no text"),
        ({"kek_public_key": "garbage"}, "no PEM of a SubjectPublicKeyInfo"),
        ({"kek_public_key": PEM + PEM}, "no PEM of a SubjectPublicKeyInfo"),
        ({"kek_id": None}, "kek_id that is no text"),
        ({"kek_id": f"{VAULT}/keys/kek"}, "does not name one version"),
    ],
)
def test_an_answer_that_is_no_kek(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ByokError, match=expected):
        judge(answer(**changes), KekRules([PRINT], True, ROLE), azure_host_trusted=True)


@pytest.mark.parametrize(
    ("approved", "allow", "trusted", "expected"),
    [
        ([], False, True, None),
        ([], True, False, None),
        ([], False, False, "by a host that is not trusted.* byok_azure_host_trusted: true"),
        ([PRINT], True, True, "cannot be an approved one"),
    ],
)
def test_no_kek_is_made_that_would_be_refused(
    approved: list[str], allow: bool, trusted: bool, expected: str | None
) -> None:
    rules = KekRules(approved, allow, ROLE)
    if expected is None:
        refuse_making_untrusted(rules, trusted)
        return
    with pytest.raises(UntrustedKek, match=expected):
        refuse_making_untrusted(rules, trusted)


@pytest.mark.parametrize(
    "url", [VAULT, f"{VAULT}/", f"{VAULT}:443/", "HTTPS://Contoso.vault.azure.net"]
)
def test_a_kek_of_the_vault_itself(url: str) -> None:
    refuse_kek_of_other_vault(KID, url)
    refuse_kek_of_other_vault(KID.replace(".net/", ".net:443/") + "/", url)


@pytest.mark.parametrize(
    "url", ["https://contoso.managedhsm.azure.net", "https://contoso2.vault.azure.net", ""]
)
def test_a_kek_of_another_vault_is_refused(url: str) -> None:
    with pytest.raises(ByokError, match=f"is in {VAULT}, and the keys go to {url}"):
        refuse_kek_of_other_vault(KID, url)


def test_a_fingerprint_that_came_beside_is_compared_and_not_believed() -> None:
    assert check_fingerprint("KEK", PEM, None) == PRINT
    assert check_fingerprint("KEK", PEM, COLONS) == PRINT
    with pytest.raises(ByokError, match=f"The KEK was substituted.* is {PRINT} and not {OTHER}"):
        check_fingerprint("KEK", PEM, OTHER)


@pytest.mark.parametrize("text", ["", PRINT[:-1], PRINT + "00", "sha256:" + PRINT, "xy" * 32])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ByokError, match="64 hexadecimal digits"):
        normalise_fingerprint(text)
