# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Declarations of what a vault and a token hold already, as YAML for people to review; pure.

Names, labels and tags come from whoever could write them, so all of them are quoted, and comments
hold printable ASCII alone.
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
    """What both sides hold, by what keys are recognised by.

    That is the thumbprint, and for oct keys the generation.

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

    :param vault_info: the result of byok_vault_info with list_keys: ``vault`` (``url``, ``kind``)
        and ``vault_keys``
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
        _grouped(_labels(seen)),
        _grouped((_identity_there(key), key["name"]) for key in vault_keys),
        vault["kind"] == "managed_hsm",
    )
    declared, left_in_vault = _from_vault(vault_keys, holdings)
    # Azure compares names without regard to case.
    taken = {key["name"].lower() for key in vault_keys}
    left_in_token: list[str] = []
    adopted = {key.options.get("label", name) for name, key in declared.items()}
    for label, proposal in _from_token(holdings, adopted, taken).items():
        if isinstance(proposal, str):
            left_in_token.append(_comment(f"- {_quoted(label)}: {proposal}"))
        elif token_keys:
            declared[label] = proposal
        else:
            left_in_token += [f"# {line}".rstrip() for line in _entry(proposal)]
    lines = [
        _comment(
            f"What {vault['url']} and the {seen.info} hold, as playbooks/discover.yml found it."
        ),
        _comment(
            "Review this file before you use it: Keyferry then keeps the keys as declared here."
        ),
        f"vaults: [{_quoted(host)}]",
    ]
    if token:
        lines.append(f"token: {_quoted(token)}")
    lines.append("keys:" if declared else "keys: []")
    for name in sorted(declared, key=_by_name):
        lines += _entry(declared[name])
    if left_in_vault:
        lines += ["", _comment("In the vault, and not declared:"), *left_in_vault]
    if left_in_token:
        title = "In the token, and not declared. To bring one, uncomment its lines"
        ending = ":" if declared else ', and remove the "[]" after "keys":'
        lines += ["", _comment(title + ending), *left_in_token]
    return "\n".join(lines) + "\n"


def _from_vault(
    vault_keys: t.Iterable[_Facts], holdings: _Holdings
) -> tuple[dict[str, _Declared], list[str]]:
    """Return declarations of a vault's keys by their names, and comments on those without one."""
    declared: dict[str, _Declared] = {}
    comments: list[str] = []
    taken = {key["name"] for key in vault_keys}
    for key in sorted(vault_keys, key=lambda key: _by_name(key["name"])):
        try:
            declared[key["name"]] = _adopt(key, holdings, taken)
            taken.add(declared[key["name"]].options.get("label", key["name"]))
        except (_Undeclared, ByokError) as reason:
            comments.append(_comment(f"- {_quoted(key['name'])} ({_kind_of(key)}): {reason}"))
    return declared, comments


def _from_token(
    holdings: _Holdings, adopted: t.Container[str], taken: t.Iterable[str]
) -> dict[str, _Declared | str]:
    """Return, by labels of keys that only the token has, a declaration, or why there is none.

    :param adopted: labels of keys that the vault has
    :param taken: names in lower case that the vault's keys have
    """
    names = set(taken)
    proposals: dict[str, _Declared | str] = {}
    for label in sorted(holdings.listing.found, key=_by_name):
        if label in adopted or not holdings.listing.found[label].generations:
            continue
        try:
            proposals[label] = _propose(label, holdings, names)
            names.add(label.lower())
        except (_Undeclared, ByokError) as reason:
            proposals[label] = str(reason)
    return proposals


def _adopt(key: _Facts, holdings: _Holdings, taken: t.Container[str]) -> _Declared:
    """Return the declaration of a vault's key that a plan then finds in place.

    :param taken: labels that another key is declared with, or would be
    :raises ByokError: where byok_target_key would refuse it
    """
    if key["kek"]:
        raise _Undeclared("a key exchange key (KEK)")
    if key["managed"]:
        raise _Undeclared("it belongs to a certificate")
    name = key["name"]
    label = _label_of(key, holdings, taken)
    generations = holdings.listing.found.get(label, Found([], [])).generations
    generation = _recognised(generations, _identity_there(key))
    if generation is None or generation.spec is None:
        raise _Undeclared(_why_not_ours(key, holdings))
    attributes, notes = _attributes(key, generation.spec)
    own_label = {} if label == name else {"label": label}
    options = {**_shape(name, generation.spec), **own_label, **attributes}
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
            "It cannot leave the token (CKA_EXTRACTABLE is false), so it can go to no further "
            "vault."
        )
        if any(each.evidence["CKA_EXTRACTABLE"] for each in generations):
            notes.append("The next run locks its older generations that are not locked yet.")
    if _chosen(options, generations) is not generation:
        is_alone = sum(other.id == generation.id for other in generations) == 1
        options["generation"] = (
            generation.hex_id if generation.id and is_alone else generation.identity
        )
        notes.append(
            "The vault has this generation, and the token has others. Without generation, the "
            "newest of them is brought."
        )
    declaration = _parsed(options)
    choose(declaration, generations)  # refuses one that was withdrawn
    refuse_unfit(declaration, generation, holdings.listing.info)
    return _Declared(options, tuple(notes))


def _label_of(key: _Facts, holdings: _Holdings, taken: t.Container[str]) -> str:
    """Return the label under which the token has a vault's key: its name, or the only other one.

    :param taken: labels that another key is declared with, or would be
    """
    name = t.cast(str, key["name"])
    labels = holdings.labels.get(_identity_there(key), [])
    # Of oct keys, a tag alone would tell another label, and anyone can write tags.
    if name in labels or len(labels) != 1 or not key["thumbprint"] or labels[0] in taken:
        return name
    return labels[0]


def _propose(label: str, holdings: _Holdings, taken: t.Container[str]) -> _Declared:
    """Return a declaration that would bring a token's key to the vault.

    :param taken: names in lower case that it cannot have
    :raises ByokError: where byok_target_key would refuse it
    """
    generations = holdings.listing.found[label].generations
    as_others: list[str] = []
    for generation in generations:
        identity = _identity(generation)
        if identity:
            as_others += holdings.names.get(identity, ())
    if as_others:
        raise _Undeclared(f"the vault has it as {', '.join(map(_quoted, as_others))}")
    if label.lower() in taken:
        raise _Undeclared("another key has this name in the vault, or would have it")
    usable = [
        generation
        for generation in generations
        if not (generation.half_made or generation.withdrawn)
    ]
    if not usable:
        raise _Undeclared("no generation of it can be brought")
    newest = usable[-1]
    if newest.spec is None:
        raise _Undeclared(f"{newest.kind}, which Azure does not take")
    if newest.spec.type == "oct" and not holdings.managed_hsm:
        raise _Undeclared(f"{newest.kind}, which only a Managed HSM takes")
    options = _shape(label, newest.spec)
    declaration = _parsed(options)
    choose(declaration, generations)
    refuse_unfit(declaration, newest, holdings.listing.info)
    return _Declared(options)


def _labels(listing: Listing) -> t.Iterator[tuple[str | None, str]]:
    """Yield for each generation of a token what it is recognised by, and its label."""
    for label, key in listing.found.items():
        for generation in key.generations:
            yield _identity(generation), label


def _grouped(pairs: t.Iterable[tuple[str | None, str]]) -> dict[str | None, list[str]]:
    """Return the names of each identity; what is not recognised is left out."""
    groups: dict[str | None, set[str]] = {}
    for identity, name in pairs:
        if identity:
            groups.setdefault(identity, set()).add(name)
    return {identity: sorted(names, key=_by_name) for identity, names in groups.items()}


def _by_name(name: str) -> tuple[str, str]:
    return name.lower(), name


def _identity(generation: Generation) -> str | None:
    """Return what a key is recognised by in a vault; None for what is not recognised."""
    is_oct = generation.spec is not None and generation.spec.type == "oct"
    return generation.hex_id if is_oct else generation.thumbprint


def _recognised(generations: t.Iterable[Generation], identity: str | None) -> Generation | None:
    """Return the first generation with this identity; None where there is none."""
    if not identity:
        return None
    for generation in generations:
        if _identity(generation) == identity:
            return generation
    return None


def _identity_there(key: _Facts) -> str | None:
    """Return what a vault's key is recognised by."""
    identity: str | None = key["thumbprint"] or key["tags"].get(GENERATION_TAG)
    return identity


def _why_not_ours(key: _Facts, holdings: _Holdings) -> str:
    labels = holdings.labels.get(_identity_there(key))
    if labels:
        return (
            f"the token has it under the label {', '.join(map(_quoted, labels))}; declare it with "
            "that label, if no other declared key has it"
        )
    if key["thumbprint"]:
        return "it is not in the token"
    return "no tag of it names a generation of this token"


def _kind_of(key: _Facts) -> str:
    kind = f"{key['kind']} as {key['type']}"
    if key["thumbprint"]:
        return f"{kind}, thumbprint {key['thumbprint']}"
    return kind


def _shape(name: str, spec: KeySpec) -> dict[str, t.Any]:
    shape = {"name": name, "type": spec.type, "size": spec.size, "curve": spec.curve}
    return {option: value for option, value in shape.items() if value is not None}


def _attributes(key: _Facts, spec: KeySpec) -> tuple[dict[str, t.Any], list[str]]:
    """Return what a version is like, as far as that can be declared, and notes on what cannot.

    :param key: of a vault, with ``name``, ``operations``, ``enabled``, ``not_before``, ``expires``
        and ``tags``
    """
    tags = {
        tag: value for tag, value in key["tags"].items() if not tag.lower().startswith(OUR_TAGS)
    }
    attributes: dict[str, t.Any] = {
        "operations": None,
        "enabled": None if key["enabled"] else False,
        "not_before": key["not_before"],
        "expires": key["expires"],
        "tags": None,
    }
    notes = []
    readers: dict[str, t.Callable[[], t.Any]] = {
        "operations": lambda: parse_operations(key["name"], spec, key["operations"]),
        "tags": lambda: parse_tags(key["name"], tags),
    }
    for attribute, read in readers.items():
        try:
            attributes[attribute] = read()
        except ByokError as error:
            notes.append(f"Its {attribute} cannot be declared, and so stay as they are. {error}")
    declarable = {
        attribute: value for attribute, value in attributes.items() if value not in (None, {})
    }
    return declarable, notes


def _parsed(options: _Facts) -> Declaration:
    defaults = {option: spec.get("default") for option, spec in DECLARATION_OPTIONS.items()}
    return parse_declaration({**defaults, **options})


def _chosen(options: _Facts, generations: t.Sequence[Generation]) -> Generation | None:
    try:
        return choose(_parsed(options), generations)
    except ByokError:
        return None


def _entry(declared: _Declared) -> list[str]:
    """Return the lines of one key; comments stand above it."""
    lines = ["", *(f"  {_comment(note)}" for note in declared.notes)]
    front = "  - "
    for option, value in declared.options.items():
        if isinstance(value, dict):
            lines.append(f"{front}{option}:")
            lines += [f"      {_quoted(tag)}: {_quoted(value[tag])}" for tag in sorted(value)]
        else:
            lines.append(f"{front}{option}: {_scalar(option, value)}")
        front = "    "
    return lines


def _scalar(option: str, value: t.Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    if isinstance(value, str) and option not in _WORDS:
        return _quoted(value)
    return str(value)


def _quoted(text: str) -> str:
    """Return a text in double quotes, so that YAML reads nothing else than this text.

    The source is 5.7 of YAML 1.1 and 1.2.
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_printable(escaped)}"'


def _comment(text: str) -> str:
    return f"# {_printable(text)}"


def _printable(text: str) -> str:
    """Return a text with all but printable ASCII escaped: many characters end a line."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if " " <= character <= "~":
        return character
    code = ord(character)
    if 0xD800 <= code < 0xE000:
        # A lone surrogate is no character, and readers of YAML refuse it.
        code = 0xFFFD
    return f"\\U{code:08x}"
