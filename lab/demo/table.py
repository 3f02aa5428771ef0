# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print receipts as a table: what arrived where, and what proves it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HEADER = ("KEY", "KIND", "ARRIVED AS", "BORN IN TOKEN", "KEK", "IDENTITY", "PROVED BY")


def row(receipt: dict[str, Any]) -> tuple[str, ...]:
    """What a reader wants to know of one transfer."""
    predicate = receipt["predicate"]
    arrived, proof = predicate["import"], predicate["import"]["proof"] or {}
    return (
        predicate["key"]["name"],
        predicate["key"]["kind"],
        arrived["kid"].removeprefix("https://"),
        "yes" if predicate["evidence"]["origin"] == "token" else predicate["evidence"]["origin"],
        predicate["kek"]["trust"],
        arrived["identity"],
        f"{proof['operation']} ({proof['algorithm']})"
        if "operation" in proof
        else proof.get("unprovable", "-"),
    )


def main(paths: list[str]) -> None:
    """Print one line per receipt."""
    rows = [
        _HEADER,
        *sorted(row(json.loads(Path(path).read_text(encoding="utf-8"))) for path in paths),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        )


if __name__ == "__main__":
    main(sys.argv[1:])
