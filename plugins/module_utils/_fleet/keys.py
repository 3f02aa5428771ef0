# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Many declared keys: their defaults merged, and each problem told with where it is; pure.

Values are passed on as the objects that they are, so that what Ansible must not render as a
template stays so.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
    Spec,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    THUMBPRINT,
    check_name,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    DeclarationError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    parse_duration,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.validation import (
    MOST_PROBLEMS,
    FieldCheck,
    Fields,
    Forms,
    check_texts,
    kind_of,
    shown,
)

#: What belongs to one key, so that it can be no default
OF_ONE_KEY = ("name", "label", "generation")

#: What depends on the type
OF_ONE_TYPE = ("size", "curve", "operations", "token_operations")

_CKA_ID = re.compile(r"([0-9a-fA-F]{2})+")

_ROTATION = DECLARATION_OPTIONS["rotation"]["options"]


def _check_generation(text: str) -> None:
    if not (_CKA_ID.fullmatch(text) or THUMBPRINT.fullmatch(text)):
        raise ByokError(
            f"{shown(text)} is neither a CKA_ID nor a thumbprint",
            "Write the bytes of the CKA_ID in hexadecimal digits, or the thumbprint, as the "
            "playbook show does",
        )


#: What of a rotation is no choice is a duration
_FORMS: Forms = {
    "name": check_name,
    "tags": check_texts,
    "generation": _check_generation,
    "not_before": parse_moment,
    "expires": parse_moment,
    **{
        f"rotation.{field}": parse_duration
        for field, option in _ROTATION.items()
        if "choices" not in option
    },
}

#: What has to fit together with the type or with each other, by the field that is told
_SPEC = ("name", "type", "size", "curve")
_TOGETHER = {
    "label": ("label",),
    "generation": ("generation",),
    "operations": ("operations",),
    "token_operations": ("token_operations",),
    "tags": ("tags",),
    "expires": ("not_before", "expires"),
    "rotation": ("rotation", "expires"),
    "modifiable": ("after_transfer", "modifiable"),
}

_NOTHING = {field: option.get("default") for field, option in DECLARATION_OPTIONS.items()}
_NO_ROTATION = {field: option.get("default") for field, option in _ROTATION.items()}


@dataclass(frozen=True)
class DeclaredKey:
    """A key with its defaults.

    :ivar place: where it was declared, for messages
    :ivar fields: those that were given or defaulted
    :ivar unfit: those of them that have a problem
    """

    place: str
    fields: dict[str, t.Any]
    unfit: frozenset[str]


@dataclass(frozen=True)
class Defaults:
    """Defaults that are fit.

    :ivar given: as they were given
    :ivar typed: as modules would take them
    """

    given: dict[str, t.Any]
    typed: dict[str, t.Any]


NO_DEFAULTS = Defaults({}, {})


def declared_keys(
    keys: t.Any,
    defaults: t.Any = None,
    where: str = "byok_keys",
    defaults_where: str = "byok_key_defaults",
) -> list[dict[str, t.Any]]:
    """Return declared keys with their defaults.

    :param where: what the keys are called in messages
    :param defaults_where: what the defaults are called in messages
    :raises DeclarationError: with a line for each problem
    """
    if not isinstance(keys, list):
        raise DeclarationError(f"{where} is {kind_of(keys)}, but must be a list of keys.")
    problems: list[str] = []
    fit = read_defaults({} if defaults is None else defaults, defaults_where, problems)
    declared = read_keys(keys, fit, lambda number: f"{where}[{number}]", problems)
    check_unique(declared, problems)
    if problems:
        raise DeclarationError(*problems)
    return [key.fields for key in declared]


def read_defaults(
    given: t.Any, where: str, problems: list[str], *, exact: bool = False
) -> Defaults:
    """Check the defaults of keys.

    :param where: names them in messages
    :param problems: gets a sentence for each problem
    """
    if not isinstance(given, t.Mapping):
        problems.append(f"{where} is {kind_of(given)}, but must be a mapping of fields.")
        return NO_DEFAULTS
    check = FieldCheck(where, _FORMS, problems, exact)
    for field in OF_ONE_KEY:
        if field in given:
            check.refuse(field, "can be no default: it belongs to one key")
    typed = check.typed(DECLARATION_OPTIONS, given)
    return Defaults({field: value for field, value in given.items() if field in typed}, typed)


def read_keys(
    keys: t.Any,
    defaults: Defaults,
    where: t.Callable[[int], str],
    problems: list[str],
    *,
    more: Spec | None = None,
    exact: bool = False,
) -> list[DeclaredKey]:
    """Check declared keys and merge their defaults into them.

    :param where: names a key in messages by its number
    :param problems: gets a sentence for each problem
    :param more: fields that a key may have beside its declaration
    :param exact: take no text for a number or a boolean, as modules do
    """
    options = {**DECLARATION_OPTIONS, **(more or {})}
    declared = []
    for number, key in enumerate(keys):
        if len(problems) >= MOST_PROBLEMS:
            break
        place = where(number)
        if not isinstance(key, t.Mapping):
            problems.append(f"{place} is {kind_of(key)}, but must be a mapping of fields.")
            continue
        if key.get("name") is not None:
            place = f"{place} ({shown(key['name'])})"
        check = FieldCheck(place, _FORMS, problems, exact)
        fields = merge_defaults(key, defaults.given)
        typed = merge_defaults(check.typed(options, key), defaults.typed)
        for field in ("name", "type"):
            if field not in fields:
                check.refuse(field, "is missing")
        _check_together(check, typed)
        declared.append(DeclaredKey(check.place, fields, frozenset(check.unfit)))
    return declared


def merge_defaults(key: Fields, defaults: Fields) -> dict[str, t.Any]:
    """Return a key's fields, and those defaults that it does not give itself; tags are merged.

    A key of another type than the defaults' takes nothing that depends on the type; one with a size
    or curve takes neither.
    """
    given = {field: value for field, value in key.items() if value is not None}
    without: tuple[str, ...] = ()
    if "type" in defaults and given.get("type", defaults["type"]) != defaults["type"]:
        without = OF_ONE_TYPE
    elif "size" in given or "curve" in given:
        without = ("size", "curve")
    merged = {field: value for field, value in defaults.items() if field not in without}
    if "tags" in merged and isinstance(given.get("tags"), t.Mapping):
        given["tags"] = dict((*merged["tags"].items(), *given["tags"].items()))
    return {**merged, **given}


def check_unique(keys: t.Iterable[DeclaredKey], problems: list[str]) -> None:
    """See that no name is declared twice; Azure compares names without regard to case."""
    first: dict[str, str] = {}
    for key in keys:
        if "name" not in key.unfit:
            place = first.setdefault(str(key.fields["name"]).lower(), key.place)
            if place != key.place:
                problems.append(f"{key.place}: declared already as {place}.")


def _check_together(check: FieldCheck, typed: Fields) -> None:
    """See that fields fit together that are fit by themselves.

    :param typed: fields of DECLARATION_OPTIONS, as modules would take them
    """
    whole = {**_NOTHING, **typed}
    if whole["rotation"] is not None:
        whole["rotation"] = {**_NO_ROTATION, **whole["rotation"]}

    def misfit(*fields: str) -> str:
        group = {field: whole[field] for field in (*_SPEC, *fields)}
        try:
            parse_declaration({**_NOTHING, **group})
        except ByokError as error:
            return str(error)
        return ""

    if check.unfit.intersection(_SPEC) or not (check.unfit or misfit(*whole)):
        return
    if what := misfit():
        check.unfit.update(_SPEC[1:])
        check.tell(what)
        return
    for field, group in _TOGETHER.items():
        if not check.unfit.intersection(group) and (what := misfit(*group)):
            check.refuse(f"{field}:", what)
