# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Azure's errors in words."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._vault.credentials import WAYS
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import (
    HSM_CRYPTO_OFFICER,
    HSM_CRYPTO_USER,
)

#: 403 that any identity gets: of the vault's firewall, and where the vault takes private endpoints
#: only
NOT_LET_THROUGH = ("ForbiddenByFirewall", "ForbiddenByConnection")

#: The first row that fits wins: status, Azure's inner or outer code (None: any), a part of the text
#: ("": any), remedy
_REMEDIES: tuple[tuple[int, str | None, str, str], ...] = (
    (401, None, "",
     "Check that the credential belongs to the vault's tenant and cloud, and that this host's "
     "clock is right"),
    (403, "ForbiddenByFirewall", "",
     "Let this host's address through the vault's firewall, or run where it is let through"),
    (403, "ForbiddenByConnection", "",
     "Run where the vault's private endpoint is reached, and check that its name resolves to the "
     "private address there (behind a proxy, the proxy resolves it)"),
    (403, None, "purge protection",
     "Leave purge off; the name is free again when the retention is over"),
    (403, "ForbiddenByRbac", "",
     "Give the identity the role Key Vault Crypto Officer, or one of your own with the action; a "
     "new assignment takes some minutes"),
    (403, "ForbiddenByPolicy", "",
     "Add the missing key permission to the vault's access policy"),
    (403, None, "",
     "Check that the identity has the role for this action, and that the key is enabled"),
    (404, None, "",
     "Check that the name is right, and that the key was not deleted"),
    (409, "ObjectIsDeletedButRecoverable", "",
     "Recover the deleted key, purge it, or use another name"),
    (409, "ObjectIsBeingDeleted", "",
     "Wait until the deletion is done, then run again"),
    (409, None, "",
     "Another request changes the same key; run again when it is done"),
    (429, None, "",
     "The vault takes no more requests for now; run again later, or set throttle_timeout higher"),
    (400, None, "",
     "Correct what Azure names; a package can be made again with byok_wrap"),
)  # fmt: skip

#: For what no row fits
_LATER = "Run again later"

#: What a Managed HSM names in its 403: the data action that is missing, and where (published by its
#: users; not documented)
_HSM_ACTION = re.compile(
    r"Not authorized to access (Microsoft\.KeyVault/managedHsm/[\w/]+) on '?(/[\w/-]*)"
)

#: In the place of the rows about a role, for a Managed HSM that does not name the action
_HSM_FORBIDDEN = (
    "Give the identity the local role Managed HSM Crypto User, and for deleted keys one of your "
    "own with keys/deletedKeys/read/action (to recover .../recover/action, to purge "
    "keys/deletedKeys/delete) or Managed HSM Crypto Officer; and check that the key is enabled"
)

#: Status -> the code of the failure
_BY_STATUS = {
    401: "forbidden",
    403: "forbidden",
    404: "not_found",
    409: "busy",
    429: "throttled",
}

#: Entra ID's codes -> remedy
_AADSTS = {
    "AADSTS7000215": "Give the secret's value (not its id), as it is now in the app registration",
    "AADSTS7000222": "The secret has expired: make a new one in the app registration",
    "AADSTS700027": "Register this certificate in the app registration, or give the registered one",
    "AADSTS700016": "Correct client_id and tenant",
    "AADSTS90002": "Correct tenant",
    "AADSTS700211": "Correct the issuer of the app registration's federated credential, or take "
    "the token from that issuer",
    "AADSTS700212": "Correct the audience of the federated credential, or of the token "
    "(api://AzureADTokenExchange)",
    "AADSTS700213": "Correct the subject of the app registration's federated credential, or run as "
    "that subject",
    "AADSTS700024": "The token of the workload identity has expired or is not valid yet: check "
    "that its file is written anew",
}


#: What the libraries below the SDK say when no answer came, and the same in words
_NO_ANSWER = (
    ("CERTIFICATE_VERIFY_FAILED", "the certificate of the other side is not trusted here"),
    ("Tunnel connection failed", "the proxy refused to let it through"),
    ("NameResolutionError", "its name could not be resolved"),
    ("Failed to resolve", "its name could not be resolved"),
    ("timed out", "no answer came in time"),
    ("proxy", "the connection through the proxy failed"),
    ("Failed to establish a new connection", "no connection could be made"),
    ("", "the connection broke"),
)


class AzureError(ByokError):
    """What Azure or the way to it answered.

    :ivar status: the HTTP status; None when there was no answer
    :ivar code: Azure's inner code, or its outer one
    """

    def __init__(
        self,
        what: str,
        remedy: str,
        status: int | None = None,
        code: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(what, remedy, code=reason or _BY_STATUS.get(status or 0, "failed"))
        self.status = status
        self.code = code


class VaultUnavailable(AzureError):
    """The vault does not serve this run now, so trying the next key would only cost time."""

    def __init__(
        self,
        what: str,
        remedy: str,
        status: int | None = None,
        code: str | None = None,
        reason: str | None = None,
    ) -> None:
        by_status = _BY_STATUS.get(status or 0, "vault_unavailable")
        super().__init__(what, remedy, status, code, reason or by_status)


class UnreadableAnswer(AzureError):
    """Azure said yes, and what it answered cannot be read, or does not fit what was asked."""

    def __init__(self, what: str, error: Exception) -> None:
        why = str(error) if isinstance(error, OddAnswer) else type(error).__name__
        super().__init__(
            f"{what}: Azure's answer cannot be read ({why})",
            "Look at the key with az keyvault key show. If its answer is right, report this "
            "sentence with the versions of keyferry.azure and azure-keyvault-keys; if it is not, "
            "find out what is between this host and the vault",
            reason="unreadable_answer",
        )


class OddAnswer(Exception):
    """A part of an answer is not what was asked for; its text names the part, never a secret."""


def explain(error: Exception, what: str) -> AzureError:
    """Turn an exception of the SDK into a sentence.

    :param what: what was tried, naming key and vault
    """
    status = getattr(error, "status_code", None)
    if status is None or "AADSTS" in str(error):  # Entra's answers may have a status as well
        return _no_answer(error, what)
    code, text = code_and_text(error)
    response = getattr(error, "response", None)
    url = getattr(getattr(response, "request", None), "url", "")
    request = getattr(response, "headers", {}).get("x-ms-request-id")
    references = [code] if code else []
    if request:
        references.append(f"request {request}")
    unavailable = status in (401, 408, 429) or status >= 500 or code in NOT_LET_THROUGH
    kind = VaultUnavailable if unavailable else AzureError
    return kind(
        f"{what} failed: Azure answered {status} ({', '.join(references)}): {_first_line(text)}",
        _remedy(status, code, text, str(url)),
        status,
        code,
    )


def _remedy(status: int, code: str | None, text: str, url: str) -> str:
    """Return what to do about an answer of Azure.

    :param text: what the answer says
    :param url: of the request
    """
    for row_status, row_code, part, remedy in _REMEDIES:
        if row_status == status and row_code in (None, code) and part in text.lower():
            about_role = status == 403 and row_code not in NOT_LET_THROUGH and not part
            return _hsm_remedy(text) if about_role and ".managedhsm." in url else remedy
    return _LATER


def _hsm_remedy(text: str) -> str:
    """Return what to do about a 403 of a Managed HSM."""
    named = _HSM_ACTION.search(text)
    if not named:
        return _HSM_FORBIDDEN
    action, scope = named.groups()
    roles = (
        f"one of your own, or {HSM_CRYPTO_OFFICER}"
        if "/deletedKeys/" in action
        else f"{HSM_CRYPTO_USER}, or one of your own"
    )
    return f"Give the identity a local role with {action} at the scope {scope}: {roles}"


def _no_answer(error: Exception, what: str) -> VaultUnavailable:
    """Turn an exception of the SDK into a sentence where the vault did not answer."""
    text = str(getattr(error, "message", None) or error)
    if type(error).__name__ in ("ClientAuthenticationError", "CredentialUnavailableError"):
        code = next((code for code in _AADSTS if code in text), None)
        sentence = f"{what} failed: no token for Azure: {_first_line(text)}"
        return VaultUnavailable(sentence, _token_remedy(error, code), code=code)
    reason = next(words for part, words in _NO_ANSWER if part in text)
    detail = _first_line(text.rpartition("Tunnel connection failed:")[2].strip(" ')"))
    return VaultUnavailable(
        f"{what} failed: {reason} ({detail})",
        "Check that vault_url is right and that this host reaches it: name resolution, firewall, "
        "proxy (HTTPS_PROXY) and certificates (REQUESTS_CA_BUNDLE)",
    )


def _token_remedy(error: Exception, code: str | None) -> str:
    """Return what to do where there is no token for Azure.

    :param code: Entra ID's, one of _AADSTS; None where it gave none of them
    """
    if code:
        return _AADSTS[code]
    if type(error).__name__ == "CredentialUnavailableError":
        return WAYS
    return "Correct the credential's options, or log in again"


def code_and_text(error: t.Any) -> tuple[str | None, str]:
    """Return Azure's inner or outer code, None where there is none, and what it says."""
    odata = getattr(error, "error", None)
    if odata is None:
        return None, str(getattr(error, "message", error))
    inner = odata.innererror if isinstance(odata.innererror, dict) else {}
    return inner.get("code") or odata.code, odata.message or ""


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
