# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plugin of pytest for Microsoft's tests: what they meet in the lab in the place of Azure.

Keys that they import in the clear come in key transfer packages, because the lab imports nothing
else. When they sleep, the lab's clock goes on, and they need not wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import urllib.request
from typing import Any

import pytest
from azure.keyvault.keys import JsonWebKey, KeyClient, KeyVaultKey
from azure.keyvault.keys.aio import KeyClient as AsyncKeyClient
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from wrapping import CURVES, base64url, pkcs8, wrap

_LONGEST = 0.05  # seconds that a sleep really takes, at most
_really_sleep, _really_sleep_async = time.sleep, asyncio.sleep
_import, _import_async = KeyClient.import_key, AsyncKeyClient.import_key
_keks: dict[str, KeyVaultKey] = {}


@pytest.fixture(scope="session")
def test_proxy() -> None:
    """The recorder that the tests ask for: there is none."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "playback_test_only: cannot run live")
    patch = pytest.MonkeyPatch()
    patch.setattr(time, "sleep", _sleep)
    patch.setattr(asyncio, "sleep", _sleep_async)
    patch.setattr(KeyClient, "import_key", _import_key)
    patch.setattr(AsyncKeyClient, "import_key", _import_key_async)


class _Clock:
    """The lab's clock, by its control endpoint."""

    def __init__(self) -> None:
        with open(os.environ["LAB_STATE"], encoding="utf-8") as file:
            self._control = json.load(file)["control"]
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        self._offset, self._lock = 0.0, threading.Lock()

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._offset += seconds
            request = urllib.request.Request(
                self._control["url"] + "/clock",
                json.dumps({"offset": self._offset}).encode(),
                {"Authorization": f"Bearer {self._control['key']}"},
            )
            self._open(request).close()


_clock = _Clock()


def _sleep(seconds: float) -> None:
    if seconds > _LONGEST:
        _clock.advance(seconds)
    _really_sleep(min(seconds, _LONGEST))


async def _sleep_async(seconds: float, result: Any = None) -> Any:
    if seconds > _LONGEST:
        _clock.advance(seconds)
    return await _really_sleep_async(min(seconds, _LONGEST), result)


def _in_lab(client: Any, key: JsonWebKey) -> bool:
    """Tell whether an import goes to the lab, and not to the mock of a test, in the clear."""
    members = vars(key)
    return client.vault_url in (
        os.environ["AZURE_KEYVAULT_URL"],
        os.environ["AZURE_MANAGEDHSM_URL"],
    ) and not members.get("t")


_KEK: dict[str, Any] = {"size": 2048, "hardware_protected": True, "key_operations": ["import"]}


def _import_key(self: KeyClient, name: str, key: JsonWebKey, **options: Any) -> KeyVaultKey:
    if not _in_lab(self, key):
        return _import(self, name, key, **options)
    if self.vault_url not in _keks:
        _keks[self.vault_url] = self.create_rsa_key("kek", **_KEK)
    hardware = options.pop("hardware_protected", None)
    return _import(self, name, _packed(key, hardware, _keks[self.vault_url]), **options)


async def _import_key_async(
    self: AsyncKeyClient, name: str, key: JsonWebKey, **options: Any
) -> KeyVaultKey:
    if not _in_lab(self, key):
        return await _import_async(self, name, key, **options)
    if self.vault_url not in _keks:
        _keks[self.vault_url] = await self.create_rsa_key("kek", **_KEK)
    hardware = options.pop("hardware_protected", None)
    return await _import_async(self, name, _packed(key, hardware, _keks[self.vault_url]), **options)


def _packed(key: JsonWebKey, hardware: bool | None, kek: KeyVaultKey) -> JsonWebKey:
    """Return a key to import whose private part is in a package under a KEK."""
    members, kek_members = vars(key), vars(kek.key)
    kty = str(getattr(members["kty"], "value", members["kty"]))
    if hardware and not kty.endswith("-HSM"):
        kty += "-HSM"
    public = {name: base64url(kek_members[name]) for name in ("n", "e")}
    file = wrap(public, _plaintext(kty, members), kid=str(kek.id))
    return JsonWebKey(kty=kty, crv=members.get("crv"), key_ops=members.get("key_ops"), t=file)


def _plaintext(kty: str, members: dict[str, Any]) -> bytes:
    """Return what the package of a key holds: PKCS#8, or an oct key itself."""
    if kty.startswith("oct"):
        return bytes(members["k"])
    numbers = {
        name: int.from_bytes(members[name], "big")
        for name in ("n", "e", "d", "p", "q")
        if members.get(name)
    }
    if kty.startswith("EC"):
        curve = CURVES[str(getattr(members["crv"], "value", members["crv"]))]
        return pkcs8(ec.derive_private_key(numbers["d"], curve))
    p, q, d = (numbers[name] for name in "pqd")
    crt = (rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q))
    public = rsa.RSAPublicNumbers(numbers["e"], numbers["n"])
    return pkcs8(rsa.RSAPrivateNumbers(p, q, d, *crt, public).private_key())
