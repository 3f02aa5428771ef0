# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HSM adapters of a maker of the lab's own, and what they state of keys.

Layouts, names and certificates are as in recordings of Azure's answers; nothing describes them.
The partition's certificate and the adapter's change from answer to answer, the pool's root stays.
"""

from __future__ import annotations

import hashlib
import itertools
import ssl
import struct
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import NameOID

from lab.clock import Clock
from lab.folder import Folder, write_private
from lab.material import Material, base64url, from_base64, from_private_key

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
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates))


@dataclass(frozen=True)
class Root:
    """The root of a chain: of a maker, or of a pool's owner. Users have to pin both."""

    party: Party
    certificate: bytes

    @classmethod
    def new(cls, common_name: str, now: datetime) -> Root:
        """Make a root with the serial number 0, as recorded makers' roots have."""
        party = Party(common_name)
        begins = now - timedelta(days=400)
        return cls(party, party.certify(party, begins, years=25, serial=0))

    @classmethod
    def kept(cls, path: Path, common_name: str, now: datetime) -> Root:
        """Return the root whose certificate is in a file with its key beside, which it may make."""
        beside = path.with_suffix(".key")
        if not beside.exists():
            made = cls.new(common_name, now)
            write_private(path, pem([made.certificate]))
            write_private(beside, from_private_key(made.party.key).private)
        key = load_der_private_key(beside.read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return cls(Party(common_name, key), ssl.PEM_cert_to_DER_cert(path.read_text()))


@dataclass(frozen=True)
class Partition:
    """A partition of an adapter, with the certificates of both chains."""

    party: Party
    certificates: tuple[bytes, ...]


@dataclass(frozen=True)
class Pool:
    """A pool: its owner's root, and partitions on adapters of one maker."""

    owner: Root
    partitions: tuple[Partition, ...]

    @classmethod
    def new(cls, owner: Root, maker: Root, now: datetime) -> Pool:
        """Make two partitions, on an adapter each."""
        begins = now - timedelta(days=30)
        made = []
        for number in (1, 2):
            adapter = Party(f"HSM:0.0L000{number}-LAB00000{number}, for non-FIPS mode")
            party = Party(f"HSM:{number:030X}:PARTN:{number}, for non-FIPS mode")
            certificates = (
                maker.party.certify(adapter, begins, version=1),
                adapter.certify(party, begins),
                owner.certificate,
                owner.party.certify(party, begins, years=25),
            )
            made.append(Partition(party, certificates))
        return cls(owner, tuple(made))


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


class Adapters:
    """The adapters of all pools of a lab.

    The maker's root and the roots of pools stay when the lab is started anew. What asks again is
    answered by the next partition, of which every second one has the newer firmware.
    """

    def __init__(self, folder: Folder, clock: Clock) -> None:
        self._folder, self._clock = folder, clock
        self._pools: dict[str, Pool] = {}
        self._answers = itertools.count()
        self._lock = threading.Lock()

    def attest(self, host: str, key: HeldKey) -> dict[str, str]:
        """Return what a pool's hardware states of a key."""
        with self._lock:
            pool = self._pools.get(host) or self._new_pool(host)
            self._pools[host] = pool
        number = next(self._answers) % len(pool.partitions)
        return state(pool.partitions[number], key, firmware=2 + number % 2)

    def _new_pool(self, host: str) -> Pool:
        now = datetime.fromtimestamp(self._clock.now(), timezone.utc).replace(microsecond=0)
        maker = Root.kept(self._folder.maker_root, "Keyferry lab, no maker of adapters", now)
        pools = self._folder.make("pools")
        owner = Root.kept(pools / f"{host}.pem", host.partition(".")[0], now)
        return Pool.new(owner, maker, now)
