# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Where listings of tokens are stored on the controller: each token has a file of its own."""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Mapping

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._token.choice import serial_tells

Item = Mapping[str, t.Any]

#: Facts of a token that stay, whatever is updated
_IDENTITY = ("label", "serial", "manufacturer", "model")


def listing_path(
    listing: Item, directory: str, token_host: str, hosts: t.Iterable[t.Any] = ()
) -> str:
    """Return the path of the file for a token's listing.

    :param token_host: the inventory name of the host that reaches the token
    :param hosts: the variables of all hosts of the run, which write theirs at the same time
    :raises ByokError: when another token would have the same file
    """
    token = listing["token"]
    path = os.path.join(directory, _file_name(token))
    mine = {**listing, "token_host": token_host}
    for other in (_stored(path), *(_listed_by(host) for host in hosts)):
        if other is None or _file_name(other["token"]).lower() != _file_name(token).lower():
            continue
        if not _same_token(mine, other):
            raise ByokError(
                f"The listings of two tokens would have the same file {path}: the token "
                f"{_in_words(mine)}, and the token {_in_words(other)}",
                "Give one of them another label with the token's own tool, or set "
                "byok_listing_directory to a directory of its own. If they are the same token, "
                "delete the file",
            )
    return path


def _file_name(token: Item) -> str:
    names = (str(token[fact]) for fact in ("label", "serial") if token[fact])
    return "-".join(map(_for_a_file, names)) + ".json"


def _for_a_file(text: str) -> str:
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in text)


def _stored(path: str) -> Item | None:
    """Return the listing that is there already; None where there is none.

    :raises ByokError: for a file that is no listing
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        stored = json.loads(text)
        _file_name(stored["token"])
    except (ValueError, KeyError, TypeError):
        raise ByokError(
            f"The file {path} is not a listing, so it is not overwritten",
            "Delete the file, or set byok_listing_directory to another directory",
        ) from None
    return t.cast(Item, stored)


def _listed_by(host: t.Any) -> Item | None:
    """Return what another host of the run listed; None where it did not."""
    try:
        listing = host["byok__listed"]["listing"]
        _file_name(listing["token"])
        return {**listing, "token_host": host.get("byok_token_host") or "localhost"}
    except Exception:  # of a template that cannot be rendered; each ansible-core has another class
        return None


def _same_token(mine: Item, other: Item) -> bool:
    """Tell whether two listings are of one token; where serials tell nothing, its place does.

    Older listings have no ``token_host``.
    """
    one, two = mine["token"], other["token"]
    if any(one.get(fact) != two.get(fact) for fact in _IDENTITY):
        return False
    if serial_tells(str(one["serial"])):
        return True
    host = other.get("token_host", mine["token_host"])
    return bool(one.get("library") == two.get("library") and host == mine["token_host"])


def _in_words(listing: Item) -> str:
    token = listing["token"]
    facts = [f"{fact} {token.get(fact)}" for fact in (*_IDENTITY, "library") if token.get(fact)]
    return ", ".join([*facts, f"on {listing.get('token_host', 'a host that is not known')}"])
