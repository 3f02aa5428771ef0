# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment by which a process enters the lab, and leaves it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from lab.tenant import OPERATOR

_PROXY = ("HTTPS_PROXY", "https_proxy")
_NO_PROXY = ("NO_PROXY", "no_proxy")
_CA = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
# The variable, and the member of lab.json's "token" that it has.
_TOKEN = {
    "SOFTHSM2_CONF": "softhsm2_conf",
    "BYOK_PKCS11_LIBRARY": "library",
    "BYOK_TOKEN_LABEL": "label",
    "BYOK_PIN_FILE": "pin_file",
}
_TENANT, _CLIENT_ID, _SECRET = "AZURE_TENANT", "AZURE_CLIENT_ID", "AZURE_SECRET"
SECRET_FILE = f"{_SECRET}_FILE"

# For people alone: tests install the collection, and try what refuses trailing zeros.
_COLLECTIONS, _ZEROS = "ANSIBLE_COLLECTIONS_PATH", "BYOK_ALLOW_TRAILING_ZEROS"
_CLONE = Path(__file__).absolute().parents[1] / ".collections"
_USUAL = "$HOME/.ansible/collections:/usr/share/ansible/collections"


def variables(lab: dict[str, Any]) -> dict[str, str]:
    """Return what a process needs, by the content of lab.json.

    The secret is in a file, which AZURE_SECRET_FILE names.
    """
    operator = lab["clients"][OPERATOR]
    values = (
        dict.fromkeys(_PROXY, lab["proxy"])
        | dict.fromkeys(_NO_PROXY, "")
        | dict.fromkeys(_CA, lab["ca"])
    )
    if lab["token"]:
        values |= {name: lab["token"][member] for name, member in _TOKEN.items()}
    return values | {
        _TENANT: lab["tenant"],
        _CLIENT_ID: operator["client_id"],
        SECRET_FILE: operator["secret_file"],
    }


def enter_lines(lab: dict[str, Any]) -> list[str]:
    """Return shell lines that enter the lab: with the collection of this clone, from any folder.

    They read the secret when they run, so that none is printed.
    """
    values = variables(lab)
    secret_file = shlex.quote(values.pop(SECRET_FILE))
    if lab["tolerates_trailing_zeros"]:
        values[_ZEROS] = "true"
    return [
        '# To leave the lab: eval "$(python -m lab env --unset)"',
        *(f"export {name}={shlex.quote(value)}" for name, value in values.items()),
        f'export {_SECRET}="$(cat {secret_file})"',
        f'export {_COLLECTIONS}={shlex.quote(str(_CLONE))}:"${{{_COLLECTIONS}:-{_USUAL}}}"',
    ]


def leave_line() -> str:
    """Return the shell line that removes every variable of the lab."""
    azure = (_TENANT, _CLIENT_ID, _SECRET)
    return " ".join(["unset", *_PROXY, *_NO_PROXY, *_CA, *_TOKEN, *azure, _COLLECTIONS, _ZEROS])
