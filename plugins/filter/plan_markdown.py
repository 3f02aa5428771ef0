# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plan_markdown
short_description: Show a summary of plans to people
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes what P(keyferry.azure.plan_summary#filter) returns. The text fits into a comment on a pull request.
positional: _input
options:
  _input:
    description: The summary.
    type: dict
    required: true
"""

EXAMPLES = r"""
---
- name: Show the summary
  ansible.builtin.debug:
    msg: "{{ (summary | keyferry.azure.plan_markdown).splitlines() }}"
"""

RETURN = r"""
_value:
  description: Markdown.
  type: str
"""

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import to_markdown


class FilterModule:
    """Filters."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters of this file."""
        return {"plan_markdown": to_markdown}
