# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HSM adapters of a maker of the lab's own, and what they state of keys.

Layouts, names and certificates are as in recordings of Azure's answers; nothing describes them.
The partition's certificate and the adapter's change from answer to answer, the pool's root stays.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from lab.material import Material, base64url, from_base64

Attributes = Mapping[int, bytes]

_SIGNATURE = 256  # bytes
_PADDING = bytes(264)
_SLACK = bytes(16)

_SHA256_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")

# PKCS#11 attributes (specification 3.1), as the adapter numbers them
_CLASS, _TOKEN, _PRIVATE, _LABEL, _KEY_TYPE, _ID = 0x0, 0x1, 0x2, 0x3, 0x100, 0x102
_SENSITIVE, _MODULUS, _EXPONENT = 0x103, 0x120, 0x122
_EXTRACTABLE, _LOCAL, _NEVER, _ALWAYS = 0x162, 0x163, 0x164, 0x165
_CLASSES = {"private": 3, "public": 2, "secret": 4}
_TYPES = {"RSA": 0, "EC": 3, "oct": 0x1F}


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _time(moment: datetime) -> bytes:
    if moment.year < 2050:
        return _der(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return _der(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


@dataclass(frozen=True)
class Party:
    """Somebody who has a key and a name: a maker, an adapter, an owner or a partition."""

    common_name: str
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    @cached_property
    def name(self) -> bytes:
        """The name, as DER."""
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)]).public_bytes()

    @cached_property
    def public_key(self) -> bytes:
        """The SubjectPublicKeyInfo, as DER."""
        public = self.key.public_key()
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, content: bytes) -> bytes:
        return self.key.sign(content, padding.PKCS1v15(), hashes.SHA256())

    def sign_bare(self, content: bytes) -> bytes:
        """Sign as firmware 2.x does: the digest stands in the padding without a DigestInfo."""
        digest = hashlib.sha256(content).digest()
        padded = b"\0\1" + b"\xff" * (_SIGNATURE - 35) + b"\0" + digest
        numbers = self.key.private_numbers()
        signature = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n)
        return signature.to_bytes(_SIGNATURE, "big")

    def certify(
        self,
        subject: Party,
        begins: datetime,
        *,
        years: int = 10,
        serial: int = 1,
        version: int = 3,
    ) -> bytes:
        """Return a certificate as DER; recorded ones have version 1 and serial number 0 too."""
        fields = [_der(0xA0, _der(0x02, bytes((version - 1,))))] if version > 1 else []
        ends = begins + timedelta(days=365 * years)
        fields += [_der(0x02, bytes((serial,))), _SHA256_RSA, self.name]
        fields += [_der(0x30, _time(begins), _time(ends)), subject.name, subject.public_key]
        signed = _der(0x30, *fields)
        return _der(0x30, signed, _SHA256_RSA, _der(0x03, b"\0", self.sign(signed)))


def pem(certificates: Iterable[bytes]) -> str:
    """Return certificates as PEM."""
    return "".join(
        x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM).decode()
        for each in certificates
    )


@dataclass(frozen=True)
class Maker:
    """Who makes adapters, with the root that users have to pin."""

    party: Party
    root: bytes

    @classmethod
    def new(cls, now: datetime) -> Maker:
        party = Party("Keyferry lab adapters, of no maker")
        return cls(party, party.certify(party, now - timedelta(days=400), serial=0))


@dataclass(frozen=True)
class Partition:
    """A partition of an adapter, with the certificates of both chains."""

    party: Party
    certificates: tuple[bytes, ...]


@dataclass(frozen=True)
class Pool:
    """A pool: its owner's root, and partitions on adapters of one maker."""

    owner: Party
    root: bytes
    partitions: tuple[Partition, ...]

    @classmethod
    def new(cls, name: str, maker: Maker, now: datetime, partitions: int = 2) -> Pool:
        begins = now - timedelta(days=30)
        owner = Party(name)
        root = owner.certify(owner, begins, years=25)
        made = []
        for number in range(1, partitions + 1):
            adapter = Party(f"HSM:0.0L000{number}-LAB00000{number}, for non-FIPS mode")
            party = Party(f"HSM:{number:030X}:PARTN:{number}, for non-FIPS mode")
            certificates = (
                maker.party.certify(adapter, begins, version=1),
                adapter.certify(party, begins),
                root,
                owner.certify(party, begins, years=25),
            )
            made.append(Partition(party, certificates))
        return cls(owner, root, tuple(made))


@dataclass(frozen=True)
class HeldKey:
    """A version of a key in a pool.

    :ivar family: ``RSA``, ``EC`` or ``oct``
    :ivar made_here: whether it was made in the pool, and not imported
    """

    family: str
    name: str
    version: str
    material: Material
    made_here: bool = True


def describe(kind: str, key: HeldKey) -> Attributes:
    """Return the attributes of a key, as far as Azure's hardware states them.

    What it says of an imported key no recording shows.

    :param kind: ``private``, ``public`` or ``secret``
    """
    hidden, inside = bytes((kind != "public",)), bytes((kind != "public" and key.made_here,))
    attributes = {
        _CLASS: bytes((_CLASSES[kind],)),
        _KEY_TYPE: bytes((_TYPES[key.family],)),
        _TOKEN: b"\1",
        _PRIVATE: b"\1",
        _LABEL: b"customer_key".ljust(128, b"\0"),
        _ID: f"/keys/{key.name}/{key.version}".encode().ljust(128, b"\0"),
        _SENSITIVE: hidden,
        _EXTRACTABLE: bytes((kind == "public",)),
        _LOCAL: bytes((key.made_here,)),
        _ALWAYS: inside,
        _NEVER: inside,
    }
    public = {
        member: from_base64(text) for member, text in key.material.public.items() if member != "crv"
    }
    if key.family == "RSA":
        attributes |= {_MODULUS: public["n"], _EXPONENT: public["e"]}
    if key.family == "EC":
        attributes[_MODULUS] = b"\4" + public["x"] + public["y"]
    return attributes


def encoded(attributes: Attributes, slack: bytes = b"") -> bytes:
    """Return an object: its header, its attributes and zeros."""
    content = b"".join(
        struct.pack(">II", tag, len(value)) + value for tag, value in attributes.items()
    )
    content += slack
    return struct.pack(">III", 1, len(attributes), len(content)) + content


def layout_a(attributes: Attributes) -> bytes:
    """Return what firmware 2.x signs."""
    key = encoded(attributes, _SLACK)
    return bytes(16) + struct.pack(">I", len(key)) + key + _PADDING


def layout_b(*keys: Attributes) -> bytes:
    """Return what firmware 3.x signs, of one key or two."""
    objects = [encoded(attributes) for attributes in keys]
    offsets = (8, 8 + len(objects[0]) if len(objects) > 1 else 0)
    info = struct.pack(">HHHH", 1, 3, *offsets) + b"".join(objects)
    total = 20 + len(info) + _SIGNATURE
    return struct.pack(">IIIII", 0, 3, total, len(info), 0) + info


def answer(partition: Partition, private: bytes, public: bytes | None = None) -> dict[str, str]:
    """Return the attestation of Azure's answer.

    :param private: the signed statement of the private or symmetric key
    """
    attestation = {
        "version": "MRVL-1",
        "certificatePemFile": base64url(pem(partition.certificates).encode()),
        "privateKeyAttestation": base64url(private),
    }
    if public is not None:
        attestation["publicKeyAttestation"] = base64url(public)
    return attestation


def state(partition: Partition, key: HeldKey, firmware: int) -> dict[str, str]:
    """Return the attestation of a key by an adapter with firmware 2 or 3."""
    kinds = ("secret",) if key.family == "oct" else ("private", "public")
    statements = []
    for kind in kinds:
        content = (layout_a if firmware == 2 else layout_b)(describe(kind, key))
        sign = partition.party.sign_bare if firmware == 2 else partition.party.sign
        statements.append(content + sign(content))
    return answer(partition, *statements)
