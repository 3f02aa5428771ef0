# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Questions about a run: the role's driver of the engine.

Between tasks the run is a text, because a task that is given large data structures takes longer to
look through them than to do its work. Beside it stands what tasks need that have no question: how
much there is to do, and what to report.
"""

from __future__ import annotations

import json
import os
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, wraps

from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import names
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import told
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Failure
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape, plain
from ansible_collections.keyferry.azure.plugins.module_utils._core.transfer import (
    Batch,
    Item,
    Result,
    Transfer,
)
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.orders import named_here
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.other_vaults import (
    awaited_elsewhere,
    made_by_another,
    not_in_this_run,
)

Hosts = Iterable[Mapping[str, t.Any]]

#: What the role keeps of a run between tasks
Kept = dict[str, t.Any]

#: Jobs that make keys; others say what the whole fleet would get
MAKING = ("transfer", "rotate", "prepare")

#: Ansible would make a dict of a text that is nothing but JSON
_HEAD = "keyferry run "


def keep(run: Transfer) -> Kept:
    """Return what the role keeps of a run: its state, what there is to do, and what to report."""
    return {
        "refused": [],
        "state": _HEAD + json.dumps(plain(run.to_dict()), separators=(",", ":")),
        "declared": len(run.declared),
        "to_bring": len(run.to_bring()),
        "to_make": run.to_be_made() if run.request.looks_only else [],
        "batches": _batches(run),
        "lockable": len(run.lockable()),
        "failures": len(run.failures),
        "problems": len(run.problems()),
        "unkept": _told(run.unkept),
        "standing": run.standing(),
        "arrived": run.arrived(),
        "report": _in_role(run.report()),
    }


def _in_role(report: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a run's report with printable sentences that name the role's variables."""
    failures = [
        {**failure, "msg": as_set_in_role(printable(failure["msg"]))}
        for failure in report["failures"]
    ]
    problems = [f"{failure['name']}: {failure['msg']}" for failure in failures]
    return {**report, "problems": problems, "failures": failures}


def refuse(problems: Sequence[str], vault_url: str) -> Kept:
    """Return what the role keeps of a run that cannot begin.

    :param problems: a sentence for each
    """
    report = {"vault_url": vault_url, "problems": list(problems), "failures": []}
    return {"refused": list(problems), "declared": 0, "report": report}


def _batches(run: Transfer) -> list[Item]:
    """Return the names of the keys of each batch, and which part of all it is."""
    batches = [list(batch.names) for batch in run.batches()]
    total = sum(len(batch) for batch in batches)
    parts: list[Item] = []
    first = 1
    for batch in batches:
        last = first + len(batch) - 1
        parts.append({"names": batch, "span": f"{first} to {last} of {total}"})
        first = last + 1
    return parts


def read_run(kept: t.Any) -> Transfer:
    """Return the run that was kept.

    :raises ByokError: when none was
    """
    state = kept.get("state") if isinstance(kept, Mapping) else None
    if not isinstance(state, str) or not state.startswith(_HEAD):
        raise ByokError("This run was not begun", "Run the entry points of the role unchanged")
    return _parse(state)


@lru_cache(maxsize=2)  # a task asks more than once, and reading takes longer than answering
def _parse(text: str) -> Transfer:
    return Transfer.from_dict(json.loads(text[len(_HEAD) :]))


def _listing(run: Transfer, path: str | None) -> str:
    """Return the path of the stored listing that a run looks by; empty where it does not."""
    if not (path and run.request.looks_only):
        return ""
    return os.path.normpath(os.path.join(os.path.realpath("."), path))


def _planned(
    run: Transfer,
    token: Result,
    plan: Result,
    hosts: Hosts = (),
    host: str = "",
    running: Sequence[str] = (),
) -> Kept:
    """Take in what both sides said, and refuse to make keys of which this run lacks some hosts."""
    run = run.seen_in_token(token).planned(plan)
    missing = run.to_be_made()
    if missing and run.request.job in MAKING:
        known = list(hosts)
        # prepare may be limited by a person, but not sliced: other slices are no hosts at all here
        if run.request.job == "prepare":
            running = [each["inventory_hostname"] for each in known]
        run = run.refuse_to_make(not_in_this_run(known, host, missing, running))
    return keep(run)


def _named(run: Transfer, token: Result) -> Item:
    """Return which values of byok_force name keys of this host, or their generations."""
    asked = run.request.force if run.request.rotates else ()
    return named_here("byok_force", asked, token.get("target_keys") or [])


def _reencrypted(run: Transfer, data_reencrypted: t.Any) -> Item:
    """Return which values of byok_data_reencrypted name keys of this host."""
    variable = "byok_data_reencrypted"
    return named_here(variable, names(data_reencrypted, variable), run.declared)


def _make(run: Transfer, keys: Sequence[str], hosts: Hosts = (), host: str = "") -> list[Item]:
    """Return the keys of a batch to make or find.

    :param hosts: in check mode, the variables of all hosts of the inventory: a key that several of
        them share is told by the first of them alone
    """
    wanted = batch_of(run, keys).to_make().target_keys
    told = made_by_another(hosts, host)
    return [item for item in wanted if item["name"] not in told]


def _orders(
    run: Transfer, keys: Sequence[str], hosts: Hosts = (), host: str = ""
) -> list[dict[str, t.Any]]:
    """Return the orders for the keys of _make()."""
    told = made_by_another(hosts, host)
    orders = batch_of(run, keys).to_make().orders
    return _dicts(order for order in orders if order.name not in told)


def batch_of(
    run: Transfer, keys: Sequence[str], made: Result | None = None, wrapped: Result | None = None
) -> Batch:
    """Return a batch of a run, as far as its tasks have come."""
    batch = Batch(run, tuple(keys))
    if made is not None:
        batch = batch.made(made)
    if wrapped is not None:
        batch = batch.wrapped(wrapped)
    return batch


def _packages(run: Transfer, *batch: t.Any) -> list[Item]:
    """Return the packages to import, with their receipts as texts, which tasks take whole."""
    packages: list[Item] = []
    for package in _dicts(batch_of(run, *batch).packages()):
        receipt = package["receipt"] and json.dumps(plain(package["receipt"]))
        packages.append({**package, "receipt": receipt})
    return packages


def _dicts(shapes: Iterable[Shape]) -> list[dict[str, t.Any]]:
    return [shape.to_dict() for shape in shapes]


def _all_made(run: Transfer, made: Result) -> Kept:
    return keep(run.all_at_once().made(made).transfer)


def _awaited(run: Transfer, hosts: Hosts, host: str) -> dict[str, str]:
    lockable = run.lockable()
    arrived = {name: held for name, held in run.arrived().items() if name in lockable}
    return awaited_elsewhere(hosts, host, arrived) if arrived else {}


def _retire(run: Transfer, token: Result, data_reencrypted: t.Any) -> list[Item]:
    reencrypted = set(names(data_reencrypted, "byok_data_reencrypted"))
    items = run.found(token)
    return [{**item, "data_reencrypted": item["name"] in reencrypted} for item in items]


def _retired(run: Transfer, token: Result, retired: Result) -> Kept:
    return keep(run.seen_in_token(token).rehearsed(retired))


def _problems(run: Transfer) -> list[str]:
    return _told(run.problems())


def _told(failures: Iterable[Failure]) -> list[str]:
    """Return lines for people, with the names of the role's variables."""
    return [as_set_in_role(line) for line in told(failures)]


def of_a_run(question: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Return a question about what the role keeps of a run, for one about the run."""

    @wraps(question)
    def asked(kept: t.Any, *positional: t.Any, **named: t.Any) -> t.Any:
        return question(read_run(kept), *positional, **named)

    return asked


_ABOUT_A_RUN: Mapping[str, t.Callable[..., t.Any]] = {
    "declarations": lambda run: list(run.declared),
    "labels": lambda run: run.labels(),
    "listing": _listing,
    "looks_only": lambda run: run.request.looks_only,
    "rotates": lambda run: run.request.rotates,
    "challenges": lambda run: run.request.asks_for_challenges,
    "named_to_replace": _named,
    "named_as_reencrypted": _reencrypted,
    "force": lambda run, token: _named(run, token)["found"],
    "in_token": lambda run, token: run.found(token),
    "planned": _planned,
    "to_bring": lambda run: run.to_bring(),
    "rehearsed": lambda run, hsm: keep(run.rehearsed(hsm)),
    "all_names": lambda run: list(run.all_at_once().names),
    "make": _make,
    "orders": _orders,
    "all_made": _all_made,
    "wrap": lambda run, *batch: batch_of(run, *batch).to_wrap(),
    "import": lambda run, *batch: batch_of(run, *batch).to_import(),
    "packages": _packages,
    "awaited": _awaited,
    "lock": lambda run, awaited: run.to_lock(awaited).target_keys,
    "transferred": lambda run, awaited: run.to_lock(awaited).transferred,
    "locked": lambda run, locked: keep(run.locking_done(locked)),
    "failures": lambda run: _told(run.failures),
    "problems": _problems,
    "retire": _retire,
    "retired": _retired,
}

QUESTIONS = {name: of_a_run(question) for name, question in _ABOUT_A_RUN.items()}
