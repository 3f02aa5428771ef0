# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What an auditor should know of a transfer although nothing failed; pure.

Each deviation is a fact that the statements of the transfer tell themselves.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape

Predicate: t.TypeAlias = Mapping[str, t.Any]

#: Security strength in bits by the size of an RSA modulus, the largest that is reached (NIST
#: SP 800-57 part 1 rev. 5, table 2)
_RSA_STRENGTH = ((15360, 256), (7680, 192), (3072, 128), (2048, 112), (1024, 80))

#: The same by the size of a curve's field (f in that table)
_EC_STRENGTH = ((512, 256), (384, 192), (256, 128), (224, 112), (160, 80))

_RSA = re.compile(r"RSA-([0-9]{3,5})")
_AES = re.compile(r"(?:AES|oct)-([0-9]{3})")

#: In the host of each Managed HSM, whatever its cloud
_MANAGED_HSM = ".managedhsm."

#: By the verdict on the attestation of the key in a Managed HSM: code, and why nothing attests it
_TARGET = {
    "root_not_pinned": ("target_root_not_pinned", "the root of its pool is not pinned"),
    "differs": ("target_differs", "its attestation states something else"),
    "unreadable": ("target_unreadable", "its attestation could not be read"),
    "not_fetched": ("target_not_fetched", "no attestation of it was fetched"),
}

_ORIGINS = {
    "external": ("origin_external", "The token states that it did not make the key itself"),
    "unknown": ("origin_unknown", "The token does not tell whether it made the key itself"),
}


@dataclass(frozen=True)
class Deviation(Shape):
    """One of them.

    :ivar code: for programs, one of DEVIATIONS of ``_core/reasons.py``
    :ivar msg: for people, a sentence without its full stop
    """

    code: str
    msg: str


def deviations_of(wrapped: Predicate | None, imported: Predicate | None) -> tuple[Deviation, ...]:
    """Return the deviations of one transfer, those of the token's side first.

    :param wrapped: the predicate of wrapped/v1; None where there is none
    :param imported: the predicate of imported/v1; None where there is none
    """
    found: list[Deviation] = []
    if wrapped is not None:
        found += [*_of_wrap(wrapped), *_of_kek(wrapped)]
    if imported is not None:
        found += [*_of_import(imported), *_of_target(imported)]
    found += _of_maker(wrapped or {}, imported or {})
    found += _of_clocks(wrapped or {}, imported or {})
    return tuple(found)


def strength(kind: str) -> int | None:
    """Return the security strength of a kind of key in bits; None for an unknown kind.

    :param kind: type with size or curve, such as RSA-3072, P-256 or AES-256
    """
    if kind in CURVES:
        return _strength(CURVES[kind].bits, _EC_STRENGTH)
    if match := _RSA.fullmatch(kind):
        return _strength(int(match[1]), _RSA_STRENGTH)
    match = _AES.fullmatch(kind)
    return int(match[1]) if match else None


def _strength(size: int, table: tuple[tuple[int, int], ...]) -> int:
    return next((bits for least, bits in table if size >= least), 0)


def _of_wrap(wrapped: Predicate) -> Iterator[Deviation]:
    wrap = wrapped["wrap"]
    if "SHA-1" in wrap["oaep"]:
        yield Deviation(
            "oaep_hash",
            f"RSA-OAEP used {wrap['oaep']}, as Microsoft's BYOK specification prescribes; SHA-1 is "
            "no signature there, so collisions of SHA-1 do not weaken it",
        )
    if "followed by" in wrap["rehearsal"]["finding"]:
        yield Deviation(
            "trailing_zeros",
            "The token adds zero bytes behind the PKCS#8 that it wraps, and that was allowed",
        )
    origin = _ORIGINS.get(wrapped["evidence"]["origin"])
    if origin:
        yield Deviation(*origin)


def _of_kek(wrapped: Predicate) -> Iterator[Deviation]:
    """Yield what is weak about the key that was wrapped under; an escrow key has no kid."""
    kek, kind = wrapped["kek"], wrapped["key"]["kind"]
    what = "KEK" if kek["kid"] else "escrow key"
    key_bits, kek_bits = strength(kind), strength(f"RSA-{kek['size']}")
    if key_bits is None or kek_bits is None:
        yield Deviation("strength_unknown", f"The strength of a key of the kind {kind} is unknown")
    elif kek_bits < key_bits:
        why = "; Microsoft's BYOK specification prescribes RSA for the KEK" if kek["kid"] else ""
        yield Deviation(
            "kek_weaker",
            f"The {what} RSA-{kek['size']} has {kek_bits} bits of strength and the key {kind} has "
            f"{key_bits} (NIST SP 800-57 part 1 rev. 5, table 2){why}",
        )
    if kek["trust"] == "unverified":
        yield Deviation(
            "kek_trust_unverified",
            f"Nothing shows that the {what} belongs to whom the package is for: whoever made "
            "it could read the key",
        )
    if kek["kid"] and _MANAGED_HSM in kek["kid"].lower() and kek["trust"] != "attested":
        yield Deviation(
            "kek_unattested",
            f"The hardware of the Managed HSM did not attest the KEK, which was used because it "
            f"is {kek['trust']}",
        )


def _of_import(imported: Predicate) -> Iterator[Deviation]:
    environment = imported["environment"]
    if imported["source"] == "carrier":
        yield Deviation(
            "told_by_carrier",
            "The record of the wrap came in a file, so it is the word of whoever carried it "
            "unless the token signed it",
        )
    if imported["origin"] == "unverified":
        yield Deviation(
            "package_unverified",
            "Nothing showed before the import that the package holds the key",
        )
    if imported["identity"] in ("tag_only", "unverified"):
        yield Deviation(
            "identity_unproved",
            "Nothing but a tag shows that the version in Azure is the key in the token",
        )
    if environment["proxy"]:
        yield Deviation("proxy", "A proxy stood between the importing host and Azure")
    if environment["ca_override"]:
        yield Deviation(
            "ca_override",
            "The importing host took its certification authorities from a file that its user set",
        )


def _of_target(imported: Predicate) -> Iterator[Deviation]:
    """Yield why no hardware attests the key in Azure."""
    if _MANAGED_HSM not in imported["vault"].lower():
        yield Deviation(
            "vault_without_attestation",
            "A Key Vault attests no keys: that its KEK and the key are in hardware is the "
            "vault's own word",
        )
        return
    verdict = (imported["attestation"] or {}).get("verdict", "not_fetched")
    if verdict in _TARGET:
        code, why = _TARGET[verdict]
        yield Deviation(code, f"The hardware of the Managed HSM does not attest the key: {why}")


def _of_maker(wrapped: Predicate, imported: Predicate) -> Iterator[Deviation]:
    stated = [wrapped.get("kek"), imported.get("attestation")]
    makers = {each.get("maker") for each in stated if each}
    if makers - {"Marvell", None}:
        yield Deviation(
            "maker_not_marvell",
            "The adapter that attests was made by somebody else than Marvell, the one known maker "
            "of Azure's adapters; the user pinned that maker",
        )


def _of_clocks(wrapped: Predicate, imported: Predicate) -> Iterator[Deviation]:
    """Yield where no clock but those of hosts tells when it was; each wrap is by a host's clock."""
    clocks = {wrapped.get("wrap", {}).get("clock"), imported.get("clock")} - {None}
    if clocks == {"host"}:
        yield Deviation(
            "clock_of_host", "When this was is known by the clocks of hosts alone, not by Azure's"
        )
