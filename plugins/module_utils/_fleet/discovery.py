# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Declarations of what a vault and a token hold already, as YAML for people to review; pure.

Names, labels and tags come from whoever could write them, so all of them are quoted, and comments hold printable ASCII alone.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OUR_TAGS,
    Declaration,
    KeySpec,
    parse_declaration,
    parse_operations,
    parse_tags,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import GENERATION_TAG
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    Found,
    Generation,
    choose,
    refuse_unfit,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.listing import (
    Listing,
    read_listing,
)

_Facts = t.Mapping[str, t.Any]

#: Fields with words of ours, which need no quotes
_WORDS = ("type", "curve", "operations", "after_transfer")


@dataclass(frozen=True)
class _Declared:
    """A key that can be declared.

    :ivar options: of the declaration, in the order to write them
    :ivar notes: what its reader should know
    """

    options: _Facts
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Holdings:
    """What both sides hold, by what keys are recognised by: their thumbprints, for oct keys their generations.

    :ivar labels: in the token
    :ivar names: in the vault
    """

    listing: Listing
    labels: t.Mapping[str | None, list[str]]
    names: t.Mapping[str | None, list[str]]
    managed_hsm: bool


class _Undeclared(Exception):
    """Why a key is not declared."""


def discover(
    vault_info: _Facts,
    listing: t.Any,
    host: str,
    token: str | None = None,
    token_keys: bool = False,
) -> str:
    """Return the text of a file of declarations, with what is not declared as comments.

    :param vault_info: the result of byok_vault_info with list_keys
    :param listing: of the token
    :param host: the vault's name in the inventory
    :param token: the token's name there
    :param token_keys: whether keys that only the token has are declared as well
    :raises ByokError: for a listing that is none
    """
    seen = read_listing(listing, "The listing")
    vault, vault_keys = vault_info["vault"], vault_info["vault_keys"]
    holdings = _Holdings(
        seen,
        _grouped(
            (_identity(each), label)
            for label, found in seen.found.items()
            for each in found.generations
        ),
        _grouped((_identity_there(key), key["name"]) for key in vault_keys),
        vault["kind"] == "managed_hsm",
    )
    declared: dict[str, _Declared] = {}
    left_in_vault: list[str] = []
    for key in sorted(vault_keys, key=lambda key: _by_name(key["name"])):
        try:
            declared[key["name"]] = _adopt(key, holdings)
        except (_Undeclared, ByokError) as reason:
            left_in_vault.append(_comment(f"- {_quoted(key['name'])} ({_kind_of(key)}): {reason}"))
    taken = {
        key["name"].lower() for key in vault_keys
    }  # Azure compares names without regard to case
    left_in_token: list[str] = []
    for label in sorted(seen.found, key=_by_name):
        if label in declared or not seen.found[label].generations:
            continue
        try:
            found = _propose(label, holdings, taken)
        except (_Undeclared, ByokError) as reason:
            left_in_token.append(_comment(f"- {_quoted(label)}: {reason}"))
            continue
        taken.add(label.lower())
        if token_keys:
            declared[label] = found
        else:
            left_in_token += [f"# {line}".rstrip() for line in _entry(found)]
    lines = [
        _comment(
            f"What {vault['url']} and the {seen.info} hold, as playbooks/discover.yml found it."
        ),
        _comment(
            "Review this file before you use it: Keyferry then keeps the keys as declared here."
        ),
        f"vaults: [{_quoted(host)}]",
        *([f"token: {_quoted(token)}"] if token else []),
        "keys:" if declared else "keys: []",
        *(line for name in sorted(declared, key=_by_name) for line in _entry(declared[name])),
    ]
    if left_in_vault:
        lines += ["", _comment("In the vault, and not declared:"), *left_in_vault]
    if left_in_token:
        title = "In the token, and not declared. To bring one, uncomment its lines"
        lines += [
            "",
            _comment(f"{title}:" if declared else f'{title}, and remove the "[]" after "keys":'),
            *left_in_token,
        ]
    return "\n".join(lines) + "\n"


def _adopt(key: _Facts, holdings: _Holdings) -> _Declared:
    """Return the declaration of a vault's key that a plan then finds in place.

    :raises ByokError: where byok_target_key would refuse it
    """
    if key["kek"]:
        raise _Undeclared("a key exchange key (KEK)")
    if key["managed"]:
        raise _Undeclared("it belongs to a certificate")
    name = key["name"]
    identity = _identity_there(key)
    generations = holdings.listing.found.get(name, Found([], [])).generations
    generation = next(
        (each for each in generations if identity and _identity(each) == identity), None
    )
    if generation is None or generation.spec is None:
        raise _Undeclared(_why_not_ours(key, holdings))
    if sum(each.id == generation.id for each in generations) > 1:
        raise _Undeclared(
            f"the token has several keys with the CKA_ID {generation.hex_id} under this label"
        )
    attributes, notes = _attributes(key, generation.spec)
    options = {**_shape(name, generation.spec), **attributes}
    if generation.spec.type == "oct":
        notes.append("Known by its tag alone, as oct keys have no public key.")
    if generation.origin == "external":
        options["allow_external_origin"] = True
        notes.append(
            "The token says that this key came from outside, so others may hold it as well."
        )
    if generation.evidence["CKA_EXTRACTABLE"] is False:
        options["after_transfer"] = "lock"
        notes.append(
            "It cannot leave the token (CKA_EXTRACTABLE is false), so it can go to no further vault."
        )
    if _chosen(options, generations) is not generation:
        if not generation.id:
            raise _Undeclared(
                "the token has others under this label, and this one has no CKA_ID that identifies it"
            )
        options["generation"] = generation.hex_id
        notes.append(
            "The vault has this generation, and the token has others. Without generation, the newest of them is brought."
        )
    declaration = _parsed(options)
    choose(declaration, generations)  # refuses one that was withdrawn
    refuse_unfit(declaration, generation, holdings.listing.info)
    return _Declared(options, tuple(notes))


def _propose(label: str, holdings: _Holdings, taken: t.Container[str]) -> _Declared:
    """Return a declaration that would bring a token's key to the vault.

    :param taken: names in lower case that it cannot have
    :raises ByokError: where byok_target_key would refuse it
    """
    generations = holdings.listing.found[label].generations
    as_others = [
        name
        for each in generations
        if _identity(each)
        for name in holdings.names.get(_identity(each), ())
    ]
    if as_others:
        raise _Undeclared(f"the vault has it as {', '.join(map(_quoted, as_others))}")
    if label.lower() in taken:
        raise _Undeclared("another key has this name in the vault, or would have it")
    newest = next(
        (each for each in reversed(generations) if not each.half_made and not each.withdrawn), None
    )
    if newest is None:
        raise _Undeclared("no generation of it can be brought")
    if newest.spec is None:
        raise _Undeclared(f"{newest.kind}, which Azure does not take")
    if newest.spec.type == "oct" and not holdings.managed_hsm:
        raise _Undeclared(f"{newest.kind}, which only a Managed HSM takes")
    options = _shape(label, newest.spec)
    declaration = _parsed(options)
    choose(declaration, generations)
    refuse_unfit(declaration, newest, holdings.listing.info)
    return _Declared(options)


def _grouped(pairs: t.Iterable[tuple[str | None, str]]) -> dict[str | None, list[str]]:
    groups: dict[str | None, list[str]] = {}
    for identity, name in pairs:
        groups.setdefault(identity, []).append(name)
    return {
        identity: sorted(set(names), key=_by_name) for identity, names in groups.items() if identity
    }


def _by_name(name: str) -> tuple[str, str]:
    return name.lower(), name


def _identity(generation: Generation) -> str | None:
    """Return what a key is recognised by in a vault; None for what is not recognised."""
    is_oct = generation.spec is not None and generation.spec.type == "oct"
    return generation.hex_id if is_oct else generation.thumbprint


def _identity_there(key: _Facts) -> str | None:
    """Return what a vault's key is recognised by."""
    identity: str | None = key["thumbprint"] or key["tags"].get(GENERATION_TAG)
    return identity


def _why_not_ours(key: _Facts, holdings: _Holdings) -> str:
    labels = holdings.labels.get(_identity_there(key))
    if labels:
        return f"the token has it under the label {', '.join(map(_quoted, labels))}; give it the label {key['name']} there"
    return (
        "it is not in the token"
        if key["thumbprint"]
        else "no tag of it names a generation of this token"
    )


def _kind_of(key: _Facts) -> str:
    return f"{key['kind']} as {key['type']}" + (
        f", thumbprint {key['thumbprint']}" if key["thumbprint"] else ""
    )


def _shape(name: str, spec: KeySpec) -> dict[str, t.Any]:
    shape = {"name": name, "type": spec.type, "size": spec.size, "curve": spec.curve}
    return {option: value for option, value in shape.items() if value is not None}


def _attributes(key: _Facts, spec: KeySpec) -> tuple[dict[str, t.Any], list[str]]:
    """Return what a version is like, as far as that can be declared, and notes on what cannot."""
    tags = {
        tag: value for tag, value in key["tags"].items() if not tag.lower().startswith(OUR_TAGS)
    }
    enabled = None if key["enabled"] else False
    attributes = {
        "operations": None,
        "enabled": enabled,
        "not_before": key["not_before"],
        "expires": key["expires"],
    }
    notes = []
    for attribute, parse in (
        ("operations", lambda: parse_operations(key["name"], spec, key["operations"])),
        ("tags", lambda: parse_tags(key["name"], tags)),
    ):
        try:
            attributes[attribute] = parse()
        except ByokError as error:
            notes.append(f"Its {attribute} cannot be declared, and so stay as they are. {error}")
    return {
        attribute: value for attribute, value in attributes.items() if value not in (None, {})
    }, notes


def _parsed(options: _Facts) -> Declaration:
    return parse_declaration(
        {**{option: spec.get("default") for option, spec in DECLARATION_OPTIONS.items()}, **options}
    )


def _chosen(options: _Facts, generations: t.Sequence[Generation]) -> Generation | None:
    try:
        return choose(_parsed(options), generations)
    except ByokError:
        return None


def _entry(declared: _Declared) -> list[str]:
    """Return the lines of one key; comments stand above it."""
    lines = ["", *(f"  {_comment(note)}" for note in declared.notes)]
    for number, (option, value) in enumerate(declared.options.items()):
        front = "  - " if number == 0 else "    "
        if isinstance(value, dict):
            lines += [
                f"{front}{option}:",
                *(f"      {_quoted(tag)}: {_quoted(value[tag])}" for tag in sorted(value)),
            ]
        else:
            lines.append(f"{front}{option}: {_scalar(option, value)}")
    return lines


def _scalar(option: str, value: t.Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return _quoted(value) if isinstance(value, str) and option not in _WORDS else str(value)


def _quoted(text: str) -> str:
    """Return a text in double quotes, so that YAML reads nothing else than this text (YAML 1.1 and 1.2, 5.7)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(escaped)}"'


def _comment(text: str) -> str:
    return f"# {_printable(text)}"


def _printable(text: str) -> str:
    """Return a text with all but printable ASCII escaped: there are many characters that end a line."""
    # A lone surrogate is no character, and readers of YAML refuse it.
    return "".join(
        each
        if " " <= each <= "~"
        else f"\\U{0xFFFD if 0xD800 <= ord(each) < 0xE000 else ord(each):08x}"
        for each in text
    )
