# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from types import SimpleNamespace

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    VaultUnavailable,
    explain,
)
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ODataV4Format,
    ServiceRequestError,
)
from azure.identity import CredentialUnavailableError


def answer(status: int, code: str, inner: str | None, message: str) -> HttpResponseError:
    """What the SDK raises for a body of Key Vault."""
    error = HttpResponseError(message=message)
    error.status_code = status
    error.error = ODataV4Format(
        {"code": code, "message": message, **({"innererror": {"code": inner}} if inner else {})}
    )
    return error


@pytest.mark.parametrize(
    ("status", "code", "inner", "message", "says"),
    [
        (
            403,
            "Forbidden",
            "ForbiddenByRbac",
            "Caller is not authorized.\r\nCaller: appid=1",
            "Key Vault Crypto Officer",
        ),
        (
            403,
            "Forbidden",
            "ForbiddenByPolicy",
            "does not have keys purge permission",
            "access policy",
        ),
        (403, "Forbidden", "ForbiddenByFirewall", "Client address is not authorized", "firewall"),
        (
            403,
            "Forbidden",
            "ForbiddenByConnection",
            "Connection is not an approved private link",
            "private endpoint is reached",
        ),
        (
            403,
            "Forbidden",
            None,
            'Operation "purge" is not allowed because purge protection is enabled',
            "purge off",
        ),
        (
            403,
            "Forbidden",
            None,
            "Operation sign is not permitted on this key.",
            "role for this action",
        ),
        (
            409,
            "Conflict",
            "ObjectIsDeletedButRecoverable",
            "deleted but recoverable state",
            "Recover the deleted key",
        ),
        (
            409,
            "Conflict",
            "ObjectIsBeingDeleted",
            "is currently being deleted",
            "Wait until the deletion",
        ),
        (429, "Throttled", None, "too many requests", "throttle_timeout"),
        (400, "BadParameter", None, "Unsupported key operation(s)", "what Azure names"),
        (418, "Teapot", None, "short and stout", "Run again later"),
    ],
)
def test_answers_in_words(
    status: int, code: str, inner: str | None, message: str, says: str
) -> None:
    error = explain(answer(status, code, inner, message), "Importing the key x into the vault y")
    first_line = message.splitlines()[0].rstrip(".")
    assert str(error).startswith(
        f"Importing the key x into the vault y failed: Azure answered {status} ({inner or code}): "
    )
    assert first_line in str(error)
    assert says in str(error)
    assert "\n" not in str(error)
    assert "appid" not in str(error)
    assert (error.status, error.code) == (status, inner or code)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            "Authentication failed: AADSTS7000215: Invalid client secret provided.",
            "the secret's value",
        ),
        (
            "Authentication failed: AADSTS7000222: The provided client secret keys are expired.",
            "has expired",
        ),
        ("Please run 'az login' to set up an account", "log in again"),
    ],
)
def test_no_token_in_words(message: str, says: str) -> None:
    assert says in str(explain(ClientAuthenticationError(message=message), "Reading"))


def test_who_has_no_credential_at_all_hears_what_makes_one() -> None:
    error = explain(CredentialUnavailableError(message="Azure CLI not found on path"), "Reading")
    assert "AZURE_TENANT, AZURE_CLIENT_ID, AZURE_SECRET" in str(error)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "HTTPSConnectionPool(host='x'): "
            "Max retries exceeded (Caused by NameResolutionError('x'))",
            "could not be resolved",
        ),
        (
            "(Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')))",
            "is not trusted here",
        ),
        (
            "('Unable to connect to proxy', "
            "OSError('Tunnel connection failed: 403 This is the lab'))",
            "(403 This is the lab)",
        ),
        (
            "(Caused by NewConnectionError('Failed to establish a new connection: refused'))",
            "no connection could be made",
        ),
        ("('Connection aborted.', RemoteDisconnected())", "the connection broke"),
    ],
)
def test_no_answer_in_words(text: str, says: str) -> None:
    error = explain(ServiceRequestError(text), "Reading the key x in the vault y")
    assert says in str(error)
    assert isinstance(error, VaultUnavailable)


@pytest.mark.parametrize(
    ("status", "stops"),
    [(401, True), (429, True), (503, True), (403, False), (404, False), (400, False)],
)
def test_which_answers_are_the_vault_s_and_not_the_key_s(status: int, stops: bool) -> None:
    assert (
        isinstance(explain(answer(status, "Code", None, "text"), "Reading"), VaultUnavailable)
        == stops
    )


@pytest.mark.parametrize(
    ("code", "stops"),
    [("ForbiddenByFirewall", True), ("ForbiddenByConnection", True), ("ForbiddenByRbac", False)],
)
def test_who_is_not_let_through_has_no_key_to_go_on_with(code: str, stops: bool) -> None:
    assert (
        isinstance(explain(answer(403, "Forbidden", code, "text"), "Reading"), VaultUnavailable)
        == stops
    )


HSM_ROLE = (
    "Managed HSM Crypto User, and for deleted keys one of your own with "
    "keys/deletedKeys/read/action"
)


@pytest.mark.parametrize(
    ("managed_hsm", "inner", "message", "says"),
    [
        (True, None, "Caller is not authorized", HSM_ROLE),
        (True, "ForbiddenByRbac", "no", HSM_ROLE),
        (True, None, "because purge protection is enabled", "purge off"),
        (True, "ForbiddenByFirewall", "Client address", "vault's firewall"),
        (False, None, "no", "role for this action"),
        (False, "ForbiddenByRbac", "no", "Key Vault Crypto Officer"),
    ],
)
def test_a_managed_hsm_has_roles_of_its_own(
    managed_hsm: bool, inner: str | None, message: str, says: str
) -> None:
    error = answer(403, "Forbidden", inner, message)
    error.response = SimpleNamespace(headers={"x-ms-request-id": "request-1"})
    sentence = str(explain(error, "Reading the key x", managed_hsm=managed_hsm))
    assert says in sentence
    assert "request request-1" in sentence
    assert ("Managed HSM" in sentence) == (says == HSM_ROLE)


@pytest.mark.parametrize(
    ("action", "role"),
    [
        ("keys/create", "Managed HSM Crypto User"),
        ("keys/deletedKeys/delete", "Managed HSM Crypto Officer"),
        ("keys/unheard/of", None),
    ],
)
def test_a_managed_hsm_says_which_action_is_missing(action: str, role: str | None) -> None:
    """The text is of azure-cli's issue 32719."""
    data_action = f"Microsoft.KeyVault/managedHsm/{action}"
    message = f"Not authorized to access {data_action} on '/keys' (Activity ID: 1-2)"
    error = explain(answer(403, "AccessDenied", None, message), "Making", managed_hsm=True)
    assert f"a local role with {data_action} on /keys" in error.remedy
    assert ("Managed HSM" in error.remedy) == bool(role)
    assert (role or "") in error.remedy
    assert error.reason == "forbidden"


def test_only_a_package_is_wrapped_again() -> None:
    error = explain(answer(400, "BadParameter", None, "Property has an invalid value"), "Reading")
    assert "If that is a key transfer package, wrap the key again" in error.remedy
