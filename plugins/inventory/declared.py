# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: declared
short_description: Make hosts out of files that declare keys
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Reads files in which teams declare keys, and makes a host for each vault, with the keys that it
    should have from its first token. If the vault has keys from other tokens, each of these tokens
    gets another host, named C(VAULT.TOKEN).
  - The files of declarations are data. Nothing in them is rendered as a template, on any supported
    version of ansible-core. They may name vaults and tokens. The configuration of this plugin,
    whose name ends with C(byok.yml) or C(byok.yaml), defines what these names mean, and which of
    them a file may use. The configuration is code, as everything else in an inventory, and may
    contain templates.
  - Give the configuration as a file. If a file of declarations lies in or below an inventory source
    that is a folder, is a source itself, or lies in a folder C(group_vars) or C(host_vars), then
    Ansible reads it as code. The plugin then ends Ansible with the exit code 4, before any play.
  - If a file has a problem, no host is made, and all problems of all files are reported at once,
    each with its file, line, key and field. Set C(any_unparsed_is_failed) in the section
    C([inventory]) of C(ansible.cfg), or E(ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED). Otherwise
    Ansible continues without hosts and reports success.
extends_documentation_fragment:
  - ansible.builtin.constructed
options:
  plugin:
    description: The name of this plugin.
    type: str
    required: true
    choices: [keyferry.azure.declared]
  files:
    description:
      - The files of declarations, and what each may name.
      - A file that two entries match is an error, and so are a path that matches no file, a file of
        more than 4 MB, and a
        symbolic link on the way from the folder of the configuration to a file.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description:
          - Path of a file, relative to the folder of the configuration. V(*), V(?) and V([]) match
            as in a shell.
          - Everything that can be put where the path leads is data.
        type: str
        required: true
      vaults:
        description: Names of the vaults that the file may name, or patterns of such names. If not
          given, all.
        type: list
        elements: str
      tokens:
        description: Names of the tokens that the file may name, or patterns of such names. If not
          given, all.
        type: list
        elements: str
      names:
        description:
          - Patterns of the names that the keys of the file may have, such as V(payments-*). If not
            given, all.
          - A key that a token has already can be declared by its name. Where teams share a token,
            this keeps them apart.
        type: list
        elements: str
  tokens:
    description:
      - Tokens by their names, each with the variables that its hosts get, such as
        C(byok_pkcs11_library), C(byok_token_label),
        C(byok_pin_file), C(byok_hsm_profile) and C(byok_token_host).
    type: dict
    required: true
  vaults:
    description:
      - Vaults by their names. Each has C(url), and C(tokens), the names of the tokens that it may
        have keys from, of which the
        first is meant where none is named.
      - It may have C(tags) to make groups of, such as a region, and C(variables) for its hosts,
        such as C(byok_approved_keks),
        which win over those of the token.
      - A vault for which no key is declared is a host as well, so that a plan shows what is in it.
    type: dict
    required: true
notes:
  - A host has the variables C(byok_vault_url), C(byok_keys), C(byok_vault_name),
    C(byok_token_name), C(byok_vault_tags),
    C(byok_key_tags) (the tags that its keys have, as texts C(TAG=VALUE)), C(byok_keys_elsewhere)
    (names of the keys that the
    vault has from other tokens), C(byok_keys_also_on) (by names of keys, the other hosts that get
    them from the same
    token) and C(byok_declared_in) (the files that declare its keys).
  - It also has C(ansible_connection) and C(ansible_python_interpreter), which is that of the
    controller, unless the token or the
    vault says otherwise.
  - The names of groups that are made of C(byok_key_tags) are chosen by the files of declarations.
    Give such a keyed group a
    prefix, and no variables.
seealso:
  - plugin: keyferry.azure.declarations
    plugin_type: filter
"""

EXAMPLES = r"""
---
# fleet.byok.yml
plugin: keyferry.azure.declared
files:
  - path: teams/payments.yml
    vaults: [pay-*]
    tokens: [luna]
    names: [payments-*]
  - path: teams/storage.yml
tokens:
  luna:
    byok_pkcs11_library: /usr/safenet/lunaclient/lib/libCryptoki2_64.so
    byok_token_label: byok
    byok_pin_file: "{{ lookup('env', 'LUNA_PIN_FILE') }}"
vaults:
  pay-weu:
    url: https://contoso-pay-weu.vault.azure.net
    tokens: [luna]
    tags: {region: westeurope}
  pay-neu:
    url: https://contoso-pay-neu.vault.azure.net
    tokens: [luna]
    tags: {region: northeurope}
    variables:
      byok_approved_keks: [5f2a7c0f0cbb0a1cb5b4a0a8b4a31c39d6a35cf5d7fd4c8b77d4b5a3f35c0b11]
keyed_groups:
  - {key: byok_token_name, prefix: token}
  - {key: byok_vault_tags.region, prefix: region}
  - {key: byok_key_tags, prefix: tag}

# teams/payments.yml:
#
# defaults: {type: RSA, size: 3072, tags: {team: payments}}
# vaults: [pay-*]
# keys:
#   - {name: payments-storage}
#   - {name: payments-signing, type: EC, curve: P-256, vaults: [pay-weu]}
"""

import os
import typing as t

from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible.utils.display import Display
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.hosts import (
    Fleet,
    Rule,
    Share,
    read_rules,
    read_vaults,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.validation import MOST_PROBLEMS
from ansible_collections.keyferry.azure.plugins.plugin_utils._declarations_file import (
    find_files,
    parse_document,
    read_as_code,
    read_by_ansible,
    read_file,
)

try:
    from ansible.template import trust_as_template
except ImportError:  # ansible-core before 2.19, where every text is rendered that is not marked
    from ansible.utils.unsafe_proxy import wrap_var as mark_as_data

    def trust_as_template(text: str) -> str:
        """Return a text that is rendered as a template."""
        return text
else:  # where no text is rendered that is not marked

    def mark_as_data(value: t.Any) -> t.Any:
        """Return a value that is not rendered as a template."""
        return value


#: Ansible's own for a file that it cannot parse
_EXIT_CODE = 4


class InventoryModule(BaseInventoryPlugin, Constructable):  # type: ignore[misc]
    """The inventory plugin."""

    NAME = "keyferry.azure.declared"

    def verify_file(self, path: str) -> bool:
        """Tell whether a file is named as a configuration of this plugin."""
        return super().verify_file(path) and path.endswith(("byok.yml", "byok.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        """Add the hosts."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        folder = os.path.dirname(os.path.abspath(path))
        _refuse_data_as_code(folder, self.get_option("files"))
        problems: list[str] = []
        tokens = self.get_option("tokens")
        vaults = read_vaults(self.get_option("vaults"), tokens, problems)
        rules = read_rules(self.get_option("files"), vaults, tokens, problems)
        fleet = Fleet(vaults, tokens, problems)
        if not problems:
            _declare(fleet, folder, rules, problems)
        if problems:
            raise AnsibleParserError(_message(problems))
        for share in fleet.shares():
            self._add_host(share, tokens[share.token] or {})

    def _add_host(self, share: Share, token_variables: t.Mapping[str, t.Any]) -> None:
        """Add the host of a share, with its variables and groups.

        :param token_variables: those that the configuration gives to the token
        """
        tags: set[str] = set()
        for key in share.keys:
            tags.update(f"{tag}={value}" for tag, value in key.get("tags", {}).items())
        variables = {
            "ansible_connection": trust_as_template("local"),
            "ansible_python_interpreter": trust_as_template("{{ ansible_playbook_python }}"),
            **token_variables,
            **share.vault.variables,
            "byok_vault_url": share.vault.url,
            "byok_vault_name": share.vault.name,
            "byok_vault_tags": share.vault.tags,
            "byok_token_name": share.token,
            "byok_keys": mark_as_data(share.keys),
            "byok_keys_elsewhere": mark_as_data(share.elsewhere),
            "byok_key_tags": mark_as_data(sorted(tags)),
            "byok_declared_in": mark_as_data(share.files),
        }
        self.inventory.add_host(share.host)
        for name, value in variables.items():
            self.inventory.set_variable(share.host, name, value)
        host = self.inventory.get_host(share.host)
        # Not by the inventory, which from ansible-core 2.19 on copies it to note where each text
        # came from: for many keys of many vaults that took minutes, and plain texts are data.
        host.set_variable("byok_keys_also_on", mark_as_data(share.also_on))
        host_vars = host.get_vars()
        strict = self.get_option("strict")
        for add, option in (
            (self._set_composite_vars, "compose"),
            (self._add_host_to_composed_groups, "groups"),
            (self._add_host_to_keyed_groups, "keyed_groups"),
        ):
            add(self.get_option(option), host_vars, share.host, strict=strict)


def _refuse_data_as_code(folder: str, rules: t.Iterable[t.Any]) -> None:
    """End Ansible where it reads a file of declarations by itself, and would render its texts.

    An error would only be a warning, unless the inventory is strict, and the run would go on with
    what Ansible's own plugins made of the file.

    :param folder: that the paths of the rules are relative to
    :param rules: the option ``files``
    :raises SystemExit: for one
    """
    read = read_by_ansible(context.CLIARGS.get("inventory") or C.DEFAULT_HOST_LIST)
    paths = [rule.get("path") for rule in rules if isinstance(rule, t.Mapping)]
    for pattern in (path for path in paths if isinstance(path, str)):
        why = read_as_code(folder, pattern, read)
        if why:
            Display().error(
                f"{why}, so Ansible renders its texts as templates and runs what they say. "
                "Declarations must stay data: give the configuration of keyferry.azure.declared "
                "as a file (-i fleet.byok.yml) and no folder around the files of declarations. "
                "Nothing was run."
            )
            raise SystemExit(_EXIT_CODE)


def _declare(fleet: Fleet, folder: str, rules: list[Rule], problems: list[str]) -> None:
    """Read the files of the rules, and declare what they hold.

    :param folder: that the paths of the rules are relative to
    :param problems: gets a sentence for each file that cannot be read
    """
    read: dict[str, str] = {}
    for rule in rules:
        if len(problems) >= MOST_PROBLEMS:
            break
        try:
            files = find_files(folder, rule.path)
        except ByokError as error:
            problems.append(f"files: {error}")
            continue
        for file in files:
            name = printable(file)
            first = read.setdefault(os.path.normpath(file), rule.path)
            if first != rule.path:
                problems.append(
                    f"{name} is matched by {first} and by {rule.path}. Let one of them match it."
                )
                continue
            try:
                document = parse_document(read_file(os.path.join(folder, file)))
            except ByokError as error:
                problems.append(f"{name}: {error}")
            else:
                fleet.declare(name, document.value, document.lines, rule)


def _message(problems: list[str]) -> str:
    lines = ["The declared keys are not used, because:", *map(printable, problems[:MOST_PROBLEMS])]
    if len(problems) >= MOST_PROBLEMS:
        lines.append(f"There may be more; the check ended at {MOST_PROBLEMS} problems.")
    if not (C.INVENTORY_ANY_UNPARSED_IS_FAILED or C.INVENTORY_UNPARSED_IS_FAILED):
        lines.append(
            "Ansible continues without these hosts and may report success. "
            "Set any_unparsed_is_failed = true in the section [inventory] of ansible.cfg."
        )
    return "\n".join(lines)
