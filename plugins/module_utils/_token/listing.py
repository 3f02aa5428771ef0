# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection.
# It can have breaking changes at any time.

"""The stored listing of a token: its public facts as JSON, for runs that only look and have no token or no PIN; pure."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
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

_MAKE_ANEW = "Make the listing anew with playbooks/list.yml, or byok_hsm_info with list_keys"


@dataclass(frozen=True)
class Listing:
    """What a token held at some time, by the names of its keys."""

    info: TokenInfo
    listed_at: datetime
    found: t.Mapping[str, Found]

    def age_warning(self, now: datetime) -> str | None:
        """Return a sentence about a listing that is more than a day old, or of a day to come; None for another one."""
        age = now - self.listed_at
        if abs(age) <= _FRESH:
            return None
        how_old = (
            f"{age.days} day{'s' if age.days > 1 else ''} old"
            if age > _FRESH
            else "yet to come, so its age is not known"
        )
        return (
            f"What the {self.info} holds is told by a listing of {format_moment(self.listed_at)}, which is {how_old}. "
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
        "target_keys": [
            {
                "name": name,
                "generations": [_facts(generation) for generation in found.generations],
                "leftovers": [leftover.id.hex() for leftover in found.leftovers],
            }
            for name, found in sorted(listing.found.items())
        ],
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
    """Read a listing as write_listing() returned it; parameters and errors as of parse_listing()."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ByokError(f"{where} is not the listing of a token (format: {FORMAT})", _MAKE_ANEW)
    if document.get("version") != FORMAT_VERSION:
        raise ByokError(
            f"{where} is of version {document.get('version')!r}, and {FORMAT_VERSION} is known here",
            _MAKE_ANEW,
        )
    at = "token"
    try:
        info = TokenInfo(**document["token"])
        if not all(isinstance(fact, str) for fact in vars(info).values()):
            raise TypeError(at)
        at = "listed_at"
        listed_at = parse_moment(document[at])
        at = "target_keys"
        found: dict[str, Found] = {}
        for number, key in enumerate(document["target_keys"]):
            at = f"target_keys[{number}]"
            if not isinstance(key["name"], str) or key["name"] in found:
                raise ValueError(at)
            generations = []
            for place, facts in enumerate(key["generations"]):
                at = f"target_keys[{number}].generations[{place}]"
                generations.append(_generation(facts))
            at = f"target_keys[{number}].leftovers"
            leftovers = [Leftover(bytes.fromhex(identifier)) for identifier in key["leftovers"]]
            found[key["name"]] = Found(sorted(generations, key=by_age), leftovers)
    except MissingLibrary:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, ByokError):
        raise ByokError(
            f"{where} does not say at {at} what the listing of a token says there", _MAKE_ANEW
        ) from None
    return Listing(info, listed_at, found)


def _facts(generation: Generation) -> dict[str, t.Any]:
    spec = generation.spec
    shape = {"type": spec and spec.type, "size": spec and spec.size, "curve": spec and spec.curve}
    return {**generation.as_result(), **shape}


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
    )
    told = all(
        fact is None or isinstance(fact, int) for fact in (*evidence.values(), generation.withdrawn)
    )
    kinds = {
        generation.kind,
        str(spec or generation.kind),
        str(generation.public_key or generation.kind),
    }
    if not told or kinds != {generation.kind} or _facts(generation) != facts:
        raise ValueError(generation.hex_id)
    return generation
