# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that name a vault and a credential."""

from __future__ import annotations


class ModuleDocFragment:
    """Vault options; private to the collection."""

    DOCUMENTATION = r"""
options:
  vault_url:
    description: URL of the Key Vault Premium or Managed HSM, such as
      V(https://contoso.vault.azure.net).
    type: str
    aliases: [keyvault_uri]
  auth_source:
    description:
      - Where the credential comes from.
      - V(auto) uses O(secret) or O(secret_file), O(x509_certificate_path) or
        O(federated_token_file), the first that is given together with O(tenant) and O(client_id),
        and else the az CLI.
      - V(env) does the same without the az CLI. V(workload_identity) uses O(federated_token_file)
        only. V(msi) uses a managed identity, that of O(client_id) if given. V(cli) uses the az CLI.
      - If not given, the environment variable E(ANSIBLE_AZURE_AUTH_SOURCE) is used.
    type: str
    choices: [auto, cli, env, msi, workload_identity]
    default: auto
  client_id:
    description:
      - Client id of the service principal or managed identity.
      - If not given, the environment variable E(AZURE_CLIENT_ID) is used.
    type: str
  secret:
    description:
      - Client secret of the service principal.
      - Prefer O(secret_file) or the environment. Without pipelining, Ansible writes the options of
        a module to a file below C(~/.ansible/tmp) on its host and removes it afterwards. If the
        run is killed (SIGKILL), the file stays. E(ANSIBLE_DEBUG) prints the options, too.
      - If not given, the environment variables E(AZURE_SECRET) and E(AZURE_CLIENT_SECRET) are used.
    type: str
  secret_file:
    description:
      - Path of a file on the host where the module runs that holds the client secret of the
        service principal.
      - If not given, the environment variable E(BYOK_SECRET_FILE) is used. O(secret) and its
        environment variables come first.
    type: path
  tenant:
    description:
      - Tenant of the service principal, by its id or by one of its domains.
      - If not given, the environment variables E(AZURE_TENANT) and E(AZURE_TENANT_ID) are used.
    type: str
  x509_certificate_path:
    description:
      - Path of a PEM file with the certificate and private key of the service principal.
      - If not given, the environment variables E(AZURE_X509_CERTIFICATE_PATH) and
        E(AZURE_CLIENT_CERTIFICATE_PATH) are used.
    type: path
  federated_token_file:
    description:
      - Path of a file with the token that a workload identity exchanges.
      - If not given, the environment variable E(AZURE_FEDERATED_TOKEN_FILE) is used.
    type: path
  cloud_environment:
    description:
      - The cloud of the vault. Declare a cloud that is not listed with O(cloud).
      - V(AzureBleuCloud) is the French cloud of Bleu, and V(AzureDelosCloud) the German cloud of
        Delos. Nobody has tried the module in these two.
      - If not given, the environment variable E(AZURE_CLOUD_ENVIRONMENT) is used.
    type: str
    choices: [AzureCloud, AzureChinaCloud, AzureUSGovernment, AzureBleuCloud, AzureDelosCloud]
    default: AzureCloud
  cloud:
    description:
      - A cloud that O(cloud_environment) does not list. It replaces O(cloud_environment).
      - Whoever sets it decides where the credential and the keys go.
    type: dict
    suboptions:
      vault_suffix:
        description: Domain of the vaults, such as V(vault.azure.net).
        type: str
        required: true
      hsm_suffix:
        description: Domain of the Managed HSMs, such as V(managedhsm.azure.net), if the cloud has
          any.
        type: str
      login_host:
        description: Host that gives tokens, such as V(login.microsoftonline.com).
        type: str
        required: true
      resource:
        description:
          - What tokens are for, if it is not the domain of the vault, such as
            V(https://vault.azure.net).
          - If given, the module requests tokens for this resource only.
        type: str
  api_version:
    description:
      - Version of the API of Key Vault, such as V(7.6) or V(2025-07-01). If not given, that of the
        installed C(azure-keyvault-keys).
      - Clouds can lag behind. If the vault does not know the version and names its latest one, the
        module continues with that version and warns.
    type: str
  settle_time:
    description:
      - Seconds after which a request without an answer counts as not carried out, if reading back
        does not show it.
      - A request that timed out can commit late, and a repeated import makes a second version,
        which cannot be deleted.
      - In a Managed HSM with several regions, it takes up to 6 minutes until a write is seen in all
        of them. If requests of this host can reach more than one region, set V(420).
    type: int
    default: 60
  throttle_timeout:
    description: Seconds that one request may wait in all while the vault, or Entra ID before it
      gives a token, throttles requests (429).
    type: int
    default: 120
  concurrency:
    description:
      - How many requests a module sends at a time, 1 to 64. When the vault throttles requests
        (429), the module halves the number and then slowly raises it again.
    type: int
    default: 8
  max_rate:
    description: How many requests a module sends per second at most. If not given, as many as the
      vault accepts.
    type: float
"""
