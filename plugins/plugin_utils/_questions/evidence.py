# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Questions about evidence that runs left."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.keyferry.azure.plugins.module_utils._audit.report import files_of
from ansible_collections.keyferry.azure.plugins.module_utils._audit.summary import (
    sentences,
    summary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.verify import verify


def _verify(
    receipts: str,
    trusted: str,
    listings: Sequence[str] = (),
    vaults: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> Mapping[str, t.Any]:
    """Verify a receipt folder, with what people read of it beside.

    :raises ByokError: where an input cannot be read
    """
    verification = verify(receipts, trusted, listings, vaults, heads)
    return {
        "verdict": verification.verdict,
        "summary": summary(verification),
        "problems": sentences(verification),
        "result": verification.to_dict(),
    }


def _evidence_report(
    receipts: str,
    trusted: str,
    listings: Sequence[str] = (),
    vaults: Sequence[str] = (),
    heads: Sequence[str] = (),
) -> Mapping[str, t.Any]:
    """Verify a receipt folder, and return the files of the evidence report by their names.

    :raises ByokError: where an input cannot be read
    """
    verification = verify(receipts, trusted, listings, vaults, heads)
    return {"summary": summary(verification), "files": files_of(verification)}


QUESTIONS: t.Mapping[str, t.Callable[..., t.Any]] = {
    "evidence_report": _evidence_report,
    "verify": _verify,
}
