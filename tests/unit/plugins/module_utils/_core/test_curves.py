# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of curves against what the libraries know of them, and that it is the only one."""

from __future__ import annotations

import ast
import hashlib
import typing as t
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import (
    CURVES,
    FORMER_NAMES,
    Curve,
    curve_of_parameters,
)
from azure.keyvault.keys import KeyCurveName
from azure.keyvault.keys.crypto import SignatureAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

PLUGINS = Path(__file__).parents[5] / "plugins"

every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=CURVES)


def private_key(curve: Curve) -> ec.EllipticCurvePrivateKey:
    """A key on the curve, made by the library cryptography."""
    return ec.generate_private_key(getattr(ec, curve.sec_name.upper())())


@every_curve
def test_a_curve_is_the_one_of_its_sec_name(curve: Curve) -> None:
    public_key = private_key(curve).public_key()
    assert public_key.curve.name == curve.sec_name
    assert public_key.curve.key_size == curve.bits
    subject = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert curve.parameters in subject
    point = public_key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
    )
    assert len(point) == 1 + 2 * curve.coordinate_bytes


@every_curve
def test_a_pkcs8_is_as_long_as_the_table_says(curve: Curve) -> None:
    octets = private_key(curve).private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    shortest, longest = curve.pkcs8_bytes
    assert shortest <= len(octets) <= longest


@every_curve
def test_a_hash_is_known_to_both_libraries_and_its_algorithm_to_azure(curve: Curve) -> None:
    digest: t.Any = getattr(hashes, curve.hash.upper())()
    assert hashlib.new(curve.hash).digest_size == digest.digest_size
    assert curve.signature in {algorithm.value for algorithm in SignatureAlgorithm}


def test_the_curves_are_azure_s() -> None:
    assert set(CURVES) == {name.value for name in KeyCurveName}
    assert FORMER_NAMES == {"SECP256K1": "P-256K"}
    assert [curve.name for curve in CURVES.values() if not curve.fips] == ["P-256K"]


@every_curve
def test_a_curve_is_found_by_its_parameters(curve: Curve) -> None:
    assert curve_of_parameters(curve.parameters) is curve
    assert curve_of_parameters(curve.parameters[:-1]) is None


def test_no_other_file_has_a_table_of_curves() -> None:
    names = set(FORMER_NAMES)
    for curve in CURVES.values():
        names |= {curve.name, curve.sec_name, curve.jwk_name, curve.signature}
    names.remove("P-256")  # the curve of a throw-away key
    files = {
        path.relative_to(PLUGINS).as_posix()
        for path in PLUGINS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert files == {"module_utils/_core/curves.py"}
