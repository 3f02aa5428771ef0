# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The elliptic curves that Azure imports, and what every side calls them; data."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass


@dataclass(frozen=True)
class Curve:
    """One curve.

    :ivar name: Azure's (``crv`` of the Key Vault REST reference), the one that users read and write
    :ivar bits: of the field (SEC 2), by which PKCS#11 tells key sizes (C_GetMechanismInfo)
    :ivar parameters: CKA_EC_PARAMS: DER of the curve's OBJECT IDENTIFIER (RFC 5480, 2.1.1.1; SEC 2)
    :ivar sec_name: SEC 2's name, which the library cryptography uses in capitals
    :ivar jwk_name: ``crv`` of a JSON Web Key (RFC 7518, 6.2.1.1; RFC 8812, 3.1)
    :ivar signature: its signature algorithm in Azure and in JOSE (RFC 7518, 3.4; RFC 8812, 3.2)
    :ivar hash: what that algorithm hashes with, as hashlib names it
    :ivar pkcs8_bytes: the shortest and the longest PKCS#8 (RFC 5915's ECPrivateKey without and with
        the public key, and what some tokens add). Measured with OpenSSL, SoftHSM and NSS: 67-138,
        80-185, 98-241, 64-135
    :ivar fips: FIPS 186-5 and SP 800-186 approve it for signatures
    :ivar thales_name: its second name in targetKeySpec (Thales' BYOK guide 007-013885-002);
        empty where the guide does not have the curve
    :ivar former_name: what Azure's API versions before 7.0 called it, where that was another name
    """

    name: str
    bits: int
    parameters: bytes
    sec_name: str
    jwk_name: str
    signature: str
    hash: str
    pkcs8_bytes: tuple[int, int]
    fips: bool = True
    thales_name: str = ""
    former_name: str = ""

    @property
    def coordinate_bytes(self) -> int:
        """Length of a coordinate of a point (SEC 1, 2.3.5; RFC 7518, 6.2.1.2)."""
        return (self.bits + 7) // 8


#: By Azure's name
CURVES: t.Mapping[str, Curve] = {
    curve.name: curve
    for curve in (
        Curve(
            name="P-256",
            bits=256,
            parameters=bytes.fromhex("06082a8648ce3d030107"),
            sec_name="secp256r1",
            jwk_name="P-256",
            signature="ES256",
            hash="sha256",
            pkcs8_bytes=(60, 190),
            thales_name="X9_62_prime256v1",
        ),
        Curve(
            name="P-384",
            bits=384,
            parameters=bytes.fromhex("06052b81040022"),
            sec_name="secp384r1",
            jwk_name="P-384",
            signature="ES384",
            hash="sha384",
            pkcs8_bytes=(76, 235),
            thales_name="secp384r1",
        ),
        Curve(
            name="P-521",
            bits=521,
            parameters=bytes.fromhex("06052b81040023"),
            sec_name="secp521r1",
            jwk_name="P-521",
            signature="ES512",
            hash="sha512",
            pkcs8_bytes=(94, 290),
            thales_name="secp521r1",
        ),
        Curve(
            name="P-256K",
            bits=256,
            parameters=bytes.fromhex("06052b8104000a"),
            sec_name="secp256k1",
            jwk_name="secp256k1",
            signature="ES256K",
            hash="sha256",
            pkcs8_bytes=(60, 190),
            fips=False,
            former_name="SECP256K1",
        ),
    )
}

#: Azure's names by the names of its API before 7.0
FORMER_NAMES: t.Mapping[str, str] = {
    curve.former_name: curve.name for curve in CURVES.values() if curve.former_name
}


def curve_of_parameters(parameters: bytes) -> Curve | None:
    """Return the curve in CKA_EC_PARAMS, or None for any other curve."""
    for curve in CURVES.values():
        if curve.parameters == parameters:
            return curve
    return None
