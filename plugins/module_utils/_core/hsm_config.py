# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""HsmConfig.ini of Thales' hsmbyok, read into the words of this collection; pure.

The only source is the public guide "Microsoft Azure Key Vault BYOK: Integration Guide" (Thales,
007-013885-002). People copy their file out of its PDF, so what such a copy does to a text is
tolerated; what cannot be honoured is an error.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OCT_SIZES,
    OPERATIONS,
    RSA_SIZES,
    KeySpec,
    check_name,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import plain_text

_FILE = "HsmConfig.ini"
_SECTION = "byok"
_KEYS = (
    "libraryName",
    "tokenLabel",
    "wrappingCiphers",
    "targetKeyName",
    "targetKeySpec",
    "targetKeyFlags",
    "kid",
    "SchemaVersion",
)
_SPELLINGS = {key.lower(): key for key in _KEYS}

#: Straight and typographic, double and single
_QUOTES = ('"\u201c\u201d\u201e\u201f', "'\u2018\u2019\u201a\u201b")

#: What Azure unwraps, and nothing else: OAEP with SHA-1, and AES-KWP (Microsoft's BYOK
#: specification)
_CIPHERS = {"CKG_MGF1_SHA1", "CKM_AES_KWP"}

#: The curves that a targetKeySpec can name
_CURVES = [curve for curve in CURVES.values() if curve.thales_name]

#: targetKeySpec in upper case -> the key
_SPECS: dict[tuple[str, ...], KeySpec] = {
    **{("CKK_RSA", str(size), "NONE"): KeySpec("RSA", size=size) for size in RSA_SIZES},
    **{
        ("CKK_EC", str(curve.bits), curve.name): KeySpec("EC", curve=curve.name)
        for curve in _CURVES
    },
    **{
        ("CKK_EC", str(curve.bits), curve.thales_name.upper()): KeySpec("EC", curve=curve.name)
        for curve in _CURVES
    },
}

#: Keys that Azure imports and this collection brings, but of which the guide says nothing
_DECLARED: dict[tuple[str, ...], str] = {
    **{("CKK_AES", str(size)): f"type: oct, size: {size}" for size in OCT_SIZES},
    **{
        ("CKK_EC", str(curve.bits), name.upper()): f"type: EC, curve: {curve.name}"
        for curve in CURVES.values()
        if not curve.thales_name
        for name in (curve.name, curve.sec_name)
    },
}

_OPERATION_OF_FLAG = {
    "CKF_ENCRYPT": "encrypt",
    "CKF_DECRYPT": "decrypt",
    "CKF_SIGN": "sign",
    "CKF_VERIFY": "verify",
    "CKF_WRAP": "wrapKey",
    "CKF_UNWRAP": "unwrapKey",
}
_NEEDED_FLAGS = {
    "CKF_TOKEN": "without it the key would be gone with the session that makes it",
    "CKF_EXTRACTABLE": "without it the key could never leave the token",
}
_FLAGS = {
    *_OPERATION_OF_FLAG,
    *_NEEDED_FLAGS,
    "CKF_DERIVE",
    "CKF_MODIFIABLE",
    "CKF_CREATE_IF_NOT_FOUND",
}

#: What is in the file, and what comes in a package by the BYOK specification
_SCHEMA_VERSIONS = ("1.0.0.0", "1.0.0")


@dataclass(frozen=True)
class HsmConfig:
    """What an HsmConfig.ini says.

    :ivar library: path of the PKCS#11 library, as it stands there
    :ivar key_name: label of the key to find or to make
    :ivar flags: targetKeyFlags, known ones only
    :ivar kek_id: identifier of the KEK with its version
    """

    library: str
    token_label: str
    key_name: str
    spec: KeySpec
    flags: frozenset[str]
    kek_id: str

    @property
    def vault_url(self) -> str:
        """The vault that the KEK is in, in lower case."""
        return parse_kid(self.kek_id).vault

    @property
    def operations(self) -> tuple[str, ...]:
        """What the flags allow of what Azure knows for this type of key."""
        flagged = {_OPERATION_OF_FLAG.get(flag) for flag in self.flags}
        return tuple(operation for operation in OPERATIONS[self.spec.type] if operation in flagged)


@dataclass(frozen=True)
class _Entry:
    """One key of the file, its value with wrapped lines joined."""

    key: str
    line: int
    text: str

    def error(self, what: str, remedy: str) -> ByokError:
        return ByokError(f"{_FILE}, line {self.line}: {self.key} {what}", remedy)


def parse_hsm_config(text: str) -> HsmConfig:
    """Read an HsmConfig.ini.

    :raises ByokError: naming key and line of what is missing, is unknown, or cannot be honoured
    """
    entries = _entries(text)
    missing = [key for key in _KEYS if key not in entries]
    if missing:
        raise ByokError(
            f"{_FILE} has no {', '.join(missing)}",
            "Add what is missing, as the guide of hsmbyok shows it",
        )
    schema, ciphers = entries["SchemaVersion"], entries["wrappingCiphers"]
    if _string(schema) not in _SCHEMA_VERSIONS:
        raise schema.error(f"is {schema.text}, which is not known", f"Give {_SCHEMA_VERSIONS[0]}")
    if set(_list(ciphers)) != _CIPHERS:
        raise ciphers.error(
            f"is {ciphers.text}",
            f"Give {', '.join(sorted(_CIPHERS))}: Azure unwraps these two, and nothing else",
        )
    config = HsmConfig(
        library=_string(entries["libraryName"]),
        token_label=_string(entries["tokenLabel"]),
        key_name=_string(entries["targetKeyName"]),
        spec=_spec(entries["targetKeySpec"]),
        flags=_flags(entries["targetKeyFlags"]),
        kek_id=_kek_id(entries["kid"]),
    )
    if not config.operations:
        raise entries["targetKeyFlags"].error(
            f"has nothing that a key of type {config.spec.type} could do in Azure",
            f"Add flags for some of {', '.join(OPERATIONS[config.spec.type])}",
        )
    return config


def is_only_ours(places: t.Sequence[t.Mapping[str, t.Any]], user_id: int | None) -> bool:
    """Tell whether nobody but root and one user can write where these places are.

    :param places: as ansible.builtin.stat describes each, without following a link; of none it is
        not known
    :param user_id: None where the user is not known
    """
    if not places or user_id is None:
        return False
    return all(
        place["exists"]
        and not place["islnk"]
        and place["uid"] in (0, user_id)
        and not (place["wgrp"] or place["woth"])
        for place in places
    )


def transfer_variables(
    config: HsmConfig,
    pkcs11_library: str | None = None,
    name: str | None = None,
    *,
    trusted: bool = False,
) -> dict[str, t.Any]:
    """Return what a transfer has to know, as the filter documents it.

    :param pkcs11_library: path of the library where this runs, instead of the one in the file
    :param name: of the key in the vault, if that is not its label in the token
    :param trusted: the file may name the library, which is code
    :raises ByokError: for a library that may not be used or is one of Windows, and that nothing
        stands in for, and for a name that Azure does not take
    """
    is_for_windows = "\\" in config.library or config.library.lower().endswith(".dll")
    if is_for_windows and not pkcs11_library:
        raise ByokError(
            f"{_FILE}: libraryName is {config.library}, a library for Windows, and PKCS#11 is "
            "used on Linux here",
            "Set byok_pkcs11_library (filter: pkcs11_library) to its path on the host "
            "with the token, such as /usr/safenet/lunaclient/lib/libCryptoki2_64.so",
        )
    if not (pkcs11_library or trusted):
        raise ByokError(
            f"{_FILE}: libraryName is {config.library}, and a library is code. It is used only if "
            "nobody but root and the user who runs can write the file and its folder, neither is a "
            "link, and this is no check mode",
            "Set byok_pkcs11_library (filter: pkcs11_library) to the library that must be used",
        )
    try:
        check_name(name or config.key_name)
    except ByokError as error:
        raise ByokError(
            f"{_FILE}: targetKeyName: {error.what}",
            "Set hsmbyok_name (filter: name) to the key's name in the vault, of 1 to 127 letters, "
            "digits and hyphens; its label in the token stays as it is",
        ) from error
    strength = {"curve": config.spec.curve} if config.spec.curve else {"size": config.spec.size}
    return {
        "pkcs11_library": pkcs11_library or config.library,
        "token_label": config.token_label,
        "vault_url": config.vault_url,
        "kek_id": config.kek_id,
        "declaration": {
            "name": name or config.key_name,
            **({"label": config.key_name} if name else {}),
            "type": config.spec.type,
            **strength,
            "token_operations": list(config.operations),
            "derive": "CKF_DERIVE" in config.flags,
            "modifiable": "CKF_MODIFIABLE" in config.flags,
            "create": "CKF_CREATE_IF_NOT_FOUND" in config.flags,
        },
        "notes": list(_notes(config)),
    }


def _notes(config: HsmConfig) -> t.Iterator[str]:
    """Say what is done otherwise than hsmbyok and az keyvault key import together would."""
    allowed = OPERATIONS[config.spec.type]
    if "CKF_DERIVE" in config.flags:
        yield (
            "CKF_DERIVE is set on a key that is made in the token, and not sent to Azure, which "
            "has no such operation."
        )
    impossible = [
        flag
        for flag, operation in _OPERATION_OF_FLAG.items()
        if flag in config.flags and operation not in allowed
    ]
    if impossible:
        yield (
            f"{', '.join(impossible)}: left out, as a key of type {config.spec.type} does that "
            "neither in Azure nor in a token."
        )
    rest = [operation for operation in allowed if operation not in config.operations]
    if rest:
        yield (
            f"targetKeyFlags apply in the token. In the vault a new key may {', '.join(rest)} as "
            "well, as after az keyvault key import without --ops, and an existing key keeps its "
            "operations; hsmbyok_operations declares others."
        )


def _entries(text: str) -> dict[str, _Entry]:
    """Take the file apart by its keys, as the guide spells them."""
    entries: dict[str, _Entry] = {}
    in_section, last = False, ""
    for number, raw in enumerate(plain_text(text, f"The file {_FILE}").splitlines(), 1):
        line = re.sub(r"\s", " ", raw).strip()  # no-break spaces as well
        # A line of ` fences the pages of a guide that was turned to Markdown.
        if not line.strip("`") or line[0] in ";#":
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if line[0] == "[":
            if line[-1] != "]" or line[1:-1].strip().lower() != _SECTION:
                raise ByokError(
                    f"{_FILE}, line {number}: {line} is not [ {_SECTION} ]",
                    f"Keep the section [ {_SECTION} ] alone",
                )
            in_section, last = True, ""
        elif not in_section:
            raise ByokError(
                f"{_FILE}, line {number}: {line} is outside of a section",
                f"Begin the file with [ {_SECTION} ]",
            )
        elif equals:
            last = _SPELLINGS.get(name.lower(), "")
            if not last:
                raise ByokError(
                    f"{_FILE}, line {number}: {name} is no key of hsmbyok",
                    f"Its keys are {', '.join(_KEYS)}",
                )
            if last in entries:
                raise entries[last].error(f"is repeated in line {number} again", "Keep one of them")
            entries[last] = _Entry(last, number, value)
        elif last:
            entries[last] = _continued(entries[last], line)
        else:
            raise ByokError(
                f"{_FILE}, line {number}: {line} is no KEY = VALUE",
                "Make it a comment with ; or remove it",
            )
    return entries


def _continued(entry: _Entry, line: str) -> _Entry:
    """Return an entry with its value's next line: between quotes nothing parts the two."""
    is_open = any(sum(map(entry.text.count, quotes)) % 2 for quotes in _QUOTES)
    gap = "" if is_open else " "
    return replace(entry, text=f"{entry.text}{gap}{line}")


def _string(entry: _Entry) -> str:
    """Return a value without its quotes; backslashes and percent signs are nothing special."""
    quotes = next((quotes for quotes in _QUOTES if entry.text.startswith(tuple(quotes))), "")
    value = entry.text[1:-1] if quotes else _uncommented(entry)
    if quotes:
        is_closed = len(entry.text) >= 2 and entry.text[-1] in quotes
        if not is_closed or set(value) & set(quotes):
            raise entry.error(
                f"is {entry.text}, whose quotes do not enclose the whole value",
                "Put the value between two quotes",
            )
    if not value:
        raise entry.error("is empty", "Give it a value")
    return value


def _list(entry: _Entry) -> list[str]:
    """Return a value's parts, in which a copy of a PDF has blanks for underscores."""
    parts = (part.strip(" " + "".join(_QUOTES)) for part in _uncommented(entry).split(","))
    return [re.sub("[ _]+", "_", part).upper() for part in parts if part]


def _uncommented(entry: _Entry) -> str:
    # A label may hold these, so a comment behind a value cannot be told from it.
    if ";" in entry.text or "#" in entry.text:
        raise entry.error(
            f"is {entry.text}",
            "Put a comment on a line of its own, and a value with ; or # between quotes",
        )
    return entry.text


def _spec(entry: _Entry) -> KeySpec:
    parts = tuple(_list(entry))
    spec = _SPECS.get(parts)
    declared = _DECLARED.get(tuple(part for part in parts if part != "NONE"))
    if declared:
        raise entry.error(
            f"is {entry.text}, a key of which the guide of hsmbyok says nothing",
            f"Declare it in byok_keys ({declared}), and run the playbook keyferry.azure.byok",
        )
    if spec is None:
        curves = (f'{curve.bits}, "{curve.name}" ("{curve.thales_name}")' for curve in _CURVES)
        raise entry.error(
            f"is {entry.text}, which is no key that Azure imports",
            f"Give CKK_RSA, one of {', '.join(map(str, RSA_SIZES))}, and none; "
            f"or CKK_EC, size and curve: {'; '.join(curves)}",
        )
    return spec


def _flags(entry: _Entry) -> frozenset[str]:
    flags = frozenset(_list(entry))
    unknown = sorted(flags - _FLAGS)
    if unknown:
        raise entry.error(
            f"has {', '.join(unknown)}, which is not known",
            f"The flags are {', '.join(sorted(_FLAGS))}",
        )
    for flag, why in _NEEDED_FLAGS.items():
        if flag not in flags:
            raise entry.error(f"lacks {flag}: {why}", f"Add {flag}")
    return flags


def _kek_id(entry: _Entry) -> str:
    kid = _string(entry).replace(" ", "")  # a URL has none: a line broke there
    try:
        return str(parse_kid(kid))
    except ByokError as error:
        raise entry.error(
            f"is {kid}, and names no version of a key",
            "Give https://VAULT/keys/NAME/VERSION of the KEK",
        ) from error
