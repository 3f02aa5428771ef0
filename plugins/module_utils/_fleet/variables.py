# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Names of variables: a misspelt one would silently switch off what it should set; pure."""

from __future__ import annotations

import re
import typing as t
from fnmatch import fnmatchcase

from ansible_collections.keyferry.azure.plugins.module_utils._fleet.hosts import OWN_VARIABLES
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.validation import suggestion

PREFIX = "byok_"

#: Old names of the role's options, which go on working for one release
RENAMED = {"byok_profile": "byok_hsm_profile"}

#: Known names that are no options of the role, by who reads or sets them
OTHER_VARIABLES: dict[str, tuple[str, ...]] = {
    "the inventory plugin declared": OWN_VARIABLES,
    "playbooks": ("byok_fail_on_drift", "byok_hosts", "byok_plan_base", "byok_plan_directory"),
    "the callback and the playbook log": (
        "byok_log_export",
        "byok_log_format",
        "byok_log_from",
        "byok_log_host",
        "byok_log_job",
        "byok_log_key",
        "byok_log_level",
        "byok_log_path",
        "byok_log_to",
        "byok_log_vault",
    ),
    "the playbook evidence": ("byok_evidence_report_directory",),
    "the playbook verify": (
        "byok_receipt_directory",
        "byok_trust_directory",
        "byok_verify_heads",
        "byok_verify_listings",
        "byok_verify_result",
        "byok_verify_vaults",
    ),
    "results": (
        "byok_arrived",
        "byok_behind",
        "byok_discovered",
        "byok_evidence_public_key",
        "byok_held_back",
        "byok_plan",
        "byok_planned",
        "byok_shown",
        "byok_standing",
    ),
    "docs/azure-setup.md": ("byok_app_id",),
}

#: What jobs export to each other by their numbers; and the playbook awx, which uses no role
_NUMBERED = re.compile(r"byok_(results|plan)_([0-9]+|local)|byok_awx_\w+")

_REMEDY = (
    "Correct the name. If the variable is your own, list its name, or a pattern of names, in"
    " byok_own_variables."
)


def unknown_variables(
    names: t.Iterable[str], options: t.Iterable[str], own: t.Iterable[str]
) -> list[str]:
    """Return a sentence for each variable that nobody knows, and at the end what to do.

    :param names: of variables that begin with ``byok_``
    :param options: names of the role's options
    :param own: names of the user's own variables, or patterns of such names
    """
    ours = {*options, *RENAMED}.union(*OTHER_VARIABLES.values())
    patterns = tuple(own)
    problems = []
    for name in sorted(set(names) - ours):
        if not (_NUMBERED.fullmatch(name) or _matches(name, patterns)):
            problems.append(f"{name} is not a variable of Keyferry{_suggestion(name, ours)}")
    return [*problems, _REMEDY] if problems else []


def _suggestion(name: str, ours: t.Iterable[str]) -> str:
    # Without the prefix, which would make all names look alike
    near = suggestion(name.removeprefix(PREFIX), [our.removeprefix(PREFIX) for our in sorted(ours)])
    return near.replace("did you mean ", f"did you mean {PREFIX}") or "."


def _matches(name: str, patterns: t.Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
