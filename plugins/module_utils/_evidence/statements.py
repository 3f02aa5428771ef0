# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What evidence says: in-toto statements of what was wrapped, imported and found, and of a run as a
whole; pure.

What the token's side tells (wrapped/v1) is built where its receipt is, in ``_core/receipt.py``. A
statement holds no secret and no key, wrapped or not.
"""

from __future__ import annotations

import hashlib
import re
import typing as t
from collections.abc import Mapping

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import ENTRA, HOST, VAULT
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_shape import (
    FLAG,
    NULL,
    NUMBER,
    SHA256,
    SHA256_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    Either,
    Members,
    difference,
    one_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    GENERATION,
    KEY_NAME,
    STATEMENT_TYPE,
    SUBJECT,
    WRAPPED,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    check as check_receipt,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
)

Statement: t.TypeAlias = "dict[str, t.Any]"

_TYPES = WRAPPED.removesuffix("wrapped/v1")
IMPORTED, FOUND, RUN = f"{_TYPES}imported/v1", f"{_TYPES}found/v1", f"{_TYPES}run/v1"

#: The kinds of statements, by their predicateType
KINDS: t.Mapping[str, str] = {
    WRAPPED: "wrapped",
    IMPORTED: "imported",
    FOUND: "found",
    RUN: "run",
}

#: How the attestation of an imported key turned out
ATTESTATIONS = ("attested", "root_not_pinned", "differs", "unreadable", "not_fetched")

#: What can happen to a key beside being wrapped and imported
EVENTS = ("made", "locked", "retired", "deleted", "purged", "recovered", "destroyed")

#: Members of run/v1 that only whoever numbers and signs it knows
NUMBERED: t.Final = ("number", "previous", "evidence_key")

#: A manifest each second for 30 years; a number without a limit could end a chain
MOST_RUNS: t.Final = 10**9

_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)
_MOMENT_OR_NULL = Either((_MOMENT, NULL))
_GENERATION_OR_NULL = Either((GENERATION, NULL))
_CLOCK = one_of(VAULT, ENTRA, HOST)
_KEY: t.Final = {"name": KEY_NAME, "generation": _GENERATION_OR_NULL, "thumbprint": TEXT_OR_NULL}
_TOOLS = Members(TEXT)
_SOURCES = one_of("run", "receipt", "carrier")

_PREDICATES: t.Mapping[str, t.Mapping[str, t.Any]] = {
    IMPORTED: {
        "key": _KEY,
        "vault": TEXT,
        "kid": TEXT,
        "type": TEXT,
        "hsm_platform": TEXT_OR_NULL,
        "attributes": {
            "operations": [TEXT],
            "enabled": FLAG,
            "not_before": _MOMENT_OR_NULL,
            "expires": _MOMENT_OR_NULL,
            "tags": Members(TEXT),
        },
        "compared": one_of("thumbprint", "challenge"),
        "identity": one_of("public_key", "proved", "tag_only", "unverified"),
        "origin": one_of("token", "declared", "receipt", "unverified"),
        "proof": Either((Members(TEXT), NULL)),
        "replaced": TEXT_OR_NULL,
        "request_id": TEXT_OR_NULL,
        "source": _SOURCES,
        "time": _MOMENT,
        "clock": _CLOCK,
        "interrupted_at": _MOMENT_OR_NULL,
        "attestation": Either(
            (
                NULL,
                {
                    "verdict": one_of(*ATTESTATIONS),
                    "told": TEXT,
                    "sha256": SHA256_OR_NULL,
                    "owner_root": SHA256_OR_NULL,
                    "maker": TEXT_OR_NULL,
                },
            )
        ),
        "environment": {"proxy": FLAG, "ca_override": FLAG},
        "tools": _TOOLS,
    },
    FOUND: {
        "key": _KEY,
        "vault": TEXT,
        "kid": TEXT,
        "identity": one_of("public_key", "tag_only"),
        "kek": one_of("unknown"),
        "told": TEXT,
        "time": _MOMENT,
        "clock": _CLOCK,
    },
    RUN: {
        "number": NUMBER,
        "previous": SHA256_OR_NULL,
        "vault": TEXT,
        "job": TEXT,
        "begun": _MOMENT,
        "ended": _MOMENT,
        "clock": _CLOCK,
        "who": dict.fromkeys(("user", "controller", "job_id", "commit", "ticket"), TEXT_OR_NULL),
        "plan": SHA256,
        "receipts": [
            {
                "key": KEY_NAME,
                "kind": one_of("wrapped", "imported", "found", "escrow"),
                "sha256": SHA256,
            }
        ],
        "left_alone": [KEY_NAME],
        "failures": [{"name": TEXT, "code": TEXT, "msg": TEXT}],
        "events": [
            {
                "key": KEY_NAME,
                "what": one_of(*EVENTS),
                "generation": _GENERATION_OR_NULL,
                "kid": TEXT_OR_NULL,
                "time": _MOMENT_OR_NULL,
            }
        ],
        "approvals": [
            {
                "subject": one_of("kek", "owner-root", "destroy", "plan"),
                "digest": SHA256,
                "principals": [TEXT],
            }
        ],
        "deviations": [{"code": TEXT, "key": TEXT_OR_NULL, "msg": TEXT}],
        "evidence_key": SHA256_OR_NULL,
    },
}


def imported(
    predicate: Mapping[str, t.Any],
    *,
    package: str | None,
    public_key: str | None,
    wrapped: str | None,
) -> Statement:
    """Return what Azure's side tells of an import.

    :param predicate: see _PREDICATES; where a journal told of an import that a killed run made,
        ``interrupted_at`` says when that was
    :param package: SHA-256 of the package; None where nobody knows it any more
    :param public_key: SHA-256 of the SubjectPublicKeyInfo; None for oct keys
    :param wrapped: digest of the statement of the token's side; None where there is none
    :raises Malformed: for a predicate that is none
    """
    name, kid = predicate["key"]["name"], predicate["kid"]
    digests = {f"{name}.byok": package, _public_key_of(name): public_key, "wrapped": wrapped}
    subject = [_subject(each, sha256) for each, sha256 in digests.items() if sha256]
    return _built(IMPORTED, subject or [_subject_of_kid(kid)], predicate)


def found(predicate: Mapping[str, t.Any], *, public_key: str | None) -> Statement:
    """Return what is told of a version that is in place, and of which no receipt tells.

    :param predicate: see _PREDICATES
    :param public_key: SHA-256 of the SubjectPublicKeyInfo; None for oct keys
    :raises Malformed: for a predicate that is none
    """
    subject = _subject_of_kid(predicate["kid"])
    if public_key:
        subject = _subject(_public_key_of(predicate["key"]["name"]), public_key)
    return _built(FOUND, [subject], predicate)


def run(predicate: Mapping[str, t.Any]) -> Statement:
    """Return what is told of a run as a whole, which names each of its statements.

    :param predicate: see _PREDICATES
    :raises Malformed: for a predicate that is none
    """
    wrong = difference(predicate, _PREDICATES[RUN])
    if wrong is not None:
        raise Malformed("The manifest of the run", f"{wrong} is not as run/v1 has it")
    return _built(RUN, _subject_of_run(predicate), predicate)


def check_run(predicate: t.Any, where: str) -> None:
    """Refuse what has not the shape of a run that nobody has numbered yet.

    :param predicate: of run/v1 without the members that NUMBERED names
    :param where: what it stands in, for the message
    :raises Malformed: naming the first member that is not as it must be
    """
    shape = {name: each for name, each in _PREDICATES[RUN].items() if name not in NUMBERED}
    wrong = difference(predicate, shape)
    if wrong is not None:
        raise Malformed(where, f"{wrong} is not as run/v1 has it")


def check(statement: t.Any, where: str) -> str:
    """Refuse what has not the shape of a statement; what it says may be wrong all the same.

    :param where: such as "Line 2 of the file a.intoto.jsonl", for the message
    :returns: its kind, one of KINDS
    :raises Malformed: naming the first member that is not as it must be
    """
    predicate_type = statement.get("predicateType") if isinstance(statement, Mapping) else None
    kind = KINDS.get(predicate_type) if isinstance(predicate_type, str) else None
    if kind is None:
        raise Malformed(where, "it is no statement of Keyferry")
    if predicate_type == WRAPPED:
        try:
            check_receipt(statement, where)
        except ByokError as error:
            raise Malformed(where, error.what) from None
    else:
        shape = {
            "_type": one_of(STATEMENT_TYPE),
            "predicateType": TEXT,
            "subject": SUBJECT,
            "predicate": _PREDICATES[t.cast("str", predicate_type)],
        }
        wrong = difference(statement, shape)
        if wrong is not None:
            raise Malformed(where, f"{wrong} is not as {kind}/v1 has it")
    if _WRONG_SUBJECT[kind](statement["subject"], statement["predicate"]):
        raise Malformed(where, f"its subject is not that of its {kind}/v1")
    return kind


def read(envelope: Envelope, where: str) -> tuple[str, Statement]:
    """Return the kind of an envelope's statement, and the statement.

    :param where: as :func:`check` takes it
    :raises Malformed: for what is none
    """
    statement = envelope.statement()
    return check(statement, where), statement


def digest_named(statement: Mapping[str, t.Any], name: str) -> str | None:
    """Return the digest of a subject of a statement; None where it has none of that name."""
    named = (each["digest"]["sha256"] for each in statement["subject"] if each["name"] == name)
    return next(named, None)


def public_key_digest(statement: Mapping[str, t.Any]) -> str | None:
    """Return the SHA-256 of the SubjectPublicKeyInfo that a statement is about; None of oct."""
    return digest_named(statement, _public_key_of(statement["predicate"]["key"]["name"]))


def _built(
    predicate_type: str, subject: list[dict[str, t.Any]], predicate: Mapping[str, t.Any]
) -> Statement:
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": subject,
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    check(statement, f"The statement {KINDS[predicate_type]}/v1")
    return statement


def _public_key_of(name: str) -> str:
    return f"{name} (public key)"


def _subject(name: str, sha256: str) -> dict[str, t.Any]:
    return {"name": name, "digest": {"sha256": sha256}}


def _subject_of_kid(kid: str) -> dict[str, t.Any]:
    """Return the subject where there is nothing else to name: an oct key has no public part."""
    return _subject(kid, hashlib.sha256(kid.encode(errors="surrogatepass")).hexdigest())


def _subject_of_run(predicate: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    receipts = (
        _subject(f"{each['key']} {each['kind']}", each["sha256"]) for each in predicate["receipts"]
    )
    return [_subject("plan", predicate["plan"]), *receipts]


def _is_wrong_for_wrapped(subject: list[t.Any], predicate: Mapping[str, t.Any]) -> bool:
    name = predicate["key"]["name"]
    ending = "escrow" if predicate["kek"]["kid"] is None else "byok"
    names = [each["name"] for each in subject]
    return names not in ([f"{name}.{ending}"], [f"{name}.{ending}", _public_key_of(name)])


def _is_wrong_for_imported(subject: list[t.Any], predicate: Mapping[str, t.Any]) -> bool:
    if subject == [_subject_of_kid(predicate["kid"])]:
        return False
    name = predicate["key"]["name"]
    order = [f"{name}.byok", _public_key_of(name), "wrapped"]
    names = [each["name"] for each in subject]
    return not names or names != [each for each in order if each in names]


def _is_wrong_for_found(subject: list[t.Any], predicate: Mapping[str, t.Any]) -> bool:
    if subject == [_subject_of_kid(predicate["kid"])]:
        return False
    return [each["name"] for each in subject] != [_public_key_of(predicate["key"]["name"])]


def _is_wrong_for_run(subject: list[t.Any], predicate: Mapping[str, t.Any]) -> bool:
    first = predicate["number"] == 1
    is_numbered = 1 <= predicate["number"] <= MOST_RUNS and first == (predicate["previous"] is None)
    return not is_numbered or subject != _subject_of_run(predicate)


_WRONG_SUBJECT: t.Mapping[str, t.Callable[[list[t.Any], Mapping[str, t.Any]], bool]] = {
    "wrapped": _is_wrong_for_wrapped,
    "imported": _is_wrong_for_imported,
    "found": _is_wrong_for_found,
    "run": _is_wrong_for_run,
}
