# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The key types of Key Vault and Managed HSM, as tables.

Source: Key Vault documentation, "About keys" and the BYOK pages.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from lab.hosts import Kind


@dataclass(frozen=True)
class KeyType:
    """A `kty`: its family, whether it lives in an HSM, and what can be done with it."""

    family: str
    hardware: bool
    operations: tuple[str, ...]
    kinds: tuple[Kind, ...]


_RSA = ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey")
_EC = ("sign", "verify")
_OCT = ("encrypt", "decrypt", "wrapKey", "unwrapKey")

KEY_TYPES = {
    "RSA": KeyType("RSA", False, _RSA, (Kind.VAULT,)),
    "EC": KeyType("EC", False, _EC, (Kind.VAULT,)),
    "RSA-HSM": KeyType("RSA", True, _RSA, (Kind.VAULT, Kind.MANAGED_HSM)),
    "EC-HSM": KeyType("EC", True, _EC, (Kind.VAULT, Kind.MANAGED_HSM)),
    # Creating oct-HSM in a Premium vault is a preview, and BYOK into one is not documented.
    "oct-HSM": KeyType("oct", True, _OCT, (Kind.MANAGED_HSM,)),
}
# Recorded: the order in which Managed HSM lists the operations that nobody asked for.
MANAGED_HSM_ORDER = ("wrapKey", "decrypt", "encrypt", "unwrapKey", "sign", "verify")
SIZES = {"RSA": (2048, 3072, 4096), "oct": (128, 192, 256)}
DEFAULT_SIZES = {"RSA": 2048, "oct": 256}
CURVES: dict[str, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
    "P-256K": ec.SECP256K1(),
}
