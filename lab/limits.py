# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rate limits per vault. Sources: Key Vault service limits, Managed HSM scaling guidance."""

from __future__ import annotations

from collections import defaultdict, deque

from lab.hosts import Kind
from lab.key_types import KEY_TYPES
from lab.refusals import throttled

_WINDOW = 10.0  # seconds
# Whether an import or a rotation counts as a creation is not documented; the lab says yes, the
# tighter of the two.
_CREATIONS = ("create", "import", "rotate")
_HSM_CREATIONS, _SOFTWARE_CREATIONS = 10, 20
# Transactions in 10 s with an HSM key of a size in bits; software keys have twice as many.
_HSM_OTHERS = {3072: 500, 4096: 250}
_HSM_OTHERS_DEFAULT = 2000
# Managed HSM: 1 creation, 10 deletions, 10 purges a second, and so on, over the same window here.
_MANAGED_HSM = {"create": 10, "import": 10, "rotate": 10, "delete": 100, "purge": 100}
_MANAGED_HSM_OTHERS = 11000


def allowance(kind: Kind, operation: str, kty: str, size: int) -> int:
    """How many calls of this class a vault takes in 10 s if it takes no others."""
    if kind is Kind.MANAGED_HSM:
        return _MANAGED_HSM.get(operation, _MANAGED_HSM_OTHERS)
    hardware = KEY_TYPES[kty].hardware if kty in KEY_TYPES else False
    if operation in _CREATIONS:
        return _HSM_CREATIONS if hardware else _SOFTWARE_CREATIONS
    others = _HSM_OTHERS.get(size, _HSM_OTHERS_DEFAULT)
    return others if hardware else 2 * others


class Limits:
    """The buckets of all vaults.

    A vault's calls share one bucket: each takes the part that its class's allowance says.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._calls: defaultdict[str, deque[tuple[float, float]]] = defaultdict(deque)
        self._sums: defaultdict[str, float] = defaultdict(float)

    def admit(self, host: str, calls: int, now: float) -> None:
        """Take a call of a class with this allowance, or refuse it.

        A refused call does not count (documented).
        """
        taken, weight = self._calls[host], 1 / (calls * self._factor)
        while taken and not now - _WINDOW < taken[0][0] <= now:
            self._sums[host] -= taken.popleft()[1]
        if not taken:
            self._sums[host] = 0.0  # rounding does not add up
        if self._sums[host] + weight > 1 + 1e-9:
            raise throttled()
        taken.append((now, weight))
        self._sums[host] += weight
