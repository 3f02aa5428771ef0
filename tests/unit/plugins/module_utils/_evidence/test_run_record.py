# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run leaves as evidence, and what it believes of what Azure's host states."""

from __future__ import annotations

import typing as t
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core import receipt
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    fingerprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Failure
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Batch,
    Request,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import chain, statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    envelope_of,
    parse_envelope,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.run_record import (
    WHO,
    Recorded,
    RunRecord,
)

Fields = dict[str, t.Any]

BEGUN = datetime(2026, 11, 30, 17, 0, tzinfo=timezone.utc)
VAULT = "https://contoso.vault.azure.net"
VERSION = "0" * 31 + "1"
KEK = f"{VAULT}/keys/kek/{'0' * 32}"
PACKAGE, SPKI = "b" * 64, "a" * 64
MOMENT = "2026-11-30T17:00:00Z"
WORDS = ("profile", "mechanism", "parameter", "finding")
FLAGS = ("LOCAL", "ALWAYS_SENSITIVE", "SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE")
WHO_RAN: dict[str, str | None] = {**dict.fromkeys(WHO), "user": "ada", "job_id": "42"}


def kid(name: str) -> str:
    return f"{VAULT}/keys/{name}/{VERSION}"


def of_key(name: str, kind: str = "EC") -> Fields:
    return {"name": name, "generation": "01", "thumbprint": None if kind == "oct" else f"t-{name}"}


def wrapped(name: str = "a", kind: str = "EC", kek: str | None = KEK, **key: t.Any) -> Envelope:
    """What the token's side states."""
    subject = {} if kind == "oct" else {"sha256": SPKI}
    statement = receipt.begin(
        key={
            **of_key(name, kind),
            "kind": "AES-256" if kind == "oct" else "P-256",
            **subject,
            **key,
        },
        package_sha256=PACKAGE,
        token=dict.fromkeys(
            ("label", "serial", "manufacturer", "model", "firmware", "library"), "x"
        ),
        evidence={
            "origin": "token",
            "CKA_KEY_GEN_MECHANISM": None,
            **dict.fromkeys([f"CKA_{flag}" for flag in FLAGS]),
        },
        kek={"kid": kek, "fingerprint": "c" * 64, "trust": "created", "size": 4096},
        wrap={
            "oaep": "SHA-1, MGF1 with SHA-1",
            "aes_bits": 256,
            "rehearsal": dict.fromkeys(WORDS, "x"),
            "time": MOMENT,
        },
    )
    return envelope_of(statement)


def arrived(
    name: str = "a", kind: str = "EC", subject: Fields | None = None, **facts: t.Any
) -> Envelope:
    """What Azure's side states of an import."""
    predicate = {
        "key": of_key(name, kind),
        "vault": VAULT,
        "kid": kid(name),
        "type": "EC-HSM",
        "hsm_platform": "2",
        "attributes": {
            "operations": ["sign"],
            "enabled": True,
            "not_before": None,
            "expires": None,
            "tags": {},
        },
        "compared": "thumbprint",
        "identity": "public_key",
        "origin": "token",
        "proof": None,
        "replaced": None,
        "request_id": None,
        "source": "run",
        "time": MOMENT,
        "clock": "vault",
        "interrupted_at": None,
        "attestation": None,
        "environment": {"proxy": False, "ca_override": False},
        "tools": {"python": "3"},
        **facts,
    }
    subjects = {
        "package": PACKAGE,
        "public_key": None if kind == "oct" else SPKI,
        "wrapped": wrapped(name, kind).digest,
        **(subject or {}),
    }
    return envelope_of(statements.imported(predicate, **subjects))


def in_token(name: str = "a", kind: str = "EC", pem: str | None = None) -> Fields:
    generation = {**of_key(name, kind), "public_key": pem}
    return {**of_key(name, kind), "generations": [generation], "created": True, "locked": True}


def package(name: str = "a", kind: str = "EC", **facts: t.Any) -> Fields:
    return {
        **of_key(name, kind),
        "kek_id": KEK,
        "path": None,
        "content": "{}",
        "sha256": PACKAGE,
        "wrapped": True,
        "receipt": None,
        "envelope": wrapped(name, kind).to_line(),
        **facts,
    }


def told(name: str = "a", kind: str = "EC", **facts: t.Any) -> Fields:
    """The result of byok_import for a key."""
    return {
        **of_key(name, kind),
        "kid": kid(name),
        "version": VERSION,
        "imported": True,
        "updated": False,
        "current": True,
        "origin": "token",
        "identity": "public_key",
        "envelope": arrived(name, kind).to_line(),
        **facts,
    }


def planned(*names: str, action: str = "transfer", kind: str = "EC", **request: t.Any) -> Transfer:
    """A run that has seen both sides."""
    declared = [{"name": name, "type": kind} for name in names]
    run = Transfer.begin(Request(**{"vault_url": f"{VAULT}/", **request}), declared)
    run = run.seen_in_token({"target_keys": [in_token(name, kind) for name in names]})
    entries = [{**of_key(name, kind), "action": action, "reason": "why"} for name in names]
    return run.planned({"plan": entries})


def batch(run: Transfer, packages: t.Sequence[Fields], kind: str = "EC") -> Batch:
    names = tuple(item["name"] for item in run.declared)
    made = {"target_keys": [in_token(name, kind) for name in names]}
    return Batch(run, names).made(made).wrapped({"packages": packages})


def brought(key: Fields | None = None, *, kind: str = "EC", **request: t.Any) -> Recorded:
    """What is recorded of a run that brings one key."""
    run, packages = planned("a", kind=kind, **request), [package(kind=kind)]
    imports = {"imports": [key or told(kind=kind)]}
    return RunRecord(BEGUN).brought(batch(run, packages, kind), {"packages": packages}, imports)


def receipts(record: RunRecord) -> list[tuple[str, str, str]]:
    return [(each.key, each.kind, each.sha256) for each in record.receipts]


def manifest(record: RunRecord, run: Transfer) -> Fields:
    """The manifest, which is one as the next of a chain."""
    predicate = record.manifest(run, WHO_RAN, BEGUN + timedelta(minutes=1))
    statements.check_run(predicate, "it")
    chain.next_manifest(predicate, None, None)
    return predicate


# What is collected


@pytest.mark.parametrize("kind", ["EC", "oct"])
def test_both_statements_of_a_transfer_are_named_and_the_one_of_azure_is_signed(kind: str) -> None:
    recorded = brought(kind=kind)
    assert recorded.contradictions == []
    record = RunRecord.from_dict(recorded.record.to_dict())  # as the role keeps it
    assert receipts(record) == [
        ("a", "wrapped", wrapped(kind=kind).digest),
        ("a", "imported", arrived(kind=kind).digest),
    ]
    assert record.to_sign() == [arrived(kind=kind).to_line()]
    assert record.to_store() == []


def test_what_was_wrapped_and_not_imported_is_named_and_has_to_be_stored() -> None:
    packages, failures = [package()], [Failure("a", "broken").to_dict()]
    escrow = wrapped(kek=None)
    result = {"packages": packages, "escrows": [package(envelope=escrow.to_line())]}
    run = planned("a")
    record = (
        RunRecord(BEGUN)
        .brought(batch(run, packages), result, {"imports": [], "failures": failures})
        .record
    )
    assert [kind for _name, kind, _sha256 in receipts(record)] == ["escrow", "wrapped"]
    assert record.to_store() == [escrow.to_line(), packages[0]["envelope"]]
    assert record.to_sign() == []


@pytest.mark.parametrize("of_token", [None, "{}", "not JSON"])
def test_a_package_without_a_statement_that_can_be_read_has_none(
    of_token: str | None,
) -> None:
    packages = [package(envelope=of_token)]
    line = arrived(subject={"wrapped": None}).to_line()
    recorded = RunRecord(BEGUN).brought(
        batch(planned("a"), packages), {"packages": packages}, {"imports": [told(envelope=line)]}
    )
    assert recorded.contradictions == []
    assert [kind for _name, kind, _sha256 in receipts(recorded.record)] == ["imported"]


def test_a_run_that_only_looks_records_nothing() -> None:
    assert brought(looks_only=True).record == RunRecord(BEGUN)
    run = planned("a", action="none", looks_only=True)
    plan = {"receipts": {"without": [without()], "loose": [arrived().to_line()]}}
    recorded = RunRecord(BEGUN).planned(run, {"target_keys": [in_token()]}, plan, BEGUN)
    assert recorded.record.receipts == ()


def test_events_are_what_was_made_and_locked() -> None:
    keys = [in_token("a"), {**in_token("b"), "created": False, "locked": False}]
    record = RunRecord(BEGUN).made({"target_keys": keys}).locking_done({"target_keys": keys})
    assert [(event.key, event.what, event.generation) for event in record.events] == [
        ("a", "made", "01"),
        ("a", "locked", "01"),
    ]


# Lies


#: What Azure's side may state of an import that is not so, and what is said of it
LIES: dict[str, tuple[Fields, str]] = {
    "another name": ({"key": of_key("b"), "kid": kid("a")}, "states the key b"),
    "another generation": ({"key": {**of_key("a"), "generation": "02"}}, "states the generation"),
    "another thumbprint": ({"key": {**of_key("a"), "thumbprint": "x"}}, "states the thumbprint"),
    "no thumbprint": ({"key": {**of_key("a"), "thumbprint": None}}, "states the thumbprint"),
    "another vault": ({"vault": "https://evil.vault.azure.net"}, "states the vault"),
    "a version of another vault": (
        {"kid": f"https://evil.vault.azure.net/keys/a/{VERSION}"},
        "states the version",
    ),
    "another version": ({"kid": f"{VAULT}/keys/a/{'0' * 32}"}, "states the version"),
    "another package": ({"subject": {"package": "f" * 64}}, "states the package"),
    "no package": ({"subject": {"package": None}}, "states the package"),
    "another wrapping": ({"subject": {"wrapped": "f" * 64}}, "states the wrapping"),
    "no wrapping": ({"subject": {"wrapped": None}}, "states the wrapping"),
}


def refused(recorded: Recorded) -> str:
    """The one sentence on the key that failed, of which nothing is signed."""
    (failure,) = recorded.contradictions
    assert (failure.name, failure.code) == ("a", "contradiction")
    assert recorded.record.to_sign() == []
    assert [kind for _name, kind, _sha256 in receipts(recorded.record)] in (["wrapped"], [])
    return failure.msg


@pytest.mark.parametrize("lie", LIES)
def test_a_statement_that_contradicts_the_run_is_signed_by_nobody(lie: str) -> None:
    facts, says = LIES[lie]
    assert says in refused(brought(told(envelope=arrived(**facts).to_line())))


def test_a_result_that_contradicts_its_statement_is_told() -> None:
    assert "states the version" in refused(brought(told(kid=f"{VAULT}/keys/a/{'f' * 32}")))
    other = f"{VAULT}/keys/b/{VERSION}"
    line = arrived(kid=other).to_line()
    assert "states the identifier" in refused(brought(told(kid=other, envelope=line)))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (None, "returned no statement of that"),
        ("", "returned no statement about this key"),
        ("{}", "returned no statement about this key"),
        (envelope_of({"predicateType": "x"}).to_line(), "returned no statement about this key"),
        (wrapped().to_line(), "states the kind wrapped"),
    ],
    ids=["none", "empty", "no envelope", "no statement", "another kind"],
)
def test_an_import_without_its_statement_is_told(line: str | None, says: str) -> None:
    assert says in refused(brought(told(envelope=line)))


def test_a_lie_about_one_key_leaves_the_others_alone() -> None:
    run, packages = planned("a", "b"), [package("a"), package("b")]
    lie = arrived("a", vault="https://evil.vault.azure.net").to_line()
    result = {"imports": [told("a", envelope=lie), told("b"), told("stranger")]}
    recorded = RunRecord(BEGUN).brought(batch(run, packages), {"packages": packages}, result)
    assert [failure.name for failure in recorded.contradictions] == ["a"]
    assert [name for name, _kind, _sha256 in receipts(recorded.record)] == ["a", "b", "b"]
    done = batch(run, packages).imported(result).contradicted(recorded.contradictions)
    assert list(done.arrived()) == ["b"]
    assert "a" not in done.standing()


def test_what_a_killed_run_sent_is_of_another_package_and_maybe_another_generation() -> None:
    """The token looks up which generation that is before it signs."""
    other = {"package": "f" * 64, "wrapped": "e" * 64}
    line = arrived(subject=other, interrupted_at=MOMENT).to_line()
    recorded = brought(told(envelope=line))
    assert recorded.contradictions == []
    assert recorded.record.to_sign() == [line]
    assert recorded.record.to_store() == [wrapped().to_line()]
    # Its statement may be there already, as the run itself made it
    line = arrived(subject=other).to_line()
    assert brought(told(envelope=line, interrupted_at=MOMENT)).contradictions == []
    older = {**of_key("a"), "generation": "00", "thumbprint": "older"}
    line = arrived(subject=other, interrupted_at=MOMENT, key=older).to_line()
    assert brought(told(envelope=line)).contradictions == []
    lie = {**of_key("a"), "thumbprint": "other"}
    line = arrived(subject=other, interrupted_at=MOMENT, key=lie).to_line()
    assert "states the thumbprint" in refused(brought(told(envelope=line)))


# What is in place without a receipt, and what killed runs left


def public_key() -> str:
    from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import EcPublicKey

    gx = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
    gy = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5
    return to_pem(EcPublicKey("P-256", gx, gy))


def without(name: str = "a", kind: str = "EC", **facts: t.Any) -> Fields:
    """What byok_plan says of a version without a receipt."""
    thumbprint = of_key(name, kind)["thumbprint"]
    return {"name": name, "kid": kid(name), "version": VERSION, "thumbprint": thumbprint, **facts}


def observed(kind: str = "EC", action: str = "none", **told_of: t.Any) -> Recorded:
    run = planned("a", action=action, kind=kind)
    pem = None if kind == "oct" else public_key()
    token = {"target_keys": [in_token("a", kind, pem)]}
    return RunRecord(BEGUN).planned(run, token, {"receipts": told_of}, BEGUN)


@pytest.mark.parametrize(("kind", "identity"), [("EC", "public_key"), ("oct", "tag_only")])
def test_a_version_without_a_receipt_gets_a_statement_that_says_so(
    kind: str, identity: str
) -> None:
    record = observed(kind, without=[without(kind=kind)]).record
    (line,) = record.to_sign()
    assert record.to_store() == [line]
    statement = parse_envelope(line, "it").statement()
    assert statements.check(statement, "it") == "found"
    assert statement["predicate"]["identity"] == identity
    assert statement["predicate"]["kek"] == "unknown"
    if kind == "EC":
        assert statements.public_key_digest(statement) == fingerprint(public_key())


@pytest.mark.parametrize(
    "lie",
    [
        {"thumbprint": "other"},
        {"thumbprint": None},
        {"name": "stranger"},
        {"kid": kid("b")},
        {"kid": f"https://evil.vault.azure.net/keys/a/{VERSION}"},
        {"kid": "nonsense"},
    ],
    ids=lambda lie: "-".join(map(str, lie.values())).replace("/", "."),
)
def test_what_is_not_the_token_s_key_is_not_found_in_place(lie: Fields) -> None:
    assert observed(without=[without(**lie)]).record.receipts == ()


def test_an_oct_key_that_is_not_in_place_by_its_tag_is_not_found() -> None:
    assert observed("oct", action="transfer", without=[without(kind="oct")]).record.receipts == ()


def test_a_loose_receipt_is_taken_with_the_one_that_it_follows() -> None:
    line = arrived().to_line()
    record = observed(loose=[line]).record
    assert receipts(record) == [
        ("a", "wrapped", wrapped().digest),
        ("a", "imported", arrived().digest),
    ]
    assert record.to_sign() == [line]
    assert record.to_store() == []


def test_loose_receipts_of_others_and_torn_lines_are_left_to_others() -> None:
    lines = [arrived("stranger").to_line(), "{", wrapped().to_line()]
    recorded = observed(loose=lines)
    assert (recorded.record.receipts, recorded.contradictions) == ((), [])


@pytest.mark.parametrize(
    "lie", [{"vault": "https://evil.vault.azure.net"}, {"key": {**of_key("a"), "thumbprint": "x"}}]
)
def test_a_loose_receipt_that_contradicts_the_token_is_told(lie: Fields) -> None:
    assert "states the" in refused(observed(loose=[arrived(**lie).to_line()]))


# The manifest


def test_a_manifest_tells_the_whole_run() -> None:
    run = planned("a", held_back=("held",))
    plan = {"receipts": {"last_run": "line"}}
    record = RunRecord(BEGUN).planned(run, {"target_keys": [in_token()]}, plan, BEGUN).record
    assert record.last_run == "line"
    packages = [package()]
    made = record.made({"target_keys": [in_token()]})
    recorded = made.brought(batch(run, packages), {"packages": packages}, {"imports": [told()]})
    done = batch(run, packages).imported({"imports": [told()], "failures": []})
    told_of = manifest(recorded.record, done)
    assert [each["kind"] for each in told_of["receipts"]] == ["wrapped", "imported"]
    assert told_of["events"] == [
        {"key": "a", "what": "made", "generation": "01", "kid": None, "time": None}
    ]
    assert (told_of["vault"], told_of["job"], told_of["clock"]) == (VAULT, "transfer", "host")
    assert (told_of["begun"], told_of["ended"]) == (MOMENT, "2026-11-30T17:01:00Z")
    assert told_of["left_alone"] == ["held"]
    assert told_of["who"] == WHO_RAN
    codes = {each["code"]: each["key"] for each in told_of["deviations"]}
    assert codes["oaep_hash"] == codes["vault_without_attestation"] == "a"


def test_what_a_manifest_tells_of_many_keys_it_tells_once() -> None:
    names = [f"key-{number}" for number in range(300)]
    run, packages = planned(*names), [package(name) for name in names]
    imports = {"imports": [told(name) for name in names]}
    recorded = RunRecord(BEGUN).brought(batch(run, packages), {"packages": packages}, imports)
    predicate = manifest(recorded.record, run)
    (oaep,) = [each for each in predicate["deviations"] if each["code"] == "oaep_hash"]
    assert oaep["key"] is None
    assert oaep["msg"].endswith("(300 keys)")
    line = envelope_of(chain.next_manifest(predicate, None, None)).to_line()
    assert len(line) < 300 * 1000


def test_failures_and_what_somebody_has_to_decide_on_are_in_the_manifest() -> None:
    run = planned("a", action="conflict").contradicted([Failure("b", "an \x1b[31mescape", "busy")])
    assert RunRecord(BEGUN).is_worth_a_manifest(len(run.unfinished()))
    failures = manifest(RunRecord(BEGUN), run)["failures"]
    assert [(each["name"], each["code"]) for each in failures] == [("b", "busy"), ("a", "unknown")]
    assert "\x1b" not in failures[0]["msg"]


def test_a_run_that_did_nothing_leaves_none() -> None:
    run = planned("a", action="none")
    record = RunRecord(BEGUN).planned(run, {"target_keys": [in_token()]}, {}, BEGUN).record
    assert not record.is_worth_a_manifest(len(run.unfinished()))
    assert manifest(record, run)["left_alone"] == ["a"]


def test_the_digest_of_a_plan_tells_plans_apart() -> None:
    digests = {
        manifest(RunRecord(BEGUN), planned("a", action=each))["plan"] for each in ("none", "lock")
    }
    assert len(digests) == 2
    assert manifest(RunRecord(BEGUN), planned("a"))["plan"] not in digests


def test_evidence_that_is_lost_is_told_and_takes_nothing_back() -> None:
    packages = [package()]
    run = batch(planned("a"), packages).imported({"imports": [told()]})
    kept = run.evidence_kept([Failure(VAULT, "not signed", "evidence_unkept")])
    assert kept.standing() == run.standing() == {"a": "01"}
    assert kept.arrived() == run.arrived() == {"a": "01"}
    assert [problem.msg for problem in kept.problems()] == ["not signed"]
    assert kept.report()["problems"] == [f"{VAULT}: not signed"]
