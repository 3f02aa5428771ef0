# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A vendor's profile that a user wrote, for a token that this release does not know; pure.

It is JSON, because a host that only reaches a token may have no reader of YAML. It says what to
try; the rehearsal judges what comes of it, as with the profiles of this collection.
"""

from __future__ import annotations

import json
import re
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_RSA_AES_KEY_WRAP,
    Mechanism,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import NUMBERS

FORMAT = "keyferry-profile"
FORMAT_VERSION = 1

#: Mechanisms of PKCS#11 v3.1 that are never RFC 5649 over PKCS#8, with what they are; a vendor's
#: own numbers mean something else on each vendor's tokens, and the rehearsal judges them
_NEVER = {
    0x1081: "AES in ECB mode",
    0x1082: "AES in CBC mode",
    0x1085: "AES in CBC mode",
    0x2109: "RFC 3394 without padding",
    0x210C: "RFC 3394 over PKCS#7",
}

#: RFC 5649, section 3: the only initial value that Azure unwraps
_AIV = "a65959a6"

_CKR_VENDOR_DEFINED = 0x80000000
_MOST_CHARACTERS = 500

T = t.TypeVar("T")
Read = t.Callable[[t.Any], t.Any]


def read_profile(text: str, where: str) -> Profile:
    """Read a profile.

    :param where: names it in errors
    :raises ByokError: naming the first field that cannot be
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ByokError(f"{where} is no JSON ({error})", _SEE) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ByokError(f"{where} is no profile of a vendor (format: {FORMAT})", _SEE)
    if document.get("version") != FORMAT_VERSION:
        raise ByokError(
            f"{where} is of version {document.get('version')!r}, and {FORMAT_VERSION} is known "
            "here",
            _SEE,
        )
    given = {name: document[name] for name in document if name not in ("format", "version")}
    read: dict[str, t.Any] = {}
    for name, value in given.items():
        try:
            read[name] = _field(_FIELDS, name)(value)
        except ValueError as error:
            raise ByokError(f"{where} has an unexpected value: {name} {error}", _SEE) from None
    missing = [name for name in ("title", "source", "wrap_mechanisms") if name not in read]
    if missing:
        raise ByokError(f"{where} lacks {', '.join(missing)}", _SEE)
    profile = Profile(**read)
    unknown = set(profile.remedies) - set(NUMBERS) - set(profile.return_codes.values())
    if unknown:
        raise ByokError(
            f"{where} has remedies for {', '.join(sorted(unknown))}, which neither PKCS#11 nor "
            "its return_codes name",
            _SEE,
        )
    return profile


_SEE = "Write it as docs/hsm/other.md shows (A profile of your own)"


def _field(fields: t.Mapping[str, Read], name: str) -> Read:
    if name not in fields:
        raise ValueError(f"is not a field; those are {', '.join(fields)}")
    return fields[name]


def _text(value: t.Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("is no line of text")
    if len(value) > _MOST_CHARACTERS:
        raise ValueError(f"has more than {_MOST_CHARACTERS} characters")
    return value


def _named(form: str) -> Read:
    """Return what reads a name of this form."""

    def read(value: t.Any) -> str:
        if not re.fullmatch(form, _text(value)):
            raise ValueError(f"holds {value!r}, which does not have the form {form}")
        return t.cast(str, value)

    return read


def _each(read: t.Callable[[t.Any], T], least: int = 0) -> t.Callable[[t.Any], tuple[T, ...]]:
    """Return what reads a list.

    :param least: how many it must hold
    """

    def read_all(value: t.Any) -> tuple[T, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError("is no list" + (" with something in it" if least else ""))
        return tuple(read(member) for member in value)

    return read_all


def _bool(value: t.Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("holds something that is neither true nor false")
    return value


def _sessions(value: t.Any) -> int:
    if value.__class__ is not int or not 0 < value < 1000:
        raise ValueError("is no number of sessions")
    return value


def _number(value: t.Any) -> int:
    """Read a number of PKCS#11: JSON has no hexadecimal numbers, so these are texts."""
    if isinstance(value, str) and re.fullmatch(r"0x[0-9A-Fa-f]{1,8}", value):
        return int(value, 16)
    if value.__class__ is int and 0 <= value < 2**32:
        return value
    raise ValueError(f"holds {value!r}, which is no number such as 0x80000171")


def _mechanism(value: t.Any, fields: tuple[str, ...] = ("name", "number")) -> Mechanism:
    if not isinstance(value, dict) or not {"name", "number"} <= value.keys() <= set(fields):
        raise ValueError(f"holds something that is no mapping of {', '.join(fields)}")
    return Mechanism(_named("CKM_[A-Z0-9_]{1,60}")(value["name"]), _number(value["number"]))


def _wrap_mechanism(value: t.Any) -> Mechanism:
    mechanism = _mechanism(value, ("name", "number", "parameter"))
    if mechanism.number in _NEVER:
        what = _NEVER[mechanism.number]
        raise ValueError(f"holds {mechanism.number:#x}, which is {what} and nothing Azure unwraps")
    parameter = value.get("parameter")
    if parameter is None:
        return mechanism
    if parameter != _AIV or mechanism.number == CKM_RSA_AES_KEY_WRAP:
        raise ValueError(f"holds a parameter other than {_AIV}, or one of CKM_RSA_AES_KEY_WRAP")
    return Mechanism(mechanism.name, mechanism.number, bytes.fromhex(parameter))


def _return_codes(value: t.Any) -> dict[int, str]:
    if not isinstance(value, dict):
        raise ValueError("is no mapping")
    codes = {_number(number): _named("CKR_[A-Z0-9_]{1,60}")(name) for number, name in value.items()}
    if any(number < _CKR_VENDOR_DEFINED for number in codes):
        raise ValueError(f"holds a number below {_CKR_VENDOR_DEFINED:#x}, which is PKCS#11's own")
    return codes


def _remedies(value: t.Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("is no mapping")
    return {_text(name): _text(remedy) for name, remedy in value.items()}


_VARIABLES = _each(_named("[A-Za-z_][A-Za-z0-9_]*"))

#: By the names that Profile has for them
_FIELDS: t.Mapping[str, Read] = {
    "title": _text,
    "source": _text,
    "wrap_mechanisms": _each(_wrap_mechanism, 1),
    "rsa_generation": _each(_mechanism, 1),
    "public_keys_private": _each(_bool, 1),
    "role": _text,
    "pin_form": _text,
    "environment": _VARIABLES,
    "required_environment": _VARIABLES,
    "most_sessions": _sessions,
    "not_ready": _text,
    "return_codes": _return_codes,
    "remedies": _remedies,
}
