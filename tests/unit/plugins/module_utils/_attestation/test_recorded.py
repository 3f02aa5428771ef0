# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What real hardware stated verifies, and no byte of it can be changed."""

from __future__ import annotations

import base64
import json
import typing as t
import warnings
from datetime import datetime, timezone
from pathlib import Path

import pytest
import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    Answer,
    Roots,
    judge,
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_bundle,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.makers import (
    marvell_roots,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.statement import (
    parse_statement,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import KeyId
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
)
from hypothesis import given
from hypothesis import strategies as st

RECORDED = yaml.safe_load((Path(__file__).parent / "recorded.yml").read_text())
AZURE = RECORDED["azure"]
NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)


def joined(text: str) -> str:
    return "".join(text.split())


def decoded(text: str) -> bytes:
    text = joined(text)
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def number(text: str) -> int:
    return int.from_bytes(decoded(text), "big")


def answer(recorded: dict[str, t.Any], **changes: str) -> str:
    """The answer of Azure, as far as it is read."""
    members = ("version", "certificatePemFile", "privateKeyAttestation")
    attestation = {member: joined(recorded[member]) for member in members} | changes
    body = {"attributes": {"enabled": True, "attestation": attestation}, "key": {}}
    return json.dumps(body)


def key_of(recorded: dict[str, t.Any]) -> PublicKey | None:
    if "n" in recorded:
        return RsaPublicKey(number(recorded["n"]), number(recorded["e"]))
    if "x" in recorded:
        return EcPublicKey(recorded["crv"], number(recorded["x"]), number(recorded["y"]))
    return None


def asked_for(recorded: dict[str, t.Any], read: Answer) -> tuple[KeyId, Roots]:
    """The key in its pool, whose name some recordings replaced, and the root of that pool."""
    owner = next(each for each in read.certificates if each.is_signed_by(each))
    name, version = recorded["kid"].split("/")[-2:]
    host = f"https://{owner.common_name}.managedhsm.azure.net"
    return KeyId(host, name, version), Roots({owner.common_name: owner.fingerprint})


@pytest.mark.parametrize("recorded", AZURE, ids=lambda each: str(each["what"]))
def test_azures_hardware_is_believed(recorded: dict[str, t.Any]) -> None:
    read = parse_answer(answer(recorded))
    attested = judge(read, *_asked(recorded, read), NOW)
    assert (attested.maker, attested.made_inside) == ("Marvell", True)
    assert attested.adapter.startswith("6.0G2")
    assert read.shown_roots == (attested.owner_root,)


def _asked(recorded: dict[str, t.Any], read: Answer) -> tuple[KeyId, PublicKey | None, Roots]:
    kid, roots = asked_for(recorded, read)
    return kid, key_of(recorded), roots


def test_two_adapters_of_one_pool_have_one_root() -> None:
    roots = {parse_answer(answer(each)).shown_roots for each in AZURE[1:]}
    assert len(roots) == 1


def test_the_second_layout_is_read() -> None:
    google = RECORDED["google"]
    statement = parse_statement(decoded(google["statement"]))
    assert [each.is_secret for each in statement.objects] == [False, True]
    assert [each.key_type for each in statement.objects] == ["EC", "EC"]
    certificates = read_bundle(decoded(google["certificates"]).decode())
    signers = [
        each for each in certificates if _verifies(each.key, statement.signature, statement.signed)
    ]
    assert {each.common_name.partition(",")[0] for each in signers} == {
        "HSM:5.3G1953-ICM001225:PARTN:1"
    }
    assert any(each.is_signed_by(root) for each in certificates for root in marvell_roots())


def _verifies(key: bytes, signature: bytes, signed: bytes) -> bool:
    from ansible_collections.keyferry.azure.plugins.module_utils._attestation import certificate

    return certificate.verifies(key, signature, signed)


def test_certificates_that_the_library_will_refuse_are_read_without_it() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (root, second) = marvell_roots()
    assert root.fingerprint.startswith("230143df")
    assert second.fingerprint.startswith("17644de0")
    assert all(each.is_signed_by(each) for each in (root, second))


def outcome(recorded: dict[str, t.Any], **changes: bytes) -> str:
    """Judge an answer with changed members: the owner's root that is shown, or the reason."""
    texts = {member: base64.urlsafe_b64encode(new).decode() for member, new in changes.items()}
    kid, key, roots = _asked(recorded, parse_answer(answer(recorded)))
    try:
        return judge(parse_answer(answer(recorded, **texts)), kid, key, roots, NOW).owner_root
    except ByokError as error:
        return error.reason


def with_bit_changed(content: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[position % len(content)] ^= 1 << bit
    return bytes(changed)


@given(position=st.integers(min_value=0, max_value=10**6), bit=st.integers(0, 7))
@pytest.mark.parametrize("recorded", AZURE, ids=lambda each: str(each["what"]))
def test_no_bit_of_a_statement_can_be_changed(
    recorded: dict[str, t.Any], position: int, bit: int
) -> None:
    changed = with_bit_changed(decoded(recorded["privateKeyAttestation"]), position, bit)
    assert outcome(recorded, privateKeyAttestation=changed).startswith("attestation_")


@given(position=st.integers(min_value=0, max_value=10**6), bit=st.integers(0, 6))
@pytest.mark.parametrize("recorded", AZURE[:1], ids=lambda each: str(each["what"]))
def test_a_changed_bundle_says_the_same_or_nothing(
    recorded: dict[str, t.Any], position: int, bit: int
) -> None:
    """Between the certificates of a PEM text anything may stand."""
    changed = with_bit_changed(decoded(recorded["certificatePemFile"]), position, bit)
    found = outcome(recorded, certificatePemFile=changed)
    assert found.startswith("attestation_") or found == outcome(recorded)
