# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import DEVIATIONS
from ansible_collections.keyferry.azure.plugins.module_utils._evidence import deviations
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.deviations import (
    deviations_of,
    strength,
)

POOL = "https://contoso.managedhsm.azure.net"
VAULT = "https://contoso.vault.azure.net"


def wrapped(**changes: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the token's side states of a transfer without a deviation."""
    predicate: dict[str, t.Any] = {
        "key": {"name": "web", "kind": "RSA-3072", "generation": "01", "thumbprint": "t"},
        "evidence": {"origin": "token"},
        "kek": {
            "kid": f"{POOL}/keys/kek/{'a' * 32}",
            "fingerprint": "f" * 64,
            "trust": "attested",
            "size": 4096,
            "maker": "Marvell",
        },
        "wrap": {
            "oaep": "SHA-256, MGF1 with SHA-256",
            "rehearsal": {"finding": "RFC 5649 over PKCS#8"},
            "clock": None,
        },
    }
    return {name: {**value, **changes.get(name, {})} for name, value in predicate.items()}


def imported(**changes: t.Any) -> dict[str, t.Any]:
    """What Azure's side states of a transfer without a deviation."""
    return {
        "vault": POOL,
        "identity": "public_key",
        "origin": "token",
        "source": "run",
        "clock": "entra",
        "attestation": {"verdict": "attested", "maker": "Marvell"},
        "environment": {"proxy": False, "ca_override": False},
        **changes,
    }


def verdict(word: str) -> dict[str, t.Any]:
    return imported(attestation={"verdict": word, "maker": None})


ALONE: list[tuple[str, dict[str, t.Any] | None, dict[str, t.Any] | None]] = [
    ("oaep_hash", wrapped(wrap={"oaep": "SHA-1, MGF1 with SHA-1"}), imported()),
    (
        "trailing_zeros",
        wrapped(wrap={"rehearsal": {"finding": "RFC 5649, followed by 7 zero bytes"}}),
        imported(),
    ),
    ("origin_external", wrapped(evidence={"origin": "external"}), imported()),
    ("origin_unknown", wrapped(evidence={"origin": "unknown"}), imported()),
    ("strength_unknown", wrapped(key={"kind": "Ed25519"}), imported()),
    ("kek_weaker", wrapped(key={"kind": "P-384"}), imported()),
    ("kek_weaker", wrapped(key={"kind": "AES-256"}), imported()),
    ("kek_weaker", wrapped(kek={"size": 2048}), imported()),
    ("kek_weaker", wrapped(key={"kind": "P-521"}, kek={"kid": None, "trust": "pinned"}), None),
    ("kek_unattested", wrapped(kek={"trust": "created", "maker": None}), imported()),
    ("told_by_carrier", wrapped(), imported(source="carrier")),
    ("package_unverified", wrapped(), imported(origin="unverified")),
    ("identity_unproved", wrapped(), imported(identity="tag_only")),
    ("identity_unproved", None, imported(identity="unverified")),
    ("proxy", wrapped(), imported(environment={"proxy": True, "ca_override": False})),
    ("ca_override", wrapped(), imported(environment={"proxy": False, "ca_override": True})),
    ("vault_without_attestation", None, imported(vault=VAULT, attestation=None)),
    ("target_root_not_pinned", wrapped(), verdict("root_not_pinned")),
    ("target_differs", wrapped(), verdict("differs")),
    ("target_unreadable", wrapped(), verdict("unreadable")),
    ("target_not_fetched", wrapped(), verdict("not_fetched")),
    ("target_not_fetched", wrapped(), imported(attestation=None)),
    ("maker_not_marvell", wrapped(kek={"maker": "not Marvell"}), imported()),
    (
        "maker_not_marvell",
        wrapped(),
        imported(attestation={"verdict": "attested", "maker": "not Marvell"}),
    ),
    ("clock_of_host", wrapped(), imported(clock="host")),
    ("clock_of_host", wrapped(wrap={"clock": "host"}), imported(clock="host")),
    ("clock_of_host", wrapped(wrap={"clock": "host"}), None),
]


@pytest.mark.parametrize(
    ("code", "token", "azure"), ALONE, ids=[f"{i}-{each[0]}" for i, each in enumerate(ALONE)]
)
def test_each_deviation_is_found_alone(
    code: str, token: dict[str, t.Any] | None, azure: dict[str, t.Any] | None
) -> None:
    assert [each.code for each in deviations_of(token, azure)] == [code]


def test_an_unverified_kek_is_not_attested_either() -> None:
    found = deviations_of(wrapped(kek={"trust": "unverified", "maker": None}), imported())
    assert [each.code for each in found] == ["kek_trust_unverified", "kek_unattested"]


def test_a_transfer_without_a_deviation_has_none() -> None:
    assert not deviations_of(wrapped(), imported())
    assert not deviations_of(None, None)


def test_a_weaker_kek_tells_both_strengths_and_who_prescribes_rsa() -> None:
    (found,) = deviations_of(wrapped(key={"kind": "P-521"}), imported())
    assert "RSA-4096 has 128 bits" in found.msg
    assert "P-521 has 256" in found.msg
    assert "Microsoft's BYOK specification prescribes RSA" in found.msg


def test_azure_s_clock_dates_what_a_host_dated_before_it() -> None:
    assert not deviations_of(wrapped(wrap={"clock": "host"}), imported(clock="vault"))


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("RSA-2048", 112),
        ("RSA-3072", 128),
        ("RSA-4096", 128),
        ("RSA-8192", 192),
        ("RSA-15360", 256),
        ("P-256", 128),
        ("P-256K", 128),
        ("P-384", 192),
        ("P-521", 256),
        ("AES-128", 128),
        ("AES-192", 192),
        ("AES-256", 256),
        ("Ed25519", None),
    ],
)
def test_strengths_are_those_of_nist(kind: str, bits: int | None) -> None:
    assert strength(kind) == bits


def test_each_code_has_its_meaning_and_each_meaning_its_code() -> None:
    tree = ast.parse(Path(deviations.__file__).read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    # The report tells these two, which no statements of a transfer tell themselves
    of_transfers = set(DEVIATIONS) - {"expired", "escrow_untested"}
    assert {each for each in DEVIATIONS if each in texts} == of_transfers
    assert {code for code, _token, _azure in ALONE} | {"kek_trust_unverified"} == of_transfers
