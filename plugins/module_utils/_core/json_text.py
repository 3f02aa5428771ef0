# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""JSON that somebody else wrote, read so that every reader sees the same in it; pure."""

from __future__ import annotations

import json
import typing as t


def parse_json(text: str) -> t.Any:
    """Return what a JSON text (RFC 8259) says.

    :raises ValueError: for what is no JSON, is nested too deeply, has a member twice, of which
        readers take either, or has a number that JSON does not know
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_constant(name: str) -> t.Any:
    raise ValueError(f"{name} is no number in JSON")
