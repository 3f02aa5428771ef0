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
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import quoted

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

#: What a package by this collection begins its ``generator`` with
_OURS = "keyferry.azure "

#: Members as the specification writes them, by their names without case and underscores
_MEMBERS = {
    name.replace("_", ""): name
    for name in ("schema_version", "header", "ciphertext", "generator", "kid", "alg", "enc")
}

_BASE64URL = re.compile(r"[0-9A-Za-z_-]*")


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
            f"{quoted(kid)} does not name one version of a key",
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
    generator = str(document.get("generator", ""))
    problem = ciphertext_problem(document.get("ciphertext"))
    if problem:
        raise ByokError(problem, remake(generator))
    return Package(kid, decode_ciphertext(document["ciphertext"]), generator)


def escrow_fingerprint(text: str) -> str | None:
    """Return the fingerprint of the escrow key that a package is for; None where it is for a vault.

    :raises ByokError: naming the member that is not as the specification says
    """
    _document, header = _read(text)
    return str(header["escrow"]).removeprefix("sha256:") if "escrow" in header else None


def remake(generator: str) -> str:
    """Return what to do about a package that cannot be imported, by the tool that made it."""
    tool = "byok_wrap" if generator.startswith(_OURS) else "the tool that made the package"
    return f"Wrap the key again with {tool}, and transfer the file unchanged"


def _read(text: str) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
    """Return a package's JSON document, and its header.

    :raises ByokError: naming the members that are not as the specification says
    """
    document = read_document(text)
    problems = member_problems(document)
    if problems:
        raise ByokError(
            f"The key transfer package does not follow the specification: {'; '.join(problems)}",
            remake(str(document.get("generator", ""))),
        )
    return document, document["header"]


def read_document(text: str) -> dict[str, t.Any]:
    """Return the JSON object that a package must be.

    :raises ByokError: when it is something else
    """
    if not text.strip():
        raise ByokError("The key transfer package is empty", "Transfer the file again")
    try:
        document = parse_json(text)
    except ValueError as error:
        document, why = None, f" ({error})"
    else:
        why = ""
    if not isinstance(document, dict):
        raise ByokError(f"The key transfer package is not a JSON object{why}", remake(""))
    if inner_package(document) is not None:
        raise ByokError(
            "This is the body of a request to Azure, and not a key transfer package",
            "Give the package itself, which is base64 in its member key_hsm",
        )
    return document


def inner_package(document: t.Mapping[str, t.Any]) -> str | None:
    """Return what a body of a request (Microsoft, REST reference, "Import Key") has in ``key_hsm``.

    :returns: base64 or base64url; None for what is no such body
    """
    key = document.get("key", document)
    inner = key.get("key_hsm", key.get("t")) if isinstance(key, dict) else None
    return inner if isinstance(inner, str) and "ciphertext" not in document else None


def member_problems(document: t.Mapping[str, t.Any]) -> list[str]:
    """Return what is wrong with the members of a package, but for kid and ciphertext."""
    header = document.get("header")
    members = header if isinstance(header, dict) else {}
    renamed = [
        f"{name!r} is written instead of {_MEMBERS[plain]!r}"
        for name in (*document, *members)
        if (plain := name.replace("_", "").lower()) in _MEMBERS and name != _MEMBERS[plain]
    ]
    specified = (
        ("schema_version", document.get("schema_version"), SCHEMA_VERSION),
        ("header.alg", members.get("alg"), "dir"),
        ("header.enc", members.get("enc"), ENC),
    )
    return renamed or [
        f"{member} is {quoted(actual)} instead of {expected!r}"
        for member, actual, expected in specified
        if actual != expected
    ]


def lint(package: Package, spec: KeySpec, kek_size: int) -> None:
    """See, without any private key, that the ciphertext can be a key of ``spec``.

    :param kek_size: of the KEK in bits
    :raises ByokError: when its length says that it cannot
    """
    length = len(package.ciphertext) - kek_size // 8
    check_wrapped_length(length, spec, remake(package.generator))


def check_wrapped_length(length: int, spec: KeySpec, remedy: str = "") -> None:
    """See that ``length`` bytes can be the KWP part (RFC 5649, 4.1) of a key of ``spec``.

    :raises ByokError: otherwise
    """
    shortest, longest = _wrapped_bytes(str(spec))
    if length % 8 or not shortest <= length <= longest:
        raise ByokError(
            f"The wrapped key is {length} bytes long, which no {spec} key can be (RFC 5649 makes "
            f"{shortest} to {longest})",
            "The package is truncated, made under a KEK of another size, or holds another type of "
            f"key. {remedy or remake(_OURS)}",
        )


def fitting_keys(ciphertext_bytes: int, kek_size: int) -> list[str]:
    """Return the keys that a ciphertext under a KEK of that size can be, such as ``RSA-2048``.

    :param kek_size: in bits
    """
    length = ciphertext_bytes - kek_size // 8
    ranges = {key: _wrapped_bytes(key) for key in _PLAINTEXT_BYTES}
    return [
        key
        for key, (shortest, longest) in ranges.items()
        if length % 8 == 0 and shortest <= length <= longest
    ]


def _wrapped_bytes(key: str) -> tuple[int, int]:
    """Return the least and the most that RFC 5649 makes of a key: 8 bytes, and whole blocks."""
    shortest, longest = _PLAINTEXT_BYTES[key]
    return 8 * -(-shortest // 8) + 8, 8 * -(-longest // 8) + 8


def ciphertext_problem(ciphertext: t.Any) -> str | None:
    """Return what keeps a ciphertext from being base64url; None where nothing does."""
    what = "The ciphertext of the key transfer package is not base64url"
    if not isinstance(ciphertext, str) or not ciphertext:
        return f"{what}: it is {'empty' if ciphertext == '' else 'no text'}"
    text = ciphertext.rstrip("=")
    end = t.cast("re.Match[str]", _BASE64URL.match(text)).end()
    if end < len(text):
        standard = "standard base64, which has " if text[end] in "+/\r\n" else ""
        return f"{what}: {standard}{text[end]!r} as character {end + 1}"
    if len(text) % 4 == 1:
        return f"{what}: it is truncated after {len(text)} characters"
    return None


def decode_ciphertext(ciphertext: str) -> bytes:
    """Return the bytes of a ciphertext without a problem."""
    text = ciphertext.rstrip("=")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
