# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Which token is meant: by label, serial number, slot, or a PKCS#11 URI (RFC 7512); pure."""

from __future__ import annotations

import re
import typing as t
from urllib.parse import unquote_to_bytes

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Slot

#: Path attributes of a PKCS#11 URI that say which token is meant (RFC 7512, 2.3), as facts here
_URI_ATTRIBUTES = {
    "token": "label",
    "serial": "serial",
    "manufacturer": "manufacturer",
    "model": "model",
    "slot-id": "slot",
}

#: Query attributes of one, and the option that says the same here
_URI_OPTIONS = {
    "module-path": "pkcs11_library",
    "module-name": "pkcs11_library",
    "pin-source": "pin_file",
    "pin-value": "pin_file, and have the PIN changed: as part of a URI it stands in logs",
}

#: What a token without a serial number of its own has there: nothing, or zeros
_NO_SERIAL = re.compile(r"[0\s]*")

Facts = t.Mapping[str, "str | int"]


def wanted_token(options: t.Mapping[str, t.Any]) -> dict[str, str | int]:
    """Return what the options say of the token, by the names that facts_of() has.

    :param options: the token options of a module
    :returns: nothing where they say nothing
    :raises ByokError: when they contradict each other, or hold no PKCS#11 URI of a token
    """
    given: dict[str, str | int] = {}
    if options.get("token_uri"):
        given = _read_uri(options["token_uri"])
    named = {"label": "token_label", "serial": "token_serial", "slot": "token_slot"}
    for fact, option in named.items():
        value = options.get(option)
        if value in (None, ""):
            continue
        if given.setdefault(fact, value) != value:
            raise ByokError(
                f"{option} is {value}, and token_uri says {given[fact]}",
                "Give one of them",
            )
    return given


def facts_of(slot: Slot) -> dict[str, str | int]:
    """Return what a token can be chosen by."""
    return {
        "label": slot.label,
        "serial": slot.serial,
        "manufacturer": slot.manufacturer,
        "model": slot.model,
        "slot": slot.id,
    }


def fits(wanted: Facts, token: Facts) -> bool:
    """Tell whether a token is what is wanted."""
    return wanted.items() <= token.items()


def in_words(facts: Facts) -> str:
    """Return facts of a token for a sentence."""
    return " and ".join(f"{fact} {value}" for fact, value in facts.items())


def serial_tells(serial: str) -> bool:
    """Tell whether a serial number is one: some tokens have none, or zeros."""
    return not _NO_SERIAL.fullmatch(serial)


def several(wanted: Facts, slots: t.Sequence[Slot]) -> ByokError:
    """Return the error for a choice that several tokens fit."""
    serials = [slot.serial for slot in slots]
    numbers = ", ".join(str(slot.id) for slot in slots)
    if len(set(serials)) == len(serials) and all(map(serial_tells, serials)):
        remedy = f"Set token_serial to the one you mean: {', '.join(serials)}"
    else:
        remedy = (
            "Their serial numbers do not tell them apart: give one of them another label with the "
            f"token's own tool, or set token_slot to the one you mean: {numbers}"
        )
    return ByokError(f"{len(slots)} tokens have the {in_words(wanted)}", remedy)


def _read_uri(text: str) -> dict[str, str | int]:
    """Return what a PKCS#11 URI says of a token.

    :raises ByokError: for another text, and for attributes of anything else: RFC 7512 forbids to
        pass over those that are not understood
    """
    # The URI itself is in no message: its query may hold a PIN.
    path, _question, query = text.partition("?")
    scheme, colon, path = path.partition(":")
    if not colon or scheme.lower() != "pkcs11":
        raise ByokError(
            "token_uri is no PKCS#11 URI", "Write it as RFC 7512 does, such as pkcs11:token=byok"
        )
    for attribute in filter(None, query.split("&")):
        name = attribute.partition("=")[0]
        raise ByokError(
            f"token_uri has the attribute {_shown(name)}, which does not say which token is meant",
            f"Remove it; set {_URI_OPTIONS.get(name, 'the option of that meaning')}",
        )
    facts: dict[str, str | int] = {}
    for attribute in filter(None, path.split(";")):
        name, equals, value = attribute.partition("=")
        fact = _URI_ATTRIBUTES.get(name)
        if fact is None or not equals or fact in facts:
            raise ByokError(
                f"token_uri has the attribute {_shown(name)} "
                + ("twice" if fact in facts else "that does not say which token is meant"),
                f"Give each of {', '.join(_URI_ATTRIBUTES)} once, or leave it out",
            )
        facts[fact] = _read_value(name, value)
    return facts


def _read_value(name: str, value: str) -> str | int:
    if name == "slot-id":
        if not re.fullmatch(r"[0-9]{1,20}", value):
            raise ByokError(
                "slot-id in token_uri is no number", "Write it in decimal digits (RFC 7512)"
            )
        return int(value)
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ByokError(
            f"{name} in token_uri has a % that no two hexadecimal digits follow",
            "Write a character that has a meaning in a URI as % and two hexadecimal digits",
        )
    # As PKCS#11 pads texts with blanks, none at their ends has a meaning.
    return unquote_to_bytes(value).decode("utf-8", "replace").strip()


def _shown(name: str) -> str:
    """Return an attribute's name for a message, without what may be a secret."""
    return name if re.fullmatch(r"[a-z-]{1,30}", name) else "that is no name"
