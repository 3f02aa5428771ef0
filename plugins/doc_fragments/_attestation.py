# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a module that judges what a Managed HSM's hardware attests."""

from __future__ import annotations


class ModuleDocFragment:
    """Attestation options; private to the collection."""

    DOCUMENTATION = r"""
options:
  attestation_owner_roots:
    description:
      - For each Managed HSM the SHA-256 of its owner's root certificate in hexadecimal digits, by
        the name, the host or the URL of the Managed HSM.
      - If the root of a Managed HSM is given, its hardware must attest the KEK, unless the
        fingerprint of the KEK is in O(approved_keks). Then a KEK is trusted without trust in the
        host that fetched it. If roots are given, but not that of the Managed HSM of the KEK, the
        module fails, because the name may be misspelt.
      - Azure makes a root of its own for each Managed HSM, and nothing else shows which it is. Let
        two people compare it, as docs/attestation.md describes.
    type: dict
    default: {}
  attestation_maker_roots:
    description:
      - Root certificates as PEM of makers of HSM adapters beside Marvell, such as that of the lab.
        Azure's adapters are by Marvell, whose roots are known.
    type: list
    elements: str
    default: []
  required_kek_trust:
    description:
      - Which reasons to trust a KEK are enough. V(created) means that this run made it, V(approved)
        that its fingerprint is in O(approved_keks), V(attested) that the hardware of the Managed
        HSM states that it was made there and cannot leave.
      - If not given, each of them is enough.
    type: list
    elements: str
    choices: [created, approved, attested]
    default: []
"""
