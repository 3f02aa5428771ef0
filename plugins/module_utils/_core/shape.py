# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""How the shapes of results leave a process as plain data, and come back; pure."""

from __future__ import annotations

import types
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_moment,
)

S = t.TypeVar("S", bound="Shape")
Convert = t.Callable[[t.Any], t.Any]


class Shape:
    """A frozen dataclass that becomes a dict where it leaves the process, and comes back from one.

    Moments are datetimes inside and ISO 8601 in UTC outside; tuples are lists outside. Mappings
    stay what they are, because copying those of thousands of keys takes longer than all else.
    """

    def to_dict(self) -> dict[str, t.Any]:
        """Return the fields as Ansible returns them."""
        return {
            codec.name: codec.encode(getattr(self, codec.name)) for codec in _codecs(type(self))
        }

    @classmethod
    def from_dict(cls: type[S], values: t.Any) -> S:
        """Read what to_dict() gave on another host; fields that are not known are left out.

        :raises ByokError: when it is no such result, which another host may have made up
        """
        if not isinstance(values, Mapping):
            raise _unfit(cls, f"{type(values).__name__} instead of a mapping")
        read: dict[str, t.Any] = {}
        for codec in _codecs(cls):
            if codec.name in values:
                read[codec.name] = codec.read(cls, values[codec.name])
            elif codec.required:
                raise _unfit(cls, f"the field {codec.name} is missing")
        return cls(**read)


#: By class: finding them takes longer than using them
_CODECS: dict[type, tuple[_Codec, ...]] = {}


@dataclass(frozen=True)
class _Codec:
    """How one field leaves and comes back."""

    name: str
    required: bool
    encode: Convert
    decode: Convert

    def read(self, shape: type, value: t.Any) -> t.Any:
        try:
            return self.decode(value)
        except (TypeError, ValueError) as error:
            raise _unfit(shape, f"the field {self.name} is {error}") from None


def _codecs(shape: type) -> tuple[_Codec, ...]:
    found = _CODECS.get(shape)
    if found is None:
        found = _CODECS[shape] = _find_codecs(shape)
    return found


def _find_codecs(shape: t.Any) -> tuple[_Codec, ...]:
    hints = t.get_type_hints(shape)
    codecs = []
    for member in fields(shape):
        encode, decode = _converters(hints[member.name])
        required = member.default is MISSING and member.default_factory is MISSING
        codecs.append(_Codec(member.name, required, encode, decode))
    return tuple(codecs)


def _converters(hint: t.Any) -> tuple[Convert, Convert]:
    """Return how values of a type become plain data, and how plain data become values."""
    origin, arguments = t.get_origin(hint), t.get_args(hint)
    if origin in (t.Union, types.UnionType):
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        encode, decode = _converters(inner)
        return _optional(encode), _optional(decode)
    if origin is tuple:
        encode, decode = _converters(arguments[0])
        return _each(encode, list), _each(decode, tuple)
    if origin is t.Literal:
        return _same, _one_of(arguments)
    if hint is datetime:
        return format_moment, lambda value: parse_moment(_instance(str, value))
    if isinstance(hint, type) and issubclass(hint, Shape):
        return lambda value: value.to_dict(), hint.from_dict
    if origin is not None and issubclass(origin, Mapping):
        return _same, lambda value: _instance(Mapping, value)
    if hint is t.Any:
        return _same, _same
    return _same, lambda value: _instance(hint, value)


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert, into: Convert) -> Convert:
    def converted(values: t.Any) -> t.Any:
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise TypeError(f"{type(values).__name__} instead of a list")
        return into([convert(value) for value in values])

    return converted


def _one_of(choices: tuple[t.Any, ...]) -> Convert:
    def checked(value: t.Any) -> t.Any:
        if value not in choices:
            raise ValueError(f"{value!r} instead of one of {', '.join(map(str, choices))}")
        return value

    return checked


def _instance(kind: t.Any, value: t.Any) -> t.Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value


def _same(value: t.Any) -> t.Any:
    return value


def plain(value: t.Any, single: Convert = _same) -> t.Any:
    """Return a copy in plain data: Ansible's own containers cannot be copied or written by all.

    :param single: what is done with each value that is no container
    """
    if isinstance(value, Mapping):
        return {name: plain(item, single) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, single) for item in value]
    return single(value)


def _unfit(shape: type, why: str) -> ByokError:
    return ByokError(
        f"What was given as {shape.__name__} is no such result of keyferry.azure: {why}",
        "Give results as the modules return them, from hosts with the same version of the "
        "collection; if you did, find out who changed the result",
    )
