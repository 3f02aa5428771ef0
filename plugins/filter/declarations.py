# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: declarations
short_description: Check declared keys, and merge their defaults into them
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes declared keys and their defaults, and returns the keys with the defaults that apply.
  - Before that, everything is checked that can be without a token and a vault, and all problems are
    told at once, each with the
    key and the path of the field, such as C(byok_keys[2] (storage-key)) and C(rotation.evry).
  - A default applies to the keys that do not give the field themselves. Tags are merged, and the
    key's win. A rotation is taken
    whole, or not at all.
  - A key of another type than the defaults' takes nothing from them that depends on the type, which
    is C(size), C(curve),
    C(operations) and C(token_operations). A key that gives a size or a curve takes neither from
    them.
positional: _input, defaults
options:
  _input:
    description: The declared keys, as the role's O(keyferry.azure.byok#role:transfer:byok_keys).
    type: list
    elements: dict
    required: true
  defaults:
    description: Fields for keys that do not give them. C(name) and C(generation) belong to one key,
      and are refused.
    type: dict
    default: {}
  where:
    description: What the keys are called in messages.
    type: str
    default: byok_keys
  defaults_where:
    description: What the defaults are called in messages.
    type: str
    default: byok_key_defaults
seealso:
  - plugin: keyferry.azure.declared
    plugin_type: inventory
"""

EXAMPLES = r"""
---
- name: Show the declared keys
  ansible.builtin.debug:
    msg: "{{ keys | keyferry.azure.declarations(defaults) }}"
  vars:
    defaults: {type: RSA, size: 3072, tags: {owner: payments}}
    keys:
      - {name: storage-key, tags: {env: prod}}
      - {name: long-key, size: 4096}
      - {name: signing-key, type: EC, curve: P-256}

# Result:
# - {name: storage-key, type: RSA, size: 3072, tags: {owner: payments, env: prod}}
# - {name: long-key, type: RSA, size: 4096, tags: {owner: payments}}
# - {name: signing-key, type: EC, curve: P-256, tags: {owner: payments}}
"""

RETURN = r"""
_value:
  description: The keys with their defaults; only fields that were given or have a default.
  type: list
  elements: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import DeclarationError
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.keys import declared_keys


def declarations(keys: t.Any, *arguments: t.Any, **named: t.Any) -> list[dict[str, t.Any]]:
    """Return declared keys with their defaults.

    :raises AnsibleFilterError: with a line for each problem
    """
    try:
        return declared_keys(keys, *arguments, **named)
    except DeclarationError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it under its name."""
        return {"declarations": declarations}
