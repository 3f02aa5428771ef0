# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Text that came from outside, as one line that shows all its characters; pure."""

from __future__ import annotations

import typing as t


def printable(text: object) -> str:
    """Return a text on one line, in which an escape stands for each character that is not visible.

    Otherwise a tag or a label could clear the terminal, turn a line around (U+202E), or add a line
    to a diff. What is visible, ``str.isprintable`` decides by Unicode's categories.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in shown)


def one_line(value: t.Any) -> str:
    """Return a value of an attribute as people read it, printable."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, t.Mapping):
        return printable(", ".join(f"{key}={value[key]}" for key in sorted(value)) or "none")
    if isinstance(value, (list, tuple)):
        return printable(", ".join(map(str, value)) or "none")
    return printable(value)
