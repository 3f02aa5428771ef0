# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an import is about: which key it must be and why that is believed, put together from all
that tells.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import (
    digest,
    parse,
    parse_sha256,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import plain_text
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    check,
    check_challenge,
    package_sha256,
    path_beside,
    wrapped_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    parse as parse_receipt,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    GENERATION_TAG,
    PACKAGE_TAG,
    THUMBPRINT_TAG,
    TOKEN_TAG,
    UNCHECKED_TAG,
    Version,
    declared_attributes,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text

Facts: t.TypeAlias = "t.Mapping[str, t.Any]"

#: In check mode, of what is not known before the key is made and wrapped
_NOT_WRAPPED_YET = "known when the key is wrapped"

_SUBSTITUTED = (
    "The package or its receipt may have been substituted: do not import it; wrap the key again"
)


@dataclass(frozen=True)
class Believed:
    """Whose word counts on an import.

    :ivar in_this_run: the controller says that byok_wrap returned ``packages`` in this very run
    :ivar unverified: import a package although nothing that can be trusted says which key it must
        hold
    """

    in_this_run: bool = False
    unverified: bool = False


@dataclass(frozen=True)
class WrappedStatement:
    """What byok_wrap stated of a package, as it came in an envelope.

    :ivar statement: wrapped/v1
    :ivar line: the envelope
    :ivar signed: by an evidence key that is trusted here
    """

    statement: dict[str, t.Any]
    line: str
    signed: bool


@dataclass(frozen=True)
class Import:
    """One key to import: what is declared, what it must be, and the package, if there is one.

    :ivar thumbprint: what the key must have; None for oct keys and where nobody told who counts
    :ivar generation: CKA_ID in the token
    :ivar origin: why the package is believed to hold our key: ``token``, ``declared``, ``receipt``
        or ``unverified``
    :ivar replaces: the version that this one may supersede
    :ivar text: the package itself; None before the key is wrapped
    :ivar receipt: as docs/receipt.schema.json describes it
    :ivar challenge: for oct keys what byok_wrap made in the token
    :ivar prove: whether it fails where the vault cannot prove that it has the key
    :ivar told: without a package, ``thumbprint`` and ``generation`` that nothing vouches for; they
        only say where to look
    :ivar wrapped_now: this run wrapped this very package, so it was in no file that others write
    :ivar receipt_told_by: ``run``; ``receipt`` for one that a trusted evidence key signed;
        ``carrier`` for any other that came beside the package
    :ivar sha256: of the package; None before the key is wrapped
    :ivar envelope: in which the receipt came
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
    told: Facts = field(default_factory=dict)
    wrapped_now: bool = False
    receipt_told_by: str = "run"
    sha256: str | None = None
    envelope: str | None = None

    def is_in(self, version: Version) -> bool:
        """Tell whether ``version`` is this key, or looks like it where nothing shows that."""
        thumbprint = self.thumbprint or self.told.get("thumbprint")
        generation = self.generation or self.told.get("generation")
        if version.is_of(thumbprint, generation):
            return True
        known = self.generation if self.declaration.spec.type == "oct" else self.thumbprint
        return not known and self.is_package_of(version)

    def is_package_of(self, version: Version) -> bool:
        """Tell whether ``version`` is marked as made of this very package."""
        return self.sha256 is not None and version.tags.get(PACKAGE_TAG) == self.sha256

    @property
    def is_checked_first(self) -> bool:
        """Whether it is imported disabled, and enabled when it is shown to be the key."""
        return not self.wrapped_now and self.declaration.enabled is not False

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

    def attributes_at_first(self, now: datetime) -> dict[str, t.Any]:
        """Return the attributes that it is imported with, until it is shown to be the key."""
        attributes = self.attributes(now)
        if not self.is_checked_first:
            return attributes
        tags = {**attributes["tags"], UNCHECKED_TAG: "true"}
        return {**attributes, "enabled": False, "tags": tags}

    def marks(self) -> dict[str, str]:
        """Return the tags that tell people where a version comes from, as far as it is known.

        The word of whoever carried the package becomes none.
        """
        told_here = None if self.receipt_told_by == "carrier" else self.receipt
        wrapped = (told_here or {}).get("predicate", {})
        tags = {
            GENERATION_TAG: self.generation,
            THUMBPRINT_TAG: self.thumbprint,
            TOKEN_TAG: wrapped.get("token", {}).get("serial"),
            PACKAGE_TAG: self.sha256,
        }
        if self.text:
            return {tag: str(value) for tag, value in tags.items() if value}
        if self.declaration.spec.type == "oct":
            del tags[THUMBPRINT_TAG]
        return {tag: str(tags[tag] or _NOT_WRAPPED_YET) for tag in sorted(tags)}


def read_import(
    declaration: Declaration,
    item: Facts,
    wrapped: Facts | None,
    believed: Believed,
    stated: WrappedStatement | None = None,
) -> Import:
    """Put together what the options, the results of byok_wrap and the receipt say; they must not
    contradict.

    :param item: the options of byok_import for this key
    :param wrapped: byok_wrap's result for it, see PACKAGE_RESULT of ``_ansible/arguments.py``
    :param stated: what came in an envelope with it
    :raises ByokError: when they contradict, or nothing says which key the package must hold
    """
    name, wrapped = declaration.name, wrapped or {}
    path = item["path"] or wrapped.get("path")
    given = item["package"] or wrapped.get("content")
    text = read_text(path) if path and not given else None
    if given:
        text = plain_text(given, f"The package of {name}")
    elif path and text is None:
        raise ByokError(
            f"There is no package {path} on this host",
            "Wrap the key with byok_wrap, or correct path",
        )
    elif path and not text:
        raise ByokError(f"The package {path} is empty", "Transfer the file again")
    receipt, told_by = _receipt(name, wrapped, path and path_beside(path), believed, stated)
    carried, signed = told_by == "carrier", bool(stated and stated.signed)
    told = _predicate(receipt).get("key", {})
    declared = {"thumbprint": item["thumbprint"], "generation": declaration.named_id}
    named = {"thumbprint": declaration.named_thumbprint}
    sources = [declared, named, wrapped, told]
    trusted = [
        declared,
        named,
        *([wrapped, {} if carried else told] if believed.in_this_run else []),
        *([told] if signed else []),
    ]
    agreed = {fact: _agreed(name, fact, sources) for fact in declared}
    known = {fact: _agreed(name, fact, trusted) for fact in declared}
    if receipt and (carried or stated):
        _refuse_contradicting(declaration, text, receipt)
    if text and receipt and package_sha256(receipt) != digest(text):
        raise ByokError(
            f"The package of {name} is not the one that its receipt is about",
            "The package was edited, truncated or substituted: transfer package and receipt again",
        )
    wrapped_now = _is_returned_by_byok_wrap(name, text, wrapped, believed)
    returned = wrapped if believed.in_this_run else {}
    origin = _origin(declaration, item, returned, text, wrapped_now)
    # Of an oct key, the statement names the package that was compared with it just now.
    if origin == "unverified" and signed and (text if _is_oct(declaration) else told["thumbprint"]):
        origin = "receipt"
    if origin == "unverified" and text and not believed.unverified:
        raise _unverified(declaration)
    challenge = (
        wrapped.get("challenge")
        or _predicate(receipt).get("challenge")
        or (None if text else item["challenge"])
    )
    if challenge:
        check_challenge(challenge, f"what came with the package of {name}")
    return Import(
        declaration=declaration,
        thumbprint=known["thumbprint"],
        generation=known["generation"],
        origin=origin,
        replaces=item["replaces"],
        text=text,
        receipt=receipt,
        receipt_path=path and path_beside(path),
        challenge=challenge,
        prove=item["prove"],
        told={} if text else {fact: agreed[fact] for fact in agreed if not known[fact]},
        wrapped_now=wrapped_now,
        receipt_told_by=told_by,
        sha256=digest(text) if text else None,
        envelope=stated.line if stated else None,
    )


def _is_oct(declaration: Declaration) -> bool:
    return declaration.spec.type == "oct"


def _receipt(
    name: str,
    wrapped: Facts,
    path: str | None,
    believed: Believed,
    stated: WrappedStatement | None,
) -> tuple[dict[str, t.Any] | None, str]:
    """Return the receipt, and who told it, as Import has it; None where there is none.

    :param path: where it would lie beside the package
    :raises ByokError: for what is no receipt, and for one that its envelope contradicts
    """
    receipt = wrapped.get("receipt")
    if stated:
        if receipt and wrapped_of(receipt) != stated.statement:
            raise ByokError(
                f"The receipt of {name} in packages says something else than its envelope",
                _SUBSTITUTED,
            )
        told_by = "receipt" if stated.signed else "carrier"
        return stated.statement, "run" if believed.in_this_run else told_by
    if receipt:
        check(receipt, f"The receipt of {name} in packages")
        return receipt, "run" if believed.in_this_run else "carrier"
    text = path and read_text(path)
    return (parse_receipt(text, f"The file {path}") if text else None), "carrier"


def _is_returned_by_byok_wrap(
    name: str, text: str | None, wrapped: Facts, believed: Believed
) -> bool:
    """Tell whether this run's byok_wrap wrapped this very package.

    One that it kept lay in a file before the run, so its digest says nothing.

    :raises ByokError: when it returned another one
    """
    returned = wrapped.get("sha256") if believed.in_this_run else None
    if not text or not returned:
        return False
    if digest(text) != returned:
        raise ByokError(
            f"The package of {name} is not the one that byok_wrap returned", _SUBSTITUTED
        )
    return bool(wrapped.get("wrapped"))


def _origin(
    declaration: Declaration, item: Facts, returned: Facts, text: str | None, wrapped_now: bool
) -> str:
    """Return why the package is believed to hold our key; of an oct key, a generation is a name.

    :param returned: what byok_wrap returned in this run; empty where it did not
    :raises ByokError: when the declared SHA-256 is another one than the package's
    """
    expected = item.get("sha256") and parse_sha256(item["sha256"])
    if expected and text and digest(text) != expected:
        raise ByokError(
            f"The package of {declaration.name} is not the one whose SHA-256 is declared: its "
            f"SHA-256 is {digest(text)}",
            _SUBSTITUTED,
        )
    is_oct = _is_oct(declaration)
    if wrapped_now or (returned.get("thumbprint") and not is_oct):
        return "token"
    if is_oct and not text:  # nothing is brought, and the name tells which one is looked for
        return "declared" if declaration.generation else "unverified"
    thumbprint = item["thumbprint"] or declaration.named_thumbprint
    return "declared" if expected or (thumbprint and not is_oct) else "unverified"


def _unverified(declaration: Declaration) -> ByokError:
    remedy = "Give thumbprint as byok_target_key returned it"
    if _is_oct(declaration):
        remedy = (
            "Give sha256 as byok_wrap returned it, by another way than the package came. If "
            "byok_wrap returned packages in this very run, set wrapped_in_this_run: true"
        )
    return ByokError(
        f"Nothing shows that the package of {declaration.name} holds your key (origin: "
        "unverified): a KEK is public, so anyone can make a package and a receipt",
        f"{remedy}; allow_unverified_origin accepts the risk",
    )


def _refuse_contradicting(
    declaration: Declaration, text: str | None, receipt: dict[str, t.Any]
) -> None:
    """Refuse a receipt of a carrier that contradicts what is known of the key or its package.

    :raises ByokError: naming what it contradicts
    """
    predicate = receipt["predicate"]
    key, kid = predicate["key"], predicate["kek"]["kid"]
    known = [
        ("name", key["name"], declaration.name),
        ("kind", key["kind"], str(declaration.spec)),
    ]
    if text:
        known.append(("KEK", str(kid).lower(), parse(text).kid.lower()))
    for what, told, expected in known:
        if told != expected:
            raise ByokError(
                f"The receipt of {declaration.name} is about another key: its {what} is {told} "
                f"instead of {expected}",
                _SUBSTITUTED,
            )


def _predicate(receipt: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
    return receipt["predicate"] if receipt else {}


def _agreed(name: str, fact: str, sources: t.Iterable[t.Mapping[str, t.Any]]) -> str | None:
    """Return what the sources say of a fact; None where none of them says anything.

    :param name: of the key, for an error
    :raises ByokError: when they contradict
    """
    values = {str(source[fact]) for source in sources if source.get(fact)}
    if len(values) > 1:
        raise ByokError(
            f"Two different keys are named for {name}: {fact} {' and '.join(sorted(values))}",
            _SUBSTITUTED,
        )
    return values.pop() if values else None
