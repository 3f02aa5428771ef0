# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hsm_config
short_description: Read the text of an HsmConfig.ini of hsmbyok
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Reads the text of a configuration of Thales' C(hsmbyok), such as a file that was slurped from a
    Luna client, and returns its settings as variables and a declaration of this collection.
  - Accepts a text that was copied from the guide's PDF, with wrapped lines, typographic quotes and
    lost underscores. If a setting is unknown or not supported, the error tells what to do.
positional: _input
options:
  _input:
    description: The text of the file.
    type: str
    required: true
  pkcs11_library:
    description:
      - Path of the PKCS#11 library on the host with the token, instead of the one in the text.
      - Needed if the text names a library for Windows. Also needed without O(places), because a
        library is code, and whoever can write the file could have it run.
    type: str
  places:
    description:
      - The C(stat) of the file and that of its folder, as M(ansible.builtin.stat) returns them with
        C(follow=false) before the file is read.
      - If nobody but root and the user O(user_id) can write them, and neither is a link, the
        library in the text is used. Do not give O(places) in check mode.
    type: list
    elements: dict
  user_id:
    description: Number of the user who runs the module on the host with the token.
    type: int
  name:
    description: Name of the key in the vault, if that is not its label in the token
      (C(targetKeyName)).
    type: str
seealso:
  - module: keyferry.azure.byok_kek
  - plugin: keyferry.azure.plain_text
    plugin_type: filter
"""

EXAMPLES = r"""
---
- name: Fetch the configuration from the Luna client
  ansible.builtin.slurp:
    src: /opt/hsmbyok/HsmConfig.ini
  register: file

- name: Ensure that its key exists in the token
  keyferry.azure.byok_target_key:
    pkcs11_library: "{{ luna_library }}"
    token_label: "{{ config.token_label }}"
    pin_file: /run/secrets/byok-pin
    declarations: ["{{ config.declaration }}"]
  vars:
    luna_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    config: "{{ file | keyferry.azure.plain_text | keyferry.azure.hsm_config(luna_library) }}"
"""

RETURN = r"""
_value:
  description: The settings of the file.
  type: dict
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
      description: Identifier of the KEK with its version, for
        O(keyferry.azure.byok_kek#module:kek_id).
      type: str
    declaration:
      description:
        - The key, as the modules and the role's O(keyferry.azure.byok#role:transfer:byok_keys) take
          it, with C(name), C(type),
          C(size) or C(curve), C(token_operations), C(derive), C(modifiable) and C(create), and
          C(label) if O(name) is given.
      type: dict
    notes:
      description: Sentences that tell the differences from C(hsmbyok) and C(az keyvault key
        import) would.
      type: list
      elements: str
  sample:
    pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
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
      - CKF_DERIVE is set on a key that is made in the token, and not sent to Azure, which has no
        such operation.
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.hsm_config import (
    is_only_ours,
    parse_hsm_config,
    transfer_variables,
)


def hsm_config(
    text: str,
    pkcs11_library: str | None = None,
    name: str | None = None,
    places: t.Sequence[t.Mapping[str, t.Any]] = (),
    user_id: int | None = None,
) -> dict[str, t.Any]:
    """Return what the text of an HsmConfig.ini says.

    :raises AnsibleFilterError: for what cannot be honoured
    """
    if not isinstance(text, str):
        raise AnsibleFilterError(
            f"hsm_config takes the text of an HsmConfig.ini, and not {type(text).__name__}."
        )
    trusted = is_only_ours(places, user_id)
    try:
        return transfer_variables(parse_hsm_config(text), pkcs11_library, name, trusted=trusted)
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"hsm_config": hsm_config}
