# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Credentials for Azure: options first, then the environment in both spellings, then the az CLI."""

from __future__ import annotations

import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import ENTRA, Clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text

#: What makes a credential
WAYS = (
    "Give tenant and client_id with secret_file, x509_certificate_path or federated_token_file "
    "(or AZURE_TENANT, AZURE_CLIENT_ID, AZURE_SECRET in the environment), log in with az and set "
    "auth_source to cli, or set it to msi on a machine with a managed identity"
)

#: Options by which a service principal shows who it is
_SHOWN = ("secret", "secret_file", "x509_certificate_path", "federated_token_file")


def make_credential(
    options: t.Mapping[str, t.Any], login_host: str, clock: Clock | None = None
) -> t.Any:
    """Return a credential of azure-identity for the module's options.

    :param options: VAULT_OPTIONS of ``_ansible/arguments.py``
    :param login_host: of the vault's cloud
    :param clock: hears the Date of Entra ID's answers; where az or a managed identity fetches the
        token, there is none
    :raises ByokError: when the options do not make one, or azure-identity is missing
    """
    try:
        from azure import identity
    except ImportError as error:
        raise MissingLibrary("azure-identity", error) from error
    source = options["auth_source"]
    if source == "msi":
        return identity.ManagedIdentityCredential(client_id=options["client_id"])
    if source != "cli":
        try:
            credential = _service_principal(identity, options, login_host, clock or Clock())
        except (ValueError, OSError) as error:
            raise ByokError(
                f"The credential's options do not fit together ({error})",
                "Correct tenant, client_id and the file that holds the certificate or token",
            ) from None
        if credential:
            return credential
        if source != "auto":
            raise ByokError(f"No credential for auth_source {source} is complete", WAYS)
        _refuse_half(options)
    return identity.AzureCliCredential(tenant_id=options["tenant"] or "")


def _refuse_half(options: t.Mapping[str, t.Any]) -> None:
    """Refuse a service principal of which tenant or client_id is missing.

    The login of az would be used instead, which may be somebody else's.

    :raises ByokError: for one
    """
    given = [option for option in ("tenant", "client_id") if options[option]]
    if len(given) == 1 and any(options[option] for option in _SHOWN):
        missing = "client_id" if given == ["tenant"] else "tenant"
        raise ByokError(f"The credential is not complete: {missing} is not given", WAYS)


def _secret(options: t.Mapping[str, t.Any]) -> str | None:
    """Return the client secret, which an option or a file has; None where there is none.

    :raises ByokError: when the file cannot be read, or is empty
    """
    path = options["secret_file"]
    if options["secret"] or not path:
        return t.cast("str | None", options["secret"])
    secret = (read_text(path) or "").strip()
    if not secret:
        raise ByokError(
            f"There is no client secret in the file {path}, or there is no such file",
            "Correct secret_file",
        )
    return secret


def _service_principal(
    identity: t.Any, options: t.Mapping[str, t.Any], login_host: str, clock: Clock
) -> t.Any:
    """Return the credential of a service principal; None where the options do not make one.

    :param identity: the package azure.identity
    :raises ValueError: by azure-identity, for options that do not fit together
    :raises OSError: when the certificate cannot be read
    """
    tenant, client = options["tenant"], options["client_id"]
    if not (tenant and client):
        return None

    def note(response: t.Any) -> None:
        # POST asks for a token; MSAL's other requests may be answered from a cache
        if response.http_request.method == "POST":
            clock.hear(ENTRA, response.http_response.headers.get("Date"))

    # azure-identity passes these to azure-core's pipeline, whose CustomHookPolicy calls the hook
    more = {"authority": login_host, "raw_response_hook": note}
    if options["auth_source"] != "workload_identity":
        secret = _secret(options)
        if secret:
            return identity.ClientSecretCredential(tenant, client, secret, **more)
        if options["x509_certificate_path"]:
            path = options["x509_certificate_path"]
            return identity.CertificateCredential(tenant, client, path, **more)
    if options["federated_token_file"]:
        path = options["federated_token_file"]
        return identity.WorkloadIdentityCredential(
            tenant_id=tenant, client_id=client, token_file_path=path, **more
        )
    return None
