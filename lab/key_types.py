# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key types of Key Vault and Managed HSM, as tables.

Source: Key Vault documentation, "About keys" and the BYOK pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from lab.hosts import Kind


@dataclass(frozen=True)
class KeyType:
    """A `kty`: its family, whether it lives in an HSM, and what each kind of vault does with it.

    A kind that `operations` does not have knows no such keys.
    """

    name: str
    family: str
    hardware: bool
    operations: Mapping[Kind, tuple[str, ...]]


_RSA = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
_EC = ("sign", "verify")
_OCT = ("encrypt", "decrypt", "wrapKey", "unwrapKey")

KEY_TYPES = {
    each.name: each
    for each in (
        KeyType("RSA", "RSA", False, {Kind.VAULT: _RSA}),
        KeyType("EC", "EC", False, {Kind.VAULT: _EC}),
        KeyType("RSA-HSM", "RSA", True, {Kind.VAULT: _RSA, Kind.MANAGED_HSM: _RSA}),
        # deriveKey is recorded; no operation of that name is.
        KeyType("EC-HSM", "EC", True, {Kind.VAULT: _EC, Kind.MANAGED_HSM: (*_EC, "deriveKey")}),
        # Creating oct-HSM in a Premium vault is a preview, and BYOK into one is not documented.
        KeyType("oct-HSM", "oct", True, {Kind.MANAGED_HSM: _OCT}),
    )
}
SIZES = {"RSA": (2048, 3072, 4096), "oct": (128, 192, 256)}
DEFAULT_SIZES = {"RSA": 2048, "oct": 256}
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}
