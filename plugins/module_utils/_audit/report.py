# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The evidence report of a verification, as its files; pure."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_facts import report_of
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_page import page_of
from ansible_collections.keyferry.azure.plugins.module_utils._audit.report_tables import (
    csv_of,
    json_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    Verification,
)


def files_of(verification: Verification) -> Mapping[str, str]:
    """Return the files of a report, which tell the same, by their names."""
    report = report_of(verification)
    return {
        "evidence.html": page_of(report),
        "evidence.csv": csv_of(report),
        "evidence.json": json_of(verification, report),
    }
