# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import receipt as _receipt
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    envelope_of,
)
from hypothesis import given
from hypothesis import strategies as st

VAULT = "https://contoso.managedhsm.azure.net"
KID = f"{VAULT}/keys/payments/{'1' * 32}"
MOMENT = "2026-11-22T12:00:00Z"
KEY = {"name": "payments", "generation": "0a", "thumbprint": "x"}

IMPORTED: dict[str, t.Any] = {
    "key": KEY,
    "vault": VAULT,
    "kid": KID,
    "type": "EC-HSM",
    "hsm_platform": None,
    "attributes": {
        "operations": ["sign"],
        "enabled": True,
        "not_before": None,
        "expires": MOMENT,
        "tags": {"owner": "Zoë"},
    },
    "compared": "thumbprint",
    "identity": "public_key",
    "origin": "token",
    "proof": {"operation": "sign", "algorithm": "ES256"},
    "replaced": None,
    "request_id": "x",
    "source": "run",
    "time": MOMENT,
    "clock": "entra",
    "interrupted_at": MOMENT,
    "attestation": {
        "verdict": "attested",
        "told": "An adapter says so",
        "sha256": "d" * 64,
        "owner_root": "e" * 64,
        "maker": "Marvell",
    },
    "environment": {"proxy": False, "ca_override": False},
    "tools": {"python": "3.12"},
}
FOUND: dict[str, t.Any] = {
    "key": {**KEY, "generation": None},
    "vault": VAULT,
    "kid": KID,
    "identity": "public_key",
    "kek": "unknown",
    "told": "found in place",
    "time": MOMENT,
    "clock": "vault",
}
RUN: dict[str, t.Any] = {
    "number": 2,
    "previous": "f" * 64,
    "vault": VAULT,
    "job": "transfer",
    "begun": MOMENT,
    "ended": MOMENT,
    "clock": "host",
    "who": {"user": "jo", "controller": "c", "job_id": None, "commit": None, "ticket": None},
    "plan": "a" * 64,
    "receipts": [{"key": "payments", "kind": "imported", "sha256": "b" * 64}],
    "left_alone": ["web"],
    "failures": [{"name": "db", "code": "failed", "msg": "It failed."}],
    "events": [
        {"key": "old", "what": "destroyed", "generation": "0b", "kid": None, "time": MOMENT}
    ],
    "approvals": [{"subject": "plan", "digest": "a" * 64, "principals": ["jo", "mo"]}],
    "deviations": [{"code": "weak_kek", "key": None, "msg": "It is weak."}],
    "evidence_key": "c" * 64,
}
RECEIPT_OF_TOKEN = _receipt.begin(
    key={**KEY, "kind": "P-256", "sha256": "a" * 64},
    package_sha256="b" * 64,
    token=dict.fromkeys(("label", "serial", "manufacturer", "model", "firmware", "library"), "x"),
    evidence={
        "origin": "token",
        **dict.fromkeys(
            (
                "CKA_LOCAL",
                "CKA_ALWAYS_SENSITIVE",
                "CKA_SENSITIVE",
                "CKA_EXTRACTABLE",
                "CKA_NEVER_EXTRACTABLE",
                "CKA_KEY_GEN_MECHANISM",
            )
        ),
    },
    kek={"kid": KID, "fingerprint": "c" * 64, "trust": "created", "size": 4096},
    wrap={
        "oaep": "SHA-1",
        "aes_bits": 256,
        "rehearsal": dict.fromkeys(("profile", "mechanism", "parameter", "finding"), "x"),
        "time": MOMENT,
    },
)
DIGESTS: dict[str, t.Any] = {"package": "1" * 64, "public_key": "2" * 64, "wrapped": "3" * 64}

ALL: dict[str, statements.Statement] = {
    "wrapped": RECEIPT_OF_TOKEN,
    "imported": statements.imported(IMPORTED, **DIGESTS),
    "found": statements.found(FOUND, public_key="2" * 64),
    "run": statements.run(RUN),
}


@pytest.mark.parametrize("kind", ALL)
def test_a_statement_is_read_as_it_was_built(kind: str) -> None:
    envelope = envelope_of(ALL[kind])
    assert statements.read(envelope, "It") == (kind, ALL[kind])
    assert statements.KINDS[ALL[kind]["predicateType"]] == kind
    assert ALL[kind]["predicateType"].endswith(f"/{kind}/v1")


def names_of(statement: statements.Statement) -> list[str]:
    return [each["name"] for each in statement["subject"]]


def test_subjects_are_what_is_known() -> None:
    assert names_of(ALL["imported"]) == ["payments.byok", "payments (public key)", "wrapped"]
    assert statements.digest_named(ALL["imported"], "wrapped") == "3" * 64
    assert statements.public_key_digest(ALL["imported"]) == "2" * 64
    kid_alone = [{"name": KID, "digest": {"sha256": hashlib.sha256(KID.encode()).hexdigest()}}]
    unknown = statements.imported(IMPORTED, package=None, public_key=None, wrapped=None)
    assert unknown["subject"] == kid_alone
    assert statements.found(FOUND, public_key=None)["subject"] == kid_alone
    assert statements.public_key_digest(unknown) is None
    assert names_of(ALL["found"]) == ["payments (public key)"]
    assert [(each["name"], each["digest"]["sha256"][0]) for each in ALL["run"]["subject"]] == [
        ("plan", "a"),
        ("payments imported", "b"),
    ]


def changed(whole: t.Any, path: tuple[t.Any, ...], value: t.Any) -> t.Any:
    copy = json.loads(json.dumps(whole))
    place = copy
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return copy


def members(value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict) and path[-1:] != ("tools",):
        for name in value:
            yield from members(value[name], (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from members(each, (*path, number))


@pytest.mark.parametrize("strange", [[[]], 7.5, {"a": 1}, True])
@pytest.mark.parametrize(
    ("kind", "path"), [(kind, path) for kind in ALL for path in members(ALL[kind])], ids=str
)
def test_a_member_of_another_kind_is_refused(
    kind: str, path: tuple[t.Any, ...], strange: t.Any
) -> None:
    if strange is True and path[-1] in ("enabled", "proxy", "ca_override", *_FLAGS):
        return
    if path == ("predicate", "wrap", "tools") and strange == {"a": 1}:
        return
    spoilt = changed(ALL[kind], path, strange)
    with pytest.raises(Malformed, match="It is no evidence"):
        statements.check(spoilt, "It")


_FLAGS = tuple(name for name in RECEIPT_OF_TOKEN["predicate"]["evidence"] if name[:4] == "CKA_")


@pytest.mark.parametrize("kind", ALL)
def test_a_member_more_or_less_is_refused(kind: str) -> None:
    whole = ALL[kind]
    for name in whole["predicate"]:
        less = {each: told for each, told in whole["predicate"].items() if each != name}
        with pytest.raises(Malformed):
            statements.check({**whole, "predicate": less}, "It")
    with pytest.raises(Malformed):
        statements.check(changed(whole, ("predicate", "more"), 1), "It")
    with pytest.raises(Malformed):
        statements.check({**whole, "more": 1}, "It")
    with pytest.raises(Malformed):
        statements.check({**whole, "_type": "https://in-toto.io/Statement/v0.1"}, "It")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("wrapped", [("web.byok", "b")]),
        ("wrapped", [("payments.escrow", "b")]),
        ("wrapped", [("payments.byok", "b"), ("payments.byok", "b")]),
        ("imported", []),
        ("imported", [("wrapped", "3"), ("payments.byok", "1")]),
        ("imported", [("web (public key)", "2")]),
        ("imported", [(KID, "2")]),
        ("found", [("web (public key)", "2")]),
        ("found", [("payments (public key)", "2"), ("wrapped", "3")]),
        ("run", [("plan", "b"), ("payments imported", "b")]),
        ("run", [("plan", "a")]),
        ("run", [("payments imported", "b"), ("plan", "a")]),
    ],
    ids=str,
)
def test_a_subject_that_is_not_of_its_statement_is_refused(
    kind: str, subject: list[tuple[str, str]]
) -> None:
    listed = [{"name": name, "digest": {"sha256": 64 * digit}} for name, digit in subject]
    with pytest.raises(Malformed):
        statements.check({**ALL[kind], "subject": listed}, "It")


@pytest.mark.parametrize(
    ("number", "previous"), [(1, "f" * 64), (2, None), (0, None), (-1, "f" * 64)]
)
def test_only_the_first_manifest_has_none_before(number: int, previous: str | None) -> None:
    with pytest.raises(Malformed):
        statements.run({**RUN, "number": number, "previous": previous})


def test_a_run_is_checked_before_it_is_numbered() -> None:
    unnumbered = {name: RUN[name] for name in RUN if name not in statements.NUMBERED}
    statements.check_run(unnumbered, "It")
    spoilt: t.Any
    for spoilt in (RUN, {**unnumbered, "job": None}, [], None):
        with pytest.raises(Malformed, match="It is no evidence"):
            statements.check_run(spoilt, "It")
    with pytest.raises(Malformed, match="run/v1"):
        statements.run(unnumbered)


def test_a_completed_receipt_and_a_strange_type_are_no_statement() -> None:
    strange: t.Any
    for strange in (_receipt.complete(RECEIPT_OF_TOKEN, {}), {"predicateType": []}, [], None):
        with pytest.raises(Malformed, match="no statement of Keyferry"):
            statements.check(strange, "It")
    with pytest.raises(Malformed):
        statements.read(Envelope(b"{}"), "It")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda some: st.lists(some) | st.dictionaries(st.text(), some),
)


@given(kind=st.sampled_from(sorted(ALL)), data=st.data())
def test_nothing_that_is_put_anywhere_raises_anything_else(kind: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(members(ALL[kind]))))
    spoilt = changed(ALL[kind], path, data.draw(_JSON))
    try:
        statements.check(spoilt, "It")
    except Malformed:
        return
    assert statements.read(envelope_of(spoilt), "It") == (kind, spoilt)
