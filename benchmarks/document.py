# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tables in docs/performance.md, between marks that name the benchmark."""

from __future__ import annotations

import re

from running_lab import ROOT

_PATH = ROOT / "docs/performance.md"


def put(name: str, lines: list[str]) -> None:
    """Put a table into the document, in the place of the one that was measured before."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    table = "\n".join(["", *lines, ""])
    text, count = re.subn(
        f"{begin}.*?{end}",
        lambda _found: f"{begin}{table}{end}",
        _PATH.read_text(),
        flags=re.DOTALL,
    )
    if count != 1:
        raise RuntimeError(f"{_PATH} has no place for {name}")
    _PATH.write_text(text)
