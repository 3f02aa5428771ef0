# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Print receipts as a table: what arrived where, and what proves it."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HEADER = ("KEY", "KIND", "ARRIVED AS", "BORN IN TOKEN", "KEK", "IDENTITY", "PROVED BY")


def row(wrapped: dict[str, Any], arrived: dict[str, Any]) -> tuple[str, ...]:
    """What a reader wants to know of one transfer, by the predicates of both sides."""
    proof = arrived["proof"] or {}
    return (
        wrapped["key"]["name"],
        wrapped["key"]["kind"],
        arrived["kid"].removeprefix("https://"),
        "yes" if wrapped["evidence"]["origin"] == "token" else wrapped["evidence"]["origin"],
        wrapped["kek"]["trust"],
        arrived["identity"],
        f"{proof['operation']} ({proof['algorithm']})"
        if "operation" in proof
        else proof.get("unprovable", "-"),
    )


def rows(lines: list[str]) -> Iterator[tuple[str, ...]]:
    """One row for each import that the receipts of a key tell."""
    payloads = [base64.b64decode(json.loads(line)["payload"]) for line in lines]
    statements = {hashlib.sha256(payload).hexdigest(): json.loads(payload) for payload in payloads}
    for statement in statements.values():
        digests = {each["name"]: each["digest"]["sha256"] for each in statement["subject"]}
        if "wrapped" in digests:
            yield row(statements[digests["wrapped"]]["predicate"], statement["predicate"])


def main(paths: list[str]) -> None:
    """Print one line per import."""
    told = [row for path in paths for row in rows(Path(path).read_text("utf-8").splitlines())]
    table = [_HEADER, *sorted(told)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        )


if __name__ == "__main__":
    main(sys.argv[1:])
