# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.
"""Finding and reading the wrapping policy of this host."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.json_text import parse_json
from ansible_collections.keyferry.azure.plugins.module_utils._host.protected_file import (
    read_protected,
)

#: Where a policy always counts, whatever the options say
DEFAULT_PLACES = tuple(f"/etc/keyferry/policy.{form}" for form in ("yml", "yaml", "json"))

_MOST_BYTES = 1 << 20
_SEE = "Write it as docs/approvals.md shows (The wrapping policy)"


class PolicyText(t.NamedTuple):
    """A policy as it is in its file.

    :ivar sha256: of its text
    :ivar document: what it says, as plain data
    """

    path: str
    sha256: str
    document: t.Any


def read_policies(policy_file: str | None) -> list[PolicyText]:
    """Return every policy that counts on this host: at the default places, and a further one.

    :param policy_file: the path of the further one; it can add limits, and take none away
    :raises ByokError: for a file that others could have written, that cannot be read, or for a
        further one that is not there
    """
    found = []
    for path in dict.fromkeys((*DEFAULT_PLACES, *([policy_file] if policy_file else []))):
        text = read_protected(path, "wrapping policy", _MOST_BYTES)
        if text is not None:
            found.append(
                PolicyText(path, hashlib.sha256(text.encode()).hexdigest(), _read(path, text))
            )
        elif path == policy_file:
            raise ByokError(
                f"There is no wrapping policy {path} (policy_file)",
                "Put it there on the token's host, or leave policy_file out",
                code="not_found",
            )
    return found


def _read(path: str, text: str) -> t.Any:
    """Read JSON, or YAML where this host can.

    :raises ByokError: for what is neither
    """
    try:
        if path.endswith(".json"):
            return parse_json(text)
        return _read_yaml(path, text)
    except ValueError as error:
        raise ByokError(
            f"The wrapping policy {path} cannot be read ({error})", _SEE, code="policy_unusable"
        ) from None


def _read_yaml(path: str, text: str) -> t.Any:
    """Read YAML, in which no member is there twice.

    :raises ValueError: for what is none
    :raises ByokError: where this host has no PyYAML
    """
    try:
        import yaml
    except ImportError:
        raise ByokError(
            f"The wrapping policy {path} is YAML, and this host's Python has no PyYAML",
            "Install PyYAML for the interpreter that runs the module, or write the policy as JSON "
            "(policy.json)",
            code="policy_unusable",
        ) from None

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: t.Any, deep: bool = False) -> dict[t.Any, t.Any]:
            names = [self.construct_object(key, deep=True) for key, _value in node.value]
            if len(set(map(repr, names))) != len(names):
                raise ValueError("a member is there twice")
            return t.cast("dict[t.Any, t.Any]", super().construct_mapping(node, deep))

    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'no YAML'}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
