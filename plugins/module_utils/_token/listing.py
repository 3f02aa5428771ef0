# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The stored listing of a token: its public facts as JSON; pure.

It is for runs that only look, and have no token or no PIN.
"""

from __future__ import annotations

import json
import typing as t
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import (
    format_moment,
    parse_moment,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import from_pem
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    EVIDENCE,
    Found,
    Generation,
    Leftover,
    by_age,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import TokenInfo

FORMAT = "keyferry-listing"
FORMAT_VERSION = 1

#: A listing that is older is spoken of
_FRESH = timedelta(days=1)

_MAKE_ANEW = "Make a new listing with playbooks/list.yml, or byok_hsm_info with list_keys"


@dataclass(frozen=True)
class Listing:
    """What a token held at some time, by the names of its keys."""

    info: TokenInfo
    listed_at: datetime
    found: t.Mapping[str, Found]

    def age_warning(self, now: datetime) -> str | None:
        """Return a sentence about a listing that is more than a day old, or of a day to come.

        :returns: None for another one
        """
        age = now - self.listed_at
        if abs(age) <= _FRESH:
            return None
        if age < _FRESH:
            how_old = "yet to come, so its age is not known"
        else:
            how_old = f"{age.days} day{'s' if age.days > 1 else ''} old"
        return (
            f"What the {self.info} holds is told by a listing of {format_moment(self.listed_at)}, "
            f"which is {how_old}. "
            f"What was made, withdrawn or destroyed since is not in it. {_MAKE_ANEW}."
        )


def write_listing(listing: Listing) -> dict[str, t.Any]:
    """Return a listing as JSON takes it, sorted by names.

    :raises ByokError: for a key whose facts cannot be written
    """
    return {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "token": vars(listing.info),
        "listed_at": format_moment(listing.listed_at),
        "target_keys": [_key(*item) for item in sorted(listing.found.items())],
    }


def _key(name: str, found: Found) -> dict[str, t.Any]:
    return {
        "name": name,
        "generations": [_facts(generation) for generation in found.generations],
        "leftovers": [leftover.id.hex() for leftover in found.leftovers],
    }


def parse_listing(text: str, where: str) -> Listing:
    """Read the JSON of a listing.

    :param where: names it in errors
    :raises ByokError: when it is none, is of another version, or says what no token would
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ByokError(f"{where} is no JSON ({error})", _MAKE_ANEW) from None
    return read_listing(document, where)


def read_listing(document: t.Any, where: str) -> Listing:
    """Read a listing as write_listing() returned it.

    :param document: what json.loads() made of it
    :param where: names it in errors
    :raises ByokError: when it is none, is of another version, or says what no token would
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ByokError(f"{where} is not the listing of a token (format: {FORMAT})", _MAKE_ANEW)
    if document.get("version") != FORMAT_VERSION:
        raise ByokError(
            f"{where} is of version {document.get('version')!r}, and {FORMAT_VERSION} is known "
            "here",
            _MAKE_ANEW,
        )
    with _expecting(where, "token"):
        info = TokenInfo(**document["token"])
        if not all(isinstance(fact, str) for fact in vars(info).values()):
            raise TypeError(info)
    with _expecting(where, "listed_at"):
        listed_at = parse_moment(document["listed_at"])
    with _expecting(where, "target_keys"):
        keys = list(document["target_keys"])
    names: dict[str, Found] = {}
    for number, key in enumerate(keys):
        place = f"target_keys[{number}]"
        with _expecting(where, place):
            name = key["name"]
            if not isinstance(name, str) or name in names:
                raise ValueError(name)
        names[name] = _found(key, where, place)
    return Listing(info, listed_at, names)


@contextmanager
def _expecting(where: str, place: str) -> t.Iterator[None]:
    """Turn what goes wrong at a place of a listing into a sentence.

    :raises ByokError: for anything but a library that is missing
    """
    try:
        yield
    except MissingLibrary:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, ByokError):
        raise ByokError(f"{where} has an unexpected value at {place}", _MAKE_ANEW) from None


def _found(key: t.Mapping[str, t.Any], where: str, place: str) -> Found:
    """Read what a listing says of one name, at a place like ``target_keys[0]``."""
    with _expecting(where, place):
        facts_of_all = list(key["generations"])
    generations = []
    for number, facts in enumerate(facts_of_all):
        with _expecting(where, f"{place}.generations[{number}]"):
            generations.append(_generation(facts))
    with _expecting(where, f"{place}.leftovers"):
        leftovers = [Leftover(bytes.fromhex(identifier)) for identifier in key["leftovers"]]
    return Found(sorted(generations, key=by_age), leftovers)


def _facts(generation: Generation) -> dict[str, t.Any]:
    spec = generation.spec
    shape = {"type": spec and spec.type, "size": spec and spec.size, "curve": spec and spec.curve}
    other = generation.public_label
    # Left out where there is none, so that listings from before it are read
    public_label = {} if other is None else {"public_label": other}
    return {**generation.as_result(), **shape, **public_label}


def _generation(facts: t.Mapping[str, t.Any]) -> Generation:
    """Return the generation of which these are the facts.

    :raises ValueError: when a fact contradicts another one
    """
    spec = KeySpec(facts["type"], facts["size"], facts["curve"]) if facts["type"] else None
    evidence = {f"CKA_{name}": facts[f"CKA_{name}"] for name in EVIDENCE}
    generation = Generation(
        id=bytes.fromhex(facts["generation"]),
        kind=facts["kind"],
        spec=spec,
        public_key=from_pem(facts["public_key"]) if facts["public_key"] else None,
        evidence=evidence,
        withdrawn=facts["withdrawn"],
        public_label=facts.get("public_label"),
    )
    if facts["half_made"] and not generation.half_made and evidence["CKA_LOCAL"] is not True:
        generation = replace(generation, empty=True)
    told = (*evidence.values(), generation.withdrawn)
    if not isinstance(generation.kind, str):
        raise TypeError(generation.hex_id)
    if not isinstance(generation.public_label, (str, type(None))):
        raise TypeError(generation.hex_id)
    if not all(fact is None or isinstance(fact, int) for fact in told):
        raise ValueError(generation.hex_id)
    for other in (spec, generation.public_key):
        if other is not None and str(other) != generation.kind:
            raise ValueError(generation.hex_id)
    if _facts(generation) != facts:
        raise ValueError(generation.hex_id)
    return generation
