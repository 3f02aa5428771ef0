# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The key transfer package, the ``.byok`` file: build, parse, lint; pure.

The format is Microsoft's "Bring your own key specification": JSON whose ciphertext is
RSA-OAEP(KEK, AES key) followed by AES-KWP(AES key, target key), RFC 5649.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    KeyId,
    parse_key_id,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json

SCHEMA_VERSION = "1.0.0"
ENC = "CKM_RSA_AES_KEY_WRAP"

#: Bytes of the plain target key, shortest to longest. RSA: PKCS#8 of RFC 8017's RSAPrivateKey,
#: whose integers may be a few bytes shorter. Some tokens add attributes. oct: the raw key. Measured
#: with OpenSSL, SoftHSM and NSS: RSA 1217, 1794, 2373.
_PLAINTEXT_BYTES = {
    "RSA-2048": (1190, 1270),
    "RSA-3072": (1765, 1845),
    "RSA-4096": (2340, 2425),
    **{curve.name: curve.pkcs8_bytes for curve in CURVES.values()},
    "AES-128": (16, 16),
    "AES-192": (24, 24),
    "AES-256": (32, 32),
}

_REMAKE = "Wrap the key again with byok_wrap, and transfer the file unchanged"


@dataclass(frozen=True)
class Package:
    """A parsed package.

    :ivar kid: the KEK's identifier with its version
    :ivar ciphertext: OAEP part and KWP part
    :ivar generator: free text of the tool that made it
    """

    kid: str
    ciphertext: bytes
    generator: str


def parse_kid(kid: str) -> KeyId:
    """Take a key identifier apart.

    :raises ByokError: when it names no version
    """
    key_id = parse_key_id(kid)
    if key_id is None:
        raise ByokError(
            f"{kid!r} does not name one version of a key",
            "Give the KEK's identifier with its version: https://VAULT/keys/NAME/VERSION, as "
            "byok_kek returns it",
        )
    return key_id


def build(kid: str, ciphertext: bytes, generator: str) -> str:
    """Return the text of a package."""
    return _text({"kid": kid}, ciphertext, generator)


def build_escrow(fingerprint: str, ciphertext: bytes, generator: str) -> str:
    """Return the text of an escrow package.

    It has the same format, but is for the key with that fingerprint and for no vault.
    """
    return _text({"escrow": f"sha256:{fingerprint}"}, ciphertext, generator)


def _text(recipient: dict[str, str], ciphertext: bytes, generator: str) -> str:
    document = {
        "schema_version": SCHEMA_VERSION,
        "header": {**recipient, "alg": "dir", "enc": ENC},
        "ciphertext": base64.urlsafe_b64encode(ciphertext).decode().rstrip("="),
        "generator": generator,
    }
    return json.dumps(document)


def digest(text: str) -> str:
    """Return the SHA-256 of a package's bytes as hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def spoken(sha256: str) -> str:
    """Return a SHA-256 as people read it to each other: 16 groups of four hexadecimal digits."""
    return " ".join(sha256[first : first + 4] for first in range(0, len(sha256), 4))


def parse_sha256(text: str) -> str:
    """Return a package's SHA-256 as 64 hexadecimal digits in lower case.

    Blanks and colons between the digits are dropped, as people write and read them.

    :raises ByokError: when it is none
    """
    digits = re.sub(r"[\s:]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ByokError(
            f"{text!r} is not the SHA-256 of a package",
            "Give its 64 hexadecimal digits, as byok_wrap returns them (sha256)",
        )
    return digits


def parse(text: str) -> Package:
    """Read a package; base64url with or without padding, both seen in packages that Azure took.

    :raises ByokError: naming the member that is not as the specification says
    """
    document, header = _read(text)
    if "escrow" in header:
        raise ByokError(
            f"This package is for the escrow key {header['escrow']} and not for a vault",
            "Give the package that byok_wrap made under the vault's KEK",
        )
    kid = str(header.get("kid"))
    parse_kid(kid)
    return Package(kid, _decode(document.get("ciphertext")), str(document.get("generator", "")))


def escrow_fingerprint(text: str) -> str | None:
    """Return the fingerprint of the escrow key that a package is for; None where it is for a vault.

    :raises ByokError: naming the member that is not as the specification says
    """
    _document, header = _read(text)
    return str(header["escrow"]).removeprefix("sha256:") if "escrow" in header else None


def _read(text: str) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return a package's JSON document, and its header.

    :raises ByokError: naming the members that are not as the specification says
    """
    try:
        document = parse_json(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ByokError("The key transfer package is not a JSON object", _REMAKE)
    header = document.get("header")
    members = header if isinstance(header, dict) else {}
    specified = (
        ("schema_version", document.get("schema_version"), SCHEMA_VERSION),
        ("header.alg", members.get("alg"), "dir"),
        ("header.enc", members.get("enc"), ENC),
    )
    wrong = [
        f"{member} is {actual!r} instead of {expected!r}"
        for member, actual, expected in specified
        if actual != expected
    ]
    if wrong:
        raise ByokError(
            f"The key transfer package does not follow the specification: {'; '.join(wrong)}",
            _REMAKE,
        )
    return document, members


def lint(package: Package, spec: KeySpec, kek_size: int) -> None:
    """See, without any private key, that the ciphertext can be a key of ``spec``.

    :param kek_size: of the KEK in bits
    :raises ByokError: when its length says that it cannot
    """
    check_wrapped_length(len(package.ciphertext) - kek_size // 8, spec)


def check_wrapped_length(length: int, spec: KeySpec) -> None:
    """See that ``length`` bytes can be the KWP part (RFC 5649, 4.1) of a key of ``spec``.

    :raises ByokError: otherwise
    """
    shortest, longest = (8 * -(-plain // 8) + 8 for plain in _PLAINTEXT_BYTES[str(spec)])
    if length % 8 or not shortest <= length <= longest:
        raise ByokError(
            f"The wrapped key is {length} bytes long, which no {spec} key can be (RFC 5649 makes "
            f"{shortest} to {longest})",
            "The package is truncated, made under a KEK of another size, or holds another type of "
            f"key. {_REMAKE}",
        )


def _decode(ciphertext: t.Any) -> bytes:
    text = ciphertext.rstrip("=") if isinstance(ciphertext, str) else ""
    if not re.fullmatch(r"[0-9A-Za-z_-]+", text) or len(text) % 4 == 1:
        raise ByokError("The ciphertext of the key transfer package is not base64url", _REMAKE)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
