# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What adapters of the lab's maker state is believed, and each wrong statement has its reason."""

from __future__ import annotations

import base64
import gzip
import json
import typing as t
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cache

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    Attested,
    Roots,
    judge,
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_certificate,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import KeyId
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import FAILURES

from lab import adapter
from lab.material import Material, from_base64, generate

NOW = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
VERSION = "0123456789abcdef0123456789abcdef"
KID = KeyId("https://pool.managedhsm.azure.net", "kek", VERSION)

Answer = dict[str, str]


@cache
def maker() -> adapter.Root:
    return adapter.Root.new("maker", NOW)


@cache
def pool(name: str = "pool") -> adapter.Pool:
    return adapter.Pool.new(adapter.Root.new(name, NOW), maker(), NOW)


@cache
def material(family: str = "RSA") -> Material:
    return generate(family, {"RSA": 2048, "EC": 256, "oct": 256}[family], "P-256", 65537)


def public_key(made: Material) -> PublicKey | None:
    members = {
        name: int.from_bytes(from_base64(text), "big")
        for name, text in made.public.items()
        if name != "crv"
    }
    if "n" in members:
        return RsaPublicKey(members["n"], members["e"])
    return EcPublicKey(made.public["crv"], members["x"], members["y"]) if members else None


def held(family: str = "RSA", **changes: t.Any) -> adapter.HeldKey:
    return replace(adapter.HeldKey(family, "kek", VERSION, material(family)), **changes)


@dataclass(frozen=True)
class Asked:
    """What an attestation is judged by."""

    kid: KeyId = KID
    family: str = "RSA"
    owners: t.Mapping[str, str] | None = None
    with_maker: bool = True
    now: datetime = NOW
    made_inside: bool = True

    def judge(self, attestation: Answer) -> Attested:
        owners = self.owners
        if owners is None:
            owners = {"pool": read_certificate(pool().owner.certificate).fingerprint}
        makers = (read_certificate(maker().certificate),) if self.with_maker else ()
        return judge(
            parse_answer(json.dumps({"attributes": {"attestation": attestation}})),
            self.kid,
            public_key(material(self.family)),
            Roots(owners, makers),
            self.now,
            made_inside=self.made_inside,
        )


ASKED = Asked()


def stated(firmware: int = 2, partition: int = 0, **changes: t.Any) -> Answer:
    return adapter.state(pool().partitions[partition], held(**changes), firmware)


@pytest.mark.parametrize("firmware", [2, 3])
@pytest.mark.parametrize("family", ["RSA", "EC", "oct"])
@pytest.mark.parametrize("partition", [0, 1])
def test_the_lab_states_what_is_believed(firmware: int, family: str, partition: int) -> None:
    attested = Asked(family=family).judge(stated(firmware, partition, family=family))
    assert (attested.pool, attested.maker) == ("pool", None)
    assert attested.maker_root == read_certificate(maker().certificate).fingerprint
    assert attested.adapter == f"0.0L000{partition + 1}-LAB00000{partition + 1}"
    assert "FIPS" not in str(attested)


def test_a_statement_may_be_compressed() -> None:
    attestation = stated()
    packed = gzip.compress(from_base64(attestation["privateKeyAttestation"]))
    assert ASKED.judge(dict(attestation, privateKeyAttestation=encode(packed))).made_inside


def test_an_imported_key_need_not_be_made_inside() -> None:
    attestation = stated(made_here=False)
    attested = Asked(made_inside=False).judge(attestation)
    assert attested.made_inside is False


@pytest.mark.parametrize(
    "pinned", ["pool", "POOL", "pool.managedhsm.azure.net", "https://pool.managedhsm.azure.net/"]
)
def test_a_pool_is_named_by_name_host_or_url(pinned: str) -> None:
    fingerprint = read_certificate(pool().owner.certificate).fingerprint.upper()
    colons = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2))
    assert Asked(owners={pinned: colons}).judge(stated()).pool == "pool"


def encode(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(content: bytes, *, bare: bool = True, partition: int = 0) -> Answer:
    """An answer whose private statement is this, signed by a partition."""
    made = pool().partitions[partition]
    sign = made.party.sign_bare if bare else made.party.sign
    return adapter.answer(made, content + sign(content))


def described(kind: str = "private", **changes: t.Any) -> dict[int, bytes]:
    return dict(adapter.describe(kind, held(**changes)))


def with_attribute(tag: int, value: bytes) -> Answer:
    return signed(adapter.layout_a({**described(), tag: value}))


def without_attribute(tag: int) -> Answer:
    attributes = described()
    del attributes[tag]
    return signed(adapter.layout_a(attributes))


def with_statement(change: t.Callable[[bytes], bytes]) -> Answer:
    attestation = stated()
    content = from_base64(attestation["privateKeyAttestation"])
    return dict(attestation, privateKeyAttestation=encode(change(content)))


def with_certificates(*certificates: bytes) -> Answer:
    made = pool().partitions[0]
    return adapter.state(replace(made, certificates=certificates), held(), 2)


def _certified(**changes: t.Any) -> Answer:
    """The adapter's certificate is another one of the maker."""
    first = pool().partitions[0]
    party = adapter.Party("HSM:0.0L0009-LAB000009, for non-FIPS mode")
    own = maker().party.certify(party, **{"begins": NOW - timedelta(days=30), **changes})
    partition = party.certify(first.party, NOW - timedelta(days=30))
    return with_certificates(own, partition, *first.certificates[2:])


BEFORE, AFTER = NOW - timedelta(days=31), NOW + timedelta(days=365 * 12)
WRONG: dict[str, tuple[t.Callable[[], Answer], Asked, str]] = {
    "no root is pinned": (stated, Asked(owners={}), "attestation_owner_unpinned"),
    "another pool's root": (
        lambda: adapter.state(pool("pool2").partitions[0], held(), 2),
        ASKED,
        "attestation_other_owner",
    ),
    "the pinned root of another pool": (
        lambda: adapter.state(pool("pool2").partitions[0], held(), 2),
        Asked(owners={"pool": read_certificate(pool("pool2").owner.certificate).fingerprint}),
        "attestation_other_owner",
    ),
    "a maker that is not pinned": (stated, Asked(with_maker=False), "attestation_maker"),
    "no adapter": (
        lambda: with_certificates(*pool().partitions[0].certificates[2:]),
        ASKED,
        "attestation_maker",
    ),
    "two adapters": (
        lambda: with_certificates(
            *pool().partitions[0].certificates, *pool().partitions[1].certificates
        ),
        ASKED,
        "attestation_maker",
    ),
    "only the maker's chain has the partition": (
        lambda: with_certificates(*pool().partitions[0].certificates[:3]),
        ASKED,
        "attestation_signature",
    ),
    "only the owner's chain has the partition": (
        lambda: with_certificates(
            pool().partitions[0].certificates[0], *pool().partitions[0].certificates[2:]
        ),
        ASKED,
        "attestation_signature",
    ),
    "signed by another partition": (
        lambda: dict(
            stated(),
            privateKeyAttestation=stated(partition=1)["privateKeyAttestation"],
        ),
        ASKED,
        "attestation_signature",
    ),
    "before it is in force": (stated, Asked(now=BEFORE), "attestation_expired"),
    "expired": (stated, Asked(now=AFTER), "attestation_expired"),
    "an adapter's certificate that ended": (
        lambda: _certified(begins=NOW - timedelta(days=365 * 2), years=1),
        ASKED,
        "attestation_expired",
    ),
    "layout A with layout B's signature": (
        lambda: signed(adapter.layout_a(described()), bare=False),
        ASKED,
        "attestation_signature",
    ),
    "layout B with layout A's signature": (
        lambda: signed(adapter.layout_b(described()), bare=True),
        ASKED,
        "attestation_signature",
    ),
    "extractable": (lambda: with_attribute(0x162, b"\1"), ASKED, "attestation_object"),
    "not sensitive": (lambda: with_attribute(0x103, b"\0"), ASKED, "attestation_object"),
    "not made there": (lambda: with_attribute(0x163, b"\0"), ASKED, "attestation_object"),
    "extractable once": (lambda: with_attribute(0x164, b"\0"), ASKED, "attestation_object"),
    "not always sensitive": (lambda: with_attribute(0x165, b"\0"), ASKED, "attestation_object"),
    "extractable, of an imported key": (
        lambda: with_attribute(0x162, b"\1"),
        Asked(made_inside=False),
        "attestation_object",
    ),
    "says neither yes nor no": (
        lambda: with_attribute(0x162, b"\2"),
        ASKED,
        "attestation_malformed",
    ),
    "does not say": (lambda: without_attribute(0x163), ASKED, "attestation_malformed"),
    "another key": (lambda: stated(name="other"), ASKED, "attestation_other_key"),
    "another version": (lambda: stated(version="f" * 32), ASKED, "attestation_other_key"),
    "another public key": (
        lambda: with_attribute(0x120, b"\xff" * 256),
        ASKED,
        "attestation_other_key",
    ),
    "another exponent": (
        lambda: with_attribute(0x122, b"\3"),
        ASKED,
        "attestation_other_key",
    ),
    "of another type": (lambda: stated(family="EC"), ASKED, "attestation_other_key"),
    "the public key's statement": (
        lambda: signed(adapter.layout_a(described("public"))),
        ASKED,
        "attestation_malformed",
    ),
    "two private keys": (
        lambda: signed(adapter.layout_b(described(), described()), bare=False),
        ASKED,
        "attestation_malformed",
    ),
    "truncated": (lambda: with_statement(lambda raw: raw[:-1]), ASKED, "attestation_malformed"),
    "trailing": (lambda: with_statement(lambda raw: raw + b"\0"), ASKED, "attestation_malformed"),
    "empty": (lambda: with_statement(lambda raw: b""), ASKED, "attestation_malformed"),
    "something in the padding": (
        lambda: signed(adapter.layout_a(described())[:-1] + b"\1"),
        ASKED,
        "attestation_malformed",
    ),
    "a gzip bomb": (
        lambda: with_statement(lambda raw: gzip.compress(bytes(1 << 24))),
        ASKED,
        "attestation_malformed",
    ),
    "gzip and something behind": (
        lambda: with_statement(lambda raw: gzip.compress(raw) + b"\0"),
        ASKED,
        "attestation_malformed",
    ),
    "no gzip though it begins so": (
        lambda: with_statement(lambda raw: b"\x1f\x8b" + raw),
        ASKED,
        "attestation_malformed",
    ),
    "another version of the format": (
        lambda: dict(stated(), version="MRVL-2"),
        ASKED,
        "attestation_malformed",
    ),
    "no base64url": (
        lambda: dict(stated(), privateKeyAttestation="a*b"),
        ASKED,
        "attestation_malformed",
    ),
    "no certificates": (
        lambda: dict(stated(), certificatePemFile=encode(b"none")),
        ASKED,
        "attestation_malformed",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_attestation_has_its_reason(name: str) -> None:
    make, asked, reason = WRONG[name]
    with pytest.raises(ByokError) as caught:
        asked.judge(make())
    assert caught.value.reason == reason
    assert reason in FAILURES
    assert "FIPS" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"attributes": 1}', '{"a": 1, "a": 1}'])
def test_what_is_no_answer_is_told(text: str) -> None:
    with pytest.raises(ByokError) as caught:
        parse_answer(text)
    assert caught.value.reason == "attestation_malformed"
