# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Which keys people name in a variable, and what of that is no key of any host of a run; pure.

A name that nothing matches is not ignored: a suspected key that is not replaced must not end in a
job that is green.
"""

from __future__ import annotations

import typing as t

Host = t.Mapping[str, t.Any]

#: What is said of a value that names nothing, by the variable that holds it
_NOTHING = {
    "byok_force": (
        "no host of this run has such a generation, or declares such a key. Nothing was replaced"
    ),
    "byok_data_reencrypted": "no host of this run declares such a key. Nothing was disabled",
}


def named_here(
    variable: str, asked: t.Sequence[str], keys: t.Iterable[t.Mapping[str, t.Any]]
) -> dict[str, t.Any]:
    """Return which values of a variable name a key of one host.

    :param asked: names of keys, or identities of generations
    :param keys: of the host: their ``name`` and ``generations``, as byok_target_key reports them
    :returns: ``found``, and ``missing`` for those that name none
    """
    known: set[str] = set()
    for key in keys if asked else ():
        known.add(key["name"])
        for generation in key.get("generations") or ():
            known.add(generation["thumbprint"] or generation["generation"])
    return {
        "variable": variable,
        "found": [value for value in asked if value in known],
        "missing": [value for value in asked if value not in known],
    }


def named_nowhere(hosts: t.Iterable[Host], variable: str) -> list[str]:
    """Return a sentence on the values of a variable that name no key of any host of a run.

    That is not judged before every vault was looked at: where hosts come one after the other
    (``serial``), the last ones judge.

    :param hosts: the variables of all hosts of the run; ``byok__named`` is what named_here() said
    """
    found: set[str] = set()
    missing: list[str] = []
    for host in hosts:
        if not host.get("byok_vault_url"):
            continue
        named = host.get("byok__named") or {}
        if named.get("variable") != variable:
            return []
        found.update(named["found"])
        missing += [value for value in named["missing"] if value not in missing]
    nowhere = [value for value in missing if value not in found]
    if not nowhere:
        return []
    return [
        f"{variable} names {', '.join(nowhere)}: {_NOTHING[variable]}. Correct the value; the "
        "playbook keyferry.azure.show shows names and thumbprints. If --limit left out the key's "
        "host, run without --limit."
    ]
