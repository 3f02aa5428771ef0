# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Put templates into every place of declarations: python plant.py FOLDER.

Writes into FOLDER good.byok.yml with a file of valid declarations, bad.byok.yml with one of others,
and what is planted as planted.json. What is rendered makes the file FOLDER/rendered.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

VAULT = {
    "url": "https://keyferry-lab-declared-p.vault.azure.net",
    "tokens": ["lab"],
    "tags": {"region": "westeurope"},
}
KEY = {"name": "dec-planted", "type": "EC", "curve": "P-256"}
TOKEN_LABEL = "lookup('ansible.builtin.env', 'BYOK_TOKEN_LABEL')"
SECRET_FILE = "lookup('ansible.builtin.env', 'AZURE_SECRET_FILE')"


def write_configuration(folder: Path, name: str, path: str) -> None:
    control = (
        f"{{{{ lookup('pipe', 'touch {folder}/control && echo rendered by the configuration') }}}}"
    )
    (folder / f"{name}.byok.yml").write_text(
        json.dumps(
            {
                "plugin": "keyferry.azure.declared",
                "files": [{"path": path}],
                "tokens": {
                    "lab": {
                        "byok_token_label": f"{{{{ {TOKEN_LABEL} }}}}",
                        "byok_secret": f"{{{{ lookup('ansible.builtin.file', {SECRET_FILE}) }}}}",
                        "byok_allow_trailing_zeros": True,
                        "byok_kek_size": 2048,
                        "control": control,
                    }
                },
                "vaults": {"planted": VAULT},
                "compose": {
                    "composed": "byok_keys",
                    "composed_tags": "byok_keys[0].tags",
                    "composed_text": "'' ~ byok_keys",
                },
                "keyed_groups": [
                    {"key": "byok_key_tags", "prefix": "tag"},
                    {"key": "byok_keys[0].tags", "prefix": "all"},
                ],
                "strict": True,
            }
        )
    )


def main(folder: Path) -> None:
    """Write the files."""
    command = f"lookup('pipe', 'touch {folder}/rendered')"
    forms = [
        f"{{{{ {command} }}}}",
        f"{{% if {command} %}}{{% endif %}}",
        f"{{% set x = {command} %}}",
        f"a{{{{ {command} }}}}b",
        f"{{{{ '{{{{' }}}} {command} }}}}",
        f"{{# #}}{{{{ {command} }}}}",
        f"[{{{{ {command} }}}}]",
        "{{ undefined_variable }}",
    ]
    (folder / "good").mkdir(parents=True)
    (folder / "bad").mkdir()
    write_configuration(folder, "good", "good/*.yml")
    write_configuration(folder, "bad", "bad/*.yml")

    tags = {form: forms[(number + 1) % len(forms)] for number, form in enumerate(forms)}
    key = {**KEY, "tags": tags}
    document = {"vaults": ["planted"], "keys": [key]}
    # A file may be named so as well; its name cannot hold a slash, so it is rendered in the
    # working directory
    (folder / "good/{{ lookup('pipe', 'touch rendered') }}.yml").write_text(json.dumps(document))

    fields = [
        "name",
        "type",
        "size",
        "curve",
        "operations",
        "token_operations",
        "generation",
        "allow_external_origin",
    ]
    fields += [
        "after_transfer",
        "create",
        "derive",
        "modifiable",
        "enabled",
        "not_before",
        "expires",
        "tags",
        "rotation",
    ]
    rotation = [
        "every",
        "valid_for",
        "before_expiry",
        "overlap",
        "min_interval",
        "notify_before",
        "retire",
        "on_foreign",
    ]
    for number, form in enumerate(forms):
        placed = {**KEY, "name": "dec", "vaults": ["planted"]}
        keys: list[object] = [{**placed, field: form} for field in [*fields, "vaults", "token"]]
        keys += [{**placed, "rotation": {field: form}} for field in rotation]
        keys += [
            {**placed, field: [form]} for field in ("operations", "token_operations", "vaults")
        ]
        keys += [{**placed, form: form}, {**placed, "rotation": {form: form}}]
        keys.append(form)
        top = {
            "vaults": [form],
            "token": form,
            "defaults": {form: form, "size": form, "tags": {form: None}},
            form: form,
        }
        (folder / f"bad/{number}.yml").write_text(json.dumps({"keys": keys}))
        (folder / f"bad/{number}-top.yml").write_text(json.dumps({**top, "keys": [KEY]}))
        (folder / f"bad/{number}-text.yml").write_text(form)
        (folder / f"bad/{number}-defaults.yml").write_text(
            json.dumps({"keys": [], "defaults": form})
        )
    (folder / "planted.json").write_text(
        json.dumps({"forms": forms, "key": key, "keys": len(keys)})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
