# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an import is about: which key it must be and why that is believed, put together from all that tells."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core import package as _package
from ansible_collections.keyferry.azure.plugins.module_utils._core import receipt as _receipt
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
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
    :ivar origin: why the package is believed to hold our key: ``token``, ``declared`` or ``unverified``
    :ivar replaces: the version that this one may supersede
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
        known = {
            "kind": str(self.declaration.spec),
            "thumbprint": self.thumbprint,
            "generation": self.generation,
        }
        return {**known, **self.attributes(now)}

    def attributes(self, now: datetime) -> dict[str, t.Any]:
        """Return the attributes that the version gets, as Version.attributes() gives them."""
        return declared_attributes(self.declaration, now, self.marks())

    def marks(self) -> dict[str, str]:
        """Return the tags that tell people where a version comes from, as far as it is known."""
        wrapped = (self.receipt or {}).get("predicate", {})
        known = {
            GENERATION_TAG: self.generation,
            THUMBPRINT_TAG: self.thumbprint,
            TOKEN_TAG: wrapped.get("token", {}).get("serial"),
            PACKAGE_TAG: _package.digest(self.text) if self.text else None,
        }
        if not self.text:
            expected = set(known) - (
                {THUMBPRINT_TAG} if self.declaration.spec.type == "oct" else set()
            )
            return {tag: str(known[tag] or _NOT_WRAPPED_YET) for tag in sorted(expected)}
        return {tag: str(value) for tag, value in known.items() if value}


def read_import(
    declaration: Declaration,
    item: t.Mapping[str, t.Any],
    wrapped: t.Mapping[str, t.Any] | None,
    allow_unverified: bool,
) -> Import:
    """Put together what the options, the results of byok_wrap and the receipt say; they must not contradict.

    :param item: the options of byok_import for this key
    :param wrapped: byok_wrap's result for it
    :param allow_unverified: import a package although nothing that can be trusted says which key it must hold
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
    receipt_path = path and _receipt.path_beside(path)
    receipt = wrapped.get("receipt") or _read_receipt(receipt_path)
    receipt_key = _receipt_key(receipt) if receipt else {}
    declared = {"thumbprint": item["thumbprint"], "generation": declaration.generation}
    told = {
        fact: {str(source[fact]) for source in (declared, wrapped, receipt_key) if source.get(fact)}
        for fact in ("thumbprint", "generation")
    }
    for fact, values in told.items():
        if len(values) > 1:
            raise ByokError(
                f"Two different keys are named for {declaration.name}: {fact} {' and '.join(sorted(values))}",
                "The package or its receipt may have been substituted: do not import it; wrap the key again",
            )
    if text and receipt and _receipt.package_sha256(receipt) != _package.digest(text):
        raise ByokError(
            f"The package of {declaration.name} is not the one that its receipt is about",
            "The package was edited, truncated or substituted: transfer package and receipt again",
        )
    identifying = "generation" if declaration.spec.type == "oct" else "thumbprint"
    origin = (
        "token"
        if wrapped.get(identifying)
        else "declared"
        if declared[identifying]
        else "unverified"
    )
    if origin == "unverified" and text and not allow_unverified:
        raise ByokError(
            f"Nothing shows that the package of {declaration.name} holds your key (origin: unverified): a KEK is "
            "public, so anyone can make a package and a receipt",
            f"Give {identifying} as byok_target_key returned it; allow_unverified_origin accepts the risk",
        )
    return Import(
        declaration=declaration,
        thumbprint=next(iter(told["thumbprint"]), None),
        generation=next(iter(told["generation"]), None),
        origin=origin,
        replaces=item["replaces"],
        text=text or None,
        receipt=receipt,
        receipt_path=receipt_path,
        challenge=wrapped.get("challenge"),
        prove=item["prove"],
    )


def _read_receipt(path: str | None) -> dict[str, t.Any] | None:
    text = path and read_text(path)
    if not text:
        return None
    try:
        receipt = json.loads(text)
    except ValueError:
        receipt = None
    if not isinstance(receipt, dict) or receipt.get("predicateType") != _receipt.PREDICATE_TYPE:
        raise ByokError(
            f"The file {path} is not a receipt of Keyferry", "Transfer package and receipt again"
        )
    return receipt


def _receipt_key(receipt: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    key = receipt.get("predicate", {}).get("key", {})
    return key if isinstance(key, dict) else {}
