# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Generations of target keys in the token: list them once, choose, judge, make, lock."""

from __future__ import annotations

import os
import typing as t
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from string import whitespace

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import (
    CURVES,
    curve_of_parameters,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    KeySpec,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import (
    is_ours,
    made_at,
    make_id,
    mark_withdrawn,
    split_mark,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    PublicKey,
    RsaPublicKey,
    ec_public_key,
    thumbprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    GenerationFacts,
    TargetKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    RSA_EXPONENT,
    CryptokiError,
    Key,
    Session,
    TokenError,
    Value,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_EC_KEY_PAIR_GEN,
    CKM_RSA_AES_KEY_WRAP,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import NUMBERS
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token, TokenInfo
from ansible_collections.keyferry.azure.plugins.module_utils._token.wrapping import (
    temporary_aes_key,
)

#: CKA_* that say where a key comes from and what may be done with it (PKCS#11 v3.1, 4.8 to 4.10)
EVIDENCE = (
    "LOCAL",
    "ALWAYS_SENSITIVE",
    "SENSITIVE",
    "EXTRACTABLE",
    "NEVER_EXTRACTABLE",
    "KEY_GEN_MECHANISM",
)

#: CK_INVALID_HANDLE (PKCS#11 v3.1, 3.2), of what can only be looked at
_NO_HANDLE: Key = 0

#: How often to list the keys anew while another host destroys some of them
_LISTINGS = 5

#: CKA_* of a public key that make it up, by its type
_RSA_PARTS = ("MODULUS", "PUBLIC_EXPONENT")
_PUBLIC_PARTS = {"RSA": _RSA_PARTS, "EC": ("EC_POINT",)}

#: The same, for one that is looked at without its private key
_PUBLIC_PARTS_ALONE = {"RSA": _RSA_PARTS, "EC": ("EC_POINT", "EC_PARAMS")}

#: CKA_* of a private or secret key that tell what it is; a private EC key does not hold its point
_PRIVATE_PARTS = {"RSA": _RSA_PARTS, "EC": ("EC_PARAMS",), "AES": ("VALUE_LEN",)}

#: CKK_* (PKCS#11 v3.1, 4.4), in words
_KEY_TYPES = {
    0x0: "RSA",
    0x1: "DSA",
    0x2: "DH",
    0x3: "EC",
    0x10: "a generic secret",
    0x15: "DES3",
    0x1F: "AES",
    0x40: "Edwards",
}

#: CKO_* of the keys that are brought
_WITH_A_SECRET = ("PRIVATE_KEY", "SECRET_KEY")

#: Azure's operations -> CKA_* of the private and of the public key; a secret key takes both
_PRIVATE_USAGE = {"sign": "SIGN", "decrypt": "DECRYPT", "unwrapKey": "UNWRAP"}
_PUBLIC_USAGE = {"verify": "VERIFY", "encrypt": "ENCRYPT", "wrapKey": "WRAP"}


@dataclass(frozen=True)
class Generation:
    """One key (pair) in the token.

    :ivar id: CKA_ID
    :ivar kind: what it is in words, such as RSA-2048
    :ivar spec: None for a key that Azure cannot import
    :ivar public_key: None for secret keys, and where the token holds no public key
    :ivar evidence: CKA_* by name; None where the token does not tell
    :ivar handle: the private or secret key
    :ivar public_handle: the public key, where the token holds one
    :ivar withdrawn: it is never chosen again
    :ivar public_only: only its public key was seen, so its evidence is not known, nor whether there
        is a private key at all
    :ivar public_label: CKA_LABEL of its public key, where that is another one than its own
    :ivar empty: its private or secret key holds no key, as a run that was killed leaves it
    """

    id: bytes
    kind: str
    spec: KeySpec | None
    public_key: PublicKey | None
    evidence: t.Mapping[str, t.Any]
    handle: Key = _NO_HANDLE
    public_handle: Key | None = None
    withdrawn: bool = False
    public_only: bool = False
    public_label: str | None = None
    empty: bool = False

    @property
    def hex_id(self) -> str:
        """CKA_ID as hexadecimal digits, the way users name a generation."""
        return self.id.hex()

    def __str__(self) -> str:
        return self.hex_id or "without CKA_ID"

    @property
    def thumbprint(self) -> str | None:
        """RFC 7638 thumbprint of the public key."""
        return thumbprint(self.public_key) if self.public_key else None

    @property
    def identity(self) -> str:
        """What transfers name it by: its thumbprint, or for secret keys its CKA_ID."""
        return self.thumbprint or self.hex_id

    @property
    def half_made(self) -> bool:
        """Whether this is what a killed run left: a key of ours that is empty, or a private key
        without its public key.

        One that came from outside was restored, and only wants its public key back.
        """
        if not is_ours(self.id):
            return False
        if self.empty:
            return True
        if self.evidence["CKA_LOCAL"] is False:
            return False
        if self.spec is None or self.spec.type == "oct":
            return False
        return self.public_key is None and self.public_label is None

    @property
    def origin(self) -> str:
        """``token`` when the token says that it made the key and never gave it out in the clear."""
        told = (self.evidence["CKA_LOCAL"], self.evidence["CKA_ALWAYS_SENSITIVE"])
        if False in told:
            return "external"
        return "unknown" if None in told else "token"

    def facts(self) -> GenerationFacts:
        """Return the public facts of this generation."""
        ours = is_ours(self.id)
        return GenerationFacts(
            generation=self.hex_id,
            thumbprint=self.thumbprint,
            kind=self.kind,
            public_key=to_pem(self.public_key) if self.public_key else None,
            made_by_keyferry=ours,
            made=datetime.fromtimestamp(made_at(self.id), timezone.utc) if ours else None,
            withdrawn=self.withdrawn,
            half_made=self.half_made,
            public_only=self.public_only,
            origin=self.origin,
            **self.evidence,
        )

    def as_result(self) -> dict[str, t.Any]:
        """Return the public facts as they leave a module."""
        return self.facts().to_dict()


def target_key(
    name: str,
    meant: Generation | None,
    generations: t.Iterable[Generation],
    *,
    created: bool = False,
    locked: bool = False,
) -> TargetKey:
    """Return a key as byok_target_key reports it.

    :param meant: the generation that the declaration means
    :param generations: oldest first
    """
    return TargetKey(
        name=name,
        generation=meant.hex_id if meant else None,
        thumbprint=meant.thumbprint if meant else None,
        generations=tuple(generation.facts() for generation in generations),
        created=created,
        locked=locked,
    )


@dataclass(frozen=True)
class Leftover:
    """A public key of ours without its private key: what is left of a run that was killed."""

    id: bytes
    handle: Key = _NO_HANDLE


@dataclass(frozen=True)
class Found:
    """What the token holds under one label.

    :ivar generations: oldest first, adopted ones before all of ours
    :ivar alike: labels of other keys that differ from this one only in case, or by blanks or NULs
        around it; looked for where there is no generation
    """

    generations: list[Generation]
    leftovers: list[Leftover]
    alike: list[str] = field(default_factory=list)


def list_declared(token: Token, declarations: t.Sequence[Declaration]) -> dict[str, Found]:
    """List what the token holds of declared keys, by their names.

    :raises ByokError: when the token refuses, or two of them have one label
    """
    labels = [declaration.label for declaration in declarations]
    return of_declared(list_generations(token, labels), declarations)


def of_declared(
    listed: t.Mapping[str, Found], declarations: t.Sequence[Declaration]
) -> dict[str, Found]:
    """Return what was listed of declared keys, by their names.

    :param listed: by label
    :raises ByokError: when two of them have one label, and would be one key
    """
    times = Counter(declaration.label for declaration in declarations)
    shared = [declaration.name for declaration in declarations if times[declaration.label] > 1]
    if shared:
        raise ByokError(
            f"The keys {', '.join(shared)} are declared with one label, so they would be one key "
            "of the token",
            "Give each key a label of its own",
        )
    found = {}
    for declaration in declarations:
        holding = listed.get(declaration.label, Found([], []))
        if not holding.generations and not holding.alike:
            alike = _alike(declaration.label, listed.keys() - times.keys())
            holding = replace(holding, alike=alike)
        found[declaration.name] = holding
    return found


def _alike(label: str, others: t.Iterable[str]) -> list[str]:
    """Return the other labels that a person would take for this one."""
    return sorted(each for each in others if each != label and _core_of(each) == _core_of(label))


def _core_of(label: str) -> str:
    return label.strip("\0" + whitespace).casefold()


def refuse_alike(declaration: Declaration, found: Found, info: TokenInfo) -> None:
    """Refuse to take a key as missing where one with nearly its label is there.

    :param found: what the token holds under its label
    :raises ByokError: naming that label
    """
    if found.alike:
        labels = ", ".join(map(repr, found.alike))
        raise ByokError(
            f"The {info} holds no key labelled {declaration.label!r}, but one labelled "
            f"{labels}, so no other key is made for {declaration.name}",
            f"If that is the key, set its label to {labels}; otherwise give the declared key "
            "another name",
        )


def list_generations(token: Token, names: t.Collection[str] | None) -> dict[str, Found]:
    """List what the token holds under these names, or under all names.

    The token is searched once per class of objects, never once per name: on large tokens a search
    costs 0.1 s.

    :raises ByokError: when the token refuses
    """
    return _again_where_keys_vanish(lambda: _list(token, names))


def list_public_keys(token: Token, names: t.Collection[str]) -> dict[str, Found]:
    """List what a token shows of these names without a login: public keys.

    None of them tells whether it has a private one.

    :raises ByokError: when the token refuses
    """
    return _again_where_keys_vanish(lambda: _list_public(token, names))


def _again_where_keys_vanish(work: t.Callable[[], dict[str, Found]]) -> dict[str, Found]:
    for _attempt in range(_LISTINGS - 1):
        try:
            return work()
        except TokenError as error:
            # Another host destroyed a key after it was found; it is not found again.
            if error.code != NUMBERS["CKR_OBJECT_HANDLE_INVALID"]:
                raise
    return work()


@dataclass(frozen=True)
class _Object:
    """A key as a search finds it.

    :ivar key_type: in words
    :ivar withdrawn: its CKA_ID has the mark, which is no part of ``id``
    """

    handle: Key
    label: str
    id: bytes
    key_type: str
    withdrawn: bool = False

    @property
    def pair(self) -> tuple[str, bytes, str]:
        """What both halves of a pair have in common."""
        return self.label, self.id, self.key_type


@dataclass(frozen=True)
class _PublicHalf:
    """A public key in the token, with the CKA_* that make it up."""

    handle: Key
    parts: t.Mapping[str, t.Any]


def _list(token: Token, names: t.Collection[str] | None) -> dict[str, Found]:
    """Put private and secret keys together with their public halves; without names, of all keys."""
    listed: dict[str, Found] = {name: Found([], []) for name in names or ()}
    halves = _public_halves(token, names)
    labels: set[str] = set()
    # Types that are never brought are listed as well, because a label that they hold is taken.
    keys = [key for each in _WITH_A_SECRET for key in _search(token, each, names, labels)]
    times = Counter(key.pair for key in keys)
    for key in keys:
        # Where two private keys are alike, nothing shows whose the public key is.
        half = halves.get(key.pair) if times[key.pair] == 1 else None
        _of(listed, key.label).generations.append(_describe(token, key, half))
    _find_alike(token, listed, _WITH_A_SECRET, labels)
    _find_other_labels(token, listed)
    for pair, half in halves.items():
        label, identifier, _key_type = pair
        if half and pair not in times and is_ours(identifier):
            _of(listed, label).leftovers.append(Leftover(identifier, half.handle))
    for holding in listed.values():
        _sort(holding.generations)
    return listed


def _find_alike(
    token: Token, listed: dict[str, Found], classes: t.Iterable[str], labels: set[str]
) -> None:
    """Where a label has no key, look for labels that a person would take for it.

    :param labels: those that were read; where one label alone was asked for, the others are read
        now, when its key is missing
    """
    missing = [label for label, found in listed.items() if not found.generations]
    if missing and len(listed) == 1:
        labels = {key.label for each in classes for key in _search(token, each, None)}
    for label in missing:
        listed[label].alike[:] = _alike(label, labels - listed.keys())


def _find_other_labels(token: Token, listed: dict[str, Found]) -> None:
    """Find the public halves that have another label than their private keys.

    That reads every label of the token, but only where a public key is missing.
    """
    if not any(_lacks_public_key(each) for found in listed.values() for each in found.generations):
        return
    pairs = {key.pair for key in _search(token, "PRIVATE_KEY", None)}
    alone = [key for key in _search(token, "PUBLIC_KEY", None) if key.pair not in pairs]
    for found in listed.values():
        for at, each in enumerate(found.generations):
            if _lacks_public_key(each) and each.spec:
                labels = [
                    key.label
                    for key in alone
                    if (key.id, key.key_type) == (each.id, each.spec.type)
                ]
                if len(labels) == 1:
                    found.generations[at] = replace(each, public_label=labels[0])


def _lacks_public_key(generation: Generation) -> bool:
    """Tell whether a key with a CKA_ID has no public key that is clearly its own."""
    is_pair = generation.spec is not None and generation.spec.type != "oct"
    return is_pair and bool(generation.id) and generation.public_key is None


def _public_halves(
    token: Token, names: t.Collection[str] | None
) -> dict[tuple[str, bytes, str], _PublicHalf | None]:
    """Return the public keys by label, CKA_ID and type, because a private EC key has no point.

    Where several fit, or there is no CKA_ID, None does: with another key's point a key would be
    taken for another one.
    """
    halves: dict[tuple[str, bytes, str], _PublicHalf | None] = {}
    for key in _search(token, "PUBLIC_KEY", names):
        with token.calling("Reading a public key"):
            parts = token.session.read(key.handle, *_PUBLIC_PARTS.get(key.key_type, ()))
        ambiguous = key.pair in halves or not key.id
        halves[key.pair] = None if ambiguous else _PublicHalf(key.handle, parts)
    return halves


def _list_public(token: Token, names: t.Collection[str]) -> dict[str, Found]:
    """List the public keys alone, each as a generation of which nothing more is known."""
    listed: dict[str, Found] = {name: Found([], []) for name in names}
    labels: set[str] = set()
    for key in _search(token, "PUBLIC_KEY", names, labels):
        with token.calling("Reading a public key"):
            parts = token.session.read(key.handle, *_PUBLIC_PARTS_ALONE.get(key.key_type, ()))
            kind, spec, public_key = _material(key.key_type, parts)
        generation = Generation(
            id=key.id,
            kind=kind,
            spec=spec,
            public_key=public_key,
            evidence={f"CKA_{name}": None for name in EVIDENCE},
            withdrawn=key.withdrawn,
            public_only=True,
        )
        _of(listed, key.label).generations.append(generation)
    for holding in listed.values():
        _sort(holding.generations)
        holding.generations[:] = _without_ambiguous_keys(holding.generations)
    _find_alike(token, listed, ("PUBLIC_KEY",), labels)
    return listed


def _without_ambiguous_keys(generations: list[Generation]) -> list[Generation]:
    """Leave out public keys of which no one can tell whose they are, as _public_halves() does."""
    pairs = [
        (generation.id, generation.spec and generation.spec.type) for generation in generations
    ]
    times = Counter(pairs)
    clear = []
    for generation, pair in zip(generations, pairs, strict=True):
        if generation.id and times[pair] == 1:
            clear.append(generation)
        else:
            clear.append(replace(generation, public_key=None))
    return clear


def _of(listed: dict[str, Found], name: str) -> Found:
    return listed.setdefault(name, Found([], []))


def by_age(generation: Generation) -> tuple[bool, bytes]:
    """Sort by age: what was made elsewhere, before all of ours."""
    return is_ours(generation.id), generation.id


def _sort(generations: list[Generation]) -> None:
    """Sort by age, and keys of one CKA_ID in the same order each time, whatever the token does."""
    if len({each.id for each in generations}) < len(generations):
        generations.sort(key=lambda each: each.identity)
    generations.sort(key=by_age)


def choose(declaration: Declaration, generations: t.Sequence[Generation]) -> Generation | None:
    """Return the generation that the declaration means: the named one, else the newest whole one.

    :param generations: oldest first
    :returns: None when there is none
    :raises ByokError: when the named one is not there, or several adopted keys share the label
    """
    if declaration.generation:
        return _choose_named(declaration, generations)
    candidates = [
        generation
        for generation in generations
        if not generation.half_made and not generation.withdrawn
    ]
    if not candidates:
        return None
    newest = candidates[-1]
    if len(candidates) > 1 and not is_ours(newest.id):
        raise ByokError(
            f"{len(candidates)} keys that were made elsewhere are labelled {declaration.label}: "
            f"{_listing(candidates)}",
            _how_to_name_one(candidates),
        )
    _refuse_shared_id(declaration, [each for each in candidates if each.id == newest.id])
    return newest


def _choose_named(declaration: Declaration, generations: t.Sequence[Generation]) -> Generation:
    named = declaration.named_thumbprint
    if named:
        fitting = [each for each in generations if each.thumbprint == named][:1]  # copies of one
    else:
        fitting = [each for each in generations if each.hex_id == declaration.generation]
        # Keys of two types may share a CKA_ID, and the declaration says which type is meant.
        fitting = [each for each in fitting if each.spec == declaration.spec] or fitting
    if not fitting:
        what = "thumbprint" if named else "CKA_ID"
        raise ByokError(
            f"No key labelled {declaration.label} has the {what} {declaration.generation}; there "
            f"are: {_listing(generations)}",
            "Correct generation, or leave it out",
        )
    _refuse_shared_id(declaration, fitting)
    [generation] = fitting
    if generation.withdrawn:
        raise ByokError(
            f"The generation {generation} of the key {declaration.name} was withdrawn",
            "Declare another one",
        )
    return generation


def _refuse_shared_id(declaration: Declaration, same: t.Sequence[Generation]) -> None:
    """Refuse to choose between keys that have one label and one CKA_ID.

    :raises ByokError: for more than one
    """
    if len(same) > 1:
        raise ByokError(
            f"{len(same)} keys labelled {declaration.label} have one CKA_ID: {_listing(same)}",
            _how_to_name_one(same),
        )


def _how_to_name_one(keys: t.Sequence[Generation]) -> str:
    """Return what to do so that one of several keys is meant."""
    ids = {key.id for key in keys}
    if len(ids) == len(keys) and all(ids):
        return "Set generation to the CKA_ID of the one you mean"
    if all(key.thumbprint for key in keys):
        return "Set generation to the thumbprint of the one you mean"
    return "Nothing tells them apart, so declare a key that has label and CKA_ID for itself"


def refuse_unfit(declaration: Declaration, generation: Generation, info: TokenInfo) -> None:
    """Refuse a key that is not what is declared, or that must not or cannot be brought.

    Of one of which only the public key was seen, nothing is refused for what its private key may
    be.

    :raises ByokError: naming the attribute
    """
    what = f"The key {declaration.name} ({generation}) in the {info}"
    if generation.empty:
        raise ByokError(
            f"{what} is empty, as an interrupted run leaves it",
            "Declare another generation, or leave generation out to have a new one made",
        )
    if generation.spec != declaration.spec:
        raise ByokError(
            f"{what} is {generation.kind}, but {declaration.spec} is declared",
            "Declare the key as it is, or give the declared key another name",
        )
    _refuse_unrecognisable(generation, what)
    if isinstance(generation.public_key, RsaPublicKey) and generation.public_key.e != RSA_EXPONENT:
        raise ByokError(
            f"{what} has the public exponent {generation.public_key.e}",
            f"Use an RSA key with the public exponent {RSA_EXPONENT}",
        )
    if not generation.public_only:
        _refuse_unfit_private_key(declaration, generation, what)


def _refuse_unrecognisable(generation: Generation, what: str) -> None:
    """Refuse a key that could not be found again in a vault, so that each run would bring it anew.

    :param what: names the key in an error
    :raises ByokError: saying what is missing
    """
    is_oct = generation.spec is not None and generation.spec.type == "oct"
    if generation.public_key is not None or (is_oct and generation.id):
        return
    if is_oct:
        raise ByokError(
            f"{what} is a secret key, which can be recognised in a vault by its CKA_ID alone",
            "Declare a key that has a CKA_ID",
        )
    if generation.public_label is not None:
        raise ByokError(
            f"{what} has its public key under another label, {generation.public_label!r}, so "
            "they are not taken for one key",
            "Give both halves the same CKA_LABEL with the token's own tool",
        )
    if not generation.id:
        raise ByokError(
            f"{what} has no CKA_ID, so nothing shows which public key object belongs to it",
            "Declare a key of which both halves have the same CKA_ID",
        )
    raise ByokError(
        f"{what} has no public key object, so it cannot be recognised in a vault",
        "Put its public key into the token under the same CKA_LABEL and CKA_ID",
    )


def _refuse_unfit_private_key(declaration: Declaration, generation: Generation, what: str) -> None:
    """Refuse a key whose private half others may hold, or that cannot leave the token.

    :param what: names the key in an error
    :raises ByokError: naming the attribute
    """
    evidence = generation.evidence
    if not evidence["CKA_SENSITIVE"]:
        raise ByokError(
            f"{what} has CKA_SENSITIVE false, so its value can be read in the clear",
            "Use a key made as sensitive",
        )
    if not evidence["CKA_EXTRACTABLE"] and declaration.after_transfer != "lock":
        raise ByokError(
            f"{what} has CKA_EXTRACTABLE false, so it can never leave the token",
            "Make another key as extractable; this attribute cannot be switched on",
        )
    if generation.origin == "external" and not declaration.allow_external_origin:
        made_elsewhere = evidence["CKA_LOCAL"] is False
        attribute = "CKA_LOCAL" if made_elsewhere else "CKA_ALWAYS_SENSITIVE"
        raise ByokError(
            f"{what} has {attribute} false: it came into the token from outside, so others may "
            "hold it",
            "Use a key made in the token, or set allow_external_origin if you know where it came "
            "from",
        )


def make(
    token: Token,
    session: Session,
    declaration: Declaration,
    existing: t.Sequence[Generation],
    now: datetime,
) -> Generation:
    """Make a new generation in the token.

    :param now: the time that its id tells
    :raises ByokError: when the token refuses
    """
    name, spec = declaration.name, declaration.spec
    identifier = make_id(int(now.timestamp() * 1000), os.urandom(10), [key.id for key in existing])
    public, private = _templates(declaration, identifier)
    with token.calling(f"Making the {spec} key {name}"):
        if spec.type == "oct":
            handle = session.generate_secret(spec.size or 0, {**private, **public})
            return _describe(token, _Object(handle, name, identifier, "AES"), None)
        if spec.type == "EC":
            public["EC_PARAMS"] = CURVES[str(spec.curve)].parameters
            public_key, key = session.generate_pair(CKM_EC_KEY_PAIR_GEN, public, private)
        else:
            public_key, key = _make_rsa_pair(token, session, public, private, spec.size or 0)
        half = _PublicHalf(public_key, session.read(public_key, *_PUBLIC_PARTS[spec.type]))
    return _describe(token, _Object(key, name, identifier, spec.type), half)


#: Attributes that a later run needs as they were told, with what to do where the token changes them
_MUST_KEEP = {
    "CKA_LABEL": "Give the key a name that this token keeps, for example a shorter one",
    "CKA_ID": "Use a token that keeps CKA_ID; ask its vendor",
    "CKA_SENSITIVE": "Check the token's policies: its keys must be sensitive",
    "CKA_EXTRACTABLE": (
        "Check the token's policies: keys that are stored must be allowed to leave it wrapped"
    ),
}


def refuse_unkept(
    token: Token,
    declaration: Declaration,
    made: Generation,
    generations: t.Iterable[Generation],
) -> None:
    """Refuse a key just made that a later run would not find, or would not take.

    :param made: as make() returned it
    :param generations: those that the token lists under the key's name now
    :raises ByokError: naming the attribute that the token did not keep
    """
    found = next((each for each in generations if each.id == made.id), None)
    halved = found and made.public_handle is not None and found.public_handle is None
    if found is None or found.half_made or halved:
        attribute, state = _changed_name(token, declaration.name, made)
    else:
        evidence = {name: found.evidence[name] for name in ("CKA_SENSITIVE", "CKA_EXTRACTABLE")}
        attribute = next((name for name, value in evidence.items() if not value), "")
        state = f"{attribute} is false"
    if attribute:
        raise ByokError(
            f"The {token.info} does not keep what it was told of the key {declaration.name}: "
            f"{state}",
            _MUST_KEEP[attribute],
        )
    if found:
        refuse_unfit(declaration, found, token.info)


def _changed_name(token: Token, name: str, made: Generation) -> tuple[str, str]:
    """Return which attribute keeps a new key from being found, and what became of it."""
    for handle in (made.handle, made.public_handle):
        if handle is None:
            continue
        with token.calling(f"Reading the new key {name}"):
            read = token.session.read(handle, "LABEL", "ID")
        if read["LABEL"] != name:
            return "CKA_LABEL", f"CKA_LABEL is {read['LABEL']!r}"
        if read["ID"] != made.id:
            return "CKA_ID", f"CKA_ID is {(read['ID'] or b'').hex() or 'empty'}"
    return "CKA_ID", "a search by CKA_LABEL and CKA_ID does not find the whole key"


def _templates(
    declaration: Declaration, identifier: bytes
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the templates of the public and of the private key; a secret key takes both."""
    common: dict[str, Value] = {"TOKEN": True, "LABEL": declaration.label, "ID": identifier}
    if not declaration.modifiable:
        common["MODIFIABLE"] = False
    operations = declaration.made_for
    public = {**common, **_usage(_PUBLIC_USAGE, operations)}
    private = {
        **common,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
        "DERIVE": declaration.derive,
        **_usage(_PRIVATE_USAGE, operations),
    }
    return public, private


def _usage(usages: t.Mapping[str, str], operations: t.Collection[str]) -> dict[str, Value]:
    """Return whether a key may be used so, by CKA_*."""
    return {attribute: operation in operations for operation, attribute in usages.items()}


def _make_rsa_pair(
    token: Token, session: Session, public: dict[str, Value], private: dict[str, Value], bits: int
) -> tuple[Key, Key]:
    """Make a pair by the first mechanism that the token takes for it; return public and private."""
    *preferred, last = token.rsa_generation()
    for mechanism in preferred:
        try:
            with token.calling(f"Making an RSA-{bits} key by {mechanism.name}"):
                return session.generate_pair(mechanism.number, public, private, bits)
        except TokenError as error:
            # After any other one, something may have been made.
            if error.code != NUMBERS["CKR_MECHANISM_INVALID"]:
                raise
    return session.generate_pair(last.number, public, private, bits)


def take_back(token: Token, name: str, generation: Generation) -> None:
    """Destroy a pair that this very process made and that nobody has been told of.

    :raises ByokError: when the token refuses
    """
    what = f"Removing the new key {name} ({generation.hex_id})"
    _destroy(token, what, generation.public_handle, generation.handle)


def destroy(token: Token, name: str, generation: Generation) -> None:
    """Destroy a generation for ever.

    The private key goes first, so that what a killed run leaves is a public key alone.

    :raises ByokError: when the token refuses
    """
    what = f"Destroying the key {name} ({generation.hex_id})"
    _destroy(token, what, generation.handle, generation.public_handle)


def refuse_to_withdraw(name: str, generation: Generation) -> None:
    """Refuse to withdraw a generation whose CKA_ID Keyferry did not give.

    :raises ByokError: for one that was made elsewhere
    """
    if not is_ours(generation.id):
        raise ByokError(
            f"The key {name} ({generation.hex_id}) was made elsewhere, so its CKA_ID is not for "
            "Keyferry to change",
            "Give it another label by the token's own tool",
        )


def withdraw(token: Token, name: str, generation: Generation) -> None:
    """Mark a generation, so that it is never chosen again.

    :raises ByokError: for one that was made elsewhere, and when the token refuses
    """
    refuse_to_withdraw(name, generation)
    with token.calling(f"Withdrawing the key {name} ({generation.hex_id})"):
        # The private key's mark is what counts; the public key's is for those who look without a
        # login.
        for handle in (generation.handle, generation.public_handle):
            if handle is not None:
                token.session.assign(handle, "ID", mark_withdrawn(generation.id))


def clear_away(token: Token, name: str, leftover: Leftover) -> None:
    """Destroy a public key that has no private key any more.

    :raises ByokError: when the token refuses
    """
    _destroy(
        token,
        f"Removing a public key {name} ({leftover.id.hex()}) without a private key",
        leftover.handle,
    )


def _destroy(token: Token, what: str, *handles: Key | None) -> None:
    with token.calling(what):
        for handle in handles:
            if handle is not None:
                token.session.destroy(handle)


def lock(token: Token, name: str, generation: Generation) -> None:
    """Set CKA_EXTRACTABLE to false, for ever.

    :raises ByokError: when the token refuses
    """
    with token.calling(f"Locking the key {name} ({generation.hex_id})"):
        token.session.assign(generation.handle, "EXTRACTABLE", False)


def _search(
    token: Token, object_class: str, names: t.Collection[str] | None, seen: set[str] | None = None
) -> t.Iterator[_Object]:
    """Yield the keys of a class that have one of the names, or all.

    :param seen: gets every label that was read
    """
    only: dict[str, Value] = {}
    if names is not None and len(names) == 1:
        [only["LABEL"]] = names
    labels = None if names is None else frozenset(names)
    with token.calling("Searching for keys"):
        for handle in token.session.find(object_class, **only):
            read = token.session.read(handle, "LABEL", "ID", "KEY_TYPE")
            label, number = read["LABEL"] or "", read["KEY_TYPE"]
            if seen is not None:
                seen.add(label)
            if labels is not None and label not in labels:
                continue
            key_type = _KEY_TYPES.get(number, f"of the type {number}")
            identifier, withdrawn = split_mark(read["ID"] or b"")
            yield _Object(handle, label, identifier, key_type, withdrawn)


def _describe(token: Token, key: _Object, public: _PublicHalf | None) -> Generation:
    """Describe a private or secret key, with what its public key told."""
    names = _PRIVATE_PARTS.get(key.key_type, ())
    with token.calling("Reading a key"):
        read = token.session.read(key.handle, *EVIDENCE, *names)
    public_parts = public.parts if public else {}
    parts = {name: read.get(name) or public_parts.get(name) for name in (*names, "EC_POINT")}
    kind, spec, public_key = _material(key.key_type, parts)
    told_nothing = any(read[name] in (b"", 0) for name in names[:1])  # None: it does not tell
    empty = told_nothing or (key.key_type == "AES" and _cannot_be_wrapped(token, key, read))
    return Generation(
        id=key.id,
        kind=kind,
        spec=spec,
        public_key=public_key,
        evidence={f"CKA_{name}": read[name] for name in EVIDENCE},
        empty=empty and read["LOCAL"] is not True,
        handle=key.handle,
        public_handle=public.handle if public else None,
        withdrawn=key.withdrawn,
    )


def _cannot_be_wrapped(token: Token, key: _Object, read: t.Mapping[str, t.Any]) -> bool:
    """Tell whether a secret key of ours is one that the token began to make and cannot use.

    It is tried where the evidence contradicts itself: what came from outside has never been always
    sensitive (PKCS#11 v3.1, 4.8).
    """
    from_outside, always = read["LOCAL"] is False, read["ALWAYS_SENSITIVE"] is True
    if not (is_ours(key.id) and from_outside and always and read["EXTRACTABLE"]):
        return False
    refused = False
    with suppress(ByokError), temporary_aes_key(token, token.session) as wrapping_key:
        for mechanism in token.profile.wrap_mechanisms:
            if mechanism.number not in token.mechanisms - {CKM_RSA_AES_KEY_WRAP}:
                continue
            by = mechanism.number, mechanism.parameter
            try:
                token.session.wrap(*by, wrapping_key, key.handle)
            except CryptokiError:
                refused = True
            else:
                return False
    return refused


def _material(
    key_type: str, parts: t.Mapping[str, t.Any]
) -> tuple[str, KeySpec | None, PublicKey | None]:
    """Return what a key is in words, what of it Azure knows, and its public key if that is told.

    :param parts: CKA_* by name
    """
    if key_type == "RSA":
        modulus, exponent = (int.from_bytes(parts[name] or b"", "big") for name in _RSA_PARTS)
        spec = KeySpec("RSA", size=modulus.bit_length())
        if not modulus or not exponent:
            return str(spec), spec, None
        return str(spec), spec, RsaPublicKey(modulus, exponent)
    if key_type == "EC":
        parameters, point = parts["EC_PARAMS"] or b"", parts["EC_POINT"]
        curve = curve_of_parameters(parameters)
        if curve is None:
            return f"EC on the curve {parameters.hex()}", None, None
        spec = KeySpec("EC", curve=curve.name)
        return curve.name, spec, ec_public_key(curve.name, point) if point else None
    if key_type == "AES":
        spec = KeySpec("oct", size=8 * (parts["VALUE_LEN"] or 0))
        return str(spec), spec, None
    return key_type, None, None


def _listing(generations: t.Iterable[Generation]) -> str:
    return ", ".join(f"{key} ({key.kind}, {key.identity})" for key in generations) or "none"
