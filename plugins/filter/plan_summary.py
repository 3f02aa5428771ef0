# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_summary
short_description: Sum up the plans of many vaults
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes the variables of the hosts of a run, after the entry point C(plan) of the role P(keyferry.azure.byok#role).
  - What one host declares for a vault is not reported as undeclared by another host of the same vault.
positional: _input, made_at
options:
  _input:
    description: The variables of hosts.
    type: list
    elements: dict
    required: true
  made_at:
    description: When the plans were made, for the record.
    type: str
    required: true
"""

EXAMPLES = r"""
---
- name: Sum up the plans of all vaults
  ansible.builtin.set_fact:
    summary: "{{ ansible_play_hosts | map('extract', hostvars) | keyferry.azure.plan_summary('2026-11-22T12:00:00Z') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(status) is V(clean) where nothing is to be done nor decided, else V(changes). C(made_at) is as given. C(actions) counts
      the keys by action. C(behind) says which vaults lack what another one has. C(hosts) has, by host, C(vault_url), C(actions),
      C(plan) as M(keyferry.azure.byok_plan) returns it, and C(unmanaged).
    - The file docs/plan.schema.json of the collection is a JSON Schema of it.
  type: dict
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import summarise


class FilterModule:
    """Filters."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters of this file."""
        return {"plan_summary": summarise}
