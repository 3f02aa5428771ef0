# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hsm_config
short_description: Read an HsmConfig.ini of hsmbyok on the controller
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Reads the configuration of Thales' C(hsmbyok) and returns what it says in the words of this collection.
  - What a copy out of the guide's PDF does to the text is tolerated, such as wrapped lines, typographic quotes and lost
    underscores. What is unknown or cannot be honoured is an error that says what to do.
options:
  _terms:
    description: Paths of files, looked for as the lookup P(ansible.builtin.file#lookup) does.
    type: list
    elements: str
    required: true
  pkcs11_library:
    description:
      - Path of the PKCS#11 library on the host with the token, instead of the one in the file.
      - Needed where the file names a library for Windows.
    type: str
seealso:
  - plugin: keyferry.azure.hsm_config
    plugin_type: filter
  - module: keyferry.azure.byok_kek
"""

EXAMPLES = r"""
---
- name: Bring the key that is configured for hsmbyok into its vault
  hosts: localhost
  vars:
    config: "{{ lookup('keyferry.azure.hsm_config', 'HsmConfig.ini', pkcs11_library='/usr/lib/libCryptoki2_64.so') }}"
  tasks:
    - name: Transfer
      ansible.builtin.include_role:
        name: keyferry.azure.byok
      vars:
        byok_vault_url: "{{ config.vault_url }}"
        byok_pkcs11_library: "{{ config.pkcs11_library }}"
        byok_token_label: "{{ config.token_label }}"
        byok_keys: ["{{ config.declaration }}"]
        byok_kek_id: "{{ config.kek_id }}"
        byok_kek_public_key: "{{ lookup('ansible.builtin.file', 'kekBlob.pem') }}"
        byok_approved_keks: [3d8fcfbe00fdbe0012c200a7c5b8c0deccd73f0bcf12b0b7b46a1cfdeadd755c]
"""

RETURN = r"""
_raw:
  description: One entry per file.
  type: list
  elements: dict
  contains:
    pkcs11_library:
      description: Path of the PKCS#11 library.
      type: str
    token_label:
      description: Label of the token.
      type: str
    vault_url:
      description: The vault that the KEK is in, by its identifier.
      type: str
    kek_id:
      description: Identifier of the KEK with its version, for O(keyferry.azure.byok_kek#module:kek_id).
      type: str
    declaration:
      description:
        - The key, as the modules and the role's O(keyferry.azure.byok#role:transfer:byok_keys) take it, with C(name), C(type),
          C(size) or C(curve), C(token_operations), C(derive), C(modifiable) and C(create).
      type: dict
    notes:
      description: Sentences that say what is done otherwise than C(hsmbyok) and C(az keyvault key import) would.
      type: list
      elements: str
  sample:
    - pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
      token_label: byok
      vault_url: https://contoso.vault.azure.net
      kek_id: https://contoso.vault.azure.net/keys/KEK2048-BYOK/0123456789abcdef0123456789abcdef
      declaration:
        name: my-target-key-rsa2048
        type: RSA
        size: 2048
        token_operations: [encrypt, decrypt, sign, verify]
        derive: true
        modifiable: true
        create: true
      notes:
        - CKF_DERIVE is set on a key that is made in the token, and not sent to Azure, which has no such operation.
"""

import typing as t
from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.hsm_config import (
    parse_hsm_config,
    transfer_variables,
)


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(
        self, terms: t.Iterable[str], variables: t.Any = None, **kwargs: t.Any
    ) -> list[dict[str, t.Any]]:
        """Return what each file says.

        :raises AnsibleLookupError: for a file that cannot be read or honoured
        """
        self.set_options(var_options=variables, direct=kwargs)
        return [self._read(term, variables) for term in terms]

    def _read(self, term: str, variables: t.Any) -> dict[str, t.Any]:
        path = self.find_file_in_search_path(variables, "files", term, ignore_missing=True)
        if path is None:
            raise AnsibleLookupError(
                f"The file {term} is not found. Give its path, or put it into the folder files."
            )
        try:
            text = Path(self._loader.get_real_file(path)).read_text(encoding="utf-8")
            return transfer_variables(parse_hsm_config(text), self.get_option("pkcs11_library"))
        except UnicodeDecodeError as error:
            raise AnsibleLookupError(
                f"{path} is not UTF-8 ({error.reason}). Save it as UTF-8."
            ) from error
        except (OSError, ByokError) as error:
            raise AnsibleLookupError(f"{path}: {error}") from error
