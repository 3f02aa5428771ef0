# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print the examples of the modules' documentation as one list of tasks.

The tasks are in the order in which a key takes its way.

argv: the folder of the modules, lab.json, and a folder that stands for the carrier.
"""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any

import yaml


def examples(module: Path) -> str:
    """The text that a module's file assigns to EXAMPLES."""
    for statement in ast.parse(module.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "EXAMPLES":
            return str(ast.literal_eval(statement.value))
    raise LookupError(f"{module} has no EXAMPLES")


def main() -> None:
    modules, lab, carrier = (
        Path(sys.argv[1]),
        json.loads(Path(sys.argv[2]).read_text()),
        sys.argv[3],
    )
    kek_id, kek_fingerprint = '"{{ kek.kek_id }}"', '"{{ kek.kek_fingerprint }}"'
    version = "0123456789abcdef" * 2
    # What the examples name, and what stands for it here; the longer names first.
    places = {
        f"https://contoso.vault.azure.net/keys/keyferry-kek/{version}": kek_id,
        f"https://contoso.vault.azure.net/keys/KEK2048-BYOK/{version}": kek_id,
        "https://contoso.vault.azure.net": "https://keyferry-lab-examples.vault.azure.net",
        "https://contoso.managedhsm.azure.net": "https://keyferry-lab-examples.managedhsm.azure.net",
        "3d8fcfbe00fdbe0012c200a7c5b8c0deccd73f0bcf12b0b7b46a1cfdeadd755c": kek_fingerprint,
        "_WPWX-NjAFhcBDLcYgEjtms3qxccx8ceSdTmTfuYFj8": '"{{ in_token.target_keys[0].thumbprint }}"',
        "/usr/safenet/lunaclient/lib/libCryptoki2_64.so": lab["token"]["library"],
        "token_label: byok": f"token_label: {lab['token']['label']}",
        "/run/secrets/byok-pin": lab["token"]["pin_file"],
        "/media/carrier": carrier,
        "kekBlob.pem": f"{carrier}/kek.pem",
        "/media/escrow": carrier,
        "0b1f3b0c9f7b3ad0f0a5bd2c8de5a3f94a9f0ab19bd4e7c6ae9d2f14c55a7c21": kek_fingerprint,
    }

    def tasks(module: str) -> list[dict[str, Any]]:
        text = examples(modules / f"{module}.py")
        for place, stand_in in places.items():
            text = text.replace(place, stand_in)
        loaded: list[dict[str, Any]] = yaml.safe_load(text)
        return loaded

    make_kek, *use_kek, delete_kek = tasks("byok_kek")
    import_key, *more_imports = tasks("byok_import")
    rotate, retire = tasks("byok_rotate")
    carry_kek = {
        "name": "Carry the KEK's public key to the token, also as an escrow key",
        "ansible.builtin.copy": {
            "content": "{{ kek.kek_public_key }}",
            "dest": f"{carrier}/{{{{ item }}}}.pem",
            "mode": "0600",
        },
        "loop": ["kek", "escrow"],
    }
    in_order = [
        *tasks("byok_hsm_info"),
        *tasks("byok_target_key"),
        *tasks("byok_plan"),
        make_kek,
        carry_kek,
        *use_kek,
        *tasks("byok_wrap"),
        {**import_key, "register": "arrived"},
        *more_imports,
        *tasks("byok_vault_info"),
        {**rotate, "register": "brought"},
        retire,
        delete_kek,
    ]
    print(yaml.safe_dump(in_order, sort_keys=False))


if __name__ == "__main__":
    main()
