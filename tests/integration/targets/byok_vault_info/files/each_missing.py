# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take every permission away in turn, and print what is found then: checkout, and lab.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

sys.path.insert(0, str(Path(sys.argv[1]).parents[2]))

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import VAULT_OPTIONS
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._steps.vault_info import vault_info
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import (
    PERMISSIONS,
    WORK,
)

HSM_DOMAIN = "managedhsm.azure.net"


def roles_without(operation: str) -> list[str]:
    if operation == "get_deleted":  # it comes with get, but for the roles of a Managed HSM
        return ["Managed HSM Crypto User", "recover", "purge"]
    return [each for each in PERMISSIONS if each != operation]


def set_roles(control: dict[str, str], host: str, roles: dict[str, list[str]]) -> None:
    headers = {"Authorization": f"Bearer {control['key']}", "Content-Type": "application/json"}
    body = json.dumps({"roles": roles}).encode()
    urlopen(Request(f"{control['url']}/vaults/{host}", body, headers, method="PUT")).close()


def look(lab: dict[str, Any], host: str) -> dict[str, Any]:
    client = lab["clients"]["operator"]
    options = {
        **{name: spec.get("default") for name, spec in VAULT_OPTIONS.items()},
        "vault_url": f"https://{host}",
        "tenant": lab["tenant"],
        "client_id": client["client_id"],
        "secret": Path(client["secret_file"]).read_text(),
        "work": list(WORK),
        "ephemeral_kek": True,
        "prove": True,
        "declarations": None,
        "list_keys": False,
    }
    outcome = Outcome()
    vault_info(options, False, outcome)
    vault = outcome.result["vault"]
    return {
        "refused": [each["operation"] for each in vault["permissions"] if each["granted"] is False],
        "missing": vault["missing"],
        "problems": " ".join(vault["problems"]),
    }


def main() -> None:
    lab = json.loads(Path(sys.argv[2]).read_text())
    found = []
    for domain in ("vault.azure.net", HSM_DOMAIN):
        for number, operation in enumerate(PERMISSIONS):
            if operation == "get_deleted" and domain != HSM_DOMAIN:
                continue
            host = f"keyferry-lab-info-{number}.{domain}"  # one each, for each has a rate limit
            set_roles(lab["control"], host, {"operator": roles_without(operation)})
            found.append({"host": host, "operation": operation, **look(lab, host)})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
