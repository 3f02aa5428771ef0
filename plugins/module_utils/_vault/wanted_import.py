# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an import is about: which key it must be and why that is believed, put together from all
that tells.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import digest
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    PREDICATE_TYPE,
    package_sha256,
    path_beside,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    GENERATION_TAG,
    PACKAGE_TAG,
    THUMBPRINT_TAG,
    TOKEN_TAG,
    Version,
    declared_attributes,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text

#: In check mode, of what is not known before the key is made and wrapped
_NOT_WRAPPED_YET = "known when the key is wrapped"


@dataclass(frozen=True)
class Import:
    """One key to import: what is declared, what it must be, and the package, if there is one.

    :ivar thumbprint: what the key must have; None for oct keys and where nobody told
    :ivar generation: CKA_ID in the token
    :ivar origin: why the package is believed to hold our key: ``token``, ``declared`` or
        ``unverified``
    :ivar replaces: the version that this one may supersede
    :ivar text: the package itself; None before the key is wrapped
    :ivar receipt: as docs/receipt.schema.json describes it
    :ivar challenge: for oct keys what byok_wrap made in the token
    :ivar prove: whether the key is proved where its public key could be compared as well
    """

    declaration: Declaration
    thumbprint: str | None
    generation: str | None
    origin: str
    replaces: str | None
    text: str | None
    receipt: dict[str, t.Any] | None
    receipt_path: str | None
    challenge: dict[str, str] | None
    prove: bool

    def is_in(self, version: Version) -> bool:
        """Tell whether ``version`` is this key."""
        return version.is_of(self.thumbprint, self.generation)

    def facts(self, now: datetime) -> dict[str, t.Any]:
        """Return what a diff says of the version that is imported, as far as it is known before.

        :param now: when it is imported
        """
        return {
            "kind": str(self.declaration.spec),
            "thumbprint": self.thumbprint,
            "generation": self.generation,
            **self.attributes(now),
        }

    def attributes(self, now: datetime) -> dict[str, t.Any]:
        """Return the attributes that the version gets, as Version.attributes() gives them."""
        return declared_attributes(self.declaration, now, self.marks())

    def marks(self) -> dict[str, str]:
        """Return the tags that tell people where a version comes from, as far as it is known."""
        wrapped = (self.receipt or {}).get("predicate", {})
        tags = {
            GENERATION_TAG: self.generation,
            THUMBPRINT_TAG: self.thumbprint,
            TOKEN_TAG: wrapped.get("token", {}).get("serial"),
            PACKAGE_TAG: digest(self.text) if self.text else None,
        }
        if self.text:
            return {tag: str(value) for tag, value in tags.items() if value}
        if self.declaration.spec.type == "oct":
            del tags[THUMBPRINT_TAG]
        return {tag: str(tags[tag] or _NOT_WRAPPED_YET) for tag in sorted(tags)}


def read_import(
    declaration: Declaration,
    item: t.Mapping[str, t.Any],
    wrapped: t.Mapping[str, t.Any] | None,
    allow_unverified: bool,
) -> Import:
    """Put together what the options, the results of byok_wrap and the receipt say; they must not
    contradict.

    :param item: the options of byok_import for this key
    :param wrapped: byok_wrap's result for it, see PACKAGE_RESULT of ``_ansible/arguments.py``
    :param allow_unverified: import a package although nothing that can be trusted says which key it
        must hold
    :raises ByokError: when they contradict, or nothing says which key the package must hold
    """
    wrapped = wrapped or {}
    path = item["path"] or wrapped.get("path")
    text = item["package"] or wrapped.get("content") or (path and read_text(path))
    if path and not text:
        raise ByokError(
            f"There is no package {path} on this host",
            "Wrap the key with byok_wrap, or correct path",
        )
    receipt_path = path and path_beside(path)
    receipt = wrapped.get("receipt") or _read_receipt(receipt_path)
    declared = {"thumbprint": item["thumbprint"], "generation": declaration.generation}
    sources = [declared, wrapped, _receipt_key(receipt) if receipt else {}]
    thumbprint = _agreed(declaration.name, "thumbprint", sources)
    generation = _agreed(declaration.name, "generation", sources)
    if text and receipt and package_sha256(receipt) != digest(text):
        raise ByokError(
            f"The package of {declaration.name} is not the one that its receipt is about",
            "The package was edited, truncated or substituted: transfer package and receipt again",
        )
    identifying = "generation" if declaration.spec.type == "oct" else "thumbprint"
    origin = "unverified"
    if wrapped.get(identifying):
        origin = "token"
    elif declared[identifying]:
        origin = "declared"
    if origin == "unverified" and text and not allow_unverified:
        raise ByokError(
            f"Nothing shows that the package of {declaration.name} holds your key (origin: "
            "unverified): a KEK is public, so anyone can make a package and a receipt",
            f"Give {identifying} as byok_target_key returned it; allow_unverified_origin accepts "
            "the risk",
        )
    return Import(
        declaration=declaration,
        thumbprint=thumbprint,
        generation=generation,
        origin=origin,
        replaces=item["replaces"],
        text=text or None,
        receipt=receipt,
        receipt_path=receipt_path,
        challenge=wrapped.get("challenge"),
        prove=item["prove"],
    )


def _agreed(name: str, fact: str, sources: t.Iterable[t.Mapping[str, t.Any]]) -> str | None:
    """Return what the sources say of a fact; None where none of them says anything.

    :param name: of the key, for an error
    :raises ByokError: when they contradict
    """
    values = {str(source[fact]) for source in sources if source.get(fact)}
    if len(values) > 1:
        raise ByokError(
            f"Two different keys are named for {name}: {fact} {' and '.join(sorted(values))}",
            "The package or its receipt may have been substituted: do not import it; wrap the key "
            "again",
        )
    return values.pop() if values else None


def _read_receipt(path: str | None) -> dict[str, t.Any] | None:
    """Return the receipt in a file; None where there is none.

    :raises ByokError: when the file is none
    """
    text = path and read_text(path)
    if not text:
        return None
    try:
        receipt = json.loads(text)
    except ValueError:
        receipt = None
    if not isinstance(receipt, dict) or receipt.get("predicateType") != PREDICATE_TYPE:
        raise ByokError(
            f"The file {path} is not a receipt of Keyferry", "Transfer package and receipt again"
        )
    return receipt


def _receipt_key(receipt: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    key = receipt.get("predicate", {}).get("key", {})
    return key if isinstance(key, dict) else {}
