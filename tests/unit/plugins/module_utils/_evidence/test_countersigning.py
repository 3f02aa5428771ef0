# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    fingerprint,
    thumbprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import GenerationFacts
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.countersigning import (
    Contradiction,
    Told,
    judge_told,
    key_of,
    supported_receipts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import envelope_of
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

VAULT = "https://contoso.managedhsm.azure.net"
MOMENT = "2026-11-22T12:00:00Z"


def public_key(number: int) -> EcPublicKey:
    numbers = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
    return EcPublicKey("P-256", numbers.x, numbers.y)


def held(generation: str, key: EcPublicKey | None, **facts: t.Any) -> GenerationFacts:
    return GenerationFacts.from_dict(
        {
            "generation": generation,
            "thumbprint": thumbprint(key) if key else None,
            "kind": "P-256" if key else "AES-256",
            "public_key": to_pem(key) if key else None,
            "made_by_keyferry": True,
            "made": MOMENT,
            "withdrawn": False,
            "half_made": False,
            "public_only": False,
            "origin": "token",
            "CKA_LOCAL": True,
            "CKA_ALWAYS_SENSITIVE": True,
            "CKA_SENSITIVE": True,
            "CKA_EXTRACTABLE": True,
            "CKA_NEVER_EXTRACTABLE": False,
            "CKA_KEY_GEN_MECHANISM": None,
            **facts,
        }
    )


OURS, OLDER = public_key(7), public_key(6)
TOKEN = [held("0a", OLDER), held("0b", OURS), held("0c", None)]


def found(
    generation: str | None, key: EcPublicKey | None, digest: str | None = None, **changes: t.Any
) -> statements.Statement:
    name = changes.pop("name", "payments")
    predicate = {
        "key": {
            "name": name,
            "generation": generation,
            "thumbprint": thumbprint(key) if key else None,
        },
        "vault": VAULT,
        "kid": f"{VAULT}/keys/payments/{'1' * 32}",
        "identity": "public_key",
        "kek": "unknown",
        "told": "found in place",
        "time": MOMENT,
        "clock": "vault",
        **changes,
    }
    return statements.found(
        predicate, public_key=digest or (fingerprint(to_pem(key)) if key else None)
    )


@pytest.mark.parametrize(
    "statement",
    [
        found("0b", OURS),
        found("0a", OLDER),
        found(None, OURS),
        found("0c", None),
        found("0b", OURS, vault=f"{VAULT.upper()}:443/".replace("HTTPS", "https")),
        found("0b", OURS, kid=f"{VAULT}/keys/PAYMENTS/{'1' * 32}"),
    ],
    ids=["newest", "older", "by its thumbprint", "oct", "URL", "case"],
)
def test_what_is_said_of_a_key_of_the_token_is_taken(statement: statements.Statement) -> None:
    judge_told(statement, TOKEN, VAULT)


OTHER = "https://fabrikam.managedhsm.azure.net"


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (found("0b", public_key(5)), "holds no generation 0b of the key payments with the"),
        (found("0a", OURS), "holds no generation 0a"),
        (found("0d", OURS), "holds no generation 0d"),
        (found("0d", None), "holds no generation 0d of the key payments without a thumbprint"),
        (found(None, None), "holds no generation of any CKA_ID"),
        (found("0b", None), "holds no generation 0b"),
        (found("0b", OURS, digest="f" * 64), "has another public key as its subject"),
        (found("0c", None, digest="f" * 64), "has another public key as its subject"),
        (found("0b", OURS, vault=OTHER), "is no version of that key"),
        (found("0b", OURS, kid=f"{OTHER}/keys/payments/{'1' * 32}"), "is no version of that key"),
        (found("0b", OURS, kid=f"{VAULT}/keys/web/{'1' * 32}"), "is no version of that key"),
        (found("0b", OURS, kid="payments"), "is no version of that key"),
    ],
    ids=str,
)
def test_what_the_token_cannot_stand_by_is_refused(
    statement: statements.Statement, why: str
) -> None:
    with pytest.raises(Contradiction, match=why) as refused:
        judge_told(statement, TOKEN, VAULT)
    assert refused.value.reason == "contradiction"


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"CKA_NEVER_EXTRACTABLE": True}, "never extractable, so it cannot have left"),
        ({"half_made": True}, "holds no generation 0b"),
    ],
)
def test_a_key_that_cannot_have_left_is_in_no_vault(facts: dict[str, t.Any], why: str) -> None:
    with pytest.raises(Contradiction, match=why):
        judge_told(found("0b", OURS), [held("0b", OURS, **facts)], VAULT)


@given(
    key=st.integers(min_value=1, max_value=9),
    generation=st.sampled_from(["0a", "0b", "0c", "0d", "", None]),
    token=st.lists(
        st.tuples(st.sampled_from(["0a", "0b", "0c", "0d"]), st.integers(1, 9)), max_size=4
    ),
)
def test_only_a_key_of_the_token_is_ever_taken(
    key: int, generation: str | None, token: list[tuple[str, int]]
) -> None:
    there = [held(each, public_key(number)) for each, number in token]
    is_there = any(number == key and generation in (None, each) for each, number in token)
    try:
        judge_told(found(generation, public_key(key)), there, VAULT)
    except Contradiction:
        assert not is_there
    else:
        assert is_there


def test_only_what_azure_s_side_tells_is_signed() -> None:
    for kind in ("wrapped", "run"):
        with pytest.raises(Contradiction, match=f"A statement {kind}/v1 was given to be signed"):
            key_of({}, kind)
    assert key_of(found("0b", OURS), "found") == "payments"


def test_a_run_names_only_receipts_that_the_token_stands_by() -> None:
    good = Told(envelope_of(found("0b", OURS)), "found", "payments", None)
    bad = Told(envelope_of(found("0a", OURS)), "found", "payments", Contradiction("no"))

    def receipt(sha256: str, key: str = "payments", kind: str = "found") -> dict[str, str]:
        return {"key": key, "kind": kind, "sha256": sha256}

    wrapped = [receipt("1" * 64, kind="wrapped"), receipt("2" * 64, kind="escrow")]
    named = [*wrapped, receipt(good.envelope.digest), receipt(bad.envelope.digest)]
    kept, wrong = supported_receipts(named, [good, bad])
    assert kept == named[:-1]
    assert wrong == {}
    for strange in (
        receipt("3" * 64),
        receipt("3" * 64, kind="imported"),
        receipt(good.envelope.digest, key="web"),
        receipt(good.envelope.digest, kind="imported"),
        receipt(good.envelope.digest, kind="wrapped"),
    ):
        kept, wrong = supported_receipts([strange], [good, bad])
        assert kept == []
        assert wrong[strange["key"]].reason == "contradiction"
