# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What people answer, in surveys, extra variables and inventories; pure."""

from __future__ import annotations

import typing as t
from datetime import date

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: What YAML makes of a text that nobody quoted; the first that fits counts, and a bool is an int
_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "the truth value"),
    ((int, float), "the number"),
    (date, "the date"),
)
_QUOTES = "'\""


def names(value: t.Any, variable: str) -> list[str]:
    """Read the names that a person gave: of keys, thumbprints, key identifiers.

    ansible-core 2.19 and later resolve ``!unsafe ''`` of AWX's extra variables as YAML resolves it
    without quotes: '' is null, ``0123`` is a number and ``2024-01-01`` a date.

    :param value: a list of texts, a text with commas, blanks or line breaks between, or nothing
    :param variable: the variable that holds the value, for the message
    :return: the names in their order, none of them empty, without quotes around them
    :raises ByokError: for what is no text, because what was written cannot be told from it
    """
    if value is None:
        return []
    if isinstance(value, str):
        # Methods of the text itself, by which ansible-core before 2.19 keeps it marked as unsafe
        parts = (part.strip(_QUOTES) for part in value.replace(",", " ").split())
        return [part for part in parts if part]
    if isinstance(value, (list, tuple)):
        return [name for item in value for name in names(item, variable)]
    raise _no_text(value, variable)


def text(value: t.Any, variable: str) -> str | None:
    """Read the one text that a person gave, as :func:`names` does.

    :param variable: the variable that holds the value, for the message
    :return: the text without quotes around it, or None for null and an empty text
    :raises ByokError: for what is no text
    """
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip().strip(_QUOTES) or None
    raise _no_text(value, variable)


def _no_text(value: t.Any, variable: str) -> ByokError:
    described = f"a {type(value).__name__}"
    for kind, words in _KINDS:
        if isinstance(value, kind):
            described = f"{words} {str(value).lower() if kind is bool else value}"
            break
    return ByokError(
        f"{variable} holds {described}, but must be a text",
        "Put it into quotes as it was written, such as '0123'; in a survey write the quotes too",
    )
