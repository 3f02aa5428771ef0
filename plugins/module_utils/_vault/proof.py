# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Proving that the vault holds a key and can use it: an operation there, checked against the
token's key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import typing as t
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    RsaPublicKey,
    to_cryptography,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import AzureError

#: What a private key can prove itself by, best first
_PROVING = {"RSA": ("sign", "decrypt", "unwrapKey"), "EC": ("sign",)}

_RSA_ENCRYPTION = "RSA-OAEP-256"
_SECRET_BYTES = 32


class NotOurKey(ByokError):
    """A version in the vault is another key than the token's, or is not shown to be it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy, code="not_our_key")


class NotProved(ByokError):
    """The vault cannot be asked to prove that it has a key, and a proof was asked for."""

    def __init__(self, vault: Vault, name: str, why: str) -> None:
        super().__init__(
            f"The key {name} in the {vault} is not proved, and prove is set: {why}",
            "Remove what stands in the way, or do not ask for a proof of this key",
            code="not_proved",
        )


def why_unprovable(
    type_: str,
    attributes: t.Mapping[str, t.Any],
    now: datetime,
    challenge: t.Mapping[str, str] | None,
) -> str | None:
    """Return why a version cannot prove that it is the key, also of one that is not there yet.

    :param type_: ``RSA``, ``EC`` or ``oct``, with or without ``-HSM``
    :param attributes: as Version.attributes() gives them
    :param challenge: for oct keys what byok_wrap made in the token
    :returns: None where it can
    """
    not_before, expires = (
        attributes[at] and parse_moment(attributes[at]) for at in ("not_before", "expires")
    )
    if not attributes["enabled"]:
        return "the version is disabled"
    if not_before and not_before > now:
        return "the version is not valid yet"
    if expires and expires <= now:
        return "the version has expired"
    operations = attributes["operations"]
    if _proving_operation(type_, operations, challenge):
        return None
    if not type_.startswith("oct"):
        return f"the operations {', '.join(operations)} use the public key alone"
    if challenge is None:
        return (
            "there is no challenge from the token; byok_wrap makes one for keys that may encrypt "
            "or wrap"
        )
    return f"{answering_operation(challenge)} is not among the operations of the version"


def answering_operation(challenge: t.Mapping[str, str]) -> str:
    """Return the operation by which a vault answers a challenge."""
    return "unwrapKey" if challenge["algorithm"].endswith("KW") else "decrypt"


def _proving_operation(
    type_: str, operations: t.Collection[str], challenge: t.Mapping[str, str] | None
) -> str | None:
    kind = type_.partition("-")[0]
    if kind == "oct":
        proving: tuple[str, ...] = (answering_operation(challenge),) if challenge else ()
    else:
        proving = _PROVING.get(kind, ())
    return next((operation for operation in proving if operation in operations), None)


def prove(
    vault: Vault, name: str, version: Version, challenge: t.Mapping[str, str] | None
) -> dict[str, t.Any]:
    """Have the vault use the key, and check the outcome.

    :param challenge: for oct keys what byok_wrap made in the token
    :returns: ``operation`` and ``algorithm`` of what proved it, or ``unprovable`` with the reason
    :raises NotOurKey: when the vault's outcome is not that of the key
    :raises ByokError: when the vault refuses
    """
    why = why_unprovable(version.type, version.attributes(), vault.now, challenge)
    if why:
        return {"unprovable": why}
    public_key = version.public_key
    operation = _proving_operation(version.type, version.operations, challenge)
    if public_key is None:
        return _prove_oct(vault, name, version, challenge or {})
    if operation == "sign" or not isinstance(public_key, RsaPublicKey):
        return _prove_signature(vault, name, version, public_key)
    return _prove_decryption(vault, name, version, public_key, operation or "decrypt")


def _prove_signature(
    vault: Vault, name: str, version: Version, public_key: RsaPublicKey | EcPublicKey
) -> dict[str, t.Any]:
    """Have the vault sign, and verify the signature; what it takes and returns is as in prove()."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    if isinstance(public_key, RsaPublicKey):
        algorithm, hash_name = "RS256", "sha256"
    else:
        curve = CURVES[public_key.curve]
        algorithm, hash_name = curve.signature, curve.hash
    digest = hashlib.new(hash_name, os.urandom(_SECRET_BYTES)).digest()
    prehashed = utils.Prehashed(getattr(hashes, hash_name.upper())())
    signature = _use(vault, name, version, "sign", algorithm, digest)
    key = to_cryptography(public_key)
    try:
        if isinstance(public_key, RsaPublicKey):
            key.verify(signature, digest, padding.PKCS1v15(), prehashed)
        else:
            half = len(signature) // 2  # RFC 7518, 3.4: r and s side by side
            r = int.from_bytes(signature[:half], "big")
            s = int.from_bytes(signature[half:], "big")
            key.verify(utils.encode_dss_signature(r, s), digest, ec.ECDSA(prehashed))
    except InvalidSignature:
        why = f"its signature ({algorithm}) is not of this key"
        raise _disproved(vault, name, version, why) from None
    return {"operation": "sign", "algorithm": algorithm}


def _prove_decryption(
    vault: Vault, name: str, version: Version, public_key: RsaPublicKey, operation: str
) -> dict[str, t.Any]:
    """Have the vault decrypt a random secret, and compare; it returns what prove() does.

    :param operation: ``decrypt`` or ``unwrapKey``
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    secret = os.urandom(_SECRET_BYTES)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    ciphertext = to_cryptography(public_key).encrypt(secret, oaep)
    if _use(vault, name, version, operation, _RSA_ENCRYPTION, ciphertext) != secret:
        why = f"it does not decrypt ({_RSA_ENCRYPTION}) what its public key encrypted"
        raise _disproved(vault, name, version, why)
    return {"operation": operation, "algorithm": _RSA_ENCRYPTION}


def _prove_oct(
    vault: Vault, name: str, version: Version, challenge: t.Mapping[str, str]
) -> dict[str, t.Any]:
    """Have the vault answer the token's challenge; what it takes and returns is as in prove().

    :param challenge: ``algorithm``, ``ciphertext`` and perhaps ``iv`` in hexadecimal, and
        ``sha256`` of the right answer
    """
    algorithm, ciphertext = challenge["algorithm"], bytes.fromhex(challenge["ciphertext"])
    operation = answering_operation(challenge)
    iv = {"iv": bytes.fromhex(challenge["iv"])} if "iv" in challenge else {}
    try:
        answer = _use(vault, name, version, operation, algorithm, ciphertext, **iv)
    except AzureError as error:
        if error.status != 400:
            raise
        # What another key makes of the challenge has no right padding or check value.
        why = f"it cannot take the token's challenge ({error.what})"
        raise _disproved(vault, name, version, why) from error
    if hashlib.sha256(answer).hexdigest() != challenge["sha256"]:
        why = f"its answer ({algorithm}) to the token's challenge is wrong"
        raise _disproved(vault, name, version, why)
    return {"operation": operation, "algorithm": algorithm}


def _use(
    vault: Vault,
    name: str,
    version: Version,
    operation: str,
    algorithm: str,
    value: bytes,
    **more: bytes,
) -> bytes:
    """Return the outcome of an operation in the vault.

    Not by the SDK's CryptographyClient: it computes some operations locally, for oct keys with a
    random key of its own.

    :param operation: an operation of a key, by Azure's name
    :param algorithm: by its name in JSON Web Algorithms
    :param more: further members of the request, such as ``iv``
    """
    octets = {"value": value, **more}
    body = {"alg": algorithm, **{member: _encode(octets[member]) for member in octets}}
    path = f"/keys/{name}/{version.version}/{operation.lower()}"

    def send(**options: t.Any) -> bytes:
        return _decode(vault.request("POST", path, body, **options).json()["value"])

    return vault.read(f"Proving the key {name} by {operation} in the {vault}", send)


def _encode(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _disproved(vault: Vault, name: str, version: Version, why: str) -> NotOurKey:
    return NotOurKey(
        f"The version {version.version} of the key {name} in the {vault} is not the key of the "
        f"token: {why}",
        "Do not use this version; find out who imported it",
    )
