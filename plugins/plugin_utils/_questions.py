# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""The role's driver of the engine: each question is the input of one of its tasks.

Between tasks the run is a text, because a task that is given large data structures takes longer to
look through them than to do its work.
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import names
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import in_vault
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    ROLE,
    KekRules,
    judge,
    refuse_kek_of_other_vault,
    refuse_making_untrusted,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Batch,
    Item,
    Request,
    Result,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.discovery import discover
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.keys import declared_keys
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.other_vaults import (
    awaited_elsewhere,
    not_in_place,
    not_in_this_run,
    vaults_behind,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.plan_report import (
    summarise,
    to_markdown,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.side_by_side import side_by_side
from ansible_collections.keyferry.azure.plugins.plugin_utils._variables import unknown_variables

Hosts = Iterable[Mapping[str, t.Any]]

#: Jobs that replace what is due, or show when that is
_ROTATING = ("rotate", "prepare", "show")

#: Jobs that make keys; others say what the whole fleet would get
_MAKING = ("transfer", "rotate", "prepare")

#: Ansible would make a dict of a text that is nothing but JSON
_HEAD = "keyferry run "


def answer(
    question: str, value: t.Any, positional: Sequence[t.Any], named: Mapping[str, t.Any]
) -> t.Any:
    """Return the answer to a question.

    :param value: the run as text, or what the question is about
    :raises ByokError: for a question that nobody knows, and for what cannot go on
    """
    for questions, read in ((_ABOUT_A_RUN, _read), (_OTHERS, lambda value: value)):
        if question in questions:
            return questions[question](read(value), *positional, **named)
    raise ByokError(
        f"byok_ask does not know the question {question}",
        f"Ask one of {', '.join(sorted({**_ABOUT_A_RUN, **_OTHERS}))}",
    )


def _write(run: Transfer) -> str:
    return _HEAD + json.dumps(run.to_dict(), separators=(",", ":"))


def _read(text: t.Any) -> Transfer:
    """Return the run that a text keeps.

    :raises ByokError: when it keeps none
    """
    if not isinstance(text, str) or not text.startswith(_HEAD):
        raise ByokError("This run was not begun", "Run the entry points of the role unchanged")
    return _parse(text)


@lru_cache(maxsize=2)  # a task asks more than once, and reading takes longer than answering
def _parse(text: str) -> Transfer:
    return Transfer.from_dict(json.loads(text[len(_HEAD) :]))


def _begin(request: Mapping[str, t.Any], job: str, looks_only: bool = False) -> str:
    """Begin a run: check what is declared and what was asked for, before anything is touched."""
    keys = declared_keys(request["keys"], request["key_defaults"])
    escrow_directory = _escrow_directory(request) if job in _MAKING else None
    confirmed = in_vault(names(request["confirm"], "byok_confirm"), request["vault_url"])
    wanted = Request(
        job=t.cast(t.Any, job),
        looks_only=looks_only,
        rotates=request["plan_rotates"] if job == "plan" else job in _ROTATING,
        force=tuple(names(request["force"], "byok_force")),
        held_back=tuple(request["held_back"]),
        prove=bool(request["prove"]),
        batch_size=int(request["batch_size"]),
        package_paths=request["package_paths"] or {},
        escrow_directory=escrow_directory,
        confirmations=confirmed,
    )
    return _write(Transfer.begin(wanted, keys))


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


def _listing(run: Transfer, path: str | None) -> str:
    """Return the path of the stored listing that a run looks by; empty where it does not."""
    if not (path and run.request.looks_only):
        return ""
    return os.path.normpath(os.path.join(os.path.realpath("."), path))


def _given(options: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the options that are set; ansible-core before 2.19 makes '' of none."""
    return {name: value for name, value in options.items() if value not in (None, "")}


def _planned(
    run: Transfer,
    token: Result,
    plan: Result,
    hosts: Hosts = (),
    host: str = "",
    running: Sequence[str] = (),
) -> str:
    """Take in what both sides said, and refuse to make keys of which this run lacks some hosts."""
    run = run.seen_in_token(token).planned(plan)
    missing = run.to_be_made()
    if missing and run.request.job in _MAKING:
        known = list(hosts)
        # prepare may be limited by a person, but not sliced: other slices are no hosts at all here
        if run.request.job == "prepare":
            running = [each["inventory_hostname"] for each in known]
        run = run.refuse_to_make(not_in_this_run(known, host, missing, running))
    return _write(run)


def _batch(
    run: Transfer, keys: Sequence[str], made: Result | None = None, wrapped: Result | None = None
) -> Batch:
    batch = Batch(run, tuple(keys))
    if made is not None:
        batch = batch.made(made)
    if wrapped is not None:
        batch = batch.wrapped(wrapped)
    return batch


def _imported(
    run: Transfer, keys: Sequence[str], made: Result, wrapped: Result, imported: Result
) -> str:
    return _write(_batch(run, keys, made, wrapped).imported(imported))


def _dicts(shapes: Iterable[Shape]) -> list[dict[str, t.Any]]:
    return [shape.to_dict() for shape in shapes]


def _all_made(run: Transfer, made: Result) -> str:
    return _write(run.all_at_once().made(made).transfer)


def _awaited(run: Transfer, hosts: Hosts, host: str) -> dict[str, str]:
    lockable = run.lockable()
    arrived = {name: held for name, held in run.arrived().items() if name in lockable}
    return awaited_elsewhere(hosts, host, arrived) if arrived else {}


def _retire(run: Transfer, token: Result, data_reencrypted: t.Any) -> list[Item]:
    reencrypted = set(names(data_reencrypted, "byok_data_reencrypted"))
    items = run.seen_in_token(token).in_token()
    return [{**item, "data_reencrypted": item["name"] in reencrypted} for item in items]


def _retired(run: Transfer, token: Result, retired: Result) -> list[str]:
    seen = run.seen_in_token(token).rehearsed(retired)
    return _problems(seen)


def _kept(result: Result) -> dict[str, t.Any]:
    """Return, by names of keys, which older versions stay enabled and why."""
    return {key["name"]: key["kept"] for key in result["rotations"] if key["kept"]}


def _problems(run: Transfer) -> list[str]:
    return [f"{problem.name}: {problem.msg}" for problem in run.problems()]


def _kek_rules(rules: Mapping[str, t.Any]) -> KekRules:
    return KekRules(names(rules["approved"], "byok_approved_keks"), rules["allow_unverified"], ROLE)


def _kek_name(rules: Mapping[str, t.Any], prefix: str) -> str:
    """Return a name for this run's KEK, of its time and chance.

    :raises UntrustedKek: when nobody could trust a KEK that this run makes
    """
    refuse_making_untrusted(_kek_rules(rules), rules["azure_host_trusted"])
    return f"{prefix}{host_clock():%Y%m%d-%H%M%S}-{os.urandom(4).hex()}"


def _judge_kek(kek: Result, rules: Mapping[str, t.Any], vault_url: str) -> dict[str, t.Any]:
    """Return what byok_wrap is told about the KEK.

    :raises UntrustedKek: for a KEK that may not be used
    """
    options = judge(kek, _kek_rules(rules), rules["azure_host_trusted"])
    if options.kek_id:
        refuse_kek_of_other_vault(options.kek_id, vault_url)
    return options.to_dict()


def _named(value: t.Any, variable: str, vault_url: str) -> list[Item]:
    """Return the keys of one vault that a person named by identifiers, for byok_import."""
    identifiers = in_vault(names(value, variable), vault_url)
    return [{"name": name, "confirm": identifier} for name, identifier in identifiers.items()]


def _recover(value: t.Any) -> list[Item]:
    return [{"name": name} for name in dict.fromkeys(names(value, "byok_recover"))]


def _unmanaged(
    plan: Result, kek_prefix: str, kek_name: str | None = None, elsewhere: Sequence[str] = ()
) -> list[Item]:
    """Return the keys of the vault that nobody declared, but for the KEKs of runs."""
    left_out = {kek_name, *elsewhere}
    return [
        key
        for key in plan.get("unmanaged") or []
        if key["name"] not in left_out and not key["name"].lower().startswith(kek_prefix.lower())
    ]


def _discovered(vault_info: Result, *arguments: t.Any, **named: t.Any) -> str:
    if not isinstance(vault_info, Mapping) or vault_info.get("vault_keys") is None:
        raise ByokError(
            "The keys of the vault were not listed", "Give byok_vault_info list_keys: true"
        )
    return discover(vault_info, *arguments, **named)


def _listing_name(listing: Mapping[str, t.Any]) -> str:
    serial = str(listing["token"]["serial"])
    return "".join(char if char.isalnum() or char in "._-" else "-" for char in serial) + ".json"


#: Questions about a run, by the name that the role's tasks use
_ABOUT_A_RUN: Mapping[str, t.Callable[..., t.Any]] = {
    "declarations": lambda run: list(run.declared),
    "listing": _listing,
    "looks_only": lambda run: run.request.looks_only,
    "rotates": lambda run: run.request.rotates,
    "force": lambda run: list(run.request.force) if run.request.rotates else [],
    "in_token": lambda run, token: run.seen_in_token(token).in_token(),
    "planned": _planned,
    "to_bring": lambda run: run.to_bring(),
    "rehearsed": lambda run, hsm: _write(run.rehearsed(hsm)),
    "batches": lambda run: [list(batch.names) for batch in run.batches()],
    "span": lambda run, names: run.span(names),
    "make": lambda run, *batch: _batch(run, *batch).to_make().target_keys,
    "orders": lambda run, *batch: _dicts(_batch(run, *batch).to_make().orders),
    "make_all": lambda run: run.all_at_once().to_make().target_keys,
    "all_orders": lambda run: _dicts(run.all_at_once().to_make().orders),
    "all_made": _all_made,
    "wrap": lambda run, *batch: _batch(run, *batch).to_wrap(),
    "import": lambda run, *batch: _batch(run, *batch).to_import().imports,
    "packages": lambda run, *batch: _dicts(_batch(run, *batch).to_import().packages),
    "imported": _imported,
    "lockable": lambda run: list(run.lockable()),
    "awaited": _awaited,
    "lock": lambda run, awaited: run.to_lock(awaited).target_keys,
    "transferred": lambda run, awaited: run.to_lock(awaited).transferred,
    "locked": lambda run, locked: _write(run.locking_done(locked)),
    "standing": lambda run: run.standing(),
    "arrived": lambda run: run.arrived(),
    "report": lambda run, vault_url: run.report(vault_url),
    "failures": lambda run: [f"{failure.name}: {failure.msg}" for failure in run.failures],
    "problems": _problems,
    "retire": _retire,
    "not_retired": _retired,
}

#: Questions about what people named, and about many vaults
_OTHERS: Mapping[str, t.Callable[..., t.Any]] = {
    "given": _given,
    "begin": _begin,
    "names": names,
    "kek_name": _kek_name,
    "judge_kek": _judge_kek,
    "unknown_variables": unknown_variables,
    "named": _named,
    "recover": _recover,
    "kept": _kept,
    "unmanaged": _unmanaged,
    "listing_name": _listing_name,
    "discovered": _discovered,
    "not_in_place": not_in_place,
    "vaults_behind": vaults_behind,
    "side_by_side": side_by_side,
    "plan_summary": summarise,
    "plan_markdown": to_markdown,
}
