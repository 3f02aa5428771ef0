# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: not_in_place
short_description: Name the keys that another vault of the same token does not have
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes the variables of hosts, after an entry point of the role P(keyferry.azure.byok#role) ran for some of them, and returns
    the names of keys of the same token that another vault declares and does not have, as far as this run knows.
  - A primary vault waits with these keys when they are rotated, and none of them is locked.
positional: _input, vault, everywhere
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
  everywhere:
    description:
      - Look at primary vaults as well, and at those that the inventory plugin P(keyferry.azure.declared#inventory) knows and that
        are not among these hosts, as in a slice of the inventory (C(byok_lock_after)).
    type: bool
    default: false
"""

EXAMPLES = r"""
---
- name: See which keys wait
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | map('extract', hostvars) | keyferry.azure.not_in_place(inventory_hostname) }}"
"""

RETURN = r"""
_value:
  description: Names of keys.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils import _overview


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return it under its name."""
        return {"not_in_place": _overview.not_in_place}
