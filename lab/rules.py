# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules that a vault applies to what it is asked; pure.

Sources: Key Vault REST reference, BYOK specification, recordings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lab.hosts import Kind
from lab.key_types import CURVES, DEFAULT_SIZES, KEY_TYPES, SIZES, KeyType
from lab.refusals import Refusal, bad_parameter, forbidden, key_type_not_supported

_KEY_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_MAX_TAGS, _MAX_TAG_LENGTH = 15, 256
_KEYS_PER_HSM, _VERSIONS_PER_KEY = 5000, 100
FULL_RETENTION = 90  # days
DAY = 86400  # seconds
IMPORT = "import"
# Oldest first: those of Microsoft's SDKs and recordings. A vault knows the first ones, up to the
# latest that it supports.
API_VERSIONS = (
    *("2016-10-01", "7.0", "7.1", "7.2", "7.3-preview", "7.3", "7.4-preview.1", "7.4"),
    *("7.5-preview.1", "7.5", "7.6-preview.1", "7.6-preview.2", "7.6", "2025-06-01-preview"),
    *("2025-07-01", "2026-01-01-preview", "2026-03-01-preview", "2026-04-01"),
)
_DEFAULT_EXPONENT = 65537


class State(Enum):
    """Where a name stands between its first version and its purge."""

    FREE = "free"
    ACTIVE = "active"
    BEING_DELETED = "being deleted"
    DELETED = "deleted"
    BEING_RECOVERED = "being recovered"


def state(
    change: str | None, changed: float, now: float, delay: float, retention_days: int
) -> State:
    """Return the state of a name whose last change happened at `changed`.

    The change is "deleted", "recovered", "purged" or none. A change takes `delay` seconds to show
    (recorded: /deletedkeys is 404 at first); a deleted key is gone after its retention.
    """
    settled = now >= changed + delay
    if change == "deleted":
        if now >= changed + retention_days * DAY:
            return State.FREE
        return State.DELETED if settled else State.BEING_DELETED
    if change == "recovered":
        return State.ACTIVE if settled else State.BEING_RECOVERED
    if change == "purged":
        return State.FREE if settled else State.BEING_DELETED
    return State.ACTIVE


def scheduled_purge(deleted: float, retention_days: int) -> int:
    """When a deleted key goes for ever, in seconds since the epoch."""
    return int(deleted) + retention_days * DAY


def recovery_level(purge_protection: bool, retention_days: int) -> str:
    """The documented name of what a vault's deletion can be recovered from."""
    level = "Recoverable" if retention_days == FULL_RETENTION else "CustomizedRecoverable"
    return level if purge_protection else f"{level}+Purgeable"


def key_name(name: str) -> None:
    """Refuse a name that no key can have."""
    if not _KEY_NAME.fullmatch(name):
        raise bad_parameter(f"The request URI contains an invalid name: {name}")


def api_version(asked: str | None, latest: str) -> None:
    """Refuse a request without an api-version, or with one that the vault does not know.

    The answer to an unknown one is recorded; which versions a vault knows is not.
    """
    if asked is None:
        raise bad_parameter("api-version must be specified")
    if asked not in API_VERSIONS[: API_VERSIONS.index(latest) + 1]:
        raise bad_parameter(
            f"The specified version ({asked}) is not recognized. "
            f"Consider using the latest supported version ({latest})."
        )


def key_type(kind: Kind, kty: object) -> KeyType:
    """Return the type of this name, if this kind of vault has it.

    Recorded: a Managed HSM makes an HSM's key of RSA, EC and oct as well.
    """
    name = f"{kty}-HSM" if kind is Kind.MANAGED_HSM and f"{kty}-HSM" in KEY_TYPES else str(kty)
    known = KEY_TYPES.get(name)
    if known is None or kind not in known.operations:
        raise key_type_not_supported(kty)
    return known


def public_exponent(kind: Kind, family: str, asked: object) -> int:
    """Return the exponent of an RSA key to be made.

    Recorded of a Managed HSM; what a vault does with `public_exponent` is not known: here nothing.
    """
    if asked is None or kind is Kind.VAULT or family != "RSA":
        return _DEFAULT_EXPONENT
    if not isinstance(asked, int) or not 3 <= asked < 2**32 or not asked % 2:
        raise bad_parameter(f"The public exponent {asked} is not supported.")
    return asked


def size(family: str, asked: object) -> int:
    """Return the size in bits of a key to be made; EC keys have a curve instead."""
    if family not in SIZES:
        return 0
    chosen = asked or DEFAULT_SIZES[family]
    if chosen not in SIZES[family] or not isinstance(chosen, int):
        raise bad_parameter(
            f"Key size {asked} is not supported. "
            f"Supported values are {', '.join(map(str, SIZES[family]))}."
        )
    return chosen


def curve(asked: object) -> str:
    """Return the curve that was asked for, by its JWK name."""
    if not isinstance(asked, str) or asked not in CURVES:
        raise bad_parameter(
            f"Curve {asked} is not supported. Supported values are {', '.join(CURVES)}."
        )
    return asked


def operations(kind: Kind, type_: KeyType, asked: object, kek: bool = False) -> list[str]:
    """Return the operations of a key: those asked for, or all of its type.

    Only a created RSA-HSM key can be a KEK.
    """
    supported = type_.operations[kind]
    if not asked:
        return list(supported)
    if not isinstance(asked, list):
        raise bad_parameter("key_ops must be a list of key operations.")
    if IMPORT in asked and kek and type_ == KEY_TYPES["RSA-HSM"]:
        if asked != [IMPORT]:
            raise bad_parameter(
                "The key operation 'import' is mutually exclusive with all other key operations."
            )
        return [IMPORT]
    unsupported = [operation for operation in asked if operation not in supported]
    if unsupported:
        raise bad_parameter(
            f"Unsupported key operation(s): {_quoted(unsupported)}. "
            f"Supported values are {_quoted(supported)}."
        )
    return list(dict.fromkeys(asked))


def changed_operations(kind: Kind, type_: KeyType, present: list[str], asked: object) -> list[str]:
    """Return the operations that an update gives a version; a KEK's are fixed (documented)."""
    if present == [IMPORT] and asked != present:
        raise bad_parameter("The key operations of a key exchange key cannot be changed.")
    return operations(kind, type_, asked, kek=present == [IMPORT])


def _quoted(names: Iterable[object]) -> str:
    return ", ".join(f'"{name}"' for name in names)


@dataclass(frozen=True)
class Attributes:
    """What a caller can set of a version; None where the request does not say.

    Times in seconds since the epoch.
    """

    enabled: bool | None
    nbf: int | None
    exp: int | None
    tags: dict[str, str] | None


def attributes(body: dict[str, Any]) -> Attributes:
    """Read `attributes` and `tags` of a request."""
    given = body.get("attributes") or {}
    if not isinstance(given, dict):
        raise bad_parameter("attributes must be an object.")
    for name, type_ in {"enabled": bool, "nbf": int, "exp": int}.items():
        if not isinstance(given.get(name), type_ | None):
            raise bad_parameter(f"The attribute {name} has an invalid value.")
    if given.get("exportable"):
        raise bad_parameter("Exportable keys need a release policy, which the lab does not model.")
    return Attributes(
        given.get("enabled"), given.get("nbf"), given.get("exp"), _tags(body.get("tags"))
    )


def _tags(tags: object) -> dict[str, str] | None:
    if tags is None:
        return None
    if not isinstance(tags, dict) or len(tags) > _MAX_TAGS:
        raise bad_parameter(f"A key can have at most {_MAX_TAGS} tags.")
    if any(
        not isinstance(text, str) or len(text) > _MAX_TAG_LENGTH
        for pair in tags.items()
        for text in pair
    ):
        raise bad_parameter(
            f"Names and values of tags are texts of at most {_MAX_TAG_LENGTH} characters."
        )
    return tags


# Documented: outside nbf and exp, what undoes earlier work is still allowed (decrypt, unwrapKey,
# verify).
_BOUND_BY_TIME = ("encrypt", "sign", "wrapKey", IMPORT)


def usable(
    operation: str, key_ops: list[str], enabled: bool, nbf: int | None, exp: int | None, now: float
) -> None:
    """Refuse an operation that a key does not allow, or not now.

    Whether an expired KEK still imports is not known; here it does not.
    """
    if operation not in key_ops:
        raise forbidden(
            f"Operation {operation} is not permitted on this key.", "KeyOperationForbidden"
        )
    if not enabled:
        raise forbidden(f"Operation {operation} is not allowed on a disabled key.", "KeyDisabled")
    if operation in _BOUND_BY_TIME and nbf is not None and now < nbf:
        raise forbidden(
            f"Operation {operation} is not allowed on a key that is not yet valid.",
            "KeyNotYetValid",
        )
    if operation in _BOUND_BY_TIME and exp is not None and now >= exp:
        raise forbidden(f"Operation {operation} is not allowed on an expired key.", "KeyExpired")


def purgeable(purge_protection: bool) -> None:
    """Refuse to purge where nobody can."""
    if purge_protection:
        raise forbidden(
            'Operation "purge" is not allowed because purge protection is enabled for this vault.'
        )


def room(kind: Kind, keys: int, versions: int) -> None:
    """Refuse one more version where a Managed HSM is full.

    The numbers are documented; code and text are not known.
    """
    if kind is Kind.MANAGED_HSM and not versions and keys >= _KEYS_PER_HSM:
        raise Refusal(
            409, "Conflict", f"The Managed HSM holds {_KEYS_PER_HSM} keys, which is its limit."
        )
    if kind is Kind.MANAGED_HSM and versions >= _VERSIONS_PER_KEY:
        raise Refusal(
            409,
            "Conflict",
            f"The key has {_VERSIONS_PER_KEY} versions, which is the limit of a Managed HSM.",
        )
