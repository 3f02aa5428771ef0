# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Generations of target keys in the token: list them once, choose, judge, make, lock."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._declaration import Declaration, KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._public_key import (
    PublicKey,
    RsaPublicKey,
    curve_of_parameters,
    curve_parameters,
    ec_public_key,
    thumbprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token._errors import calling
from ansible_collections.keyferry.azure.plugins.module_utils._token._generation_id import is_ours, make_id
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token

#: CK_UNAVAILABLE_INFORMATION, which tokens give as CKA_KEY_GEN_MECHANISM of keys made elsewhere
_UNAVAILABLE = 2 ** (8 * 8) - 1

#: The public exponent of RSA keys, which python-pkcs11 asks the token for
RSA_EXPONENT = 65537

#: CKA_* that say where a key comes from and what may be done with it (PKCS#11 v3.1, 4.8 to 4.10)
_EVIDENCE = ("LOCAL", "ALWAYS_SENSITIVE", "SENSITIVE", "EXTRACTABLE", "NEVER_EXTRACTABLE", "KEY_GEN_MECHANISM")

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
    :ivar handle: the private or secret key as python-pkcs11's object
    """

    id: bytes
    kind: str
    spec: KeySpec | None
    public_key: PublicKey | None
    evidence: t.Mapping[str, t.Any]
    handle: t.Any

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
            "origin": self.origin,
            **self.evidence,
        }


def list_generations(token: Token, names: t.Collection[str]) -> dict[str, list[Generation]]:
    """List the generations of the named keys, oldest first; adopted ones before all of ours.

    The token is searched once per type of key, never once per name: on large tokens a search costs 0.1 s.

    :raises ByokError: when the token refuses
    """
    from pkcs11 import Attribute, KeyType, ObjectClass

    found: dict[str, list[Generation]] = {name: [] for name in names}
    only = {Attribute.LABEL: next(iter(names))} if len(names) == 1 else {}
    points: dict[bytes, bytes] | None = None
    # Types that are never brought are listed as well, because a label that they hold is taken.
    for object_class, types in (
        (ObjectClass.PRIVATE_KEY, (KeyType.RSA, KeyType.EC, KeyType.DSA, KeyType.DH, KeyType.EC_EDWARDS)),
        (ObjectClass.SECRET_KEY, (KeyType.AES, KeyType.DES3, KeyType.GENERIC_SECRET)),
    ):
        for key_type in types:
            for handle in _search(token, {Attribute.CLASS: object_class, Attribute.KEY_TYPE: key_type, **only}):
                read = _read(token, handle, ("LABEL", "ID"))
                name = read["CKA_LABEL"]
                if name not in found:
                    continue
                if key_type is KeyType.EC and points is None:
                    points = _ec_points(token, only)
                found[name].append(_describe(token, handle, key_type, read["CKA_ID"] or b"", points or {}))
    return {name: sorted(keys, key=lambda key: (is_ours(key.id), key.id)) for name, keys in found.items()}


def choose(declaration: Declaration, generations: t.Sequence[Generation]) -> Generation | None:
    """Return the generation that the declaration means: the named one, else the newest; None when there is none.

    :raises ByokError: when the named one is not there, or several adopted keys share the label
    """
    name = declaration.name
    if declaration.generation:
        for generation in generations:
            if generation.hex_id == declaration.generation:
                return generation
        raise ByokError(
            f"No key labelled {name} has the CKA_ID {declaration.generation}; there are: {_listing(generations)}",
            "Correct generation, or leave it out",
        )
    if len(generations) > 1 and not is_ours(generations[-1].id):
        raise ByokError(
            f"{len(generations)} keys that were made elsewhere are labelled {name}: {_listing(generations)}",
            "Set generation to the CKA_ID of the one you mean",
        )
    return generations[-1] if generations else None


def refuse_unfit(declaration: Declaration, generation: Generation, token: Token) -> None:
    """Refuse a key that is not what is declared, or that must not or cannot be brought.

    :raises ByokError: naming the attribute
    """
    what = f"The key {declaration.name} ({generation.hex_id}) in the {token.info}"
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
    if not generation.evidence["CKA_SENSITIVE"]:
        raise ByokError(f"{what} has CKA_SENSITIVE false, so its value can be read in the clear", "Use a key made as sensitive")
    if not generation.evidence["CKA_EXTRACTABLE"] and declaration.after_transfer != "lock":
        raise ByokError(
            f"{what} has CKA_EXTRACTABLE false, so it can never leave the token",
            "Make another key as extractable; this attribute cannot be switched on",
        )
    if generation.origin == "external" and not declaration.allow_external_origin:
        attribute = "CKA_LOCAL" if generation.evidence["CKA_LOCAL"] is False else "CKA_ALWAYS_SENSITIVE"
        raise ByokError(
            f"{what} has {attribute} false: it came into the token from outside, so others may hold it",
            "Use a key made in the token, or set allow_external_origin if you know where it came from",
        )


def make(token: Token, declaration: Declaration, existing: t.Sequence[Generation]) -> Generation:
    """Make a new generation in the token.

    :raises ByokError: when the token refuses
    """
    from pkcs11 import Attribute, KeyType

    spec = declaration.spec
    identifier = make_id(time.time_ns() // 1_000_000, os.urandom(10), [key.id for key in existing])
    common = {Attribute.TOKEN: True, Attribute.LABEL: declaration.name, Attribute.ID: identifier}
    secret = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: True}
    private_usage, public_usage = (
        {getattr(Attribute, usage): operation in declaration.wanted_operations for operation, usage in usages.items()}
        for usages in (_PRIVATE_USAGE, _PUBLIC_USAGE)
    )
    templates = {
        "public_template": {**common, Attribute.PRIVATE: False, **public_usage},
        "private_template": {**common, **secret, **private_usage},
    }
    # capabilities=0 keeps python-pkcs11's broad defaults out; the templates name every use.
    with calling("C_GenerateKey", f"Making the {spec} key {declaration.name} in the {token.info}"):
        if spec.type == "RSA":
            _public, key = token.session.generate_keypair(KeyType.RSA, spec.size, capabilities=0, **templates)
        elif spec.type == "EC":
            parameters = token.session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: curve_parameters(str(spec.curve))}, local=True
            )
            _public, key = parameters.generate_keypair(capabilities=0, **templates)
        else:
            template = {**common, **secret, **private_usage, **public_usage}
            key = token.session.generate_key(KeyType.AES, spec.size, capabilities=0, template=template)
    points = {identifier: _public[Attribute.EC_POINT]} if spec.type == "EC" else {}
    return _describe(token, key, key.key_type, identifier, points)


def lock(token: Token, name: str, generation: Generation) -> None:
    """Set CKA_EXTRACTABLE to false, for ever.

    :raises ByokError: when the token refuses
    """
    from pkcs11 import Attribute

    with calling("C_SetAttributeValue", f"Locking the key {name} ({generation.hex_id}) in the {token.info}"):
        generation.handle[Attribute.EXTRACTABLE] = False


def _search(token: Token, template: dict[t.Any, t.Any]) -> list[t.Any]:
    with calling("C_FindObjects", f"Searching the {token.info}"):
        return list(token.session.get_objects(template))  # an iterator left open would block the next search


def _read(token: Token, handle: t.Any, attributes: t.Iterable[str]) -> dict[str, t.Any]:
    """Return CKA_* by name; None where the token does not tell."""
    from pkcs11 import Attribute

    wanted = {name: Attribute[name] for name in attributes}
    with calling("C_GetAttributeValue", f"Reading a key of the {token.info}"):
        values = handle.get_attributes(list(wanted.values()))
    return {f"CKA_{name}": values.get(attribute) for name, attribute in wanted.items()}


def _ec_points(token: Token, only: dict[t.Any, t.Any]) -> dict[bytes, bytes]:
    """Return CKA_EC_POINT by CKA_ID: a private EC key does not hold its point."""
    from pkcs11 import Attribute, KeyType, ObjectClass

    template = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: KeyType.EC, **only}
    read = [_read(token, handle, ("ID", "EC_POINT")) for handle in _search(token, template)]
    return {key["CKA_ID"]: key["CKA_EC_POINT"] for key in read if key["CKA_ID"] and key["CKA_EC_POINT"]}


def _describe(token: Token, handle: t.Any, key_type: t.Any, identifier: bytes, points: t.Mapping[bytes, bytes]) -> Generation:
    from pkcs11 import KeyType

    kind: str = key_type.name
    spec: KeySpec | None = None
    public_key: PublicKey | None = None
    if key_type is KeyType.RSA:
        read = _read(token, handle, ("MODULUS", "PUBLIC_EXPONENT"))
        modulus, exponent = (int.from_bytes(read[at] or b"", "big") for at in ("CKA_MODULUS", "CKA_PUBLIC_EXPONENT"))
        spec = KeySpec("RSA", size=modulus.bit_length())
        public_key = RsaPublicKey(modulus, exponent) if modulus and exponent else None
    elif key_type is KeyType.EC:
        parameters = _read(token, handle, ("EC_PARAMS",))["CKA_EC_PARAMS"] or b""
        curve = curve_of_parameters(parameters)
        kind = f"EC on the curve {parameters.hex()}"
        if curve:
            spec = KeySpec("EC", curve=curve)
            public_key = ec_public_key(curve, points[identifier]) if identifier in points else None
    elif key_type is KeyType.AES:
        spec = KeySpec("oct", size=8 * (_read(token, handle, ("VALUE_LEN",))["CKA_VALUE_LEN"] or 0))
    evidence = _read(token, handle, _EVIDENCE)
    if evidence["CKA_KEY_GEN_MECHANISM"] == _UNAVAILABLE:
        evidence["CKA_KEY_GEN_MECHANISM"] = None
    return Generation(identifier, str(spec or kind), spec, public_key, evidence, handle)


def _listing(generations: t.Iterable[Generation]) -> str:
    return ", ".join(f"{key.hex_id} ({key.kind}, {key.identity})" for key in generations) or "none"
