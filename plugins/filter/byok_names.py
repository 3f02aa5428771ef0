# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: byok_names
short_description: Read the names that a person gave as a text or a list
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Takes the value of a variable that people set, such as the answer of a survey of AWX, and
    returns the names in it as a list.
  - Nothing, that is null, an empty text or an empty list, is an empty list.
  - A number, a boolean or a date is an error, because the text that was written cannot be told
    from it. AWX writes answers so that ansible-core 2.19 and later read an answer V(0123) as a
    number, V(2024-01-01) as a date, and an empty one as null.
positional: _input, variable
options:
  _input:
    description:
      - A list of texts, a text with commas, blanks or line breaks between the names, or nothing.
      - Quotes around a name are removed, so that they can be written in a survey.
    type: raw
    required: true
  variable:
    description: Name of the variable, for messages.
    type: str
    required: true
"""

EXAMPLES = r"""
---
- name: Show which keys are named
  ansible.builtin.debug:
    msg: "{{ byok_recover | default(none) | keyferry.azure.byok_names('byok_recover') }}"
  vars:
    byok_recover: disk-key, signing-key

# Result:
# [disk-key, signing-key]
"""

RETURN = r"""
_value:
  description: The names, in their order.
  type: list
  elements: str
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import names
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError


def byok_names(value: t.Any, variable: str) -> list[str]:
    """Return the names that a person gave.

    :raises AnsibleFilterError: for a number, a boolean, a date, or anything else that is no text
    """
    try:
        return names(value, variable)
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., list[str]]]:
        """Return it under its name."""
        return {"byok_names": byok_names}
