# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: awaited_elsewhere
short_description: Name the keys that must not be locked yet, because another vault is to have them
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes the variables of all hosts of the inventory, after the role P(keyferry.azure.byok#role) brought keys for some of them
    (C(byok_arrived)), and returns the keys of the same token that another vault declares and does not have in this generation.
  - A vault that did not run, that another slice of the inventory has (C(byok_keys_also_on) of the inventory plugin
    P(keyferry.azure.declared#inventory)), or of which the variables cannot be read, counts as one that does not have them.
  - Where not the inventory but a play declares vaults or keys, nothing is known of other hosts, and all of them are awaited.
positional: _input, vault, arrived
options:
  _input:
    description: The variables of hosts.
    type: list
    elements: dict
    required: true
  vault:
    description: Inventory name of the vault that asks.
    type: str
    required: true
  arrived:
    description: The generations that have arrived there, by the names of their keys.
    type: dict
    required: true
"""

EXAMPLES = r"""
---
- name: See which keys stay open
  ansible.builtin.debug:
    msg: >-
      {{ groups['all'] | map('extract', hostvars)
         | keyferry.azure.awaited_elsewhere(inventory_hostname, {'disk-key': '01a2032eafaa71a4a5d1e84832f381a3'}) }}
"""

RETURN = r"""
_value:
  description: By names of keys, the hosts that are awaited.
  type: dict
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet import other_vaults as _overview


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., dict[str, str]]]:
        """Return it under its name."""
        return {"awaited_elsewhere": _overview.awaited_elsewhere}
