# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The plans of many vaults as one: the verdict for programs, and a few lines for people; pure."""

from __future__ import annotations

import json
import typing as t
from collections import Counter, defaultdict

from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import (
    NAMESPACE,
    plan_digest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import OUR_TAGS
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import (
    one_line,
    printable,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import PlannedKey
from ansible_collections.keyferry.azure.plugins.module_utils._core.validity import WORDS
from ansible_collections.keyferry.azure.plugins.module_utils._fleet.other_vaults import (
    vaults_behind,
)

Item = t.Mapping[str, t.Any]

#: Rows of a table or list, and items of a sentence: a comment on a pull request can hold a few
#: hundred
_MOST_ROWS = 100
_MOST_NAMED = 10
_LONGEST_DETAILS = 300

#: Actions in the order in which they are counted, as people call them
_COUNTED = {
    "none": "unchanged",
    "transfer": "to transfer",
    "rotate": "to rotate",
    "update": "to update",
    "recover": "to recover",
    "lock": "to lock",
    "conflict": "in conflict",
}

#: The fields that tell of what kind a key is
_KIND = ("type", "size", "curve")


def summarise(
    hosts: t.Iterable[Item],
    made_at: str,
    before: t.Mapping[str, Item] | None = None,
    inventory: t.Container[str] = (),
) -> dict[str, t.Any]:
    """Return the verdict on the plans of a run.

    :param hosts: the variables of its hosts, after the role's entry point ``plan``:
        ``byok_planned`` is the plan of one, with ``vault_url``, ``plan`` and ``unmanaged``
    :param made_at: when the plans were made, for the record
    :param before: the variables of the hosts before a change, by their names; None where they are
        not known
    :param inventory: the names of all hosts, of which a run may have a part
    :returns: ``status`` is ``clean`` where nothing is to be done nor decided and no key has
        expired, else ``changes``
    """
    planned = {host["inventory_hostname"]: host for host in hosts if host.get("byok_planned")}
    # By vault, what any host declares for it: two may bring keys there, of two tokens
    declared: dict[str, set[str]] = defaultdict(set)
    for host in planned.values():
        declared[_url(host)].update(key["name"].lower() for key in host.get("byok_keys") or [])
    summary: dict[str, t.Any] = {}
    actions: Counter[str] = Counter()
    expired = False
    for name, host in sorted(planned.items()):
        summary[name] = _of_host(host["byok_planned"], declared[_url(host)])
        actions.update(summary[name]["actions"])
        expired = expired or any(entry.get("state") == "expired" for entry in summary[name]["plan"])
    # Of a host that this run leaves out, nobody knows what is declared now
    judged = {
        name: host
        for name, host in (before or {}).items()
        if name in planned or name not in inventory
    }
    return {
        "status": "changes" if expired or set(actions) - {"none"} else "clean",
        "made_at": made_at,
        "actions": dict(actions),
        "behind": vaults_behind(host for host in planned.values() if not _left(host)),
        "removed": None if before is None else _removed(judged, declared),
        "hosts": summary,
    }


def to_markdown(summary: Item, left: t.Sequence[str] = ()) -> str:
    """Return the summary for a pull request, as Markdown.

    :param summary: as :func:`summarise` returns it
    :param left: what could not be checked, as :func:`unchecked` returns it
    """
    changes: list[tuple[str, ...]] = []
    due: list[tuple[str, str, str]] = []
    unmanaged: list[str] = []
    for host, of_host in summary["hosts"].items():
        for entry in of_host["plan"]:
            if entry["action"] != "none":
                facts = (entry[fact] for fact in ("name", "kind", "action", "reason"))
                changes.append((host, *facts, _details(entry)))
            if entry["next_due"]:
                due.append((entry["next_due"], host, entry["name"]))
        unmanaged += [f"{key['name']} ({host})" for key in of_host["unmanaged"]]
    counts = [
        f"{summary['actions'][action]} {words}"
        for action, words in _COUNTED.items()
        if action in summary["actions"]
    ]
    actions = ", ".join(counts) or "no keys declared"
    vaults = len(
        {comparable_url(str(of_host["vault_url"])) for of_host in summary["hosts"].values()}
    )
    counted = f"{vaults} vault{'' if vaults == 1 else 's'}"
    status = "incomplete" if left else summary["status"]
    parts = [f"### Keys: {status}", f"{counted}, {summary['made_at']}: {actions}."]
    if left:
        lines = [f"- {_cell(line)}" for line in left[:_MOST_ROWS]]
        parts.append(
            "**Not checked**, so there is no verdict:\n\n" + "\n".join(lines) + _more(left)
        )
    if changes:
        parts.append(_table(("vault", "key", "kind", "action", "why", "what"), changes))
    if summary["behind"]:
        sentences = [f"- {_cell(sentence)}" for sentence in summary["behind"][:_MOST_ROWS]]
        parts.append("Behind another vault:\n\n" + "\n".join(sentences) + _more(summary["behind"]))
    parts += _states(summary["hosts"])
    if summary["removed"]:
        parts.append(_removals(summary["removed"]))
    if unmanaged:
        parts.append(f"Not declared: {_some(unmanaged)}.")
    parts += _to_approve(summary["hosts"])
    if due:
        rotations = [f"{name} ({host}) {moment}" for moment, host, name in sorted(due)]
        parts.append(f"Due next: {_some(rotations)}.")
    return "\n\n".join(parts) + "\n"


def _states(hosts: t.Mapping[str, Item]) -> t.Iterator[str]:
    """Yield what is said of keys and KEKs that cannot be used now or soon."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, host in hosts.items():
        for entry in host["plan"]:
            if entry.get("state"):
                found[entry["state"]].append(f"{entry['name']} ({name}) {entry['state_at']}")
        kek = host["kek"]
        if kek and kek["state"]:
            found[kek["state"]].append(f"KEK {kek['name']} ({name})")
        found["left"] += [f"{kek} ({name})" for kek in host["expired_keks"]]
    for state, words in WORDS.items():
        if found[state]:
            yield f"**{words.capitalize()}**: {_some(found[state])}."
    if found["left"]:
        yield (
            f"Expired KEKs that earlier runs left: {_some(found['left'])}. Nothing can be imported "
            "under them, and the next run that makes a KEK deletes them."
        )


def _to_approve(hosts: t.Mapping[str, Item]) -> t.Iterator[str]:
    """Yield what people sign who approve the plans; one that does nothing needs no approval."""
    lines = [
        f"plan {host['digest']} ({_cell(name)})" for name, host in hosts.items() if host["digest"]
    ]
    if lines:
        listed = "\n".join(f"- {line}" for line in lines[:_MOST_ROWS])
        yield (
            f"To approve a plan, sign its line: echo 'plan DIGEST' | ssh-keygen -Y sign -n "
            f"{NAMESPACE} -f KEY\n\n{listed}{_more(lines)}"
        )


def _removals(removed: t.Sequence[Item]) -> str:
    """Return what is said of declarations that are gone."""
    rows = [(gone["host"], gone["name"], _declaration(gone["declaration"])) for gone in removed]
    table = _table(("vault", "key", "was declared as"), rows)
    return (
        "No longer declared. These keys stay in vault and token, and nothing checks or rotates "
        f"them any more:\n\n{table}"
    )


def unchecked(hosts: t.Iterable[Item]) -> list[str]:
    """Return a line for each host or key that could not be planned.

    :param hosts: the variables of hosts after the role's entry point ``plan``; of one that failed
        there, ``byok__not_checked`` says why, and one that was not reached has neither
    """
    lines = []
    for host in hosts:
        if host.get("byok_planned"):
            left = _left(host)
        elif "byok_vault_url" in host:  # which may be a template that cannot be rendered
            left = str(host.get("byok__not_checked") or "It was not reached.").splitlines()
        else:
            left = []
        lines += [printable(f"{host['inventory_hostname']}: {line}") for line in left]
    return lines


def _left(host: Item) -> list[str]:
    return list(host["byok_planned"].get("unchecked") or ())


def _details(entry: Item) -> str:
    """Return what becomes of a key: what changes in it, or what its new version will be; of a
    conflict, what to do.
    """
    if entry.get("remedy"):
        return as_set_in_role(f"{entry['remedy']}.")
    details = [_new_version(entry["new_version"])] if entry.get("new_version") else []
    for attribute, change in entry.get("changes", {}).items():
        for name, before, after in _differences(attribute, change["before"], change["after"]):
            details.append(f"{name} from {one_line(before)} to {one_line(after)}")
    text = "; ".join(details)
    return text if len(text) <= _LONGEST_DETAILS else f"{text[:_LONGEST_DETAILS]}..."


def _differences(name: str, before: t.Any, after: t.Any) -> t.Iterator[tuple[str, t.Any, t.Any]]:
    """Yield what differs by its name: of mappings, such as tags, each member that does."""
    if not (isinstance(before, t.Mapping) and isinstance(after, t.Mapping)):
        yield name, before, after
        return
    for member in sorted({*before, *after}):
        if before.get(member) != after.get(member):
            yield f"{name}.{member}", before.get(member), after.get(member)


def _new_version(version: Item) -> str:
    """Return what the version that an import makes will be able to do, and until when."""
    facts = [f"can {one_line(version['operations'])}"]
    if not version["enabled"]:
        facts.append("disabled")
    if version["not_before"]:
        facts.append(f"valid from {version['not_before']}")
    facts.append(f"expires {version['expires'] or 'never'}")
    tags = {
        tag: value for tag, value in version["tags"].items() if not tag.lower().startswith(OUR_TAGS)
    }
    if tags:
        facts.append(f"tags {one_line(tags)}")
    return "; ".join(facts)


def _url(host: Item) -> str:
    return comparable_url(str(host["byok_planned"]["vault_url"]))


def _of_host(planned: Item, declared: t.Container[str]) -> dict[str, t.Any]:
    """Return what a summary tells of one host.

    :param planned: the plan: ``vault_url``, ``plan`` and ``unmanaged``
    :param declared: names in lower case that any host declares for its vault
    """
    return {
        "vault_url": planned["vault_url"],
        "actions": dict(Counter(entry["action"] for entry in planned["plan"])),
        "plan": list(planned["plan"]),
        "unmanaged": [key for key in planned["unmanaged"] if key["name"].lower() not in declared],
        "kek": planned.get("kek"),
        "expired_keks": list(planned.get("expired_keks") or ()),
        "digest": plan_digest(planned["vault_url"], map(PlannedKey.from_dict, planned["plan"])),
    }


def read_inventory(text: str) -> dict[str, Item]:
    """Return the variables of the hosts of an inventory, by their names.

    :param text: as ``ansible-inventory --list`` writes it; from_json takes none of its marks
    :raises ByokError: for another text
    """
    try:
        hosts = _plain(json.loads(text)["_meta"]["hostvars"])
    except (ValueError, TypeError, KeyError):
        hosts = None
    if not isinstance(hosts, dict) or not all(isinstance(host, dict) for host in hosts.values()):
        raise ByokError(
            "The file that byok_plan_base names is not an inventory",
            "Write it with ansible-inventory --list, or set no byok_plan_base",
        )
    return hosts


def _plain(value: t.Any) -> t.Any:
    """Return what ansible-inventory wrote, without its marks of texts that are no templates."""
    if isinstance(value, t.Mapping):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _removed(
    hosts: t.Mapping[str, Item], declared: t.Mapping[str, t.Container[str]]
) -> list[dict[str, t.Any]]:
    """Return the keys that were declared for a vault, and are no more.

    :param hosts: the variables of hosts before
    :param declared: by vault, names in lower case that are declared now
    """
    removed = []
    for name, host in sorted(hosts.items()):
        url = str(host.get("byok_vault_url") or "")
        for key in _declared_in(host):
            if key["name"].lower() not in declared.get(comparable_url(url), ()):
                declaration = {field: value for field, value in key.items() if field != "name"}
                entry = {"host": name, "vault_url": url, "name": key["name"]}
                removed.append({**entry, "declaration": declaration})
    return removed


def _declared_in(host: Item) -> t.Iterator[Item]:
    """Yield the keys that a host declares, but for those that a template makes: an inventory that
    was written does not render it.
    """
    url, keys = str(host.get("byok_vault_url") or "{{"), host.get("byok_keys")
    if "{{" in url or not isinstance(keys, list):
        return
    for key in keys:
        name = key.get("name") if isinstance(key, dict) else None
        if isinstance(name, str) and "{{" not in name:
            yield key


def _declaration(fields: Item) -> str:
    """Return the fields of a declaration in a line, those of its kind first."""
    names = [name for name in _KIND if name in fields]
    names += [name for name in fields if name not in _KIND]
    return ", ".join(f"{name}: {_value(fields[name])}" for name in names)


def _value(value: t.Any) -> str:
    if isinstance(value, t.Mapping):
        return " ".join(f"{name}={item}" for name, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _table(heads: t.Sequence[str], rows: t.Sequence[t.Sequence[t.Any]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows[:_MOST_ROWS]]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines) + _more(rows)


def _more(rows: t.Sequence[t.Any]) -> str:
    return f"\n\nand {len(rows) - _MOST_ROWS} more in plan.json" if len(rows) > _MOST_ROWS else ""


def _some(texts: t.Sequence[str]) -> str:
    more = f" and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
    return ", ".join(map(_cell, texts[:_MOST_NAMED])) + more


def _cell(value: t.Any) -> str:
    """Return text that is one cell, and neither markup nor a mention of somebody."""
    text = printable(value)
    for character in "\\`*_<>[]|@#":
        text = text.replace(character, f"\\{character}")
    return text
