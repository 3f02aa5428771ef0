# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's answers against those of the real service, as public recordings have them.

A conversation of recordings/*.yml is held with the lab in a new vault. What differs must stand in
DIFFERENCES with its reason, and what stands there must differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from conftest import API_VERSION, Vault
from wrapping import base64url, pkcs8, rsa_key, wrap

RECORDINGS = {
    "vault": yaml.safe_load((Path(__file__).parent / "recordings/vault.yml").read_text()),
    "hsm": yaml.safe_load((Path(__file__).parent / "recordings/managed_hsm.yml").read_text()),
}
CONVERSATIONS = [
    pytest.param(kind, each, id=f"{kind}: {each['name']}")
    for kind, recordings in RECORDINGS.items()
    for each in recordings["conversations"]
]

LATER_THAN_THE_RECORDING = "The lab is as the service is in 2026; recordings of then have it."
# By kind of vault, conversation and request: what differs, and why that is meant.
DIFFERENCES: dict[tuple[str, str, str], dict[str, str]] = {
    ("vault", "a name that is deleted", "GET /deletedkeys/ec"): {
        "body.attributes.hsmPlatform: only in the lab": LATER_THAN_THE_RECORDING
    },
    **{
        ("vault", "recovery", request): {
            **{
                f"header {name}: only in the recording": LATER_THAN_THE_RECORDING
                for name in ("server", "x-aspnet-version", "x-powered-by")
            },
            "header x-ms-client-request-id: only in the lab": LATER_THAN_THE_RECORDING,
            "header x-ms-keyvault-network-info: another value": LATER_THAN_THE_RECORDING,
            **{
                f"body.attributes.{name}: only in the lab": LATER_THAN_THE_RECORDING
                for name in ("recoverableDays", "exportable", "hsmPlatform")
            },
        }
        for request in ("POST /deletedkeys/ec/recover", "GET /keys/ec/")
    },
    **{
        ("vault", "key in an HSM of the former platform", request): {
            "header x-powered-by: only in the recording": LATER_THAN_THE_RECORDING,
            **{
                f"body.attributes.{name}: only in the lab": LATER_THAN_THE_RECORDING
                for name in ("key_size", "exportable", "hsmPlatform")
            },
        }
        for request in ("POST /keys/rsa/create", "GET /keys/rsa/")
    },
    ("vault", "key from a package, in an HSM of the former platform", "PUT /keys/rsa"): {
        **{
            f"body.attributes.{name}: only in the lab": LATER_THAN_THE_RECORDING
            for name in ("key_size", "recoverableDays", "exportable", "hsmPlatform")
        },
        "body.key: another order": "The vendor's tool printed the members in its own order.",
        "body.attributes: another order": "The vendor's tool printed the members in its own order.",
    },
    ("vault", "no role", "GET /keys/any"): {
        "header x-ms-client-request-id: only in the lab": "The transcript's curl sent no such id."
    },
    ("vault", "no permission", "DELETE /deletedkeys/any"): {
        "body.error.message: another value": "The lab has no groups to count (numgroups)."
    },
    **{
        ("hsm", "recovery", request): {
            "body.key.key_ops: another value": (
                "EC keys have deriveKey as well in recordings of 2026; this one is of 2022."
            )
        }
        for request in (
            "POST /keys/ec/create",
            "POST /deletedkeys/ec/recover",
            "GET /keys/ec/",
            "DELETE /keys/ec",
        )
    },
}
# What fits a placeholder; a whole text {seconds} stands for a number.
PATTERNS = {
    "32 hex": "[0-9a-f]{32}",
    "address": r"[0-9.]+",
    "base64url": "[0-9A-Za-z_-]+",
    "date": "[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT",
    "id": "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    "number": "[0-9]+",
    "text": ".+",
    "token": "[^&]+",
    "api-version": re.escape(API_VERSION),
}


class Conversation:
    """What a vault is asked, one request after the other."""

    def __init__(self, vault: Vault, clock: Callable[[float], None], fault: Any) -> None:
        self._vault, self._clock, self._fault = vault, clock, fault
        self._known: dict[str, str] = {"version": "", "next": "", "value": ""}

    def ask(self, exchange: dict[str, Any]) -> requests.Response:
        """Ask what an exchange asks."""
        if "later" in exchange:
            self._clock(exchange["later"])
        if "fault" in exchange:
            self._fault(operation="*", kind=exchange["fault"], vault=self._vault.host)
        method, path = exchange["ask"].split(" ", 1)
        response = self._vault.ask(
            method,
            self._filled(path),
            self._filled(exchange.get("request")),
            client=exchange.get("client", "operator") if exchange.get("token", True) else "",
        )
        self._remember(response)
        return response

    def _filled(self, asked: Any) -> Any:
        """Put what earlier answers said, and packages, into a request."""
        if isinstance(asked, dict):
            return {name: self._filled(value) for name, value in asked.items()}
        for name, value in self._known.items():
            if isinstance(asked, str):
                asked = asked.replace(f"{{{name}}}", value)
        if asked in ("{RSA package}", "{oct package}"):
            kek = self._vault.native("kek", kty="RSA-HSM", key_ops=["import"])["key"]
            plaintext = pkcs8(rsa_key(2048)) if asked == "{RSA package}" else bytes(32)
            return base64url(wrap(kek, plaintext))
        return asked

    def _remember(self, response: requests.Response) -> None:
        try:
            body = response.json()
        except ValueError:
            return
        if kid := body.get("key", {}).get("kid"):
            self._known["version"] = kid.rpartition("/")[2]
        self._known["value"] = str(body.get("value"))
        self._known["next"] = body.get("nextLink") or ""


def differences(
    exchange: dict[str, Any], response: requests.Response, vault: Vault
) -> Iterator[str]:
    """Say what of an answer is not as recorded."""
    assert response.status_code == exchange["status"], response.text
    patterns = PATTERNS | {
        "url": re.escape(vault.url),
        "vault": re.escape(vault.host.partition(".")[0]),
    }
    if isinstance(headers := exchange.get("headers"), dict):
        shown = {name.lower(): value for name, value in response.headers.items()}
        recorded = {name.lower(): value for name, value in headers.items()}
        yield from (
            found.replace(".", " ", 1) for found in _compared(recorded, shown, "header", patterns)
        )
    if "body" in exchange:
        yield from _compared(exchange["body"], _body_of(response), "body", patterns)


def _body_of(response: requests.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text or None


def _compared(recorded: Any, shown: Any, where: str, patterns: dict[str, str]) -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(shown, dict):
        for name in recorded.keys() ^ shown.keys():
            side = "the recording" if name in recorded else "the lab"
            yield f"{where}.{name}: only in {side}"
        common = [name for name in recorded if name in shown]
        if where != "header" and common != [name for name in shown if name in recorded]:
            yield f"{where}: another order"
        for name in common:
            yield from _compared(recorded[name], shown[name], f"{where}.{name}", patterns)
    elif isinstance(recorded, list) and isinstance(shown, list) and len(recorded) == len(shown):
        for one, other in zip(recorded, shown, strict=True):
            yield from _compared(one, other, where, patterns)
    elif not _fits(recorded, shown, patterns):
        yield f"{where}: another value"


def _fits(recorded: Any, shown: Any, patterns: dict[str, str]) -> bool:
    if isinstance(recorded, dict) and recorded.keys() == {"in any order"}:
        return isinstance(shown, list) and sorted(recorded["in any order"]) == sorted(shown)
    if recorded == "{seconds}":
        return isinstance(shown, int) and not isinstance(shown, bool)
    if isinstance(recorded, str) and isinstance(shown, str):
        parts = re.split(r"{([^{}]+)}", recorded)
        pattern = "".join(
            patterns[part] if number % 2 else re.escape(part) for number, part in enumerate(parts)
        )
        return re.fullmatch(pattern, shown, re.DOTALL) is not None
    return type(recorded) is type(shown) and bool(recorded == shown)


@pytest.mark.parametrize(("kind", "conversation"), CONVERSATIONS)
def test_answers_are_as_recorded(
    new_vault: Callable[[str], Vault],
    clock: Callable[[float], None],
    fault: Callable[..., None],
    kind: str,
    conversation: dict[str, Any],
) -> None:
    vault = new_vault({"vault": "vault.azure.net", "hsm": "managedhsm.azure.net"}[kind])
    vault.set(**conversation.get("properties", {}))
    held = Conversation(vault, clock, fault)
    found: dict[tuple[str, str, str], set[str]] = {}
    for exchange in conversation["exchanges"]:
        place = (kind, conversation["name"], exchange["ask"])
        if different := set(differences(exchange, held.ask(exchange), vault)):
            found.setdefault(place, set()).update(different)
    meant = {
        place: set(reasons)
        for place, reasons in DIFFERENCES.items()
        if place[:2] == (kind, conversation["name"])
    }
    assert found == meant


def test_each_difference_belongs_to_a_recording() -> None:
    recorded = {
        (kind, conversation["name"], exchange["ask"])
        for kind, recordings in RECORDINGS.items()
        for conversation in recordings["conversations"]
        for exchange in conversation["exchanges"]
        if "body" in exchange
    }
    assert DIFFERENCES.keys() <= recorded


def test_comparison_sees_what_differs() -> None:
    """The comparison itself: members, types, order and texts."""
    recorded = {"a": 1, "b": "x{number}", "c": {"in any order": ["p", "q"]}, "d": "{seconds}"}

    def found(shown: dict[str, Any]) -> set[str]:
        return set(_compared(recorded, shown, "body", PATTERNS))

    same = {"a": 1, "b": "x23", "c": ["q", "p"], "d": 1_700_000_000}
    assert found(same) == set()
    assert found({name: same[name] for name in "bacd"}) == {"body: another order"}
    for name, value in (("a", True), ("a", "1"), ("b", "x"), ("c", ["q"]), ("d", "1700000000")):
        assert found(same | {name: value}) == {f"body.{name}: another value"}
    assert found(same | {"e": None}) == {"body.e: only in the lab"}
    del same["a"]
    assert found(same) == {"body.a: only in the recording"}
