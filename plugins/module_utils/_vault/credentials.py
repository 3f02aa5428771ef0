# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Credentials for Azure: options first, then the environment in both spellings, then the az CLI."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import ENTRA, Clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import Cloud
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    WAYS,
    NoToken,
    OddAnswer,
    wrong_tenant,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.transport import (
    login_transport,
)

#: A tenant's id; it may be named by one of its domains as well
_TENANT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

#: Options by which a service principal shows who it is
_SHOWN = ("secret", "secret_file", "x509_certificate_path", "federated_token_file")


class Credential:
    """A credential of azure-identity, as the client of a vault asks it for tokens.

    The client names the resource and the tenant that the vault has named.

    :ivar source: of azure-identity
    """

    def __init__(self, source: t.Any, tenant: str | None, resource: str | None) -> None:
        """Take a credential.

        :param tenant: the credential's own, by its id or one of its domains; None where it has the
            tenant that it is asked for, or one that is not known
        :param resource: that tokens are for; None for any
        """
        self.source = source
        self._tenant, self._resource = tenant, resource

    def get_token_info(self, *scopes: str, options: t.Mapping[str, t.Any] | None = None) -> t.Any:
        """Return a token, as azure-core's protocol SupportsTokenInfo wants it.

        :raises NoToken: for another tenant or resource than the credential is for, and for a file
            of it that cannot be read
        """
        asked = dict(options or {})
        if self._resource and scopes != (f"{self._resource}/.default",):
            raise NoToken(
                f"the vault wants a token for {', '.join(scopes).removesuffix('/.default')}, and "
                f"cloud declares the resource {self._resource}",
                "Correct resource of cloud if the vault is right",
            )
        if self._tenant:
            # Not by azure-identity, which knows a tenant by one spelling only. Where it is named by
            # a domain, the vault finds out whether it is the right one.
            of_vault = asked.pop("tenant_id", None) or ""
            both_known = _TENANT_ID.fullmatch(of_vault) and _TENANT_ID.fullmatch(self._tenant)
            if both_known and of_vault.lower() != self._tenant.lower():
                raise wrong_tenant(of_vault, self._tenant)
        try:
            return self.source.get_token_info(*scopes, options=asked)
        except Exception as error:
            told = _no_token(error)
            if told is None:
                raise
            raise told from None


def _no_token(error: Exception) -> NoToken | None:
    """Return what is told of an error that is not azure-identity's own; None for its own."""
    for each in (error, error.__cause__):  # it puts an error of its own around others
        if isinstance(each, NoToken):
            return each
        if isinstance(each, OddAnswer):
            return NoToken(
                f"the answer of Entra ID cannot be read ({each})",
                "Find out what is between this host and Entra ID",
            )
    if isinstance(error, OSError | UnicodeDecodeError):
        return NoToken(
            f"the credential's file cannot be read ({error})",
            "Correct federated_token_file, and ensure that the user who runs the module can read "
            "it",
        )
    return None


def make_credential(
    options: t.Mapping[str, t.Any], cloud: Cloud, clock: Clock | None = None
) -> Credential:
    """Return a credential for the module's options.

    :param options: VAULT_OPTIONS of ``_ansible/arguments.py``
    :param cloud: of the vault
    :param clock: hears the Date of Entra ID's answers; where az or a managed identity fetches the
        token, there is none
    :raises ByokError: when the options do not make one, or azure-identity is missing
    """
    try:
        from azure import identity
    except ImportError as error:
        raise MissingLibrary("azure-identity", error) from error
    if options["auth_source"] == "msi":
        source, tenant = identity.ManagedIdentityCredential(client_id=options["client_id"]), None
    else:
        source, tenant = _login(identity, options, cloud, clock or Clock()), options["tenant"]
    return Credential(source, tenant, cloud.resource)


def _login(identity: t.Any, options: t.Mapping[str, t.Any], cloud: Cloud, clock: Clock) -> t.Any:
    """Return the credential of a service principal, or that of the az CLI.

    :param identity: the package azure.identity
    :raises ByokError: when the options do not make one
    """
    source = options["auth_source"]
    if source != "cli":
        try:
            credential = _service_principal(identity, options, cloud, clock)
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
    identity: t.Any, options: t.Mapping[str, t.Any], cloud: Cloud, clock: Clock
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
    more = {
        "authority": cloud.login_host,
        "raw_response_hook": note,
        "transport": login_transport(options["throttle_timeout"]),
    }
    if not cloud.known_to_clients:  # else MSAL asks Microsoft's public cloud about the login host
        more["disable_instance_discovery"] = True
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
