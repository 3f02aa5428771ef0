# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a vault answers when it refuses.

Texts marked "recorded" were seen in public recordings of the service.
"""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """An answer that is no success, with the error body of the Key Vault REST reference."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"code": code, "message": message}
        if inner:
            self.error["innererror"] = {"code": inner}


def bad_parameter(message: str) -> Refusal:
    """400. What the service says of a bad package is not known: those texts are the lab's own."""
    return Refusal(400, "BadParameter", message)


def key_type_not_supported(kty: object) -> Refusal:
    """400 (recorded of oct in a vault)."""
    return Refusal(400, "BadParameter", f"Invalid kty value: {kty}", "KeyTypeNotSupported")


def forbidden(message: str, inner: str | None = None) -> Refusal:
    """403 for a reason that a retry does not change."""
    return Refusal(403, "Forbidden", message, inner)


def key_not_found(name: str) -> Refusal:
    """404 (recorded)."""
    return Refusal(
        404,
        "KeyNotFound",
        f"A key with (name/id) {name} was not found in this key vault. If you recently "
        "deleted this key you may be able to recover it using the correct recovery command. "
        "For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182",
    )


def managed_hsm_key_not_found(url: str) -> Refusal:
    """404 of a Managed HSM (recorded of keys and deleted keys)."""
    return Refusal(404, "KeyNotFound", f"Key not found: {url}")


def deleted_key_not_found(name: str) -> Refusal:
    """404 while a vault deletes the key (recorded)."""
    return Refusal(404, "KeyNotFound", f"Deleted Key not found: {name}")


def deleted_but_recoverable(name: str) -> Refusal:
    """409 (recorded)."""
    return Refusal(
        409,
        "Conflict",
        f"Key {name} is currently in a deleted but recoverable state, "
        "and its name cannot be reused; in this state, the key can only be recovered or purged.",
        "ObjectIsDeletedButRecoverable",
    )


def being_deleted(name: str) -> Refusal:
    """409 (text from Microsoft's C++ tests)."""
    return Refusal(
        409,
        "Conflict",
        f"Key {name} is currently being deleted and cannot be re-created; retry later.",
        "ObjectIsBeingDeleted",
    )


def being_recovered(name: str) -> Refusal:
    """409 (the code is documented, the text is not known)."""
    return Refusal(
        409,
        "Conflict",
        f"Key {name} is currently being recovered; retry later.",
        "ObjectIsBeingRecovered",
    )


def throttled() -> Refusal:
    """429 (recorded: it has no Retry-After)."""
    return Refusal(
        429,
        "Throttled",
        "Request was not processed because too many requests were received. "
        "Reason: VaultRequestTypeLimitReached",
    )


def unavailable() -> Refusal:
    """503 (the text is not known)."""
    return Refusal(
        503, "ServiceUnavailable", "The service is temporarily unavailable. Please retry later."
    )


def firewall() -> Refusal:
    """403 by the vault's network rules."""
    return forbidden(
        "Client address is not authorized and caller is not a trusted service.\r\n"
        "Client address: 127.0.0.1\r\n",
        "ForbiddenByFirewall",
    )
