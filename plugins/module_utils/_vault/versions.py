# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Reading the versions of keys, updating their attributes, and looking for deleted ones."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import (
    CURVES,
    FORMER_NAMES,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import MAX_TAGS
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import InVault, Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    NOT_LET_THROUGH,
    AzureError,
    OddAnswer,
)

T = t.TypeVar("T")


#: What Azure calls a key: its vault and name, and for one version 32 hexadecimal digits
_KID = re.compile(
    r"(?P<vault>https://[a-z0-9.-]+(:443)?)/keys/(?P<name>[0-9a-z-]{1,127})"
    r"(/(?P<version>[0-9a-f]{32}))?",
    re.IGNORECASE,
)

#: Before any key was made
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Listed:
    """A key or a version of one as lists have it: attributes and tags, but no key material.

    :ivar version: empty in a list of keys
    """

    id: str
    name: str
    version: str
    enabled: bool | None
    created_on: datetime | None
    expires_on: datetime | None
    tags: t.Mapping[str, str]
    managed: bool


@dataclass(frozen=True)
class Names:
    """Which names the lists of a vault have, so that the others need not be asked for one by one.

    Whether Azure's lists are complete at once after a change is not known. Nothing may depend on
    them that cannot be undone: an import looks at the key itself.

    :ivar keys: names in lower case; None where that is not known
    :ivar deleted: those of deleted keys; None where that is not known
    """

    keys: frozenset[str] | None = None
    deleted: frozenset[str] | None = None

    def has(self, name: str) -> bool:
        """Tell whether there can be a key of that name."""
        return self.keys is None or name.lower() in self.keys

    def has_deleted(self, name: str) -> bool:
        """Tell whether a deleted key can hold the name."""
        return self.deleted is None or name.lower() in self.deleted


def read_version(vault: Vault, name: str, version: str | None = None) -> Version | None:
    """Return one version of a key, the newest where none is named; None when it is not there.

    :raises AzureError: when Azure refuses, or its answer cannot be read
    """
    return vault.read_if_there(
        f"Reading the key {name} in the {vault}",
        lambda **options: version_of(
            vault, name, vault.client.get_key(name, version, **options), version
        ),
    )


def read_versions(vault: Vault, name: str) -> list[Version]:
    """Return all versions of a key, newest first; none for a name that is not there."""
    versions = (
        read_version(vault, name, properties.version) for properties in list_versions(vault, name)
    )
    return [version for version in versions if version]


def observe(
    vault: Vault,
    name: str,
    is_wanted: t.Callable[[Version], bool],
    names: Names = Names(),
) -> InVault:
    """Look at a key: its newest version, and the others only where that is not the wanted one.

    :param names: what lists say of it, where they were taken
    """
    current = None
    if names.has(name):
        current = read_version(vault, name)
    if current is None:
        deleted = read_deleted(vault, name) if names.has_deleted(name) else None
        return InVault(None, deleted=deleted)
    if is_wanted(current):
        return InVault(current)
    versions = read_versions(vault, name)
    others = tuple(version for version in versions if version.version != current.version)
    if any(_is_not_older(version, current) for version in others):
        newest = read_version(vault, name)
        if newest and newest.version != current.version:  # somebody made it between the two looks
            return observe(vault, name, is_wanted)
    return InVault(current, others)


def _is_not_older(version: Version, current: Version) -> bool:
    """Tell whether a version can be newer than another one; Azure's times are whole seconds."""
    return (version.created or _LONG_AGO) >= (current.created or _LONG_AGO)


def list_keys(vault: Vault) -> list[Listed]:
    """Return all keys, of all pages.

    :raises AzureError: when the vault cannot be listed
    """
    return vault.read(
        f"Listing the keys of the {vault}",
        lambda **options: [
            _listed(vault, properties)
            for properties in vault.client.list_properties_of_keys(**options)
        ],
    )


def list_deleted(vault: Vault) -> frozenset[str] | None:
    """Return the names of all deleted keys in lower case; None where Azure does not tell.

    Who may list keys and not deleted ones (403) may not look at a single one either, so none is
    returned: what stands in the way, Azure says later.
    """
    try:
        return vault.read(
            f"Listing the deleted keys of the {vault}",
            lambda **options: frozenset(
                identified(vault, deleted.id, None)[0].lower()
                for deleted in vault.client.list_deleted_keys(**options)
            ),
        )
    except AzureError as error:
        hidden = error.status == 403 and error.code not in NOT_LET_THROUGH
        return frozenset() if hidden else None


def list_versions(vault: Vault, name: str) -> list[Listed]:
    """Return all versions of a key, newest first."""
    listed = vault.read(
        f"Listing the versions of the key {name} in the {vault}",
        lambda **options: [
            _listed(vault, properties, name)
            for properties in vault.client.list_properties_of_key_versions(name, **options)
        ],
    )
    return sorted(listed, key=lambda version: version.created_on or _LONG_AGO, reverse=True)


def read_deleted(vault: Vault, name: str, forbidden: T | None = None) -> Version | T | None:
    """Return the newest version of the deleted key that holds the name, None where there is none.

    :param forbidden: the answer where the identity may not look at deleted keys (403): what stands
        in the way, Azure says later
    """
    try:
        return vault.read_if_there(
            f"Looking for a deleted key {name} in the {vault}",
            lambda **options: version_of(
                vault, name, vault.client.get_deleted_key(name, **options)
            ),
        )
    except AzureError as error:
        if error.status == 403 and error.code not in NOT_LET_THROUGH:
            return forbidden
        raise


def update(vault: Vault, name: str, version: Version, changes: t.Mapping[str, t.Any]) -> Version:
    """Change attributes of one version.

    :param changes: new values by the names of Version.attributes(); tags as the whole new set, as
        Azure replaces it
    :raises ByokError: when Azure refuses
    """
    if len(changes.get("tags", {})) > MAX_TAGS:
        raise ByokError(
            f"The key {name} in the {vault} would have {len(changes['tags'])} tags, and Azure "
            f"takes {MAX_TAGS}",
            "Declare fewer tags, or remove some from the key",
        )
    properties = {
        "key_operations": changes.get("operations"),
        "enabled": changes.get("enabled"),
        "not_before": changes.get("not_before") and parse_moment(changes["not_before"]),
        "expires_on": changes.get("expires") and parse_moment(changes["expires"]),
        "tags": changes.get("tags"),
    }

    def landed() -> Version | None:
        current = read_version(vault, name, version.version)
        if current is None:
            return None
        attributes = current.attributes()
        return current if {**attributes, **changes} == attributes else None

    return vault.write(
        f"Updating {', '.join(changes)} of the key {name} in the {vault}",
        lambda **options: version_of(
            vault,
            name,
            vault.client.update_key_properties(name, version.version, **properties, **options),
            version.version,
        ),
        landed,
    )


def disable(vault: Vault, name: str, version: str) -> None:
    """Disable a version, of which nothing but its number has to be known.

    :raises ByokError: when Azure refuses, or does not show that it is done
    """

    def landed() -> bool | None:
        enabled = {listed.version: listed.enabled for listed in list_versions(vault, name)}
        return True if enabled.get(version) is False else None

    def send(**options: t.Any) -> bool:
        properties = vault.client.update_key_properties(name, version, enabled=False, **options)
        if properties.properties.enabled is not False:
            raise OddAnswer("it does not say that the version is disabled")
        return True

    vault.write(f"Disabling the version {version} of the key {name} in the {vault}", send, landed)


def version_of(vault: Vault, name: str, bundle: t.Any, version: str | None = None) -> Version:
    """Read the SDK's KeyVaultKey, as the answer to a question about a key of this vault.

    :param version: the version that was asked for; None for the newest
    :raises OddAnswer: when it is of another vault, key or version, or cannot be read
    """
    properties, kind = bundle.properties, _plain(bundle.key_type)
    _name, answered = identified(vault, bundle.id, name)
    if answered is None:
        raise OddAnswer("its kid names no version of a key")
    if version is not None and answered.lower() != version.lower():
        raise OddAnswer("it is of another version")
    operations = _typed(bundle.key_operations or [], list, "key_ops")
    read = Version(
        kid=bundle.id,
        version=answered,
        type=kind,
        public_key=_public_key(kind, bundle.key),
        operations=tuple(_plain(operation) for operation in operations),
        enabled=_typed(properties.enabled, bool, "enabled"),
        not_before=_moment(properties.not_before, "nbf"),
        expires=_moment(properties.expires_on, "exp"),
        created=_moment(properties.created_on, "created"),
        tags=_tags(properties.tags),
        recovery_level=_plain(properties.recovery_level or ""),
        retention_days=days(getattr(properties, "recoverable_days", None)),
        hsm_platform=_text(getattr(properties, "hsm_platform", None), "hsmPlatform"),
    )
    try:
        str(read.thumbprint)  # which computes it
    except (ValueError, OverflowError):
        raise OddAnswer("its public key does not fit its type") from None
    return read


def _listed(vault: Vault, properties: t.Any, name: str | None = None) -> Listed:
    """Read the SDK's KeyProperties.

    :param name: of the key whose versions were asked for; None in a list of keys
    :raises OddAnswer: when it is of another vault or key, or a part of it cannot be read
    """
    listed_name, version = identified(vault, properties.id, name)
    if name is not None and version is None:
        raise OddAnswer("its kid names no version of a key")
    return Listed(
        id=properties.id,
        name=listed_name,
        version=version or "",
        enabled=properties.enabled,
        created_on=_moment(properties.created_on, "created"),
        expires_on=_moment(properties.expires_on, "exp"),
        tags=_tags(properties.tags),
        managed=bool(properties.managed),
    )


def identified(vault: Vault, kid: t.Any, name: str | None) -> tuple[str, str | None]:
    """Return the name and the version in an identifier that a vault answered.

    Everything that Azure says of a key passes here, and so what gets into results, receipts and
    names of files.

    :param name: of the key that was asked about; None for any
    :raises OddAnswer: when it is no identifier, or of another vault or key
    """
    match = _KID.fullmatch(_typed(kid, str, "kid"))
    if not match:
        raise OddAnswer("its kid names no version of a key")
    is_here = comparable_url(match["vault"]) == comparable_url(vault.address.url)
    if not is_here or (name is not None and match["name"].lower() != name.lower()):
        raise OddAnswer("it is of another vault or key")
    return match["name"], match["version"]


def _public_key(kind: str, key: t.Any) -> PublicKey | None:
    # By kty alone: Azure echoes a stray crv on RSA keys.
    if kind.startswith("RSA"):
        return RsaPublicKey(_number(key.n, "n"), _number(key.e, "e"))
    if kind.startswith("EC"):
        curve = _plain(key.crv)
        curve = FORMER_NAMES.get(curve, curve)
        if curve not in CURVES:
            raise OddAnswer("its curve is unknown")
        return EcPublicKey(curve, _number(key.x, "x"), _number(key.y, "y"))
    return None


def days(value: t.Any) -> int | None:
    """Return a number of days that Azure tells; None for what is none, as nothing depends on it."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(octets: t.Any, member: str) -> int:
    number = int.from_bytes(_typed(octets, bytes, member), "big")
    if number == 0:
        raise OddAnswer(f"its {member} is zero")
    return number


def _moment(moment: t.Any, member: str) -> datetime | None:
    return None if moment is None else _typed(moment, datetime, member)


def _text(text: t.Any, member: str) -> str | None:
    return None if text is None else _typed(text, str, member)


def _tags(tags: t.Any) -> dict[str, str]:
    if tags is not None and not isinstance(tags, Mapping):
        raise OddAnswer(f"its tags are {type(tags).__name__}")
    return {_typed(tag, str, "tag"): _typed(text, str, "tag") for tag, text in (tags or {}).items()}


def _typed(value: t.Any, kind: type[T], member: str) -> T:
    if not isinstance(value, kind):
        raise OddAnswer(f"its {member} is {type(value).__name__}")
    return value


def _plain(value: t.Any) -> str:
    text = getattr(value, "value", value)  # the SDK mixes enum members and strings
    return _typed(text, str, "text")
