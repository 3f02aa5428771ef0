# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an HSM adapter states about a key, read from its bytes; pure.

Two layouts occur in Azure's answers (both in recordings of them, none in a document). What is not
recognised to the last byte is refused, never guessed.
"""

from __future__ import annotations

import hashlib
import struct
import typing as t
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: Bytes of the signature: RSA-2048 by the partition's key (recordings)
_SIGNATURE = 256

#: Zeros between the object and the signature in layout A (recordings)
_PADDING = 264

#: What a statement may have when it is inflated, in bytes; the largest recorded one has 2,112
_MOST_BYTES = 1 << 16

#: Zeros that may stand behind the attributes of an object of layout A: 16 or 25 were recorded
_MOST_SLACK = 32

_GZIP = b"\x1f\x8b"
_LAYOUT_A = bytes(16)
_OBJECT_HEADER = 12

# Attributes of PKCS#11 3.1 (4.2 and 4.4 to 4.9), by the numbers that the statement has for them
CLASS = 0x0000
TOKEN = 0x0001
PRIVATE = 0x0002
KEY_TYPE = 0x0100
ID = 0x0102
SENSITIVE = 0x0103
MODULUS = 0x0120
PUBLIC_EXPONENT = 0x0122
EXTRACTABLE = 0x0162
LOCAL = 0x0163
NEVER_EXTRACTABLE = 0x0164
ALWAYS_SENSITIVE = 0x0165

_PRIVATE_KEY = 3
_SECRET_KEY = 4

_KEY_TYPES = {0x00: "RSA", 0x03: "EC", 0x1F: "AES"}


class Malformed(ByokError):
    """An attestation that cannot be read, or says something about itself that cannot be true."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"The attestation cannot be read: {why}",
            "Fetch it again (az keyvault key get-attestation). If it stays so, report the sentence "
            "with the firmware that its certificates name",
            code="attestation_malformed",
        )


@dataclass(frozen=True)
class HsmObject:
    """A key as the adapter describes it.

    :ivar attributes: values by the attribute's number
    """

    attributes: Mapping[int, bytes]

    @property
    def is_secret(self) -> bool:
        """Whether it is a private or a symmetric key."""
        return self.number(CLASS) in (_PRIVATE_KEY, _SECRET_KEY)

    @property
    def key_type(self) -> str | None:
        """``RSA``, ``EC`` or ``AES``; None for any other."""
        return _KEY_TYPES.get(self.number(KEY_TYPE))

    @property
    def id(self) -> str:
        """CKA_ID, in which Azure writes the name and the version of the key."""
        return self._value(ID).rstrip(b"\0").decode("ascii", "backslashreplace")

    def number(self, attribute: int) -> int:
        """Return a value as a number.

        :raises Malformed: when it is not there
        """
        return int.from_bytes(self._value(attribute), "big")

    def is_set(self, attribute: int) -> bool:
        """Return a boolean.

        :raises Malformed: when it is not there, and for what is none
        """
        value = self._value(attribute)
        if value not in (b"\0", b"\1"):
            raise Malformed(f"the attribute 0x{attribute:04x} is no yes or no")
        return value == b"\1"

    def point(self) -> bytes:
        """Return the point of an EC key: 04, x and y."""
        return self._value(MODULUS)

    def _value(self, attribute: int) -> bytes:
        try:
            return self.attributes[attribute]
        except KeyError:
            raise Malformed(f"the attribute 0x{attribute:04x} is not there") from None


@dataclass(frozen=True)
class Statement:
    """What the adapter signed.

    :ivar bare_digest: whether the signature is around the bare digest, without the DigestInfo of
        PKCS#1 (layout A)
    """

    objects: tuple[HsmObject, ...]
    signed: bytes
    signature: bytes
    bare_digest: bool

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was signed."""
        return hashlib.sha256(self.signed).digest()


def parse_statement(raw: bytes) -> Statement:
    """Read a statement, which may be compressed by gzip.

    :raises Malformed: for what is not, to the last byte, one of the two layouts
    """
    content = _inflated(raw) if raw.startswith(_GZIP) else raw
    if len(content) <= _SIGNATURE or len(content) > _MOST_BYTES:
        raise Malformed(f"{len(content)} bytes are no statement")
    signed, signature = content[:-_SIGNATURE], content[-_SIGNATURE:]
    in_layout_a = content.startswith(_LAYOUT_A)
    objects = tuple(_layout_a(content) if in_layout_a else _layout_b(content))
    return Statement(objects, signed, signature, bare_digest=in_layout_a)


def _inflated(raw: bytes) -> bytes:
    inflating = zlib.decompressobj(wbits=31)
    try:
        content = inflating.decompress(raw, _MOST_BYTES)
    except zlib.error:
        raise Malformed("it is no gzip, though it begins like one") from None
    if not inflating.eof or inflating.unused_data:
        raise Malformed("it is cut off, too large or followed by something after inflating")
    return content


def _layout_a(content: bytes) -> Iterator[HsmObject]:
    """16 zeros, the object's size with its header, the object, zeros, the signature."""
    (size,) = _numbers(content, len(_LAYOUT_A), "I")
    begin = len(_LAYOUT_A) + 4
    if len(content) != begin + size + _PADDING + _SIGNATURE:
        raise Malformed("its length is not that which its header tells")
    if any(content[begin + size : -_SIGNATURE]):
        raise Malformed("something stands between the object and the signature")
    yield _object(content[begin : begin + size], _MOST_SLACK)


def _layout_b(content: bytes) -> Iterator[HsmObject]:
    """A header of the response; one of the objects, which tells their offsets; the signature."""
    code, _flags, total, buffer = _numbers(content, 0, "IIII")
    if code != 0 or total != len(content):
        raise Malformed("its header tells another length, or an error")
    info = len(content) - buffer - _SIGNATURE
    if info < 16:
        raise Malformed("its header tells more than there is")
    version, _flags, *offsets = _numbers(content, info, "HHHH")
    if version != 1:
        raise Malformed(f"objects of the version {version} are unknown")
    first, second = offsets
    begins = [info + offset for offset in (first, second) if offset]
    ends = [*begins[1:], len(content) - _SIGNATURE]
    if begins[:1] != [info + 8] or begins != sorted(begins):
        raise Malformed("its objects are not where its header tells")
    for begin, end in zip(begins, ends, strict=True):
        yield _object(content[begin:end], slack=0)


def _object(content: bytes, slack: int) -> HsmObject:
    """Read an object that fills ``content`` but for so many zeros at its end at most."""
    _handle, count, size = _numbers(content, 0, "III")
    if size != len(content) - _OBJECT_HEADER:
        raise Malformed("an object has not the size that its header tells")
    attributes: dict[int, bytes] = {}
    position = _OBJECT_HEADER
    for _number in range(count):
        tag, length = _numbers(content, position, "II")
        position += 8
        if tag in attributes:
            raise Malformed(f"the attribute 0x{tag:04x} is there twice")
        attributes[tag] = content[position : position + length]
        position += length
        if position > len(content):
            raise Malformed("an attribute ends behind its object")
    rest = content[position:]
    if len(rest) > slack or any(rest):
        raise Malformed("something stands behind the attributes")
    return HsmObject(attributes)


def _numbers(content: bytes, offset: int, shape: str) -> tuple[t.Any, ...]:
    """Return big-endian numbers.

    :param shape: of :mod:`struct`, without the byte order
    """
    try:
        return struct.unpack_from(f">{shape}", content, offset)
    except struct.error:
        raise Malformed("it is cut off") from None
