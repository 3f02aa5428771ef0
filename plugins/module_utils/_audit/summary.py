# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A verification as lines for people, the verdict first and problems before what is whole; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    VERDICTS,
    KeyVerdict,
    Problem,
    VaultVerdict,
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable

#: How many problems of one kind are told; the JSON has them all
_MOST = 20


def summary(verification: Verification) -> list[str]:
    """Return printable lines: verdict, problems, then a line per vault and per key."""
    return [printable(line) for line in _lines(verification)]


def sentences(verification: Verification) -> list[str]:
    """Return the problems alone, the worst first, and of each kind as many as people read."""
    return list(_problems(verification.problems))


def _lines(verification: Verification) -> Iterator[str]:
    keys = Counter(key.verdict for vault in verification.vaults for key in vault.keys)
    counts = ", ".join(f"{keys[verdict]} {verdict}" for verdict in reversed(VERDICTS))
    yield f"{verification.verdict}: {sum(keys.values())} keys ({counts})"
    yield from _problems(verification.problems)
    for vault in sorted(verification.vaults, key=_worst_first):
        yield from _vault(vault)


def _problems(problems: tuple[Problem, ...]) -> Iterator[str]:
    told: Counter[tuple[str, str]] = Counter()
    total = Counter((each.verdict, each.code) for each in problems)
    for each in problems:
        kind = (each.verdict, each.code)
        told[kind] += 1
        if told[kind] <= _MOST:
            yield f"{each.verdict}: {each}"
        elif told[kind] == _MOST + 1:
            yield f"{each.verdict}: {total[kind] - _MOST} more of the kind {each.code}"


def _vault(vault: VaultVerdict) -> Iterator[str]:
    chain = vault.chain
    head = f" (head {chain.head['number']}:{chain.head['sha256']})" if chain.head else ""
    yield f"{vault.vault}: {vault.verdict}; chain {chain.verdict}: {chain.told}{head}"
    for told in chain.stamps_told:
        yield f"  {told}"
    for key in sorted(vault.keys, key=_worst_first):
        code = "" if key.verdict == "whole" else f" ({key.code})"
        yield f"  {key.name}: {key.verdict}: {key.told}{code}"


def _worst_first(judged: VaultVerdict | KeyVerdict) -> int:
    return -VERDICTS.index(judged.verdict)
