# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_vault_info does: report what a vault is, whether it can be reached, and what the
identity may do there.
"""

from __future__ import annotations

import secrets
import typing as t
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import (
    parse_answer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import (
    HOST,
    VAULT,
    WrongClock,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    PermissionFacts,
    VaultInfo,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import (
    Address,
    refuse_type,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.all_keys import list_all_keys
from ansible_collections.keyferry.azure.plugins.module_utils._vault.attestation import (
    fetch_attestation,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.client import (
    Vault,
    is_about_token,
    open_vault,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.deletion import can_be_purged
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    NOT_LET_THROUGH,
    AzureError,
    OddAnswer,
    VaultUnavailable,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.permissions import (
    BRINGING,
    CRYPTO_OFFICER,
    IN_WORDS,
    PERMISSIONS,
    WITHOUT,
    Need,
    needed_operations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.versions import (
    days,
    identified,
)

_NO_VERSION = "0" * 32
_NO_KEY_TYPE = "keyferry-probe"

#: Base64url of as many bytes as the operation takes
_DIGEST_OF_32_BYTES = "A" * 43
_CIPHERTEXT_OF_256_BYTES = "A" * 342

#: operation -> a request for it that changes nothing even where it is allowed: of a key that is not
#: there, or for one of a type that does not exist
_PROBES: t.Mapping[str, tuple[str, str, t.Any]] = {
    "list": ("GET", "/keys?maxresults=25", None),
    "get": ("GET", "/keys/{name}", None),
    "create": ("POST", "/keys/{name}/create", {"kty": _NO_KEY_TYPE}),
    "import": ("PUT", "/keys/{name}", {"key": {"kty": _NO_KEY_TYPE}}),
    "update": ("PATCH", f"/keys/{{name}}/{_NO_VERSION}", {"attributes": {}}),
    "delete": ("DELETE", "/keys/{name}", None),
    "get_deleted": ("GET", "/deletedkeys/{name}", None),
    "recover": ("POST", "/deletedkeys/{name}/recover", None),
    "purge": ("DELETE", "/deletedkeys/{name}", None),
    "get_policy": ("GET", "/keys/{name}/rotationpolicy", None),
    "set_policy": ("PUT", "/keys/{name}/rotationpolicy", {"lifetimeActions": [], "attributes": {}}),
    "sign": (
        "POST",
        f"/keys/{{name}}/{_NO_VERSION}/sign",
        {"alg": "RS256", "value": _DIGEST_OF_32_BYTES},
    ),
    "decrypt": (
        "POST",
        f"/keys/{{name}}/{_NO_VERSION}/decrypt",
        {"alg": "RSA-OAEP-256", "value": _CIPHERTEXT_OF_256_BYTES},
    ),
    "unwrapKey": (
        "POST",
        f"/keys/{{name}}/{_NO_VERSION}/unwrapkey",
        {"alg": "RSA-OAEP-256", "value": _CIPHERTEXT_OF_256_BYTES},
    ),
}

#: What az is asked for
_RETENTION_QUERY = "{purge_protection: enablePurgeProtection, days: softDeleteRetentionInDays}"

#: Seconds; Entra ID takes certificates and federated tokens of a clock that is wrong by five
#: minutes
_MOST_SKEW = 300


@dataclass(frozen=True)
class _Answer:
    """What a probe showed.

    :ivar granted: None where the answer does not tell
    :ivar words: Azure's
    :ivar code: Azure's, where it did not carry out what was asked, and so ``status``
    :ivar carried_out: whether Azure did it, which only a list is meant for
    :ivar listed: the names and attributes of the keys of a list
    """

    granted: bool | None
    words: str
    code: str | None = None
    status: int | None = None
    carried_out: bool = False
    listed: t.Sequence[t.Mapping[str, t.Any]] = ()


@dataclass
class _Findings:
    """What is found on the way to the result.

    :ivar answers: by operation; of those that were not asked for because of ``stopped`` there is
        none
    :ivar stopped: why the vault does not serve this run
    """

    answers: dict[str, _Answer] = field(default_factory=dict)
    stopped: AzureError | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def vault_info(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Look at the vault and change nothing, not even in normal mode.

    :raises ByokError: when the options name no vault or credential, or its keys must be listed and
        cannot be; declared keys that the vault cannot take are in the outcome's failures, and all
        else that is wrong is in the result
    """
    vault = open_vault(params, outcome.warnings.append)
    declarations = _declared(vault, params["declarations"] or [], outcome)
    work = params["work"]
    needs = needed_operations(work, params["ephemeral_kek"], declarations, params["prove"])
    findings = _Findings()
    _probe_all(vault, needs, findings)
    _judge_permissions(vault, needs, findings)
    clock = _clock(vault, findings)
    attributes = _key_attributes(vault.address, findings)
    recovery_level = attributes.get("recoveryLevel")
    purge_protection = None if recovery_level is None else not can_be_purged(recovery_level)
    retention = attributes.get("recoverableDays")
    owner_roots = _owner_roots(vault, findings)
    if purge_protection:
        _judge_purge_protection(vault, work, params["ephemeral_kek"], retention, findings)
    required = (operation for operation, need in needs.items() if need.must)
    described = VaultInfo(
        url=vault.address.url,
        name=vault.address.name,
        kind=_kind(vault.address, findings),
        **_reach(vault.address, findings),
        recovery_level=recovery_level,
        purge_protection=purge_protection,
        retention_days=retention,
        clock=clock,
        permissions=tuple(
            _permission(vault.address, *need, findings.answers) for need in needs.items()
        ),
        missing=tuple(operation for operation in required if _refused(operation, findings)),
        problems=tuple(map(printable, findings.problems)),
        notes=tuple(map(printable, findings.notes)),
        owner_roots=owner_roots,
    )
    outcome.result["vault"] = described.to_dict()
    outcome.warnings += findings.problems
    outcome.result["vault_keys"] = list_all_keys(vault, outcome) if params["list_keys"] else None


def _declared(
    vault: Vault, items: list[t.Mapping[str, t.Any]], outcome: Outcome
) -> list[Declaration]:
    """Return the declared keys that this kind of vault can take; the others fail."""
    check_unique(item["name"] for item in items)
    declarations = []
    for item in items:
        try:
            declaration = parse_declaration(item)
            refuse_type(vault.address, declaration)
        except ByokError as error:
            outcome.failures.add(item["name"], error)
        else:
            declarations.append(declaration)
    return declarations


def _probe_all(vault: Vault, needs: t.Iterable[str], findings: _Findings) -> None:
    """Try the needed operations, and list the keys, until the vault does not serve this run.

    :param needs: operations
    """
    name = f"keyferry-probe-{secrets.token_hex(8)}"  # of 2**64 names, so nobody has it
    # The list comes first and always: what it holds tells of the vault itself.
    for operation in ("list", *(need for need in needs if need != "list")):
        try:
            answer = findings.answers[operation] = _probe(vault, operation, name)
        except AzureError as error:
            findings.stopped = error
            findings.problems.append(str(error))
            return
        if answer.carried_out and operation != "list":
            findings.problems.append(
                f"The {vault} accepted a request that must fail ({operation}). Look there for a "
                f"key {name}, and delete it."
            )


def _probe(vault: Vault, operation: str, name: str) -> _Answer:
    """Try an operation in a way that cannot succeed.

    :raises AzureError: when the vault does not serve this run, whatever is asked of it
    """
    method, path, body = _PROBES[operation]

    def send(**options: t.Any) -> t.Any:
        response = vault.request(method, path.format(name=name), body, **options)
        return _read_list(vault, response.json()["value"]) if operation == "list" else []

    try:
        listed = vault.read(f"Trying to {PERMISSIONS[operation].does} in the {vault}", send)
    except AzureError as error:
        if isinstance(error, VaultUnavailable):
            raise
        granted = _granted(error) if operation != "list" or error.status == 403 else None
        return _Answer(
            granted, error.what.partition(" failed: ")[2] or error.what, error.code, error.status
        )
    return _Answer(True, "Azure did it", carried_out=True, listed=listed)


def _read_list(vault: Vault, items: t.Any) -> list[t.Mapping[str, t.Any]]:
    """Return names and attributes of the keys that a list has, as far as this module looks at them.

    :raises OddAnswer: when it is no list of keys of this vault
    """
    if not isinstance(items, list):
        raise OddAnswer("it is no list of keys")
    read: list[t.Mapping[str, t.Any]] = []
    for item in items:
        attributes = item.get("attributes") if isinstance(item, dict) else None
        if not isinstance(attributes, dict):
            raise OddAnswer("one of its keys has no attributes")
        name, _version = identified(vault, item.get("kid"), None)
        level = attributes.get("recoveryLevel")
        platform = attributes.get("hsmPlatform", "0")
        read.append(
            {
                "name": name,
                "recoveryLevel": level if isinstance(level, str) else None,
                "recoverableDays": days(attributes.get("recoverableDays")),
                "in_hsm": isinstance(platform, str) and platform != "0",
            }
        )
    return read


def _granted(error: AzureError) -> bool | None:
    """Return what an answer tells of the permission.

    That there is no such key, the vault says to nobody who may not ask (recorded: 403 comes first).
    A 400 shows that the request was bad; whether the permission was looked at before is not known.
    """
    if error.status == 403:
        return None if "purge protection" in error.what.lower() else False
    return True if error.status in (404, 409) else None


def _refused(operation: str, findings: _Findings) -> bool:
    return operation in findings.answers and findings.answers[operation].granted is False


def _judge_permissions(vault: Vault, needs: t.Mapping[str, Need], findings: _Findings) -> None:
    """Say which permissions are missing, in one sentence for each role, and which are not known.

    :param needs: by operation
    """
    refused: dict[tuple[str, str | None], list[str]] = {}
    unknown: dict[int | None, tuple[list[str], str]] = {}  # by status: tried, and an answer
    for operation, need in needs.items():
        answer, does = findings.answers.get(operation), PERMISSIONS[operation].does
        if answer is None or answer.granted:
            continue
        if answer.granted is None and operation == "list":  # the one probe that is in order
            findings.problems.append(
                f"The {vault} does not carry out a request that is in order, so what it answers to "
                f"others tells nothing: {answer.words}."
            )
        elif answer.granted is None:
            unknown.setdefault(answer.status, ([], answer.words))[0].append(does)
        elif need.must:
            refused.setdefault((_role(vault.address, operation), answer.code), []).append(operation)
        else:
            without = "; ".join(dict.fromkeys(WITHOUT[operation][kind] for kind in need.work))
            findings.notes.append(
                f"The identity may not {does}, and the work continues without: {without}."
            )
    for tried, words in unknown.values():
        findings.notes.append(f"Whether the identity may {', '.join(tried)} is not known: {words}.")
    for (role, code), operations in refused.items():
        does = ", ".join(PERMISSIONS[operation].does for operation in operations)
        kinds: dict[str, None] = {}  # in the order of the operations
        for operation in operations:
            kinds.update(dict.fromkeys(needs[operation].must))
        work = ", ".join(IN_WORDS.get(kind, kind) for kind in kinds)
        findings.problems.append(
            f"In the {vault} the identity may not {does}. It is needed to {work}. "
            f"{_remedy(role, code, operations)}."
        )


def _role(address: Address, operation: str) -> str:
    return PERMISSIONS[operation].hsm_role if address.managed_hsm else CRYPTO_OFFICER


def _remedy(role: str, code: str | None, operations: t.Iterable[str]) -> str:
    if code == "ForbiddenByPolicy":
        names = dict.fromkeys(PERMISSIONS[operation].access_policy for operation in operations)
        return f"Add to its access policy the key permissions {', '.join(names)}"
    return (
        f"Give it the role {role}, or one of your own with the data actions in the result; a new "
        "assignment takes some minutes"
    )


def _clock(vault: Vault, findings: _Findings) -> dict[str, t.Any] | None:
    """Return what time it is for runs with this vault, and who says so; None where it did not just
    answer.
    """
    if findings.stopped and findings.stopped.status is None:
        return None
    now = vault.clock.look()
    ahead = round(now.difference.total_seconds())  # Date has whole seconds
    try:
        vault.clock.now(str(vault))
    except WrongClock as error:
        findings.problems.append(str(error))
    else:
        if abs(ahead) > _MOST_SKEW:
            whose = "the vault's" if now.source == VAULT else "Entra ID's"
            direction = "behind" if ahead > 0 else "ahead of"
            findings.problems.append(
                f"This host's clock is {abs(ahead)} seconds {direction} {whose}. Set it, as Entra "
                "ID refuses what is signed by a wrong clock, and the times in receipts would be "
                "wrong."
            )
    if now.source == HOST:
        findings.notes.append(
            f"Neither the {vault} nor Entra ID sent a Date, so this host's clock decides what is "
            "due. Keep it right (NTP)."
        )
    return {"source": now.source, "time": format_moment(now.time), "difference": ahead}


def _listed(findings: _Findings) -> t.Sequence[t.Mapping[str, t.Any]]:
    return findings.answers["list"].listed if "list" in findings.answers else ()


def _key_attributes(address: Address, findings: _Findings) -> t.Mapping[str, t.Any]:
    """Return the attributes of any key: each has the vault's recovery level and retention."""
    items = _listed(findings)
    if "list" in findings.answers and not items:
        reason = "there is no key to read them from"
        if _refused("list", findings):
            reason = "keys cannot be listed"
        command = _az(address, _RETENTION_QUERY)
        findings.notes.append(
            f"Recovery level, purge protection and retention are not known, as {reason}. "
            f"{command} shows them."
        )
    return items[0] if items else {}


def _owner_roots(vault: Vault, findings: _Findings) -> tuple[str, ...]:
    """Return the SHA-256 of what may be the owner's root of a Managed HSM, for people to compare.

    Its hardware shows the root with what it states of a key, and any key will do.
    """
    unknown = "The root certificate of the Managed HSM's owner is not known"
    if not vault.address.managed_hsm or findings.stopped or "list" not in findings.answers:
        return ()
    name = next((item["name"] for item in _listed(findings)), None)
    if name is None:
        why = "keys cannot be listed" if _refused("list", findings) else "there is no key to ask of"
        findings.notes.append(f"{unknown}, as {why}. byok_kek makes a key and shows the root.")
        return ()
    refusals: list[str] = []
    attestation = fetch_attestation(vault, name, "", refusals.append)
    if attestation is None:
        refused = refusals or ["this api-version does not offer attestations"]
        findings.notes.append(f"{unknown}: {refused[0].rstrip('.')}.")
        return ()
    try:
        return parse_answer(attestation).shown_roots
    except ByokError as error:
        findings.notes.append(f"{unknown}: {error}")
        return ()


def _kind(address: Address, findings: _Findings) -> str:
    """Return ``managed_hsm``, ``premium`` or ``unknown``."""
    if address.managed_hsm:
        return "managed_hsm"
    if any(item["in_hsm"] for item in _listed(findings)):
        return "premium"
    if "list" in findings.answers:
        findings.notes.append(
            "No key that was looked at is protected by an HSM, so nothing shows that this is a "
            "Premium vault, which alone takes keys by import into an HSM. "
            f"{_az(address, 'sku.name')} shows it."
        )
    return "unknown"


def _az(address: Address, query: str) -> str:
    option = "--hsm-name" if address.managed_hsm else "--name"
    return f'az keyvault show {option} {address.name} --query "properties.{query}"'


def _reach(address: Address, findings: _Findings) -> dict[str, t.Any]:
    """Return ``reachable``, ``firewall`` and ``authenticated`` of VaultInfo."""
    error = findings.stopped
    if error and error.code in NOT_LET_THROUGH:
        return {"reachable": True, "firewall": "refused", "authenticated": True}
    if error is None or findings.answers:
        return {"reachable": True, "firewall": "open", "authenticated": True}
    # A token is asked for only when the vault has said for what.
    no_token = error.status is None and _is_about_token(error.__cause__, address.login_host)
    reachable = error.status is not None or no_token
    return {
        "reachable": reachable,
        "firewall": "unknown",
        "authenticated": False if no_token or error.status == 401 else None,
    }


def _is_about_token(cause: BaseException | None, login_host: str) -> bool:
    return is_about_token(cause) or login_host in str(cause)


def _judge_purge_protection(
    vault: Vault,
    work: t.Collection[str],
    ephemeral_kek: bool,
    retention: int | None,
    findings: _Findings,
) -> None:
    """Say what purge protection means for the kinds of work.

    :param ephemeral_kek: whether each run makes its KEK and deletes it
    :param retention: days, where they are known
    """
    days = f"{retention} days" if retention else "the vault's retention"
    if "purge" in work:
        findings.problems.append(
            f"Nobody can purge keys in the {vault}: it has purge protection. Do not purge; Azure "
            f"removes a deleted key after {days}."
        )
    # A run deletes its KEK also where it may not purge it
    if "purge_keks" in work or (ephemeral_kek and any(kind in BRINGING for kind in work)):
        findings.notes.append(
            f"The KEK of each run stays there as a deleted key for {days}, as the vault has purge "
            "protection."
        )


def _permission(
    address: Address, operation: str, need: Need, answers: t.Mapping[str, _Answer]
) -> PermissionFacts:
    """Return what is known of one permission.

    :param answers: by operation
    """
    permission, answer = PERMISSIONS[operation], answers.get(operation)
    return PermissionFacts(
        operation=operation,
        granted=answer.granted if answer else None,
        needed_for=tuple(need.work),
        required=bool(need.must),
        access_policy=None if address.managed_hsm else permission.access_policy,
        rbac_action=permission.hsm_action if address.managed_hsm else permission.rbac_action,
        role=_role(address, operation),
        answer=answer.words if answer else None,
    )
