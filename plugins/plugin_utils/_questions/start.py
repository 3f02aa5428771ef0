# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Questions with which a run starts: what is declared and asked for, and under which KEK."""

from __future__ import annotations

import base64
import os
import typing as t
from collections.abc import Mapping

from ansible_collections.keyferry.azure.plugins.module_utils._attestation.kek_policy import (
    policy_for,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import names
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    DeclarationError,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.hsm_config import (
    is_only_ours,
    parse_hsm_config,
    transfer_variables,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import in_vault
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    DEMANDS,
    ROLE,
    KekRules,
    UntrustedKek,
    judge,
    refuse_kek_of_other_vault,
    refuse_making_untrusted,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import decode_text
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Request,
    Result,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.keys import declared_keys
from ansible_collections.keyferry.azure.plugins.plugin_utils._questions.run import (
    MAKING,
    Kept,
    keep,
    of_a_run,
    refuse,
)

#: Jobs that replace what is due, or show when that is
_ROTATING = ("rotate", "prepare", "show")


def _begin(request: Mapping[str, t.Any], job: str, looks_only: bool = False) -> Kept:
    """Begin a run: check what is declared and what was asked for, before anything is touched."""
    try:
        return keep(_transfer(request, job, looks_only))
    except DeclarationError as error:
        return refuse(error.problems, request["vault_url"])
    except ByokError as error:
        return refuse([str(error)], request["vault_url"])


def _transfer(request: Mapping[str, t.Any], job: str, looks_only: bool) -> Transfer:
    """Return the run that was asked for.

    :raises DeclarationError: for keys that cannot be declared so
    :raises ByokError: for what cannot be asked for
    """
    keys = declared_keys(request["keys"], request["key_defaults"])
    rotates = request["plan_rotates"] if job == "plan" else job in _ROTATING
    force = names(request["force"], "byok_force")
    if force and not rotates and job != "retire":  # which people run together with a rotation
        raise ByokError(
            f"byok_force names {', '.join(force)}, and this run replaces no keys",
            "Run keyferry.azure.rotate or prepare, or leave byok_force out. For a plan of a "
            "rotation, set byok_plan_rotates: true",
        )
    escrow_directory = _escrow_directory(request) if job in MAKING else None
    confirmed = in_vault(names(request["confirm"], "byok_confirm"), request["vault_url"])
    wanted = Request(
        job=t.cast(t.Any, job),
        vault_url=request["vault_url"],
        looks_only=looks_only,
        rotates=rotates,
        force=tuple(force),
        held_back=tuple(request["held_back"]),
        prove=bool(request["prove"]),
        batch_size=int(request["batch_size"]),
        package_paths=request["package_paths"] or {},
        escrow_directory=escrow_directory,
        confirmations=confirmed,
    )
    return Transfer.begin(wanted, keys)


def _escrow_directory(request: Mapping[str, t.Any]) -> str | None:
    """Return where escrow packages go; None where no escrow is wanted.

    :raises ByokError: when escrow is declared by half
    """
    if not request["escrow_public_key"]:
        return None
    if not (request["escrow_fingerprint"] and request["escrow_directory"]):
        raise ByokError(
            "byok_escrow_public_key is set, and byok_escrow_fingerprint or byok_escrow_directory "
            "is not",
            "Set the fingerprint to the SHA-256 that somebody read at the escrow HSM, and the "
            f"directory to where the escrow packages go on {request['token_host']}",
        )
    return str(request["escrow_directory"])


def _kek_rules(rules: Mapping[str, t.Any], vault_url: str) -> KekRules:
    hardware = policy_for(vault_url, rules["owner_roots"], rules["maker_roots"], host_clock())
    demanded = names(rules["demanded"], "byok_kek_trust")
    unknown = sorted(set(demanded) - set(DEMANDS))
    if unknown:
        raise ByokError(
            f"byok_kek_trust demands {', '.join(unknown)}",
            f"Choose from {', '.join(DEMANDS)}",
        )
    approved = names(rules["approved"], "byok_approved_keks")
    return KekRules(
        approved,
        rules["allow_unverified"],
        ROLE,
        hardware=hardware,
        demanded=tuple(demanded),
    )


def _no_kek(rules: Mapping[str, t.Any], vault_url: str, ephemeral: bool, named: str | None) -> str:
    """Return why a run has no KEK under which it could wrap; empty if it has one.

    :param ephemeral: the run makes its own
    :param named: identifier or name of a KEK that stays
    """
    try:
        if ephemeral:
            refuse_making_untrusted(_kek_rules(rules, vault_url), rules["azure_host_trusted"])
        elif not named:
            raise UntrustedKek(
                f"No KEK is approved for {vault_url} yet, so nothing was made or wrapped",
                "Make a KEK that stays, let a second person compare its fingerprint with the "
                "vault, and set byok_kek_id and byok_approved_keks (docs/gitops.md has the steps). "
                "Or set byok_kek_ephemeral to true, so that each run makes its own KEK",
            )
    except ByokError as error:
        return str(error)
    return ""


def _kek_name(prefix: str) -> str:
    """Return a name for this run's KEK, of its time and chance."""
    return f"{prefix}{host_clock():%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"


def _judge_kek(kek: Result, rules: Mapping[str, t.Any], vault_url: str) -> dict[str, t.Any]:
    """Return what byok_wrap is told about the KEK; for one that may not be used, only why."""
    try:
        options = judge(kek, _kek_rules(rules, vault_url), rules["azure_host_trusted"])
        if options.kek_id:
            refuse_kek_of_other_vault(options.kek_id, vault_url)
    except ByokError as error:
        return {"refused": as_set_in_role(str(error))}
    return {"refused": "", **options.to_dict()}


def _hsm_config(
    file: Result,
    pkcs11_library: str | None,
    name: str | None,
    places: t.Sequence[Mapping[str, t.Any]],
    user_id: int,
) -> dict[str, t.Any]:
    """Return what an HsmConfig.ini says; for one that cannot be honoured, only why.

    :param file: as ansible.builtin.slurp returned it
    :param places: the file and its folder, as ansible.builtin.stat described them; none in check
        mode
    """
    try:
        text = decode_text(base64.b64decode(file["content"]), f"The file {file['source']}")
        trusted = is_only_ours(places, user_id)
        config = transfer_variables(parse_hsm_config(text), pkcs11_library, name, trusted=trusted)
    except ByokError as error:
        return {"refused": str(error)}
    return {"refused": "", **config}


def _judge_plan(
    run: Transfer, approvals: t.Sequence[str], least: t.Any, signers: str | None, namespace: str
) -> dict[str, t.Any]:
    """Return who approved the plan of a run, and why it may not act on it; empty if it may.

    :param approvals: signatures
    :param least: how many people have to approve; 0 for none
    :param signers: path of the file of allowed signers on the controller
    """
    # Most runs need no approvals of their plan
    from ansible_collections.keyferry.azure.plugins.module_utils._approval.approvals import (
        Subject,
        count,
    )
    from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import plan_digest
    from ansible_collections.keyferry.azure.plugins.module_utils._host.ssh_signatures import (
        ssh_keygen,
    )

    digest = plan_digest(run.request.vault_url, run.plan)
    people = int(least)
    if digest is None or people < 1:
        return {"refused": "", "approvals": []}
    try:
        if not signers:
            raise ByokError(
                "byok_plan_approvals is set, and byok_plan_allowed_signers is not",
                "Set it to the path of a file of allowed signers on the controller",
            )
        with ssh_keygen(os.path.realpath(signers), namespace, host_clock()) as keygen:
            counted = count(Subject("plan", digest), approvals, namespace, keygen)
        counted.demand(people, f"The plan for {run.request.vault_url}", namespace)
    except ByokError as error:
        return {"refused": as_set_in_role(str(error)), "approvals": []}
    return {"refused": "", "approvals": [counted.approval().to_dict()]}


QUESTIONS: Mapping[str, t.Callable[..., t.Any]] = {
    "hsm_config": _hsm_config,
    "begin": _begin,
    "kek_name": _kek_name,
    "no_kek": _no_kek,
    "judge_kek": _judge_kek,
    "judge_plan": of_a_run(_judge_plan),
}
