# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: plain_text
short_description: Return the text of a file that was written elsewhere
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Returns the text of a file that M(ansible.builtin.slurp) or P(ansible.builtin.file#lookup) has
    read, such as an C(HsmConfig.ini) or a PEM that was written on Windows, without a byte order
    mark.
  - If the file is UTF-16, Windows-1252, DER or binary, the error names the file, and how to save
    it.
positional: _input
options:
  _input:
    description: The result of M(ansible.builtin.slurp), or the text that a lookup returned.
    type: raw
    required: true
  name:
    description: What the file is called in the error. By default the path that slurp returned.
    type: str
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

- name: Show it, and one of the controller
  ansible.builtin.debug:
    msg: ["{{ file | keyferry.azure.plain_text }}", "{{ text | keyferry.azure.plain_text(path) }}"]
  vars:
    path: /media/carrier/kek.pem
    text: "{{ lookup('ansible.builtin.file', path) }}"
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
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import (
    plain_text as plain,
)


def plain_text(read: t.Any, name: str | None = None) -> str:
    """Return the text of a file.

    :param read: the result of slurp, or the text that a lookup returned
    :raises AnsibleFilterError: for anything else, and for what is no UTF-8
    """
    try:
        if isinstance(read, str):
            return plain(read, f"The file {name}" if name else "The text")
        content = base64.b64decode(read["content"], validate=True)
        return decode_text(content, f"The file {name or read['source']}")
    except (KeyError, TypeError, binascii.Error):
        kind = "another mapping" if isinstance(read, Mapping) else type(read).__name__
        raise AnsibleFilterError(
            "plain_text takes the result of ansible.builtin.slurp or the text of a lookup, and not "
            f"{kind}."
        ) from None
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"plain_text": plain_text}
