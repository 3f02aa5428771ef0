# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection.
# It can have breaking changes at any time.

"""Generations of target keys in the token: list them once, choose, judge, make, lock."""

from __future__ import annotations

import os
import typing as t
from collections import Counter
from dataclasses import dataclass, replace
from datetime import datetime, timezone

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
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    PublicKey,
    RsaPublicKey,
    ec_public_key,
    thumbprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    Key,
    Session,
    TokenError,
    Value,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_EC_KEY_PAIR_GEN,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import NUMBERS
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token, TokenInfo

#: The public exponent of RSA keys, which python-pkcs11 asks the token for
RSA_EXPONENT = 65537

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

#: CKA_* that make up a public key, by its type
_PUBLIC_PARTS = {"RSA": ("MODULUS", "PUBLIC_EXPONENT"), "EC": ("EC_POINT",)}

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
    :ivar public_only: only its public key was seen, so its evidence is not known, nor whether there is a private key at all
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

    @property
    def hex_id(self) -> str:
        """CKA_ID as hexadecimal digits, the way users name a generation."""
        return self.id.hex()

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
        """Whether this is what a killed run left: a private key of ours, whose public key was not made any more.

        One that came from outside was restored, and only wants its public key back.
        """
        ours = is_ours(self.id) and self.evidence["CKA_LOCAL"] is not False
        return (
            ours and self.spec is not None and self.spec.type != "oct" and self.public_key is None
        )

    @property
    def origin(self) -> str:
        """``token`` when the token says that it made the key and never gave it out in the clear."""
        told = (self.evidence["CKA_LOCAL"], self.evidence["CKA_ALWAYS_SENSITIVE"])
        return "external" if False in told else "unknown" if None in told else "token"

    def as_result(self) -> dict[str, t.Any]:
        """Return the public facts of this generation."""
        return {
            "generation": self.hex_id,
            "kind": self.kind,
            "thumbprint": self.thumbprint,
            "public_key": to_pem(self.public_key) if self.public_key else None,
            "made_by_keyferry": is_ours(self.id),
            "made": format_moment(datetime.fromtimestamp(made_at(self.id), timezone.utc))
            if is_ours(self.id)
            else None,
            "withdrawn": self.withdrawn,
            "half_made": self.half_made,
            "public_only": self.public_only,
            "origin": self.origin,
            **self.evidence,
        }


@dataclass(frozen=True)
class Leftover:
    """A public key of ours without its private key: what is left of a run that was killed."""

    id: bytes
    handle: Key = _NO_HANDLE


@dataclass(frozen=True)
class Found:
    """What the token holds under one name.

    :ivar generations: oldest first, adopted ones before all of ours
    """

    generations: list[Generation]
    leftovers: list[Leftover]


def list_generations(token: Token, names: t.Collection[str] | None) -> dict[str, Found]:
    """List what the token holds under these names, or under all names.

    The token is searched once per class of objects, never once per name: on large tokens a search costs 0.1 s.

    :raises ByokError: when the token refuses
    """
    return _again_where_keys_vanish(lambda: _list(token, names))


def list_public_keys(token: Token, names: t.Collection[str]) -> dict[str, Found]:
    """List what a token shows of these names without a login: public keys, none of which tells whether it has a private one.

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


def _list(token: Token, names: t.Collection[str] | None) -> dict[str, Found]:
    found: dict[str, Found] = {name: Found([], []) for name in names or ()}
    # A private EC key does not hold its point, so its public key is looked for by label, CKA_ID and type. Where several fit, or
    # there is no CKA_ID, none does: with another key's point it would be taken for another key.
    public: dict[tuple[t.Any, ...], dict[str, t.Any]] = {}
    for handle, read in _search(token, "PUBLIC_KEY", names):
        with token.calling("Reading a public key"):
            parts = token.session.read(handle, *_PUBLIC_PARTS.get(read["KEY_TYPE"], ()))
        half = _half(read)
        public[half] = (
            {} if half in public or not read["ID"] else {**read, **parts, "handle": handle}
        )
    whole = set()
    # Types that are never brought are listed as well, because a label that they hold is taken.
    for object_class in ("PRIVATE_KEY", "SECRET_KEY"):
        for handle, read in _search(token, object_class, names):
            whole.add(_half(read))
            described = _describe(
                token, handle, read["KEY_TYPE"], read["ID"], public.get(_half(read), {})
            )
            described = replace(described, withdrawn=read["withdrawn"])
            _of(found, read).generations.append(described)
    for half, read in public.items():
        if read and half not in whole and is_ours(read["ID"]):
            _of(found, read).leftovers.append(Leftover(read["ID"], read["handle"]))
    for each in found.values():
        each.generations.sort(key=by_age)
    return found


def _list_public(token: Token, names: t.Collection[str]) -> dict[str, Found]:
    found: dict[str, Found] = {name: Found([], []) for name in names}
    for handle, read in _search(token, "PUBLIC_KEY", names):
        parts = (
            *_PUBLIC_PARTS.get(read["KEY_TYPE"], ()),
            *(("EC_PARAMS",) if read["KEY_TYPE"] == "EC" else ()),
        )
        with token.calling("Reading a public key"):
            kind, spec, public_key = _material(read["KEY_TYPE"], token.session.read(handle, *parts))
        unknown = {f"CKA_{name}": None for name in EVIDENCE}
        seen = Generation(
            read["ID"],
            kind,
            spec,
            public_key,
            unknown,
            withdrawn=read["withdrawn"],
            public_only=True,
        )
        _of(found, read).generations.append(seen)
    for each in found.values():
        # Where no one can tell whose public key it is, a look at all of the token does not take it either.
        times = Counter((key.id, key.spec and key.spec.type) for key in each.generations)
        each.generations[:] = [
            key
            if key.id and times[key.id, key.spec and key.spec.type] == 1
            else replace(key, public_key=None)
            for key in sorted(each.generations, key=by_age)
        ]
    return found


def _of(found: dict[str, Found], read: t.Mapping[str, t.Any]) -> Found:
    return found.setdefault(read["LABEL"], Found([], []))


def by_age(generation: Generation) -> tuple[bool, bytes]:
    """Sort by age: what was made elsewhere, before all of ours."""
    return is_ours(generation.id), generation.id


def choose(declaration: Declaration, generations: t.Sequence[Generation]) -> Generation | None:
    """Return the generation that the declaration means: the named one, else the newest whole one; None when there is none.

    :raises ByokError: when the named one is not there, or several adopted keys share the label
    """
    name = declaration.name
    if declaration.generation:
        for generation in generations:
            if generation.hex_id == declaration.generation and generation.withdrawn:
                raise ByokError(
                    f"The generation {generation.hex_id} of the key {name} was withdrawn",
                    "Declare another one",
                )
            if generation.hex_id == declaration.generation:
                return generation
        raise ByokError(
            f"No key labelled {name} has the CKA_ID {declaration.generation}; there are: {_listing(generations)}",
            "Correct generation, or leave it out",
        )
    generations = [
        generation
        for generation in generations
        if not generation.half_made and not generation.withdrawn
    ]
    if len(generations) > 1 and not is_ours(generations[-1].id):
        raise ByokError(
            f"{len(generations)} keys that were made elsewhere are labelled {name}: {_listing(generations)}",
            "Set generation to the CKA_ID of the one you mean",
        )
    return generations[-1] if generations else None


def refuse_unfit(declaration: Declaration, generation: Generation, info: TokenInfo) -> None:
    """Refuse a key that is not what is declared, or that must not or cannot be brought.

    Of one of which only the public key was seen, nothing is refused for what its private key may be.

    :raises ByokError: naming the attribute
    """
    what = f"The key {declaration.name} ({generation.hex_id}) in the {info}"
    if generation.spec != declaration.spec:
        raise ByokError(
            f"{what} is {generation.kind}, but {declaration.spec} is declared",
            "Declare the key as it is, or give the declared key another name",
        )
    if generation.spec.type != "oct" and generation.public_key is None:
        raise ByokError(
            f"{what} has no public key object, so it cannot be recognised in a vault",
            "Put its public key into the token under the same CKA_LABEL and CKA_ID",
        )
    if isinstance(generation.public_key, RsaPublicKey) and generation.public_key.e != RSA_EXPONENT:
        raise ByokError(
            f"{what} has the public exponent {generation.public_key.e}",
            f"Use an RSA key with the public exponent {RSA_EXPONENT}",
        )
    if generation.public_only:
        return
    if not generation.evidence["CKA_SENSITIVE"]:
        raise ByokError(
            f"{what} has CKA_SENSITIVE false, so its value can be read in the clear",
            "Use a key made as sensitive",
        )
    if not generation.evidence["CKA_EXTRACTABLE"] and declaration.after_transfer != "lock":
        raise ByokError(
            f"{what} has CKA_EXTRACTABLE false, so it can never leave the token",
            "Make another key as extractable; this attribute cannot be switched on",
        )
    if generation.origin == "external" and not declaration.allow_external_origin:
        attribute = (
            "CKA_LOCAL" if generation.evidence["CKA_LOCAL"] is False else "CKA_ALWAYS_SENSITIVE"
        )
        raise ByokError(
            f"{what} has {attribute} false: it came into the token from outside, so others may hold it",
            "Use a key made in the token, or set allow_external_origin if you know where it came from",
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
    spec = declaration.spec
    identifier = make_id(int(now.timestamp() * 1000), os.urandom(10), [key.id for key in existing])
    common: dict[str, Value] = {"TOKEN": True, "LABEL": declaration.name, "ID": identifier}
    secret = {"PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": True, "DERIVE": declaration.derive}
    private_usage, public_usage = (
        {usage: operation in declaration.made_for for operation, usage in usages.items()}
        for usages in (_PRIVATE_USAGE, _PUBLIC_USAGE)
    )
    if not declaration.modifiable:
        common["MODIFIABLE"] = False
    public = {**common, **public_usage}
    private = {**common, **secret, **private_usage}
    with token.calling(f"Making the {spec} key {declaration.name}"):
        if spec.type == "oct":
            return _describe(
                token,
                session.generate_secret(spec.size or 0, {**private, **public_usage}),
                "AES",
                identifier,
                {},
            )
        if spec.type == "EC":
            public["EC_PARAMS"] = CURVES[str(spec.curve)].parameters
            pair = session.generate_pair(CKM_EC_KEY_PAIR_GEN, public, private)
        else:
            pair = _make_rsa_pair(token, session, public, private, spec.size or 0)
        half = {**session.read(pair[0], *_PUBLIC_PARTS[spec.type]), "handle": pair[0]}
    return _describe(token, pair[1], spec.type, identifier, half)


def _make_rsa_pair(
    token: Token, session: Session, public: dict[str, Value], private: dict[str, Value], bits: int
) -> tuple[Key, Key]:
    *preferred, last = token.rsa_generation()
    for mechanism in preferred:
        try:
            with token.calling(f"Making an RSA-{bits} key by {mechanism.name}"):
                return session.generate_pair(mechanism.number, public, private, bits)
        except TokenError as error:
            if (
                error.code != NUMBERS["CKR_MECHANISM_INVALID"]
            ):  # nothing was made, so the next may try
                raise
    return session.generate_pair(last.number, public, private, bits)


def take_back(token: Token, name: str, generation: Generation) -> None:
    """Destroy a pair that this very process made and that nobody has been told of.

    :raises ByokError: when the token refuses
    """
    what = f"Taking back the key {name} ({generation.hex_id})"
    _destroy(token, what, generation.public_handle, generation.handle)


def destroy(token: Token, name: str, generation: Generation) -> None:
    """Destroy a generation for ever, the private key first: what a killed run leaves is then a public key alone.

    :raises ByokError: when the token refuses
    """
    what = f"Destroying the key {name} ({generation.hex_id})"
    _destroy(token, what, generation.handle, generation.public_handle)


def withdraw(token: Token, name: str, generation: Generation) -> None:
    """Mark a generation, so that it is never chosen again.

    :raises ByokError: for one that was made elsewhere, and when the token refuses
    """
    if not is_ours(generation.id):
        raise ByokError(
            f"The key {name} ({generation.hex_id}) was made elsewhere, so its CKA_ID is not for Keyferry to change",
            "Give it another label by the token's own tool",
        )
    with token.calling(f"Withdrawing the key {name} ({generation.hex_id})"):
        # The private key's mark is what counts; the public key's is for those who look without a login.
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


def _half(read: t.Mapping[str, t.Any]) -> tuple[t.Any, ...]:
    """Return what both halves of a pair have in common."""
    return read["LABEL"], read["ID"], read["KEY_TYPE"]


def _search(
    token: Token, object_class: str, names: t.Collection[str] | None
) -> t.Iterator[tuple[Key, dict[str, t.Any]]]:
    """Yield the keys that have one of the names, with CKA_LABEL, CKA_ID, whether that is marked, and what kind of key it is."""
    only: dict[str, Value] = {}
    if names is not None and len(names) == 1:
        [only["LABEL"]] = names
    wanted = None if names is None else frozenset(names)
    with token.calling("Searching for keys"):
        for handle in token.session.find(object_class, **only):
            read = token.session.read(handle, "LABEL", "ID", "KEY_TYPE")
            label = read["LABEL"] or ""
            if wanted is None or label in wanted:
                number = read["KEY_TYPE"]
                kind = _KEY_TYPES.get(number, f"of the type {number}")
                identifier, withdrawn = split_mark(read["ID"] or b"")
                yield (
                    handle,
                    {"LABEL": label, "ID": identifier, "KEY_TYPE": kind, "withdrawn": withdrawn},
                )


def _describe(
    token: Token, handle: Key, key_type: str, identifier: bytes, public: t.Mapping[str, t.Any]
) -> Generation:
    """Describe a private or secret key, with what its public key told."""
    own = {"RSA": _PUBLIC_PARTS["RSA"], "EC": ("EC_PARAMS",), "AES": ("VALUE_LEN",)}.get(
        key_type, ()
    )
    with token.calling("Reading a key"):
        read = token.session.read(handle, *EVIDENCE, *own)
    kind, spec, public_key = _material(
        key_type, {name: read.get(name) or public.get(name) for name in (*own, "EC_POINT")}
    )
    evidence = {f"CKA_{name}": read[name] for name in EVIDENCE}
    return Generation(identifier, kind, spec, public_key, evidence, handle, public.get("handle"))


def _material(
    key_type: str, read: t.Mapping[str, t.Any]
) -> tuple[str, KeySpec | None, PublicKey | None]:
    """Return what a key is in words, what of it Azure knows, and its public key as far as it is told."""
    if key_type == "RSA":
        modulus, exponent = (
            int.from_bytes(read[part] or b"", "big") for part in _PUBLIC_PARTS["RSA"]
        )
        spec = KeySpec("RSA", size=modulus.bit_length())
        return str(spec), spec, RsaPublicKey(modulus, exponent) if modulus and exponent else None
    if key_type == "EC":
        parameters = read["EC_PARAMS"] or b""
        curve = curve_of_parameters(parameters)
        if curve is None:
            return f"EC on the curve {parameters.hex()}", None, None
        spec = KeySpec("EC", curve=curve.name)
        point = read["EC_POINT"]
        return curve.name, spec, ec_public_key(curve.name, point) if point else None
    if key_type == "AES":
        spec = KeySpec("oct", size=8 * (read["VALUE_LEN"] or 0))
        return str(spec), spec, None
    return key_type, None, None


def _listing(generations: t.Iterable[Generation]) -> str:
    return ", ".join(f"{key.hex_id} ({key.kind}, {key.identity})" for key in generations) or "none"
