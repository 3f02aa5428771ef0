# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: unknown_variables
short_description: Report variables that the role does not know
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes names of variables that begin with C(byok_), and returns a sentence for each name that is
    neither an option of an entry point of P(keyferry.azure.byok#role), nor a documented variable of
    a playbook or plugin, nor your own.
  - The role uses this filter, because a misspelt option would be ignored without a word.
  - An old name of an option is reported as a deprecation.
positional: _input, own
options:
  _input:
    description: The names.
    type: list
    elements: str
    required: true
  own:
    description:
      - Your own variables, or patterns of their names, as
        O(keyferry.azure.byok#role:transfer:byok_own_variables).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
---
- name: Check the names of the variables
  ansible.builtin.debug:
    msg: "{{ names | keyferry.azure.unknown_variables(['byok_contoso_*']) }}"
  vars:
    names: [byok_keys, byok_key_default, byok_contoso_owner]

# Result:
# - byok_key_default is not a variable of Keyferry; did you mean byok_key_defaults?
# - Correct the name. If the variable is your own, list its name, or a pattern of names, in
#   byok_own_variables.
"""

RETURN = r"""
_value:
  description:
    - A sentence for each unknown variable, and at the end what to do. Empty if all are known.
  type: list
  elements: str
"""

import functools
import typing as t
from pathlib import Path

from ansible.module_utils.common.yaml import yaml_load
from ansible.utils.display import Display
from ansible_collections.keyferry.azure.plugins.module_utils._fleet import variables

#: The one list of the role's options
SPECS = Path(__file__).parents[2] / "roles/byok/meta/argument_specs.yml"


@functools.cache
def role_options() -> frozenset[str]:
    """Return the names of the options of all entry points of the role."""
    specs = yaml_load(SPECS.read_text(encoding="utf-8"))["argument_specs"]
    return frozenset().union(*(entry_point["options"] for entry_point in specs.values()))


def unknown_variables(names: list[str], own: t.Any = None) -> list[str]:
    """Return a sentence for each variable that nobody knows.

    :param own: names or patterns, as a list, or as a text with commas or spaces between
    """
    own = own.replace(",", " ").split() if isinstance(own, str) else own or ()
    for former, name in variables.RENAMED.items():
        if former in names:
            # ansible-test wants to read the version here
            Display().deprecated(
                f"{former} is now called {name}. Rename it.",
                version="1.0.0",
                collection_name="keyferry.azure",
            )
    return variables.unknown_variables(names, role_options(), own)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it under its name."""
        return {"unknown_variables": unknown_variables}
