# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Whether the token can stand by what the host that reaches Azure says of a key; pure.

The token knows which keys it holds, and nothing of the vault. So it signs that the version is said
to be one of its own keys, and never a statement about a key that it does not hold.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
    parse_key_id,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import GenerationFacts
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import statements
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import Envelope

#: What Azure's side tells; what was wrapped, byok_wrap signs when it wraps
_BY_AZURE: t.Final = ("imported", "found")

_REMEDY = (
    "Find out why the host that reaches Azure says so, and compare the key's versions in the vault "
    "with the token"
)


class Contradiction(ByokError):
    """The host that reaches Azure says something else than the token."""

    def __init__(self, what: str) -> None:
        super().__init__(what, _REMEDY, code="contradiction")


@dataclass(frozen=True)
class Told:
    """A statement that was given to be signed.

    :ivar name: the key that it is about
    :ivar refused: why the token does not stand by it; None where it does
    """

    envelope: Envelope
    kind: str
    name: str
    refused: ByokError | None


def key_of(statement: Mapping[str, t.Any], kind: str) -> str:
    """Return the name of the key that a statement is about.

    :raises Contradiction: for one that is not Azure's side's to make
    """
    if kind not in _BY_AZURE:
        raise Contradiction(
            f"A statement {kind}/v1 was given to be signed, which the host that reaches Azure does "
            "not make"
        )
    return str(statement["predicate"]["key"]["name"])


def judge_told(
    statement: Mapping[str, t.Any], generations: Iterable[GenerationFacts], vault_url: str
) -> None:
    """Refuse a statement about a key that the token does not hold, or about another vault.

    :param statement: imported/v1 or found/v1
    :param generations: what the token holds of the key, by its name
    :raises Contradiction: saying what is wrong
    """
    predicate = statement["predicate"]
    name = predicate["key"]["name"]
    kid = parse_key_id(predicate["kid"])
    vault = comparable_url(vault_url)
    in_vault = kid is not None and (kid.vault, kid.name.lower()) == (vault, name.lower())
    if comparable_url(predicate["vault"]) != vault or not in_vault:
        raise Contradiction(
            f"A statement about the key {name} is of {predicate['kid']} in {predicate['vault']}, "
            f"which is no version of that key in {vault}"
        )
    held = _held(predicate["key"], list(generations))
    if held.CKA_NEVER_EXTRACTABLE:
        raise Contradiction(
            f"A statement says that the key {name} is in the vault, and in the token it was never "
            "extractable, so it cannot have left"
        )
    digest = statements.public_key_digest(statement)
    if digest is not None and digest != (held.public_key and fingerprint(held.public_key)):
        raise Contradiction(
            f"A statement about the key {name} has another public key as its subject than the "
            "token's"
        )


def _held(key: Mapping[str, t.Any], generations: Sequence[GenerationFacts]) -> GenerationFacts:
    """Return the generation that a statement names.

    :param key: name, generation and thumbprint, of which one of both may be missing
    """
    name, identifier, thumbprint = key["name"], key["generation"], key["thumbprint"]
    for held in generations:
        named = held.thumbprint == thumbprint and identifier in (None, held.generation)
        # Without a thumbprint, CKA_ID alone tells; nothing else tells of oct keys.
        if named and (thumbprint is not None or identifier) and not held.half_made:
            return held
    what = f"with the thumbprint {thumbprint}" if thumbprint else "without a thumbprint"
    raise Contradiction(
        f"The token holds no generation {identifier or 'of any CKA_ID'} of the key {name} {what}, "
        "and a statement says that it is in the vault"
    )


def supported_receipts(
    receipts: Iterable[Mapping[str, t.Any]], told: Iterable[Told]
) -> tuple[list[Mapping[str, t.Any]], dict[str, ByokError]]:
    """Return the receipts that a run may name, and why it must not name the others, by key.

    What Azure's side tells counts only as far as the token stands by it.

    :param receipts: of run/v1
    :param told: what was given to be signed
    """
    by_digest = {each.envelope.digest: each for each in told}
    kept: list[Mapping[str, t.Any]] = []
    wrong: dict[str, ByokError] = {}
    for receipt in receipts:
        statement = by_digest.get(receipt["sha256"])
        if receipt["kind"] not in _BY_AZURE and statement is None:
            kept.append(receipt)
        elif statement is None or (statement.kind, statement.name) != (
            receipt["kind"],
            receipt["key"],
        ):
            wrong[receipt["key"]] = Contradiction(
                f"The run names a receipt {receipt['sha256']} of the key {receipt['key']} that was "
                "not given to be signed as such"
            )
        elif statement.refused is None:
            kept.append(receipt)
    return kept, wrong
