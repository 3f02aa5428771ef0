# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The certificates of an attestation, read from their DER; only signatures ask a library.

Path validators refuse these chains, and cryptography will one day refuse some of their
certificates: adapters have X.509 version 1, makers' roots the serial number 0 (recordings). So
what is needed of them is read here: RFC 5280, section 4.1, and X.690.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)

#: What a bundle may have, in bytes and certificates; recorded ones have 4 and some 5 KiB
_MOST_BYTES = 1 << 17
_MOST_CERTIFICATES = 32

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")

# Tags of X.690
_INTEGER, _BIT_STRING, _OBJECT_ID, _SEQUENCE, _SET = 0x02, 0x03, 0x06, 0x30, 0x31
_UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x17, 0x18, 0xA0
_TEXTS = (0x0C, 0x13, 0x14, 0x16)  # UTF8String, PrintableString, TeletexString, IA5String

_COMMON_NAME = bytes.fromhex("550403")

#: The AlgorithmIdentifier of sha256WithRSAEncryption (RFC 4055), which all of them have
_SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")


class BadCertificate(ByokError):
    """A certificate that cannot be read."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"A certificate of the attestation cannot be read: {why}",
            "Fetch the attestation again. If it stays so, report the sentence",
            code="attestation_malformed",
        )


@dataclass(frozen=True)
class _Element:
    """One element of DER.

    :ivar whole: with its tag and length
    """

    tag: int
    content: bytes
    whole: bytes

    def children(self) -> list[_Element]:
        """Return the elements that it consists of."""
        return list(_elements(self.content))

    def expect(self, tag: int) -> _Element:
        """Return this element.

        :raises BadCertificate: when it has another tag
        """
        if self.tag != tag:
            raise BadCertificate(f"0x{self.tag:02x} is where 0x{tag:02x} belongs")
        return self


@dataclass(frozen=True)
class Certificate:
    """What is needed of an X.509 certificate.

    :ivar der: the whole certificate
    :ivar issuer: the issuer's name, as DER
    :ivar subject: the subject's name, as DER
    :ivar key: the SubjectPublicKeyInfo, as DER
    :ivar begins: when it begins to be valid
    :ivar ends: when it ends to be valid
    """

    der: bytes
    issuer: bytes
    subject: bytes
    key: bytes
    begins: datetime
    ends: datetime
    _signed: bytes
    _signature: bytes

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, in hexadecimal digits."""
        return hashlib.sha256(self.der).hexdigest()

    @cached_property
    def common_name(self) -> str:
        """The subject's common name, empty when it has none or more than one."""
        names = list(_common_names(self.subject))
        return names[0] if len(names) == 1 else ""

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Tell whether another certificate's key signed this one, in the name of its subject."""
        if self.issuer != issuer.subject:
            return False
        return verifies(issuer.key, self._signature, self._signed)

    def is_in_force(self, now: datetime) -> bool:
        """Tell whether a moment is within its validity."""
        return self.begins <= now <= self.ends


def read_bundle(text: str) -> tuple[Certificate, ...]:
    """Read the certificates of a PEM text, of which each counts once.

    :raises BadCertificate: for what is none, and for none at all
    """
    if len(text) > _MOST_BYTES:
        raise BadCertificate(f"the bundle has {len(text)} characters")
    blocks = _PEM.findall(text)
    if not 0 < len(blocks) <= _MOST_CERTIFICATES:
        raise BadCertificate(f"the bundle has {len(blocks)} of them")
    ders = []
    for block in blocks:
        try:
            ders.append(base64.b64decode("".join(block.split()), validate=True))
        except binascii.Error:
            raise BadCertificate("one is no base64") from None
    return tuple(read_certificate(der) for der in dict.fromkeys(ders))


def read_makers(texts: Iterable[str]) -> tuple[Certificate, ...]:
    """Read roots of makers beside Marvell.

    :param texts: in PEM
    :raises ByokError: for what is no certificate, such as the path of a file
    """
    made: list[Certificate] = []
    for number, text in enumerate(texts, 1):
        try:
            made += read_bundle(text)
        except BadCertificate as error:
            raise ByokError(
                f"Root {number} in attestation_maker_roots is no certificate that can be read",
                "Give the text of the certificate in PEM, not the path of its file",
                code="attestation_maker",
            ) from error
    return tuple(made)


def read_certificate(der: bytes) -> Certificate:
    """Read one certificate.

    :raises BadCertificate: for what is none, and for one that is not signed by RSA and SHA-256
    """
    whole = _only(der).expect(_SEQUENCE)
    signed, algorithm, signature = _exactly(whole.children(), 3)
    fields = signed.expect(_SEQUENCE).children()
    if fields[:1] and fields[0].tag == _VERSION:
        del fields[0]
    if len(fields) < 6:
        raise BadCertificate("it has too few fields")
    serial, inner_algorithm, issuer, validity, subject, key = fields[:6]
    serial.expect(_INTEGER)
    if algorithm.whole != _SHA256_RSA or inner_algorithm.whole != _SHA256_RSA:
        raise BadCertificate("it is not signed by RSA and SHA-256")
    begins, ends = _exactly(validity.expect(_SEQUENCE).children(), 2)
    return Certificate(
        der=der,
        issuer=issuer.expect(_SEQUENCE).whole,
        subject=subject.expect(_SEQUENCE).whole,
        key=key.expect(_SEQUENCE).whole,
        begins=_moment(begins),
        ends=_moment(ends),
        _signed=signed.whole,
        _signature=_bits(signature),
    )


def verifies(key: bytes, signature: bytes, signed: bytes) -> bool:
    """Tell whether an RSA key signed something, by PKCS#1 v1.5 and SHA-256.

    :param key: the SubjectPublicKeyInfo, as DER
    """
    hashes, padding, public_key = _library(key)
    return _accepts(
        lambda: public_key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    )


def verifies_bare_digest(key: bytes, signature: bytes, digest: bytes) -> bool:
    """Tell whether an RSA key signed a digest that stands in the padding of PKCS#1 v1.5 alone.

    :param key: the SubjectPublicKeyInfo, as DER
    """
    _hashes, padding, public_key = _library(key)
    found: list[bytes] = []
    accepted = _accepts(
        lambda: found.append(
            public_key.recover_data_from_signature(signature, padding.PKCS1v15(), None)
        )
    )
    return accepted and found == [digest]


def _library(key: bytes) -> tuple[t.Any, t.Any, t.Any]:
    """Return cryptography's hashes and padding, and the key as its object.

    :raises BadCertificate: for a key that is not of RSA
    """
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
        from cryptography.hazmat.primitives.serialization import load_der_public_key
    except ImportError as error:
        raise MissingLibrary("cryptography", error) from error
    try:
        public_key = load_der_public_key(key)
    except Exception as error:  # whatever the library finds wrong with it
        raise BadCertificate(f"its key is unusable ({type(error).__name__})") from None
    if not isinstance(public_key, rsa.RSAPublicKey):
        raise BadCertificate("its key is not of RSA")
    return hashes, padding, public_key


def _accepts(check: t.Callable[[], None]) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        check()
    except InvalidSignature:
        return False
    return True


def _elements(content: bytes) -> Iterator[_Element]:
    """Yield the elements of DER that fill ``content``: definite lengths, as short as they can be.

    :raises BadCertificate: for anything else
    """
    position = 0
    while position < len(content):
        begin = position
        if position + 2 > len(content):
            raise BadCertificate("it is cut off")
        tag, length = content[position], content[position + 1]
        position += 2
        if length >= 0x80:
            octets = content[position : position + length - 0x80]
            position += length - 0x80
            length = int.from_bytes(octets, "big")
            if not 1 <= len(octets) <= 4 or octets[0] == 0 or length < 0x80:
                raise BadCertificate("a length is not in DER")
        end = position + length
        if end > len(content):
            raise BadCertificate("it is cut off")
        yield _Element(tag, content[position:end], content[begin:end])
        position = end


def _only(content: bytes) -> _Element:
    return _exactly(list(_elements(content)), 1)[0]


def _exactly(elements: list[_Element], count: int) -> list[_Element]:
    if len(elements) != count:
        raise BadCertificate(f"{len(elements)} elements are where {count} belong")
    return elements


def _bits(element: _Element) -> bytes:
    content = element.expect(_BIT_STRING).content
    if content[:1] != b"\0":
        raise BadCertificate("its signature has no whole number of bytes")
    return content[1:]


def _moment(element: _Element) -> datetime:
    """Read a time of a validity (RFC 5280, 4.1.2.5)."""
    shapes = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}
    text = element.content.decode("ascii", "replace")
    try:
        moment = datetime.strptime(text, shapes[element.tag])
    except (KeyError, ValueError):
        raise BadCertificate("a time of its validity is none") from None
    if element.tag == _UTC_TIME:
        year = int(text[:2])
        moment = moment.replace(year=year + (1900 if year >= 50 else 2000))
    return moment.replace(tzinfo=timezone.utc)


def _common_names(name: bytes) -> Iterator[str]:
    """Yield the common names in a Name; one component may have several attributes."""
    for component in _only(name).children():
        for attribute in component.expect(_SET).children():
            kind, value = _exactly(attribute.expect(_SEQUENCE).children(), 2)
            if kind.expect(_OBJECT_ID).content == _COMMON_NAME and value.tag in _TEXTS:
                yield value.content.decode("utf-8", "backslashreplace")
