# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.


"""What people can approve, by the words of options and of what they sign; pure."""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import PlannedKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import plain

#: The namespace of approvals, so that a signature of a git commit or a file is never one
NAMESPACE = "keyferry-approval@keyferry.azure"

Kind: t.TypeAlias = t.Literal["kek", "owner-root", "destroy", "plan"]

#: What a module can be told to demand approvals of; the role alone demands those of its plan
DEMANDED = ("kek", "owner-root", "destroy")

#: Actions of a plan by which a run does nothing
_DOES_NOTHING = ("none", "conflict")

#: What people approve of each key of a plan: no times, so that the plan of another day is the same
_PLANNED = ("name", "action", "generation", "thumbprint", "version", "changes")


def plan_digest(vault_url: str, plan: t.Iterable[PlannedKey]) -> str | None:
    """Return the SHA-256 of what a run would do, in hexadecimal digits; None if it does nothing.

    It is of canonical JSON: members sorted, no blanks, UTF-8.
    """
    doing = [entry for entry in plan if entry.action not in _DOES_NOTHING]
    if not doing:
        return None
    keys = [
        {fact: plain(getattr(entry, fact)) for fact in _PLANNED}
        for entry in sorted(doing, key=lambda entry: entry.name)
    ]
    document = {"vault": comparable_url(vault_url), "keys": keys}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
