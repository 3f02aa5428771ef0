# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Options by the names that a message's reader set: ``pin_file`` in a module, ``byok_pin_file`` in
the role; pure.

Messages are written with the names of modules. One that is a word of English, such as force, is
written as "the option force".
"""

from __future__ import annotations

import re

#: Set by the role for its modules (``environment`` of its blocks), so that they know who reads
CALLED_BY_ROLE = "KEYFERRY_CALLED_BY_ROLE"

#: Options of modules that the role sets by a variable of the same name, as far as they are no words
#: of English
_SHARED = (
    *("allow_trailing_zeros", "allow_unverified_kek", "allowed_signers", "api_version"),
    *("approval_namespace", "approved_keks"),
    *("attestation_maker_roots", "attestation_owner_roots"),
    *("auth_source", "client_id", "cloud_environment", "delete_timeout", "escrow_fingerprint"),
    *("evidence_key", "evidence_key_proof", "evidence_token"),
    *("escrow_public_key", "federated_token_file", "hsm_profile", "hsm_profile_file"),
    *("kek_id", "kek_public_key"),
    *("library_environment", "library_parameters", "library_timeout"),
    *("lock_directory", "lock_timeout", "max_rate"),
    *("on_deleted", "pin_file", "pkcs11_library", "policy_file", "receipt_directory"),
    *("required_approvals", "secret_file"),
    *("settle_time", "state_directory", "throttle_timeout", "token_label", "token_serial"),
    *("token_slot", "token_uri", "vault_url", "x509_certificate_path"),
)
_OPTION = re.compile(rf"(?<![\w./-])(?:the option (\w+)|({'|'.join(_SHARED)})(?!\w|[./-]\w))")


def as_set_in_role(text: str) -> str:
    """Return a message with the names of the role's variables."""
    return _OPTION.sub(lambda found: f"byok_{found[1] or found[2]}", text)
