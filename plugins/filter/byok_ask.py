# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: byok_ask
short_description: Ask what comes next in a run of the role
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - The role P(keyferry.azure.byok#role) asks the engine for the input of its next task by this
    filter, and hands it the results
    of its tasks whole.
  - It is private to the role and the playbooks of this collection. Questions and answers can change
    with every release.
positional: _input, question
options:
  _input:
    description: The run so far, or what the question is about.
    type: raw
    required: true
  question:
    description: What is asked.
    type: str
    required: true
"""

EXAMPLES = r"""
---
- name: Show the declared keys of a run
  ansible.builtin.debug:
    msg: "{{ byok__run | keyferry.azure.byok_ask('declarations') }}"
"""

RETURN = r"""
_value:
  description: The answer.
  type: raw
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    DeclarationError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import plain
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions import answer


def byok_ask(value: t.Any, question: str, *positional: t.Any, **named: t.Any) -> t.Any:
    """Return the answer to a question, marked as data: hosts and vaults told some of it.

    :raises AnsibleFilterError: with a sentence for the user
    """
    try:
        return plain(answer(question, value, positional, named), wrap_var)
    except (ByokError, DeclarationError) as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it under its name."""
        return {"byok_ask": byok_ask}
