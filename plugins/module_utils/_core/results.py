# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Every shape that leaves a module or passes between hosts, written once; pure.

The modules' RETURN documentation and the options that take such results are compared with these
classes by a test.
"""

from __future__ import annotations

import types
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
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

    Moments are datetimes inside and ISO 8601 in UTC outside; tuples are lists outside.
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
        return dict, lambda value: _instance(Mapping, value)
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


def _unfit(shape: type, why: str) -> ByokError:
    return ByokError(
        f"What was given as {shape.__name__} is no such result of keyferry.azure: {why}",
        "Give results as the modules return them, from hosts with the same version of the "
        "collection; if you did, find out who changed the result",
    )


ActionName = t.Literal["transfer", "rotate", "update", "recover", "lock", "none", "conflict"]


@dataclass(frozen=True)
class Failure(Shape):
    """A key that failed while others went on.

    :ivar code: why, for programs (docs/reasons.md)
    """

    name: str
    msg: str
    code: str = "failed"


@dataclass(frozen=True)
class GenerationFacts(Shape):
    """A generation of a key in the token, as byok_target_key reports it.

    :ivar generation: CKA_ID in hexadecimal digits
    :ivar thumbprint: RFC 7638; None for oct keys
    :ivar made: by the time in a CKA_ID that Keyferry gave
    :ivar CKA_KEY_GEN_MECHANISM: None, like all CKA_*, where the token does not tell
    """

    generation: str
    thumbprint: str | None
    kind: str | None = None
    public_key: str | None = None
    made_by_keyferry: bool = False
    made: datetime | None = None
    withdrawn: bool = False
    half_made: bool = False
    public_only: bool = False
    origin: str = "unknown"
    CKA_LOCAL: bool | None = None
    CKA_ALWAYS_SENSITIVE: bool | None = None
    CKA_SENSITIVE: bool | None = None
    CKA_EXTRACTABLE: bool | None = None
    CKA_NEVER_EXTRACTABLE: bool | None = None
    CKA_KEY_GEN_MECHANISM: int | None = None

    @property
    def identity(self) -> str:
        """What people name it by: its thumbprint, or for oct keys its CKA_ID."""
        return self.thumbprint or self.generation


@dataclass(frozen=True)
class TargetKey(Shape):
    """A key in the token, as byok_target_key reports it.

    :ivar generation: the one that is meant; None for a key that would be made
    :ivar generations: oldest first
    """

    name: str
    generation: str | None
    thumbprint: str | None
    generations: tuple[GenerationFacts, ...]
    created: bool = False
    locked: bool = False


@dataclass(frozen=True)
class NamedGeneration(Shape):
    """A generation that was destroyed or withdrawn, as byok_target_key reports it."""

    name: str
    generation: str
    thumbprint: str | None


@dataclass(frozen=True)
class PlanEntry(Shape):
    """What has to be done with a key, as byok_plan reports it.

    :ivar code: why, for programs (docs/reasons.md)
    :ivar generation: the one that it is about; None for one that has to be made
    :ivar version: the newest version in the vault
    :ivar changes: by attribute, ``before`` and ``after``
    """

    name: str
    action: ActionName
    reason: str
    kind: str
    generation: str | None = None
    thumbprint: str | None = None
    version: str | None = None
    kid: str | None = None
    foreign: bool = False
    next_due: datetime | None = None
    changes: Mapping[str, t.Any] = field(default_factory=dict)
    code: str = "unknown"


@dataclass(frozen=True)
class MakeOrder(Shape):
    """A generation that has to be made, as byok_plan orders it of byok_target_key (``rotations``).

    :ivar newer_than: CKA_ID of the youngest generation that is there; None where there is none
    :ivar made_at: the time that the new generation's CKA_ID will tell
    """

    name: str
    newer_than: str | None = None
    made_at: datetime | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Package(Shape):
    """A key transfer package, as byok_wrap returns it.

    :ivar content: the text of the .byok file
    :ivar sha256: of the content, in hexadecimal digits
    :ivar wrapped: by this run; False for a package that was kept
    :ivar challenge: what proves an oct key in the vault
    """

    name: str
    generation: str
    thumbprint: str | None
    kek_id: str | None
    path: str | None
    content: str
    sha256: str
    wrapped: bool
    receipt: Mapping[str, t.Any] | None
    challenge: Mapping[str, t.Any] | None = None


@dataclass(frozen=True)
class ImportedKey(Shape):
    """A key in the vault after byok_import.

    :ivar current: whether it is the newest version
    :ivar origin: why the package is believed to hold our key
    :ivar identity: why the version is believed to be our key; None in check mode before an import
    """

    name: str
    kid: str | None
    version: str | None
    thumbprint: str | None
    generation: str | None
    imported: bool
    updated: bool
    current: bool
    origin: str
    identity: str | None
    proof: Mapping[str, t.Any] | None = None
    attributes: Mapping[str, t.Any] | None = None
    hsm_platform: str | None = None
    request_id: str | None = None
    replaced: str | None = None
    receipt: Mapping[str, t.Any] | None = None


@dataclass(frozen=True)
class Deletion(Shape):
    """A key of a vault that byok_import deleted, purged or recovered.

    :ivar version: its newest
    :ivar state: ``deleted``, ``purged`` or ``recovered``
    """

    name: str
    version: str
    kid: str
    state: str
    recovery_level: str
    retention_days: int | None
    request_id: str | None
