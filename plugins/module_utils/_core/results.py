# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

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
        return plain, lambda value: plain(_instance(Mapping, value))
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


def plain(value: t.Any) -> t.Any:
    """Return a copy in plain data: Ansible's own containers cannot be copied or written by all."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
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
    :ivar created: when the vault made the version
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
    created: datetime | None = None
    request_id: str | None = None
    replaced: str | None = None
    receipt: Mapping[str, t.Any] | None = None


@dataclass(frozen=True)
class RotatedKey(Shape):
    """What byok_rotate did with a key, or would.

    :ivar replaced: the version that was the newest before
    :ivar identity: as ImportedKey has it; None where nothing was imported or updated
    """

    name: str
    action: ActionName
    reason: str
    code: str
    generation: str | None
    thumbprint: str | None
    kid: str | None
    version: str | None
    next_due: datetime | None
    replaced: str | None = None
    request_id: str | None = None
    identity: str | None = None
    proof: Mapping[str, t.Any] | None = None
    receipt: Mapping[str, t.Any] | None = None
    imported: bool = False
    locked: bool = False


@dataclass(frozen=True)
class KeptVersion(Shape):
    """An older version that stays enabled."""

    version: str
    reason: str


@dataclass(frozen=True)
class RetiredKey(Shape):
    """What byok_rotate did with the older versions of a key (stage retire), or would.

    :ivar retired: the versions that were disabled
    """

    name: str
    action: t.Literal["retire", "none"]
    reason: str
    code: str
    retired: tuple[str, ...] = ()
    kept: tuple[KeptVersion, ...] = ()
    request_id: str | None = None


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


@dataclass(frozen=True)
class VersionFacts(Shape):
    """A version of a key in a vault, as byok_plan reports it under ``versions``.

    :ivar generation: of the token, which it is; None for none
    :ivar ours: whether there is such a generation
    :ivar active: whether it is the newest
    """

    version: str
    kid: str
    type: str
    thumbprint: str | None
    generation: str | None
    ours: bool
    active: bool
    created: datetime | None
    operations: tuple[str, ...]
    enabled: bool
    not_before: datetime | None
    expires: datetime | None
    tags: Mapping[str, t.Any]


@dataclass(frozen=True)
class KeyVersions(Shape):
    """All versions of a key in a vault, newest first.

    :ivar deleted: whether a deleted key holds the name; None where that must not be seen
    :ivar last_rotated: when the newest version was made, if it is not the only one
    """

    name: str
    deleted: bool | None
    last_rotated: datetime | None
    next_due: datetime | None
    versions: tuple[VersionFacts, ...]


@dataclass(frozen=True)
class VaultVersions(Shape):
    """All versions of the declared keys in a vault, as byok_plan reports them (``versions``).

    :ivar read_at: by the clock of the host
    """

    vault_url: str
    read_at: datetime
    target_keys: tuple[KeyVersions, ...]


@dataclass(frozen=True)
class UnmanagedKey(Shape):
    """A key of a vault that nobody declared, as byok_plan reports it.

    :ivar marked: a tag says that Keyferry brought it, and anybody can set a tag
    """

    name: str
    kid: str
    enabled: bool
    created: datetime | None
    expires: datetime | None
    marked: bool


@dataclass(frozen=True)
class VaultKey(Shape):
    """A key of a vault with its newest version, as byok_vault_info lists it.

    :ivar kek: it can do nothing but import
    :ivar managed: it belongs to a certificate
    """

    name: str
    kid: str
    version: str
    kind: str
    type: str
    size: int | None
    curve: str | None
    thumbprint: str | None
    created: datetime | None
    kek: bool
    managed: bool
    operations: tuple[str, ...]
    enabled: bool
    not_before: datetime | None
    expires: datetime | None
    tags: Mapping[str, t.Any]


@dataclass(frozen=True)
class KekFacts(Shape):
    """More about a KEK, as byok_kek reports it.

    :ivar size: in bits
    """

    name: str
    size: int
    expires: datetime | None
    enabled: bool
    tags: Mapping[str, t.Any]
    recovery_level: str


@dataclass(frozen=True)
class PermissionFacts(Shape):
    """Whether the identity may do something in a vault, as byok_vault_info reports it.

    :ivar granted: None where the answer does not tell, or nobody asked
    :ivar required: the work cannot be done without
    :ivar access_policy: the key permission; None for a Managed HSM, which has no access policy
    """

    operation: str
    granted: bool | None
    needed_for: tuple[str, ...]
    required: bool
    access_policy: str | None
    rbac_action: str
    role: str
    answer: str | None


@dataclass(frozen=True)
class VaultInfo(Shape):
    """What byok_vault_info finds of a vault; None where nothing tells.

    :ivar clock: what time it is for runs with this vault: ``source`` (``vault``, ``entra`` or
        ``host``), ``time``, and ``difference``, by how many seconds it is ahead of this host
    :ivar missing: operations that are required and were refused
    """

    url: str
    name: str
    kind: str
    reachable: bool
    firewall: str
    authenticated: bool | None
    recovery_level: str | None
    purge_protection: bool | None
    retention_days: int | None
    clock: Mapping[str, t.Any] | None
    permissions: tuple[PermissionFacts, ...]
    missing: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ProfileFacts(Shape):
    """What kind of token it is taken for, and where what is known of it comes from."""

    name: str
    title: str
    source: str


@dataclass(frozen=True)
class MechanismFacts(Shape):
    """A mechanism that the token offers; ``number`` is hexadecimal."""

    name: str
    number: str


@dataclass(frozen=True)
class PolicyFacts(Shape):
    """A partition policy of a token.

    :ivar wanted: None where either is right
    :ivar command: the vendor's, which sets it; empty where it is as it must be
    """

    number: int
    name: str
    value: int
    wanted: int | None
    met: bool
    why: str
    command: str


@dataclass(frozen=True)
class KeyTypeFacts(Shape):
    """Whether keys of one kind can be made in a token, and wrapped; None where nothing tells."""

    kind: str
    make: bool | None
    wrap: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class HsmInfo(Shape):
    """What byok_hsm_info finds of a token.

    :ivar pin: ``ok``, ``count_low``, ``final_try`` or ``locked``
    :ivar free_memory: bytes for ``public`` and ``private`` objects
    :ivar rehearsal: None where there was none or it failed
    """

    token: Mapping[str, t.Any]
    profile: ProfileFacts
    pin: str
    logged_in: bool
    free_memory: Mapping[str, t.Any]
    mechanisms: tuple[MechanismFacts, ...]
    policies: tuple[PolicyFacts, ...]
    fips_mode: bool | None
    fips_mode_source: str
    rehearsal: Mapping[str, t.Any] | None
    key_types: tuple[KeyTypeFacts, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
