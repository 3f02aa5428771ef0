# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Which vault gets which keys from which token; pure.

Files of declarations say so, as far as each file may name vaults, tokens and keys.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import Spec
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.keys import (
    NO_DEFAULTS,
    DeclaredKey,
    read_defaults,
    read_keys,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.validation import (
    MOST_PROBLEMS,
    FieldCheck,
    Forms,
    check_texts,
    kind_of,
    shown,
    suggestion,
)

_NAMES: dict[str, t.Any] = {"type": "list", "elements": "str"}

#: What the configuration says of a file, and of a vault
RULE_OPTIONS: Spec = {"path": {"type": "str"}, "vaults": _NAMES, "tokens": _NAMES, "names": _NAMES}
VAULT_OPTIONS: Spec = {
    "url": {"type": "str"},
    "tokens": _NAMES,
    "tags": {"type": "dict"},
    "variables": {"type": "dict"},
}
FORMS: Forms = {"tags": check_texts}

#: What a file of declarations holds, and what its keys have beside their declarations
FILE_OPTIONS: Spec = {
    "keys": {"type": "list", "elements": "raw"},
    "vaults": _NAMES,
    "token": {"type": "str"},
    "defaults": {"type": "raw"},
}
PLACE_OPTIONS: Spec = {"vaults": _NAMES, "token": {"type": "str"}}

#: Host variables that the configuration cannot give
OWN_VARIABLES = (
    "byok_declared_in",
    "byok_key_tags",
    "byok_keys",
    "byok_keys_also_on",
    "byok_keys_elsewhere",
    "byok_token_name",
    "byok_vault_name",
    "byok_vault_tags",
    "byok_vault_url",
)

#: Groups that are there in every inventory
_NAMES_OF_ANSIBLE = ("all", "ungrouped")

_WILDCARD = re.compile(r"[*?\[]")
_LONGEST_NAME = 127
_MOST_LISTED = 50


@dataclass(frozen=True)
class Vault:
    """A vault of the configuration.

    :ivar tokens: names of those that it may have keys from; the first is meant where none is named
    """

    name: str
    url: str
    tokens: list[str]
    tags: t.Mapping[str, t.Any]
    variables: t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Rule:
    """What a file may declare.

    :ivar path: of the file or files
    :ivar vaults: names of the vaults that it may name, and so of tokens
    :ivar names: patterns of the names that its keys may have
    """

    path: str
    vaults: list[str]
    tokens: list[str]
    names: list[str]


@dataclass
class Share:
    """What one vault gets from one token: a host of the inventory.

    :ivar files: those that declare the keys
    :ivar elsewhere: names of keys that the vault gets from other tokens
    :ivar also_on: by names of keys that other hosts get from the same token as well, those hosts
    """

    host: str
    vault: Vault
    token: str
    keys: list[dict[str, t.Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    also_on: dict[str, list[str]] = field(default_factory=dict)


def read_vaults(
    given: t.Mapping[str, t.Any], tokens: t.Mapping[str, t.Any], problems: list[str]
) -> dict[str, Vault]:
    """Read the vaults of a configuration, by their names.

    :param given: fields of each vault by its name, as VAULT_OPTIONS has them
    :param tokens: the variables of each token, which are checked as well
    :param problems: gets a sentence for each problem
    """
    vaults: dict[str, Vault] = {}
    for name, variables in tokens.items():
        _check_name("tokens", name, problems)
        _check_variables(f"tokens.{shown(name)}", variables, problems)
    for name, fields in given.items():
        place = f"vaults.{shown(name)}"
        if not _check_name("vaults", name, problems):
            continue
        if not isinstance(fields, t.Mapping):
            problems.append(
                f"{place} is {kind_of(fields)}, but must be a mapping with url and tokens."
            )
            continue
        check = FieldCheck(place, FORMS, problems, exact=True)
        options = {"tags": {}, "variables": {}, **check.typed(VAULT_OPTIONS, fields)}
        for option in ("url", "tokens"):
            if not options.get(option) and option not in check.unfit:
                check.refuse(option, "is missing")
        for token in options.get("tokens", []):
            if token not in tokens:
                check.refuse(
                    "tokens",
                    f"holds {shown(token)}, which is not known{suggestion(token, tokens) or '.'}",
                )
        _check_variables(f"{place}.variables", options["variables"], problems)
        if not check.unfit:
            vaults[name] = Vault(name, **options)
    _check_distinct(vaults, problems)
    return vaults


def _check_distinct(vaults: t.Mapping[str, Vault], problems: list[str]) -> None:
    """See that no two vaults have one URL, and no two hosts would have one name."""
    for url, names in _names_by_url(vaults.values()).items():
        if len(names) > 1:
            problems.append(
                f"vaults: {' and '.join(names)} have the same url {url}. Name each vault once."
            )
    hosts = Counter(list(vaults))
    for vault in vaults.values():
        hosts.update(f"{vault.name}.{token}" for token in vault.tokens[1:])
    twice = sorted(host for host, count in hosts.items() if count > 1)
    problems += [f"vaults: two hosts would be named {host}." for host in twice]


def read_rules(
    given: t.Iterable[t.Any],
    vaults: t.Collection[str],
    tokens: t.Collection[str],
    problems: list[str],
) -> list[Rule]:
    """Read what files of a configuration there are, and what they may name.

    They may name everything, where nothing is said.

    :param given: fields of each rule, as RULE_OPTIONS has them
    :param vaults: names of all vaults
    :param tokens: names of all tokens
    :param problems: gets a sentence for each problem
    """
    rules = []
    for number, fields in enumerate(given):
        place = f"files[{number}]"
        if not isinstance(fields, t.Mapping):
            problems.append(f"{place} is {kind_of(fields)}, but must be a mapping with path.")
            continue
        check = FieldCheck(place, {}, problems, exact=True)
        rule = check.typed(RULE_OPTIONS, fields)
        if not rule.get("path") and "path" not in check.unfit:
            check.refuse("path", "is missing")
        named = {}
        for option, names in (("vaults", vaults), ("tokens", tokens)):
            if option in rule:
                named[option] = _Names(option, names, names).choose(rule[option], check.tell)
            else:
                named[option] = list(names)
        if not check.unfit:
            rules.append(Rule(rule["path"], **named, names=rule.get("names", ["*"])))
    return rules


def _check_name(what: str, name: t.Any, problems: list[str]) -> bool:
    if not isinstance(name, str):
        problems.append(f"{what} holds {kind_of(name)}, but must hold names. Put it into quotes.")
    elif not name or name in _NAMES_OF_ANSIBLE:
        problems.append(f"{what} holds {shown(name)}, which is not a valid name. Choose another.")
    else:
        return True
    return False


def _names_by_url(vaults: t.Iterable[Vault]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for vault in vaults:
        names.setdefault(comparable_url(vault.url), []).append(vault.name)
    return names


def _check_variables(place: str, variables: t.Any, problems: list[str]) -> None:
    if variables is not None and not isinstance(variables, t.Mapping):
        problems.append(f"{place} is {kind_of(variables)}, but must be a mapping of variables.")
    for name in set(variables or {}).intersection(OWN_VARIABLES):
        problems.append(f"{place}.{name} cannot be given, because the inventory plugin sets it.")


class Fleet:
    """The vaults and tokens of a configuration, and what files declare for them."""

    def __init__(
        self, vaults: t.Mapping[str, Vault], tokens: t.Collection[str], problems: list[str]
    ) -> None:
        """Begin with nothing declared.

        :param problems: gets a sentence for each problem
        """
        self._vaults = vaults
        self._tokens = tokens
        self._problems = problems
        self._shares: dict[tuple[str, str], Share] = {}
        # Vault and name without case -> where it is declared
        self._in_vault: dict[tuple[str, str], str] = {}
        # Token and name without case -> key, file
        self._in_token: dict[tuple[str, str], tuple[DeclaredKey, str]] = {}
        for vault in vaults.values():
            for token in vault.tokens:
                first = token == vault.tokens[0]
                self._shares[vault.name, token] = Share(
                    vault.name if first else f"{vault.name}.{token}", vault, token
                )

    def declare(
        self, path: str, document: t.Any, lines: t.Mapping[tuple[str | int, ...], int], rule: Rule
    ) -> None:
        """Add what a file declares.

        :param path: names the file in messages
        :param document: with fields of FILE_OPTIONS
        :param lines: on which its mappings begin, by their paths such as ``("keys", 3)``
        :param rule: what the file may name
        """
        if not isinstance(document, t.Mapping):
            self._problems.append(
                f"{path} is {kind_of(document)}, but must be a mapping with keys."
            )
            return
        check = FieldCheck(path, {}, self._problems, exact=True)
        top = check.typed(FILE_OPTIONS, document)
        if "keys" not in document:
            check.refuse("keys", "is missing")
        defaults = NO_DEFAULTS
        if "defaults" in top:
            defaults = read_defaults(
                top["defaults"], f"{path}: defaults", self._problems, exact=True
            )
        keys = read_keys(
            top.get("keys", []),
            defaults,
            lambda number: _place_of(path, lines, number),
            self._problems,
            more=PLACE_OPTIONS,
            exact=True,
        )
        file = _File(path, rule, top, check, _Names("vaults", rule.vaults, self._vaults))
        for key in keys:
            if len(self._problems) >= MOST_PROBLEMS:
                break
            self._place(file, key)

    def _place(self, file: _File, key: DeclaredKey) -> None:
        """Add a key of a file to the shares of the vaults that get it."""

        def tell(what: str) -> None:
            self._problems.append(f"{key.place}: {what}")

        rule = file.rule
        name = key.fields.get("name")
        if name is None or "name" in key.unfit:
            return
        for which in _not_allowed(key, rule):
            names = _listed(rule.names)
            tell(f"{which} is not one that this file may declare; those are {names}.")
        if {"vaults", "token"} & (key.unfit | file.check.unfit):
            return
        token = key.fields.get("token", file.fields.get("token"))
        if token is not None and token not in rule.tokens:
            tell(f"token is {_refusal(token, rule.tokens, self._tokens)}")
            return
        if not key.fields.get("vaults", file.fields.get("vaults")):
            tell("vaults is missing, for the key and for the file.")
            return
        own = key.fields.get("vaults")
        vaults = file.names.choose(own, tell) if own else file.vaults
        declared = {
            option: value for option, value in key.fields.items() if option not in PLACE_OPTIONS
        }
        for vault in vaults:
            tokens = self._vaults[vault].tokens
            chosen = token or tokens[0]
            if chosen not in tokens:
                tell(
                    f"token {shown(chosen)} does not belong to the vault {vault}; its tokens are "
                    f"{', '.join(tokens)}."
                )
            elif chosen not in rule.tokens:
                tell(
                    f"token is missing: {chosen}, the first of the vault {vault}, is not allowed "
                    "for this file."
                )
            elif self._is_new(file.path, key, vault, chosen, tell):
                share = self._shares[vault, chosen]
                share.keys.append(declared)
                if file.path not in share.files:
                    share.files.append(file.path)

    def _is_new(
        self, path: str, key: DeclaredKey, vault: str, token: str, tell: t.Callable[[str], None]
    ) -> bool:
        """Tell whether a key is not declared for this vault yet, and note where it is declared.

        :param path: names its file
        :param tell: gets a sentence, also where the same key of the token is declared otherwise
        """
        name = key.fields["name"].lower()
        place = self._in_vault.setdefault((vault, name), key.place)
        if place != key.place:
            tell(f"it is declared for the vault {vault} already, as {place}.")
            return False
        other, file = self._in_token.setdefault((token, _label(key).lower()), (key, path))
        what = "label" if _label(key) != key.fields["name"] else "name"
        if file != path:
            # Or else a team could bring another team's key, which it finds in the token, into a
            # vault of its own.
            tell(
                f"{file} declares a key of that {what} in the token {token}, as {other.place}; one "
                "file must declare both."
            )
        elif _shape(other) != _shape(key):
            tell(
                "name, type, size or curve differs from the same key in the token "
                f"{token}, as {other.place}."
            )
        return True

    def shares(self) -> list[Share]:
        """Return a share for each vault and token with keys, and for each vault one at least."""
        shares = list(self._shares.values())
        # Keys of the same hosts share one list, or many keys of many vaults would fill the memory
        same: dict[tuple[str, ...], tuple[str, ...]] = {}
        sharing = {place: same.setdefault(each, each) for place, each in _hosts_of(shares).items()}
        for share in shares:
            others: dict[int, list[str]] = {}
            share.also_on = {}
            for key in share.keys:
                on = sharing[share.token, key["name"]]
                if len(on) > 1:
                    if id(on) not in others:
                        others[id(on)] = [host for host in on if host != share.host]
                    share.also_on[key["name"]] = others[id(on)]
            elsewhere: list[str] = []
            for other in shares:
                if other.vault is share.vault and other is not share:
                    elsewhere += [key["name"] for key in other.keys]
            share.elsewhere = sorted(elsewhere)
        return [share for share in shares if share.keys or share.host == share.vault.name]


def _hosts_of(shares: t.Iterable[Share]) -> dict[tuple[str, str], tuple[str, ...]]:
    """Return the hosts that get each key, by the token and the key's name."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for share in shares:
        for key in share.keys:
            hosts.setdefault((share.token, key["name"]), []).append(share.host)
    return {place: tuple(names) for place, names in hosts.items()}


def _not_allowed(key: DeclaredKey, rule: Rule) -> list[str]:
    """Return which names of a key its file may not declare.

    A label names a key of the token, which may be another team's.
    """
    given = {which: key.fields[which] for which in ("name", "label") if key.fields.get(which)}
    return [
        which
        for which, name in given.items()
        if not any(fnmatchcase(str(name), pattern) for pattern in rule.names)
    ]


def _label(key: DeclaredKey) -> str:
    """Return the label of a key in the token."""
    return str(key.fields.get("label") or key.fields["name"])


def _shape(key: DeclaredKey) -> tuple[t.Any, ...]:
    """Return what is the same for every vault that gets a key from one token."""
    return tuple(key.fields.get(fact) for fact in ("name", "type", "size", "curve"))


def _place_of(path: str, lines: t.Mapping[tuple[str | int, ...], int], number: int) -> str:
    line = lines.get(("keys", number))  # None for what is no mapping
    return f"{path}:{line}: keys[{number}]" if line else f"{path}: keys[{number}]"


class _Names:
    """The names that patterns of one file match; each pattern is matched once."""

    def __init__(self, what: str, allowed: t.Collection[str], existing: t.Collection[str]) -> None:
        """Begin.

        :param what: names the field in messages
        :param existing: all names, to say whether one is unknown or not allowed
        """
        self._what = what
        self._allowed = list(allowed)
        self._existing = existing
        # A pattern -> the names that it matches, and what is wrong with it
        self._known: dict[str, tuple[frozenset[str], str]] = {
            name: (frozenset([name]), "") for name in self._allowed
        }
        self._most = len(self._known) + MOST_PROBLEMS

    def choose(self, patterns: t.Iterable[str], tell: t.Callable[[str], None]) -> list[str]:
        """Return the allowed names that patterns match, in the order of the allowed.

        :param tell: gets a sentence for each pattern that is not all right
        """
        chosen: set[str] = set()
        for pattern in dict.fromkeys(patterns):
            if pattern not in self._known:
                self._known[pattern] = self._match(pattern)
            matched, problem = self._known[pattern]
            chosen |= matched
            if problem:
                tell(f"{self._what} holds {problem}")
        return [name for name in self._allowed if name in chosen]

    def _match(self, pattern: str) -> tuple[frozenset[str], str]:
        if not _WILDCARD.search(pattern):
            return frozenset(), _refusal(pattern, self._allowed, self._existing)
        if len(self._known) >= self._most:
            return frozenset(), f"{shown(pattern)}, and the file too many patterns before it."
        matched: frozenset[str] = frozenset()
        # A pattern is translated to a regular expression, which takes its time
        if len(pattern) <= _LONGEST_NAME:
            matched = frozenset(name for name in self._allowed if fnmatchcase(name, pattern))
        if matched:
            return matched, ""
        return matched, f"{shown(pattern)}, which matches none of {_listed(self._allowed)}."


@dataclass
class _File:
    """A file of declarations.

    :ivar path: names it in messages
    :ivar rule: what it may name
    :ivar fields: of FILE_OPTIONS, those that are fit
    :ivar check: of these fields
    :ivar names: the vaults that its patterns match
    """

    path: str
    rule: Rule
    fields: t.Mapping[str, t.Any]
    check: FieldCheck
    names: _Names

    @cached_property
    def vaults(self) -> list[str]:
        """The vaults of its keys that name none; what is wrong with them is told once."""
        return self.names.choose(self.fields.get("vaults", []), self.check.tell)


def _refusal(name: str, allowed: t.Collection[str], existing: t.Collection[str]) -> str:
    if name in existing:
        return f"{name}, which is not allowed for this file; allowed are {_listed(allowed)}."
    return f"{shown(name)}, which is not known{suggestion(name, allowed) or '.'}"


def _listed(names: t.Collection[str]) -> str:
    """Return names as a list, and no more of them than somebody reads."""
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join([*names][:_MOST_LISTED]) + more
