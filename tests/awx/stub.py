# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stub of AWX's API, in memory: what the modules of awx.awx 24.6.1 use for playbooks/awx.yml.

It was written from AWX's documentation and public source, and never compared with an AWX. Where AWX
refuses, it refuses: what is not there, what is there already, a second credential of a type, a
playbook that the project does not have, a survey without its fields, variables that no survey asks
for.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, count
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Item = dict[str, Any]

TOKEN = "stub-token"
VERSION = "24.6.1"
ENCRYPTED = "$encrypted$"
NODES = "workflow_job_template_nodes"

#: What has a name that a workflow node or a schedule can refer to
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "inventory_sources")
#: What a kind refers to by an id
REFERENCES = {
    "credential": "credentials",
    "credential_type": "credential_types",
    "default_environment": "execution_environments",
    "execution_environment": "execution_environments",
    "inventory": "inventories",
    "organization": "organizations",
    "project": "projects",
    "source_project": "projects",
    "workflow_job_template": "workflow_job_templates",
}
#: What AWX adds to an item that does not say it; awx.awx compares some of that
DEFAULTS: dict[str, Item] = {
    "inventories": {"kind": "", "host_filter": None},
    "job_templates": {"allow_simultaneous": False, "job_slice_count": 1, "survey_enabled": False},
    "schedules": {"enabled": True, "extra_data": {}},
    NODES: {"unified_job_template": None},
}
#: Names are unique together with this, as in AWX
SCOPES = {
    "inventory_sources": "inventory",
    "schedules": "unified_job_template",
    NODES: "workflow_job_template",
}
ASSOCIATIONS = {
    "job_templates": {"credentials": "credentials", "instance_groups": "instance_groups"},
    NODES: dict.fromkeys(("always_nodes", "failure_nodes", "success_nodes"), NODES),
}


class Refused(Exception):
    """An answer that is not what was asked for."""

    def __init__(self, status: int, **body: Any) -> None:
        super().__init__(body)
        self.status, self.body = status, body


class Awx:
    """What AWX has, by kind and id; and which requests wrote to it."""

    def __init__(self, playbooks: list[str]) -> None:
        self.playbooks = playbooks
        self.kinds: dict[str, dict[int, Item]] = {}
        self.links: dict[tuple[str, int, str], list[int]] = {}
        self.surveys: dict[int, Item] = {}
        self.secrets: dict[str, Item] = {}
        self.writes: list[tuple[str, str]] = []
        self._ids = count(1)
        self._lock = threading.Lock()
        self._add("organizations", {"name": "Default"})
        self._add("instance_groups", {"name": "near-the-hsm"})
        fields = [
            {"id": name} for name in ("client", "tenant", "subscription", "cloud_environment")
        ]
        azure = {"fields": [*fields, {"id": "secret", "secret": True}]}
        self._add("credential_types", {"name": "Microsoft Azure Resource Manager", "inputs": azure})

    # What a test asks

    def named(self, kind: str, name: str) -> Item:
        """The one item of this name."""
        (item,) = (
            item
            for item in self.kinds.get(kind, {}).values()
            if name in (item.get("name"), item.get("identifier"))
        )
        return item

    def linked(self, kind: str, name: str, link: str) -> list[str]:
        """The names of what an item is linked to."""
        target = ASSOCIATIONS[kind][link]
        ids = self.links.get((kind, self.named(kind, name)["id"], link), [])
        return [
            str(self.kinds[target][each].get("name") or self.kinds[target][each]["identifier"])
            for each in ids
        ]

    def edges(self, workflow: str) -> set[tuple[str, str, str]]:
        """The edges of a workflow: from, when, to."""
        nodes = self.kinds[NODES]
        whole = self.named("workflow_job_templates", workflow)["id"]
        return {
            (nodes[start]["identifier"], link, nodes[end]["identifier"])
            for (kind, start, link), ends in self.links.items()
            if kind == NODES and nodes[start]["workflow_job_template"] == whole
            for end in ends
        }

    # What awx.awx asks

    def answer(self, method: str, path: str, query: Item, body: Item) -> tuple[int, Any]:
        """Answer one request; ``path`` is what stands behind /api/v2/."""
        with self._lock:
            if method != "GET":
                self.writes.append((method, path))
            match path.strip("/").split("/"):
                case ["unified_job_templates"]:
                    return 200, self._page(
                        chain.from_iterable(self.kinds.get(kind, {}).values() for kind in UNIFIED),
                        query,
                    )
                case [kind] if method == "GET":
                    return 200, self._page(self.kinds.get(kind, {}).values(), query)
                case [kind]:
                    return 201, self._add(kind, self._checked(kind, body))
                case ["project_updates", _]:
                    return 200, {"status": "successful"}
                case [kind, number] if method == "GET":
                    return 200, self._item(kind, int(number))
                case [kind, number]:
                    item = self._item(kind, int(number))
                    item.update(self._checked(kind, body, item))
                    return 200, item
                case ["job_templates", number, "survey_spec"]:
                    return 200, self._survey(int(number), None if method == "GET" else body)
                case ["workflow_job_template_nodes", number, "create_approval_template"]:
                    return 201, self._approve(int(number), body)
                case [kind, number, link] if link in ASSOCIATIONS.get(kind, {}):
                    ids = self.links.setdefault((kind, int(number), link), [])
                    target = ASSOCIATIONS[kind][link]
                    if method == "GET":
                        return 200, self._page((self._item(target, each) for each in ids), {})
                    self._link(
                        kind, ids, self._item(target, body["id"]), body.get("disassociate", False)
                    )
                    return 204, None
            raise Refused(404, detail="Not found.")

    def _item(self, kind: str, number: int) -> Item:
        try:
            return self.kinds[kind][number]
        except KeyError:
            raise Refused(404, detail="Not found.") from None

    def _page(self, items: Any, query: Item) -> Item:
        found = [
            item
            for item in items
            if all(str(item.get(name)) == value for name, value in query.items())
        ]
        return {"count": len(found), "next": None, "previous": None, "results": found}

    def _add(self, kind: str, fields: Item) -> Item:
        number = next(self._ids)
        url = f"/api/v2/{kind}/{number}/"
        given = {name: value for name, value in fields.items() if value is not None}
        item = {
            **DEFAULTS.get(kind, {}),
            **given,
            "id": number,
            "url": url,
            "type": kind.removesuffix("s"),
            "related": {},
        }
        item["summary_fields"] = {}
        if kind == "inventories":
            item["type"] = "inventory"
        if kind == "projects":
            item |= {
                "scm_revision": "",
                "summary_fields": {"current_update": {"id": next(self._ids)}},
            }
        if kind == "job_templates":
            item["related"] = {"survey_spec": f"{url}survey_spec/"}
        self.kinds.setdefault(kind, {})[number] = item
        return item

    def _checked(self, kind: str, fields: Item, item: Item | None = None) -> Item:
        """Refuse what AWX refuses, and return the fields as AWX keeps them."""
        for name, target in REFERENCES.items():
            if fields.get(name) is not None:
                self._item(target, fields[name])
        if item is None:
            label, scope = (
                "identifier" if kind == NODES else "name",
                SCOPES.get(kind, "organization"),
            )
            taken = {(each[label], each.get(scope)) for each in self.kinds.get(kind, {}).values()}
            if (fields[label], fields.get(scope)) in taken:
                raise Refused(400, __all__=[f"{kind} with this {label} already exists."])
        if (
            kind == "job_templates"
            and fields.get("playbook", self.playbooks[0]) not in self.playbooks
        ):
            raise Refused(400, playbook=["Playbook not found for project."])
        if kind == "schedules":
            return self._schedule(fields)
        if kind == "credentials" and "inputs" in fields:
            return self._credential(fields)
        return fields

    def _schedule(self, fields: Item) -> Item:
        if "RRULE:FREQ=" not in fields["rrule"] or "INTERVAL=" not in fields["rrule"]:
            raise Refused(400, rrule=["INTERVAL required in rrule."])
        spec = self.surveys.get(fields["unified_job_template"], {"spec": []})["spec"]
        if unknown := set(fields.get("extra_data", {})) - {
            question["variable"] for question in spec
        }:
            raise Refused(
                400, extra_data=[f"Variables {sorted(unknown)} are not allowed on launch."]
            )
        return fields

    def _credential(self, fields: Item) -> Item:
        """AWX never shows a secret again."""
        declared = {
            each["id"]: each
            for each in self.kinds["credential_types"][fields["credential_type"]]["inputs"][
                "fields"
            ]
        }
        if unknown := set(fields["inputs"]) - set(declared):
            raise Refused(
                400, inputs={name: ["Additional properties are not allowed"] for name in unknown}
            )
        self.secrets[fields["name"]] = fields["inputs"]
        shown = {
            name: ENCRYPTED if declared[name].get("secret") else value
            for name, value in fields["inputs"].items()
        }
        return {**fields, "inputs": shown}

    def _survey(self, number: int, spec: Item | None) -> Item:
        if spec is not None:
            for member in ("name", "description", "spec"):
                if member not in spec:
                    raise Refused(400, error=f"Field '{member}' is missing from survey spec.")
            for question in spec["spec"]:
                if missing := {"type", "question_name", "variable", "required"} - set(question):
                    raise Refused(400, error=f"{sorted(missing)} missing from survey question.")
            self.surveys[self._item("job_templates", number)["id"]] = spec
        return self.surveys.get(number, {})

    def _approve(self, number: int, body: Item) -> Item:
        approval = self._add("workflow_approval_templates", body)
        node = self._item(NODES, number)
        node |= {
            "unified_job_template": approval["id"],
            "related": {"unified_job_template": approval["url"]},
        }
        return approval

    def _link(self, kind: str, ids: list[int], target: Item, disassociate: bool) -> None:
        if disassociate:
            ids.remove(target["id"])
            return
        if kind == "job_templates" and "credential_type" in target:
            types = Counter(self.kinds["credentials"][each]["credential_type"] for each in ids)
            if target["credential_type"] in types:
                raise Refused(
                    400,
                    error=f"Cannot assign multiple credentials of the type of {target['name']}.",
                )
        ids.append(target["id"])


def _handler(awx: Awx) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status: int
            answer: Any
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                status, answer = 401, {"detail": "Authentication credentials were not provided."}
            else:
                try:
                    path = re.sub(r"^/api/v2/", "", address.path)
                    status, answer = awx.answer(
                        self.command, path, dict(parse_qsl(address.query)), body
                    )
                except Refused as refused:
                    status, answer = refused.status, refused.body
            payload = b"" if status == 204 else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", VERSION)
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PATCH = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def serving(awx: Awx) -> Iterator[str]:
    """Serve AWX's API, and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(awx)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
