# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    Signature,
    envelope_of,
    parse_envelope,
    signed,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.signature import (
    der_of,
    keyid_of,
    verifies,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib import dsse
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key  # type: ignore[attr-defined]

STATEMENT = {"_type": "x", "predicate": {"name": "Grüße", "number": 1}}


def pem_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


@dataclass(frozen=True)
class SoftwareKey:
    """Signs as a token does: r and s side by side."""

    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return pem_of(self.key)

    @property
    def keyid(self) -> str:
        return keyid_of(self.pem)

    def sign(self, digest: bytes) -> bytes:
        der = self.key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        return b"".join(number.to_bytes(32, "big") for number in utils.decode_dss_signature(der))


KEY = SoftwareKey(ec.derive_private_key(0xBEEF, ec.SECP256R1()))
OTHER = SoftwareKey(ec.derive_private_key(0xCAFE, ec.SECP256R1()))
KEYS = {KEY.keyid: KEY.pem, OTHER.keyid: OTHER.pem}
SIGNED = signed(envelope_of(STATEMENT), KEY)


@given(payload=st.binary(max_size=300))
def test_what_is_signed_is_the_encoding_of_the_specification(payload: bytes) -> None:
    encoding = Envelope(payload).to_be_signed
    words = encoding.split(b" ", 4)
    assert words[0] == b"DSSEv1"
    assert words[1:3] == [b"28", b"application/vnd.in-toto+json"]
    assert int(words[3]) == len(payload)
    assert words[4] == payload


def test_lengths_are_those_of_bytes_and_the_payload_is_written_in_one_way_only() -> None:
    payload = '{"_type":"x","predicate":{"name":"Grüße","number":1}}'.encode()
    envelope = envelope_of({"predicate": {"number": 1, "name": "Grüße"}, "_type": "x"})
    assert envelope.payload == payload
    assert envelope.to_be_signed == b"DSSEv1 28 application/vnd.in-toto+json 55 " + payload
    assert envelope.digest == hashlib.sha256(payload).hexdigest()
    assert envelope.statement() == STATEMENT


def test_an_envelope_is_read_as_it_was_written() -> None:
    envelope = signed(SIGNED, OTHER)
    assert parse_envelope(envelope.to_line(), "It") == envelope
    assert envelope.signers(KEYS) == {KEY.keyid, OTHER.keyid}
    assert envelope.signers({KEY.keyid: KEY.pem}) == {KEY.keyid}
    assert envelope.digest == SIGNED.digest
    unsigned = envelope_of(STATEMENT)
    assert json.loads(unsigned.to_line())["signatures"] == []
    assert parse_envelope(unsigned.to_line(), "It") == unsigned
    assert unsigned.signers(KEYS) == frozenset()
    assert "\n" not in envelope.to_line()


def test_a_signature_is_added_once_and_replaces_none() -> None:
    forged = envelope_of(STATEMENT).with_signature(Signature(KEY.keyid, b"\x30\0"))
    assert forged.signers(KEYS) == frozenset()
    both = forged.with_signature(SIGNED.signatures[0])
    assert both.signers(KEYS) == {KEY.keyid}
    assert both.with_signature(SIGNED.signatures[0]) == both
    assert len(both.signatures) == 2


def test_a_keyid_that_does_not_fit_is_no_signer() -> None:
    borrowed = envelope_of(STATEMENT).with_signature(
        Signature(OTHER.keyid, SIGNED.signatures[0].sig)
    )
    assert borrowed.signers(KEYS) == frozenset()
    assert borrowed.signers({OTHER.keyid: KEY.pem}) == frozenset()


def test_both_alphabets_of_base64_are_read() -> None:
    envelope = signed(envelope_of({"a": "ÿþýüûúùø÷öõôóòñð" * 3 + "~~~???"}), KEY)
    line = json.loads(envelope.to_line())
    assert {"+", "/"} & set(line["payload"])
    for text in (line, line["signatures"][0]):
        name = "payload" if "payload" in text else "sig"
        text[name] = text[name].replace("+", "-").replace("/", "_")
    assert parse_envelope(json.dumps(line), "It") == envelope


def spoilt(**changes: t.Any) -> str:
    return json.dumps({**json.loads(SIGNED.to_line()), **changes})


SIGNATURE = json.loads(SIGNED.to_line())["signatures"][0]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "it is no JSON"),
        ("[" * 100_000, "it is no JSON"),
        ("[]", "it is not as DSSE"),
        (spoilt(payloadType="text/plain"), "payloadType is not as DSSE"),
        (spoilt(more=1), "it is not as DSSE"),
        (spoilt(payload=7), "payload is not as DSSE"),
        (spoilt(payload=""), "its payload is no base64"),
        (spoilt(payload="e30"), "its payload is no base64"),
        (spoilt(payload="e31="), "its payload is no base64"),
        (spoilt(payload="e30=\n"), "its payload is no base64"),
        (spoilt(signatures=[{**SIGNATURE, "cert": "x"}]), "signatures is not as DSSE"),
        (spoilt(signatures=[{**SIGNATURE, "keyid": "x"}]), r"signatures\.keyid is not as DSSE"),
        (spoilt(signatures=[SIGNATURE, SIGNATURE]), "a signature is there twice"),
        (SIGNED.to_line().replace('"payload"', '"payload":"e30=","payload"'), "there twice"),
        (" " * (1 << 24) + SIGNED.to_line(), "more than 16777216 characters"),
    ],
    ids=map(str, range(15)),
)
def test_what_is_no_envelope_is_refused_in_a_sentence(line: str, why: str) -> None:
    with pytest.raises(Malformed, match=f"Line 3 is no evidence: .*{why}") as refused:
        parse_envelope(line, "Line 3")
    assert refused.value.reason == "evidence_malformed"


@pytest.mark.parametrize("payload", [b"[]", b'{"a":1,"a":2}', b"\xff", b'{"a":NaN}', b""])
def test_a_payload_that_readers_could_take_in_two_ways_is_refused(payload: bytes) -> None:
    with pytest.raises(Malformed, match=r"The statement [0-9a-f]{64} is no evidence"):
        Envelope(payload).statement()


def test_half_of_a_character_is_no_statement() -> None:
    with pytest.raises(Malformed, match="half of a character"):
        envelope_of({"a": "\ud800"})


@given(st.randoms(use_true_random=False), st.integers(min_value=0))
def test_no_change_of_one_byte_of_a_line_verifies_as_something_else(
    chance: random.Random, place: int
) -> None:
    line = bytearray(SIGNED.to_line().encode())
    place %= len(line)
    line[place] ^= chance.randrange(1, 256)
    try:
        read = parse_envelope(line.decode(), "It")
        signers = read.signers(KEYS)
    except (Malformed, UnicodeDecodeError):
        return
    assert not signers or read == SIGNED


def test_every_bit_of_a_line_counts() -> None:
    line = SIGNED.to_line().encode()
    for place in range(0, 8 * len(line), 3):
        changed = bytearray(line)
        changed[place // 8] ^= 1 << place % 8
        try:
            read = parse_envelope(changed.decode(), "It")
        except (Malformed, UnicodeDecodeError):
            continue
        assert read == SIGNED or not read.signers(KEYS), place


@given(
    r=st.integers(min_value=0, max_value=2**256 - 1),
    s=st.integers(min_value=0, max_value=2**256 - 1),
)
def test_numbers_side_by_side_become_der(r: int, s: int) -> None:
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert der_of(raw) == utils.encode_dss_signature(r, s)


@pytest.mark.parametrize("length", [0, 63, 65, 96])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ByokError, match=f"has {length} bytes instead of 64"):
        der_of(b"\1" * length)


@pytest.mark.parametrize(
    "pem",
    [
        pem_of(ec.derive_private_key(5, ec.SECP384R1())),
        pem_of(ec.derive_private_key(5, ec.SECP256K1())),
        pem_of(ec.derive_private_key(5, ec.BrainpoolP256R1())),
        pem_of(rsa.generate_private_key(65537, 2048)),
    ],
    ids=["P-384", "secp256k1", "brainpool", "RSA"],
)
def test_only_p_256_is_an_evidence_key(pem: str) -> None:
    with pytest.raises(ByokError, match="is no evidence key") as refused:
        keyid_of(pem)
    assert refused.value.reason == "evidence_key"
    with pytest.raises(ByokError, match="is no evidence key"):
        verifies(pem, b"", b"")
    with pytest.raises(ByokError):
        keyid_of("no PEM")


def test_openssl_accepts_what_is_signed(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if not openssl:
        pytest.skip("openssl is not installed")
    line = json.loads(SIGNED.to_line())
    body = base64.b64decode(line["payload"])
    kind = line["payloadType"].encode()
    head = f"DSSEv1 {len(kind)} {kind.decode()} {len(body)} ".encode()
    (tmp_path / "signed").write_bytes(head + body)
    (tmp_path / "sig").write_bytes(base64.b64decode(line["signatures"][0]["sig"]))
    (tmp_path / "pem").write_text(KEY.pem)
    verify = ["openssl", "dgst", "-sha256", "-verify", "pem", "-signature", "sig", "signed"]
    assert subprocess.run(verify, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (tmp_path / "signed").write_bytes(head + body + b" ")
    assert subprocess.run(verify, cwd=tmp_path, check=False, capture_output=True).returncode == 1


def test_securesystemslib_accepts_what_is_signed() -> None:
    envelope = dsse.Envelope.from_dict(json.loads(SIGNED.to_line()))
    assert envelope.pae() == SIGNED.to_be_signed
    kind = {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256"}
    keys = [
        Key.from_dict(each.keyid, {**kind, "keyval": {"public": each.pem}}) for each in (KEY, OTHER)
    ]
    assert list(envelope.verify(keys, 1)) == [KEY.keyid]
    with pytest.raises(VerificationError, match="Found: 1, Expected 2"):
        envelope.verify(keys, 2)
