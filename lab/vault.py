# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A vault or Managed HSM: its operations on keys, and the answers it gives.

Sources: Key Vault REST reference, recordings.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives.asymmetric import rsa

from lab import operations, package, rotation, rules
from lab.adapter import Adapters, HeldKey
from lab.clock import Clock
from lab.hosts import Host, Kind
from lab.key_types import KEY_TYPES
from lab.material import Material, exponent_of, generate, integer, private_key
from lab.refusals import (
    Refusal,
    bad_parameter,
    being_deleted,
    being_recovered,
    deleted_but_recoverable,
    deleted_key_not_found,
    key_not_found,
    managed_hsm_key_not_found,
)
from lab.rotation import Policy
from lab.rules import State
from lab.store import Name, Properties, Store, Version

Body = dict[str, Any]

_TAKEN: dict[State, Callable[[str], Refusal]] = {
    State.BEING_DELETED: being_deleted,
    State.DELETED: deleted_but_recoverable,
    State.BEING_RECOVERED: being_recovered,
}
_PAGE = 25  # items: the documented default and maximum
# Recorded: whose size is among the attributes.
_SIZE_SHOWN = {Kind.VAULT: "RSA", Kind.MANAGED_HSM: "oct"}


@dataclass(frozen=True)
class Call:
    """One request: the operation, the key it names, the JSON body and the query of its URL."""

    operation: str
    name: str = ""
    version: str = ""
    body: Body = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Shared:
    """What all vaults of a lab have together."""

    store: Store
    clock: Clock
    adapters: Adapters
    tolerate_trailing_zeros: bool


class Vault:
    """One vault with its present properties."""

    def __init__(self, host: Host, properties: Properties, shared: Shared) -> None:
        self.host, self.properties = host, properties
        self._store, self._clock, self._adapters = shared.store, shared.clock, shared.adapters
        self._tolerate_trailing_zeros = shared.tolerate_trailing_zeros

    async def create(self, call: Call) -> Body:
        """Make a key in the HSM, or the next version of one."""
        body = call.body
        key_type = rules.key_type(self.host.kind, body.get("kty"))
        key_ops = rules.operations(self.host.kind, key_type, body.get("key_ops"), kek=True)
        attributes = rules.attributes(body)
        size = rules.size(key_type.family, body.get("key_size"))
        curve = rules.curve(body.get("crv") or "P-256") if key_type.family == "EC" else ""
        exponent = rules.public_exponent(
            self.host.kind, key_type.family, body.get("public_exponent")
        )
        self._check_free(call.name)
        material = await asyncio.to_thread(generate, key_type.family, size, curve, exponent)
        return self._add(call.name, key_type.name, material, key_ops, attributes)

    async def import_key(self, call: Call) -> Body:
        """Unwrap a key transfer package into the next version of a key.

        Always into a new version, never over an old one.
        """
        key, attributes = call.body.get("key"), rules.attributes(call.body)
        if not isinstance(key, dict):
            raise bad_parameter("Property 'key' is required.")
        if not isinstance(key.get("key_hsm"), str) or not key["key_hsm"]:
            raise bad_parameter(
                "The lab imports key transfer packages only: the property 'key_hsm' is missing."
            )
        key_type = rules.key_type(self.host.kind, key.get("kty"))
        key_ops = rules.operations(self.host.kind, key_type, key.get("key_ops"))
        curve = rules.curve(key.get("crv")) if key_type.family == "EC" else None
        self._check_free(call.name)
        parcel = package.parse(key["key_hsm"])
        plaintext = package.unwrap(self._kek(parcel.kid), parcel.ciphertext)
        material = package.target_key(
            key_type.family, curve, plaintext, self._tolerate_trailing_zeros
        )
        if key_type.family == "RSA" and key.get("crv"):
            # Recorded: a stray crv is echoed back.
            material = replace(material, public={**material.public, "crv": str(key["crv"])})
        return self._add(call.name, key_type.name, material, key_ops, attributes, imported=True)

    async def get(self, call: Call) -> Body:
        return self._bundle(self._active(call).name, self._version(call))

    async def attest(self, call: Call) -> Body:
        """Return a key with what the pool's hardware states of it.

        A vault has nothing of the kind (recorded: 400).
        """
        if self.host.kind is Kind.VAULT:
            raise bad_parameter("Method GET does not allow operation 'attestation'")
        name, version = self._active(call).name, self._version(call)
        family = KEY_TYPES[version.kty].family
        held = HeldKey(family, name, version.version, version.material, not version.imported)
        bundle = self._bundle(name, version)
        attestation = await asyncio.to_thread(self._adapters.attest, self.host.name, held)
        return {**bundle, "attributes": {**bundle["attributes"], "attestation": attestation}}

    async def update(self, call: Call) -> Body:
        """Change what the request names of a version; tags are replaced as a whole."""
        name, version = self._active(call), self._version(call)
        attributes = rules.attributes(call.body)
        if asked := call.body.get("key_ops"):
            version.key_ops = rules.changed_operations(
                self.host.kind, KEY_TYPES[version.kty], version.key_ops, asked
            )
        for member in ("enabled", "nbf", "exp", "tags"):
            if (value := getattr(attributes, member)) is not None:
                setattr(version, member, value)
        version.updated = int(self._clock.now())
        self._store.update(self.host.name, name.name, version)
        return self._bundle(name.name, version)

    async def list_keys(self, call: Call) -> Body:
        return self._page(call, "/keys", self._names(State.ACTIVE), self._key_item)

    async def list_versions(self, call: Call) -> Body:
        """List the versions of a key. Recorded: an unknown name has an empty list, not a 404."""
        name = self._store.name(self.host.name, call.name)
        versions: list[Version] = []
        if name and self._state(name) is State.ACTIVE:
            # Recorded: a Managed HSM's oldest first, a vault's by their ids, which tell nothing.
            versions = [*self._store.versions(self.host.name, call.name)][::-1]
            if self.host.kind is Kind.VAULT:
                versions.sort(key=lambda version: version.version)
        path = f"/keys/{call.name}/versions"
        return self._page(
            call, path, versions, lambda version: self._item(call.name, version, version.version)
        )

    async def delete(self, call: Call) -> Body:
        name = self._active(call)
        self._store.change(self.host.name, name.name, "deleted", self._clock.now())
        bundle = self._bundle(name.name, self._newest(name.name))
        return self._deletion(self._existing(name.name)) | bundle

    async def list_deleted(self, call: Call) -> Body:
        return self._page(
            call,
            "/deletedkeys",
            self._names(State.DELETED),
            lambda name: self._deletion(name) | self._key_item(name),
        )

    async def get_deleted(self, call: Call) -> Body:
        name = self._deleted(call.name)
        return self._deletion(name) | self._bundle(name.name, self._newest(name.name))

    async def recover(self, call: Call) -> Body:
        name = self._deleted(call.name)
        self._store.change(self.host.name, name.name, "recovered", self._clock.now())
        return self._bundle(name.name, self._newest(name.name))

    async def purge(self, call: Call) -> None:
        """Remove a deleted key for ever; its name stays busy for the vault's delay."""
        name = self._deleted(call.name)
        rules.purgeable(self.properties.purge_protection)
        self._store.change(self.host.name, name.name, "purged", self._clock.now())

    async def get_policy(self, call: Call) -> Body:
        name = self._active(call).name
        return self._policy(name, self._store.policy(self.host.name, name))

    async def set_policy(self, call: Call) -> Body:
        """Replace the rotation policy of a key as a whole."""
        name = self._active(call).name
        present, key_ops = self._store.policy(self.host.name, name), self._newest(name).key_ops
        policy = rotation.policy(
            self.host.kind, call.body, present, key_ops, int(self._clock.now())
        )
        self._store.set_policy(self.host.name, name, policy)
        return self._policy(name, policy)

    async def rotate(self, call: Call) -> Body:
        """Make the next version on demand.

        What the service does to an imported key is not known; here it has one more version.
        """
        name = self._active(call).name
        newest = self._newest(name)
        rotation.rotatable(self.host.kind, self._store.policy(self.host.name, name), newest.key_ops)
        return self._succeed(name, newest, await self._successor(newest))

    async def rotate_due(self, name: str) -> None:
        """Do what rotation policies wanted by now, for one key or (no name) for all.

        The lab looks when it is asked. However long ago that was, one version is made, and it is
        made now.
        """
        for each in [name] if name else self._store.names_with_policy(self.host.name):
            if newest := self._due(each):
                with contextlib.suppress(Refusal):  # a Managed HSM that is full
                    self._check_free(each)
                    material = await self._successor(newest)
                    if self._due(each):  # nobody else was asked meanwhile
                        self._succeed(each, newest, material)

    async def use(self, call: Call) -> Body:
        """Sign, verify, encrypt, decrypt, wrapKey or unwrapKey.

        Recorded: a Managed HSM repeats the algorithm. What it adds to a verification is not known.
        """
        name, version = self._active(call), self._version(call)
        self._check_usable(call.operation, version)
        family = KEY_TYPES[version.kty].family
        answer = operations.perform(call.operation, family, version.material, call.body)
        if call.operation == "verify":
            return answer
        if self.host.kind is Kind.MANAGED_HSM:
            answer["alg"] = call.body["alg"]
        return {"kid": self._kid(name.name, version.version)} | answer

    def key_class(self, name: str, version: str) -> tuple[str, int]:
        """Return type and size in bits of a key, on which its rate limit depends.

        For a key that is not there the type is empty.
        """
        found = next(self._store.versions(self.host.name, name, version), None)
        return (found.kty, found.material.size) if found else ("", 0)

    def _kek(self, kid: str) -> rsa.RSAPrivateKey:
        """Return the KEK that a package names.

        It is of this vault, named by its exact version, and only for import.
        """
        prefix = f"{self.host.url}/keys/"
        name, _slash, version = kid[len(prefix) :].partition("/")
        if not kid.lower().startswith(prefix) or not version:
            raise bad_parameter(
                f"The package's KEK {kid} is not a key version of this vault: "
                f"expected {prefix}NAME/VERSION."
            )
        known = self._store.name(self.host.name, name)
        kek = next(self._store.versions(self.host.name, name, version), None)
        if not known or self._state(known) is not State.ACTIVE or not kek:
            raise bad_parameter(f"The package's KEK {kid} does not exist in this vault.")
        if kek.kty != "RSA-HSM":
            raise bad_parameter(f"The package's KEK {kid} is of type {kek.kty}; expected RSA-HSM.")
        self._check_usable(rules.IMPORT, kek)
        key = private_key(kek.material)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    def _check_usable(self, operation: str, version: Version) -> None:
        rules.usable(
            operation, version.key_ops, version.enabled, version.nbf, version.exp, self._clock.now()
        )

    def _add(
        self,
        name: str,
        kty: str,
        material: Material,
        key_ops: list[str],
        attributes: rules.Attributes,
        imported: bool = False,
    ) -> Body:
        self._check_free(name)
        now = int(self._clock.now())
        enabled = attributes.enabled is not False
        version = Version(
            secrets.token_hex(16),
            kty,
            material,
            key_ops,
            enabled,
            attributes.nbf,
            attributes.exp,
            now,
            now,
            attributes.tags,
            imported,
        )
        self._store.add(self.host.name, name, version)
        return self._bundle(self._existing(name).name, version)

    def _due(self, name: str) -> Version | None:
        """Return the newest version of a key if its rotation policy wants another by now."""
        policy, known = (
            self._store.policy(self.host.name, name),
            self._store.name(self.host.name, name),
        )
        if not policy or not policy.rotation or not known or self._state(known) is not State.ACTIVE:
            return None
        newest = self._newest(name)
        due = policy.due(newest.created, newest.exp)
        return (
            newest
            if due is not None and due <= self._clock.now() and newest.key_ops != [rules.IMPORT]
            else None
        )

    async def _successor(self, newest: Version) -> Material:
        """Make new material of the same type and size or curve.

        Documented: "with the same parameters".
        """
        material, family = newest.material, KEY_TYPES[newest.kty].family
        return await asyncio.to_thread(
            generate,
            family,
            material.size,
            material.public.get("crv", ""),
            exponent_of(material),
        )

    def _succeed(self, name: str, newest: Version, material: Material) -> Body:
        """Add a rotated version.

        Whether it has the tags of the one before is not known: here it has.
        """
        policy = self._store.policy(self.host.name, name)
        expires = policy.expiry(int(self._clock.now())) if policy else None
        attributes = rules.Attributes(enabled=True, nbf=None, exp=expires, tags=newest.tags)
        return self._add(name, newest.kty, material, newest.key_ops, attributes)

    def _policy(self, name: str, policy: Policy | None) -> Body:
        # Recorded: a Managed HSM's id is relative.
        key = f"keys/{name}" if self.host.kind is Kind.MANAGED_HSM else self._kid(name)
        shown = (policy or rotation.default(self.host.kind)).shown(self.host.kind)
        return {"id": f"{key}/rotationpolicy"} | shown

    def _check_free(self, name: str) -> None:
        """Refuse a new version under a name that is deleted or on its way, or without room."""
        known = self._store.name(self.host.name, name)
        if known:
            state = self._state(known)
            if state in _TAKEN:
                raise _TAKEN[state](name)
            if state is State.FREE:
                self._store.forget(self.host.name, name)
        if self.host.kind is Kind.MANAGED_HSM:
            rules.room(
                self.host.kind,
                len(self._store.names(self.host.name)),
                self._store.count(self.host.name, name),
            )

    def _state(self, name: Name) -> State:
        properties = self.properties
        return rules.state(
            name.change,
            name.changed,
            self._clock.now(),
            properties.delete_delay,
            properties.retention_days,
        )

    def _names(self, state: State) -> list[Name]:
        """The names in a state. Recorded: a vault's by name, a Managed HSM's by age."""
        names = self._store.names(self.host.name, self.host.kind is Kind.MANAGED_HSM)
        return [name for name in names if self._state(name) is state]

    def _existing(self, name: str) -> Name:
        known = self._store.name(self.host.name, name)
        assert known
        return known

    def _active(self, call: Call) -> Name:
        known = self._store.name(self.host.name, call.name)
        if not known or self._state(known) is not State.ACTIVE:
            raise self._no_key(call)
        return known

    def _no_key(self, call: Call) -> Refusal:
        if self.host.kind is Kind.MANAGED_HSM:
            return managed_hsm_key_not_found(self._kid(call.name, call.version))
        return key_not_found(f"{call.name}/{call.version}" if call.version else call.name)

    def _deleted(self, name: str) -> Name:
        known = self._store.name(self.host.name, name)
        if known and self._state(known) is State.DELETED:
            return known
        if self.host.kind is Kind.MANAGED_HSM:
            raise managed_hsm_key_not_found(f"{self.host.url}/deletedkeys/{name}")
        # Recorded: one text while the key is being deleted, another one once it is purged.
        state = self._state(known) if known and known.change == "deleted" else State.FREE
        raise (deleted_key_not_found if state is State.BEING_DELETED else key_not_found)(name)

    def _version(self, call: Call) -> Version:
        version = next(self._store.versions(self.host.name, call.name, call.version), None)
        if not version:
            raise self._no_key(call)
        return version

    def _newest(self, name: str) -> Version:
        return next(self._store.versions(self.host.name, name))

    def _kid(self, name: str, version: str = "") -> str:
        return f"{self.host.url}/keys/{name}" + (f"/{version}" if version else "")

    def _attributes(self, version: Version) -> Body:
        attributes: Body = {"enabled": version.enabled}
        if KEY_TYPES[version.kty].family == _SIZE_SHOWN[self.host.kind]:
            attributes["key_size"] = version.material.size
        attributes |= {
            member: value
            for member in ("nbf", "exp")
            if (value := getattr(version, member)) is not None
        }
        attributes |= {
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": rules.recovery_level(
                self.properties.purge_protection, self.properties.retention_days
            ),
            "recoverableDays": self.properties.retention_days,
            "exportable": False,
        }
        if self.host.kind is Kind.VAULT:
            # Documented: "2" is the present HSM platform, "1" the former one, "0" software.
            attributes["hsmPlatform"] = self._platform(version)
        return attributes

    def _platform(self, version: Version) -> str:
        return self.properties.hsm_platform if KEY_TYPES[version.kty].hardware else "0"

    def _bundle(self, name: str, version: Version) -> Body:
        """Return a KeyBundle.

        Recorded: a vault's former platform writes the exponent 65537 as 00 01 00 01; a Managed HSM
        has the operations in another order in every answer.
        """
        public, key_ops = dict(version.material.public), version.key_ops
        if self.host.kind is Kind.MANAGED_HSM:
            key_ops = random.sample(key_ops, len(key_ops))
        elif version.kty == "RSA-HSM" and self._platform(version) == "1":
            public["e"] = integer(exponent_of(version.material), length=4)
        key = {
            "kid": self._kid(name, version.version),
            "kty": version.kty,
            "key_ops": key_ops,
            **public,
        }
        return {"key": key, "attributes": self._attributes(version)} | _tags(version)

    def _item(self, name: str, version: Version, shown: str = "") -> Body:
        return {"kid": self._kid(name, shown), "attributes": self._attributes(version)} | _tags(
            version
        )

    def _key_item(self, name: Name) -> Body:
        return self._item(name.name, self._newest(name.name))

    def _deletion(self, name: Name) -> Body:
        return {
            "recoveryId": f"{self.host.url}/deletedkeys/{name.name}",
            "deletedDate": int(name.changed),
            "scheduledPurgeDate": rules.scheduled_purge(
                name.changed, self.properties.retention_days
            ),
        }

    def _page(self, call: Call, path: str, items: list[Any], render: Callable[[Any], Body]) -> Body:
        """Return a page of a list.

        Recorded: on the last page a vault's nextLink is null, a Managed HSM's is absent. A vault's
        names the port; a Managed HSM's has no api-version. A page can be empty and not the last.
        """
        try:
            size = int(call.query.get("maxresults", _PAGE))
            start = int(base64.b64decode(call.query.get("$skiptoken", "")) or 0)
        except (ValueError, binascii.Error):
            raise bad_parameter("maxresults or $skiptoken is invalid.") from None
        if not 1 <= size <= _PAGE:
            raise bad_parameter(f"maxresults must be between 1 and {_PAGE}.")
        if self.properties.sparse_pages:
            size, items = 1, [each for item in items for each in (None, item)]
        page = [item for item in items[start : start + size] if item is not None]
        answer: Body = {"value": [render(item) for item in page]}
        if len(items) > start + size:
            asked = {name: call.query[name] for name in ("maxresults",) if name in call.query}
            query = {"$skiptoken": base64.b64encode(str(start + size).encode()).decode()}
            if self.host.kind is Kind.VAULT:
                query = {"api-version": call.query["api-version"]} | query | asked
                path = f":443{path}"
            else:
                query = asked | query
            answer["nextLink"] = f"{self.host.url}{path}?{urlencode(query, safe='$')}"
        elif self.host.kind is Kind.VAULT:
            answer["nextLink"] = None
        return answer


def _tags(version: Version) -> Body:
    return {} if version.tags is None else {"tags": version.tags}
