# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Argument specs that the modules share; documented in plugins/doc_fragments/."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import env_fallback
from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import NAMESPACE
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OPERATIONS,
)

Spec = dict[str, dict[str, t.Any]]

#: Old names and habits go on working until then; semantic versions remove nothing in between.
REMOVAL: dict[str, str] = {"version": "1.0.0", "collection_name": "keyferry.azure"}


def _env(*names: str) -> tuple[t.Any, list[str]]:
    """Return what lets an option take its value from the first of these variables that is set."""
    return (env_fallback, list(names))


def formerly(name: str) -> dict[str, t.Any]:
    """Return what lets an option answer to the name that it had before."""
    return {"aliases": [name], "deprecated_aliases": [{"name": name, **REMOVAL}]}


#: What a module takes that locks or notes something on its host. A module takes only the groups
#: that it uses, and an action group of the same name (meta/runtime.yml) sets each of them once for
#: a play.
HOST_OPTIONS: Spec = {
    "lock_directory": {"type": "path"},
    "lock_timeout": {"type": "int", "default": 600},
    "state_directory": {"type": "path", "default": "~/.local/state/keyferry"},
}

#: Whose attestations count
ATTESTATION_ROOTS: Spec = {
    "attestation_owner_roots": {"type": "dict", "default": {}},
    "attestation_maker_roots": {"type": "list", "elements": "str", "default": []},
}

#: What a module takes that judges what a Managed HSM's hardware attests of a KEK
ATTESTATION_OPTIONS: Spec = {
    **ATTESTATION_ROOTS,
    "required_kek_trust": {
        "type": "list",
        "elements": "str",
        "choices": ["created", "approved", "attested"],
        "default": [],
    },
}

#: What a module takes that acts only if enough people approved it
APPROVAL_OPTIONS: Spec = {
    "approvals": {"type": "list", "elements": "str", "default": []},
    "allowed_signers": {"type": "path"},
    "required_approvals": {"type": "dict", "default": {}},
    "approval_namespace": {"type": "str", "default": NAMESPACE},
}

#: What a module takes that opens the token
TOKEN_OPTIONS: Spec = {
    "pkcs11_library": {"type": "path", "fallback": _env("BYOK_PKCS11_LIBRARY")},
    "token_label": {"type": "str", "no_log": False, "fallback": _env("BYOK_TOKEN_LABEL")},
    "token_serial": {"type": "str", "no_log": False},
    "token_slot": {"type": "int", "no_log": False},
    "token_uri": {"type": "str", "no_log": False},
    "pin_file": {"type": "path", "fallback": _env("BYOK_PIN_FILE")},
    "pin": {"type": "str", "no_log": True, "fallback": _env("BYOK_PIN")},
    "library_environment": {"type": "dict"},
    "library_parameters": {"type": "str"},
    "library_timeout": {"type": "int", "default": 600},
    "hsm_profile": {
        **formerly("profile"),
        "type": "str",
        "default": "auto",
        "choices": ["auto", "cloudhsm", "futurex", "generic", "luna", "nshield", "nss", "softhsm"],
    },
    "hsm_profile_file": {"type": "path"},
    "sessions": {"type": "int", "default": 1},
    # What the token's host lets out
    "policy_file": {"type": "path"},
}

#: What a module takes that signs in the token. The other token has a PIN of its own, and no
#: environment variable sets it.
EVIDENCE_OPTIONS: Spec = {
    "evidence_key": {"type": "str", "no_log": False},
    "evidence_token": {
        "type": "dict",
        "no_log": False,
        "options": {
            "token_label": {"type": "str", "no_log": False},
            "token_serial": {"type": "str", "no_log": False},
            "token_slot": {"type": "int", "no_log": False},
            "token_uri": {"type": "str", "no_log": False},
            "pin_file": {"type": "path"},
            "pin": {"type": "str", "no_log": True},
        },
    },
}

#: Of modules that wrap; whoever enters a lab of SoftHSM tokens sets it for the shell
ALLOW_TRAILING_ZEROS: Spec = {
    "allow_trailing_zeros": {
        "type": "bool",
        "default": False,
        "fallback": _env("BYOK_ALLOW_TRAILING_ZEROS"),
    }
}

#: What a module takes that talks to the vault
VAULT_OPTIONS: Spec = {
    "vault_url": {"type": "str", "aliases": ["keyvault_uri"]},
    "auth_source": {
        "type": "str",
        "default": "auto",
        "choices": ["auto", "cli", "env", "msi", "workload_identity"],
        "fallback": _env("ANSIBLE_AZURE_AUTH_SOURCE"),
    },
    "client_id": {"type": "str", "fallback": _env("AZURE_CLIENT_ID")},
    "secret": {
        "type": "str",
        "no_log": True,
        "fallback": _env("AZURE_SECRET", "AZURE_CLIENT_SECRET"),
    },
    "secret_file": {"type": "path", "no_log": False, "fallback": _env("BYOK_SECRET_FILE")},
    "tenant": {"type": "str", "fallback": _env("AZURE_TENANT", "AZURE_TENANT_ID")},
    "x509_certificate_path": {
        "type": "path",
        "fallback": _env("AZURE_X509_CERTIFICATE_PATH", "AZURE_CLIENT_CERTIFICATE_PATH"),
    },
    "federated_token_file": {
        "type": "path",
        "no_log": False,
        "fallback": _env("AZURE_FEDERATED_TOKEN_FILE"),
    },
    "cloud_environment": {
        "type": "str",
        "default": "AzureCloud",
        "choices": [
            "AzureCloud",
            "AzureChinaCloud",
            "AzureUSGovernment",
            "AzureBleuCloud",
            "AzureDelosCloud",
        ],
        "fallback": _env("AZURE_CLOUD_ENVIRONMENT"),
    },
    "cloud": {
        "type": "dict",
        "options": {
            "vault_suffix": {"type": "str", "required": True},
            "hsm_suffix": {"type": "str"},
            "login_host": {"type": "str", "required": True},
            "resource": {"type": "str"},
        },
    },
    "api_version": {"type": "str"},
    "settle_time": {"type": "int", "default": 60},
    "throttle_timeout": {"type": "int", "default": 120},
    "concurrency": {"type": "int", "default": 8},
    "max_rate": {"type": "float"},
}

#: By their names in meta/runtime.yml
OPTION_GROUPS: dict[str, Spec] = {
    "byok_approvals": APPROVAL_OPTIONS,
    "byok_evidence": EVIDENCE_OPTIONS,
    "byok_host": HOST_OPTIONS,
    "byok_token": TOKEN_OPTIONS,
    "byok_vault": VAULT_OPTIONS,
}

#: One declared key: the same fields in every module, so that one declaration serves them all
DECLARATION_OPTIONS: Spec = {
    "name": {"type": "str"},
    "type": {"type": "str", "choices": list(OPERATIONS)},
    "size": {"type": "int"},
    "curve": {"type": "str", "choices": list(CURVES)},
    "operations": {"type": "list", "elements": "str", "choices": list(OPERATIONS["RSA"])},
    "label": {"type": "str"},
    "generation": {"type": "str"},
    "allow_external_origin": {"type": "bool", "default": False},
    "after_transfer": {"type": "str", "default": "keep", "choices": ["keep", "lock"]},
    "create": {"type": "bool", "default": True},
    "derive": {"type": "bool", "default": False},
    "modifiable": {"type": "bool", "default": True},
    "token_operations": {"type": "list", "elements": "str", "choices": list(OPERATIONS["RSA"])},
    "enabled": {"type": "bool"},
    "not_before": {"type": "str"},
    "expires": {"type": "str"},
    "tags": {"type": "dict"},
    "rotation": {
        "type": "dict",
        "options": {
            "every": {"type": "str"},
            "valid_for": {"type": "str"},
            "before_expiry": {"type": "str"},
            "overlap": {"type": "str", "default": "P2D"},
            "min_interval": {"type": "str", "default": "P1D"},
            "notify_before": {"type": "str"},
            "retire": {"type": "str", "default": "keep", "choices": ["keep", "disable"]},
            "on_foreign": {"type": "str", "default": "conflict", "choices": ["conflict", "rotate"]},
        },
    },
}

#: What byok_target_key, byok_plan and byok_wrap return of one key or vault, as options of the
#: modules that take it
TARGET_KEY_RESULT: Spec = {
    "name": {"type": "str", "required": True},
    "created": {"type": "bool"},
    "locked": {"type": "bool"},
    "generation": {"type": "str"},
    "thumbprint": {"type": "str"},
    "generations": {"type": "list", "elements": "dict", "required": True},
    "challenge": {"type": "dict"},
}
ROTATION_RESULT: Spec = {
    "name": {"type": "str", "required": True},
    "newer_than": {"type": "str"},
    "made_at": {"type": "str"},
    "reason": {"type": "str"},
}
VERSIONS_RESULT: Spec = {
    "vault_url": {"type": "str", "required": True},
    "read_at": {"type": "str", "required": True},
    "target_keys": {"type": "list", "elements": "dict", "required": True, "no_log": False},
}
PACKAGE_RESULT: Spec = {
    "name": {"type": "str", "required": True},
    "generation": {"type": "str"},
    "thumbprint": {"type": "str"},
    "kek_id": {"type": "str"},
    "path": {"type": "path"},
    "content": {"type": "jsonarg"},  # before 2.19 Ansible makes a dict of a JSON text
    "sha256": {"type": "str"},
    "sha256_spoken": {"type": "str"},
    "wrapped": {"type": "bool"},
    "challenge": {"type": "dict"},
    "receipt": {"type": "dict"},
    "envelope": {"type": "jsonarg"},
}


def key_options(
    former: str | None = None,
    required: tuple[str, ...] = ("name", "type"),
    **item_options: dict[str, t.Any],
) -> Spec:
    """Return the options of a module that takes one key, or many as ``declarations`` with the same
    fields.

    :param former: the name that the list had before
    :param required: of a dict of the list
    :param item_options: what the module wants to know of a key beside its declaration
    """
    item = {**DECLARATION_OPTIONS, **item_options}
    return {**item, "declarations": key_list(item, required, former)}


def key_list(
    item: Spec, required: tuple[str, ...] = ("name", "type"), former: str | None = None
) -> dict[str, t.Any]:
    """Return the option that takes many keys, each with these options.

    :param former: the name that the list had before
    """
    options = {**item, **{name: {**item[name], "required": True} for name in required}}
    alias = formerly(former) if former else {}
    return {"type": "list", "elements": "dict", "options": options, "no_log": False, **alias}


#: The constraints that go with key_options()
KEY_CONSTRAINTS: dict[str, t.Any] = {
    "mutually_exclusive": [("name", "declarations")],
    "required_one_of": [("name", "declarations")],
    "required_by": {"name": ("type",)},
}
