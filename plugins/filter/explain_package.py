# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: explain_package
short_description: Explain a key transfer package of any tool, without a vault
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Reads the text of a C(.byok) file, whichever tool made it, and returns for which KEK it was
    encrypted, which keys it can hold by its length, and everything that keeps it from being
    imported.
  - It opens no vault, needs no key, and changes nothing. It cannot tell whether the KEK exists, nor
    which key is inside.
positional: _input
options:
  _input:
    description: The text of the package.
    type: str
    required: true
seealso:
  - module: keyferry.azure.byok_import
  - plugin: keyferry.azure.plain_text
    plugin_type: filter
"""

EXAMPLES = r"""
---
# ansible localhost -m debug
#   -a "msg={{ lookup('file', 'key.byok', rstrip=false) | keyferry.azure.explain_package }}"
- name: Explain a package
  ansible.builtin.debug:
    msg: "{{ text | keyferry.azure.explain_package }}"
  vars:
    text: "{{ lookup('ansible.builtin.file', 'key.byok', rstrip=false) }}"

- name: Fetch a package from another host
  ansible.builtin.slurp:
    src: /srv/transfer/key.byok
  register: file

- name: Stop before a package is transferred that cannot be imported
  ansible.builtin.assert:
    that: package.problems == []
    fail_msg: "{{ package.problems | join(' ') }}"
  vars:
    package: "{{ file | keyferry.azure.plain_text | keyferry.azure.explain_package }}"
"""

RETURN = r"""
_value:
  description: What the package says. What cannot be read is null.
  type: dict
  contains:
    kek_id:
      description: Identifier of the KEK with its version.
      type: str
    vault_url:
      description: The vault of the KEK, by its identifier.
      type: str
    escrow_fingerprint:
      description: Fingerprint of the escrow key, if the package is for one and for no vault.
      type: str
    generator:
      description: The tool that made the package, in its own words.
      type: str
    sha256:
      description: SHA-256 of the text, without a byte order mark.
      type: str
    sha256_spoken:
      description: The same in groups of four digits, to compare aloud.
      type: str
    ciphertext_bytes:
      description: Length of the ciphertext in bytes.
      type: int
    fits:
      description: The keys that the ciphertext can be, by its length, for each size of the KEK.
      type: list
      elements: dict
      contains:
        kek_size:
          description: Size of the KEK in bits.
          type: int
        keys:
          description: Keys such as V(RSA-2048), V(P-256) or V(AES-256).
          type: list
          elements: str
    problems:
      description: A sentence for each problem. Empty if nothing keeps the package from being
        imported as far as it can be seen without the vault.
      type: list
      elements: str
  sample:
    kek_id: https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef
    vault_url: https://contoso.vault.azure.net
    escrow_fingerprint:
    generator: a vendor's tool 1.2
    sha256: 5f2a7c0f0cbb0a1cb5b4a0a8b4a31c39d6a35cf5d7fd4c8b77d4b5a3f35c0b11
    sha256_spoken: 5f2a 7c0f 0cbb 0a1c b5b4 a0a8 b4a3 1c39 d6a3 5cf5 d7fd 4c8b 77d4 b5a3 f35c 0b11
    ciphertext_bytes: 1480
    fits:
      - {kek_size: 2048, keys: [RSA-2048]}
    problems: []
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.explained_package import (
    explain_package,
)


def _explain_package(text: t.Any) -> dict[str, t.Any]:
    """Return what a package says, and what is wrong with it.

    :raises AnsibleFilterError: for what is no text
    """
    if not isinstance(text, str):
        raise AnsibleFilterError(
            f"explain_package takes the text of a package, and not {type(text).__name__}."
        )
    return explain_package(text)


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"explain_package": _explain_package}
