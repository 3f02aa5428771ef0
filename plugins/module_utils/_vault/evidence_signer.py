# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""An evidence key that is in the vault: Azure's side can sign what it states of imports."""

from __future__ import annotations

import base64
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import parse_key_id
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    fingerprint,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import Vault
from ansible_collections.keyferry.azure.plugins.module_utils._vault.proof import why_unprovable
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import read_version

#: What every verifier of DSSE takes; its signature by RFC 7518, 3.4, is r and s side by side
_CURVE = "P-256"


class VaultSigner:
    """Signs with one version of a key of a vault.

    :ivar pem: the public key
    :ivar keyid: SHA-256 of its SubjectPublicKeyInfo, in hexadecimal digits
    """

    def __init__(self, vault: Vault, name: str, version: Version, public_key: EcPublicKey) -> None:
        self._vault, self._name, self._version = vault, name, version
        self.pem = to_pem(public_key)
        self.keyid = fingerprint(self.pem)

    def sign(self, digest: bytes) -> bytes:
        """Return r and s side by side, 32 octets each.

        :param digest: SHA-256 of what is signed
        :raises AzureError: when Azure refuses
        """
        value = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        path = f"/keys/{self._name}/{self._version.version}/sign"

        def send(**options: t.Any) -> bytes:
            body = {"alg": CURVES[_CURVE].signature, "value": value}
            text = self._vault.request("POST", path, body, **options).json()["value"]
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

        return self._vault.read(f"Signing with the key {self._name} in the {self._vault}", send)


def evidence_signer(vault: Vault, kid: str | None) -> VaultSigner | None:
    """Return who signs with a key of the vault, if it can.

    :param kid: with its version; None where nobody signs
    :raises ByokError: for a key of another vault, one that is not there, and one that is not fit
    """
    if not kid:
        return None
    key_id = parse_key_id(kid)
    if key_id is None or key_id.vault != vault.address.url:
        raise _unfit(kid, vault, "it does not name one version of a key there")
    version = read_version(vault, key_id.name, key_id.version)
    if version is None:
        raise _unfit(kid, vault, "it does not exist")
    key = version.public_key
    if not isinstance(key, EcPublicKey) or key.curve != _CURVE or version.type != "EC-HSM":
        raise _unfit(kid, vault, f"it is {version.type} and no key on {_CURVE} in an HSM")
    why = why_unprovable(version.type, version.attributes(), vault.now, None)
    if why:
        raise _unfit(kid, vault, why)
    return VaultSigner(vault, key_id.name, version, key)


def _unfit(kid: str, vault: Vault, why: str) -> ByokError:
    return ByokError(
        f"The evidence key {kid} cannot sign receipts of the {vault}: {why}",
        f"Give evidence_key_id of an EC-HSM key on {_CURVE} in the vault with the operation sign, "
        "or leave it out",
        code="evidence_key",
    )
