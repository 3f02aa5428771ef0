# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Azure's errors in words."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import PERMISSIONS

#: What makes a credential
WAYS = (
    "Give tenant and client_id with secret_file, x509_certificate_path or federated_token_file "
    "(or AZURE_TENANT, AZURE_CLIENT_ID, AZURE_SECRET in the environment), log in with az and set "
    "auth_source to cli, or set it to msi on a machine with a managed identity"
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
    (400, None, "specified version",
     "Set api_version to one that the vault's cloud knows"),
    (400, None, "",
     "Correct what Azure names. If that is a key transfer package, wrap the key again with the "
     "tool that made the package"),
)  # fmt: skip

#: Where a request is sent elsewhere, which Azure never does
_REDIRECTED = (
    "Requests go to the vault alone. Find out what between this host and the vault sends them "
    "elsewhere, such as a proxy that wants a login"
)

#: What an api-version looks like: 7.6, 7.6-preview.2, 2025-07-01; it becomes a part of URLs
API_VERSION = "[0-9A-Za-z.-]{1,40}"

#: 400 of vaults whose cloud lags behind azure-keyvault-keys: azure-sdk-for-net 14788, 14789,
#: azure-sdk-for-python 28595
_UNKNOWN_VERSION = re.compile(
    rf"specified version \((?P<asked>{API_VERSION})\) is not recognized\."
    rf"( Consider using the latest supported version \((?P<latest>{API_VERSION})\))?"
)

#: 401 of a vault for a token of another tenant (AKV10032, Microsoft's pages on troubleshooting its
#: clients): the vault's own tenant comes first, Microsoft's follow
_OTHER_TENANT = re.compile(
    r"Expected one of https://[^/\s]+/(?P<vault>[0-9a-f-]{36})/.* "
    r"found https://[^/\s]+/(?P<token>[0-9a-f-]{36})/",
    re.IGNORECASE | re.DOTALL,
)

#: 403 of a Managed HSM (azure-cli 32719)
_MISSING_ACTION = re.compile(
    r"Not authorized to access (?P<action>Microsoft\.KeyVault/managedHsm/[\w/]+) "
    r"on '(?P<scope>[^']*)'"
)

#: What is told of another's text
_LONGEST_TEXT = 1000

#: For what no row fits
_LATER = "Run again later"

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

#: Azure's codes of which the status says too little
_BY_CODE = {"ObjectIsDeletedButRecoverable": "conflict"}

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
        told = _BY_CODE.get(code or "") or _BY_STATUS.get(status or 0, "failed")
        super().__init__(what, remedy, code=reason or told)
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


class NoToken(ByokError):
    """The credential gives no token for the vault, which is no answer of the vault."""


def wrong_tenant(vault: str, credential: str) -> NoToken:
    """Return what is told of a credential of another tenant than the vault's.

    :param vault: id of the vault's tenant
    :param credential: id of the credential's tenant
    """
    return NoToken(
        f"the vault is of tenant {vault}, and the credential of tenant {credential}",
        "Give a credential of the vault's tenant, or correct tenant or vault_url",
        code="forbidden",
    )


@dataclass(frozen=True)
class UnknownVersion:
    """A vault does not know the api-version of a request.

    :ivar asked: the api-version of the request
    :ivar latest: the latest one that the vault supports; None where it did not tell
    """

    asked: str
    latest: str | None


def unknown_version(error: Exception) -> UnknownVersion | None:
    """Return what a vault said of the api-version; None for any other error."""
    if getattr(error, "status_code", None) != 400:
        return None
    match = _UNKNOWN_VERSION.search(code_and_text(error)[1])
    return UnknownVersion(match["asked"], match["latest"]) if match else None


def explain(error: Exception, what: str, *, managed_hsm: bool = False) -> AzureError:
    """Turn an exception of the SDK, or of the credential, into a sentence.

    :param what: what was tried, naming key and vault
    :param managed_hsm: whether it was tried in a Managed HSM
    """
    if isinstance(error, NoToken):
        sentence = f"{what} failed: no token for Azure: {error.what}"
        return VaultUnavailable(sentence, error.remedy, reason=error.reason)
    status = getattr(error, "status_code", None)
    if status is None or "AADSTS" in str(error):  # Entra's answers may have a status as well
        return _no_answer(error, what)
    code, text = code_and_text(error)
    headers = getattr(getattr(error, "response", None), "headers", {})
    references = [code] if code else []
    if request := headers.get("x-ms-request-id"):
        references.append(f"request {request}")
    answered = f"{what} failed: Azure answered {status}"
    if references:
        answered += f" ({', '.join(references)})"
    if match := _OTHER_TENANT.search(text) if status == 401 else None:
        tenants = wrong_tenant(match["vault"], match["token"])
        return VaultUnavailable(f"{answered}: {tenants.what}", tenants.remedy, status, code)
    if status in range(300, 400):
        where = _shortened(headers.get("Location") or "an unknown place")
        return VaultUnavailable(f"{answered}: it was sent to {where}", _REDIRECTED, status, code)
    unavailable = status in (401, 408, 429) or status >= 500 or code in NOT_LET_THROUGH
    kind = VaultUnavailable if unavailable or unknown_version(error) else AzureError
    return kind(
        f"{answered}: {_first_line(text)}",
        _remedy(status, code, text, managed_hsm),
        status,
        code,
    )


def _remedy(status: int, code: str | None, text: str, managed_hsm: bool) -> str:
    """Return what to do about an answer of Azure.

    :param text: what the answer says
    """
    if match := _MISSING_ACTION.search(text):
        return _missing_action(match["action"], match["scope"])
    for row_status, row_code, part, remedy in _REMEDIES:
        if row_status == status and row_code in (None, code) and part in text.lower():
            about_role = status == 403 and row_code not in NOT_LET_THROUGH and not part
            return _HSM_FORBIDDEN if about_role and managed_hsm else remedy
    return _LATER


def _missing_action(action: str, scope: str) -> str:
    """Return what to do where a Managed HSM says which data action is missing."""
    roles = {each.hsm_role for each in PERMISSIONS.values() if each.hsm_action == action}
    such_as = f", such as {' or '.join(sorted(roles))}" if roles else ""
    return f"Give the identity a local role with {action} on {_shortened(scope)}{such_as}"


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
    return _shortened(lines[0].rstrip(".")) if lines else "no reason given"


def _shortened(text: str) -> str:
    """Return a text of others printable, and not longer than sensible."""
    shown = printable(text)
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]}..."
