# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Shapes of JSON that somebody else wrote: which members there are, and of what kind; pure.

A shape is one of these: a tuple of Python types, for a value; a pattern, which a text has to match
whole; a mapping, for an object with just these members; a list of one shape, for a list of any
length; :class:`Either`; :class:`Members`. A member whose shape is :class:`Maybe` can be missing.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TEXT: t.Final = (str,)
FLAG: t.Final = (bool,)
NUMBER: t.Final = (int,)
NULL: t.Final = (type(None),)
TEXT_OR_NULL: t.Final = (str, type(None))
FLAG_OR_NULL: t.Final = (bool, type(None))
SHA256: t.Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Either:
    """One shape of several."""

    shapes: tuple[t.Any, ...]


@dataclass(frozen=True)
class Members:
    """An object whose members have any names, and one shape."""

    shape: t.Any


@dataclass(frozen=True)
class Maybe:
    """A member that can be missing."""

    shape: t.Any


SHA256_OR_NULL: t.Final = Either((SHA256, NULL))


def one_of(*words: str) -> re.Pattern[str]:
    """Return the shape of a text that is one of these."""
    return re.compile("|".join(map(re.escape, words)))


def difference(value: t.Any, shape: t.Any, path: str = "") -> str | None:
    """Return the path of the first member that is not of a shape; None where all are.

    A member that is in no shape is not named: its name is not ours.
    """
    if isinstance(shape, Mapping):
        return _difference_of_object(value, shape, path)
    if isinstance(shape, Members):
        if not isinstance(value, Mapping):
            return path
        return _first(difference(each, shape.shape, path) for each in value.values())
    if isinstance(shape, list):
        if not isinstance(value, list):
            return path
        return _first(difference(each, shape[0], path) for each in value)
    if isinstance(shape, Either):
        fits = any(difference(value, each, path) is None for each in shape.shapes)
        return None if fits else path
    if isinstance(shape, re.Pattern):
        return None if isinstance(value, str) and shape.fullmatch(value) else path
    # bool is a kind of int in Python, and not in JSON
    is_flag = isinstance(value, bool) and bool not in shape
    return None if isinstance(value, shape) and not is_flag else path


def _difference_of_object(value: t.Any, shape: Mapping[str, t.Any], path: str) -> str | None:
    optional = {name: each.shape for name, each in shape.items() if isinstance(each, Maybe)}
    demanded = set(shape) - set(optional)
    if not isinstance(value, Mapping) or not demanded <= set(value) <= set(shape):
        return path or "it"
    return _first(
        difference(value[name], optional.get(name, shape[name]), f"{path}.{name}".lstrip("."))
        for name in shape
        if name in value
    )


def _first(differences: Iterable[str | None]) -> str | None:
    return next((path for path in differences if path is not None), None)
