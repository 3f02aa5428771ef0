# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: slurped_text
short_description: Return the text of a file that was slurped
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Returns the text that M(ansible.builtin.slurp) fetched, such as an C(HsmConfig.ini) or a PEM
    that was written on Windows, without a byte order mark.
  - If the file is UTF-16, Windows-1252, DER or binary, the error names the file, and how to save
    it.
positional: _input
options:
  _input:
    description: The result of M(ansible.builtin.slurp), with C(content) and C(source).
    type: dict
    required: true
seealso:
  - plugin: keyferry.azure.hsm_config
    plugin_type: filter
  - plugin: keyferry.azure.explain_package
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Fetch the public key of the KEK
  ansible.builtin.slurp:
    src: /opt/hsmbyok/kekBlob.pem
  register: file

- name: Show it
  ansible.builtin.debug:
    msg: "{{ file | keyferry.azure.slurped_text }}"
"""

RETURN = r"""
_value:
  description: The text.
  type: str
"""

import base64
import binascii
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import decode_text


def slurped_text(slurped: t.Any) -> str:
    """Return the text of a file.

    :raises AnsibleFilterError: for what is no result of slurp, and for what is no UTF-8
    """
    try:
        content = base64.b64decode(slurped["content"], validate=True)
        return decode_text(content, f"The file {slurped['source']}")
    except (KeyError, TypeError, binascii.Error):
        kind = "another mapping" if isinstance(slurped, Mapping) else type(slurped).__name__
        raise AnsibleFilterError(
            f"slurped_text takes the result of ansible.builtin.slurp, and not {kind}."
        ) from None
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"slurped_text": slurped_text}
