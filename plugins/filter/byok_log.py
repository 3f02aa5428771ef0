# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: byok_log
short_description: Choose events of job logs and write them as JSON Lines or CSV
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Reads the texts of job logs as P(keyferry.azure.byok_log#callback) writes them and returns the
    chosen events in the order of their time. The playbook C(keyferry.azure.log) uses it for a log
    and its rotated files.
  - A line that is not an event, such as one that a full disk cut off, is skipped and counted.
positional: _input
options:
  _input:
    description: The texts, the oldest first.
    type: list
    elements: str
    required: true
  format:
    description:
      - V(jsonl) returns the lines as they are.
      - V(csv) begins with a line of names. A cell that a spreadsheet would take for a formula has
        an apostrophe in front of it.
    type: str
    choices: [jsonl, csv]
    default: jsonl
  start:
    description: The first moment to include, ISO 8601 with a time zone.
    type: str
  end:
    description: The first moment to exclude, ISO 8601 with a time zone.
    type: str
  level:
    description: The lowest level to include.
    type: str
    choices: [INFO, WARNING, ERROR]
    default: INFO
  key:
    description: Name of the key.
    type: str
  host:
    description: Inventory host.
    type: str
  vault:
    description: The vault's URL, host name or name.
    type: str
  job:
    description: Id of the job, or its id in AWX.
    type: str
seealso:
  - plugin: keyferry.azure.byok_log
    plugin_type: callback
"""

EXAMPLES = r"""
---
- name: Keep what went wrong in November
  ansible.builtin.copy:
    content: "{{ (log | keyferry.azure.byok_log(format='csv', level='ERROR', start=first, end=next)).text }}"
    dest: /srv/audit/errors.csv
    mode: "0600"
  vars:
    log: ["{{ lookup('ansible.builtin.file', '/var/log/keyferry/byok.log') }}"]
    first: "2026-11-01T00:00:00Z"
    next: "2026-12-01T00:00:00Z"
"""

RETURN = r"""
_value:
  description: What was found.
  type: dict
  contains:
    text:
      description: The events as O(format) says.
      type: str
    events:
      description: How many events that are.
      type: int
    broken:
      description: How many lines were no events.
      type: int
  sample:
    text: >-
      {"time": "2026-11-22T16:00:00.000Z", "level": "INFO", "job": "0d9f0b0c-6d54-4b4e-a7d1-6f0f6d1f3f11", "action": "start",
      "message": "byok.yml started."}
    events: 1
    broken: 0
"""

import csv
import io
import json
import typing as t
from datetime import datetime
from urllib.parse import urlsplit

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import text as read_text
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._host.job_log import (
    FIELDS,
    LEVELS,
    Event,
)


class _Line(t.NamedTuple):
    moment: datetime
    text: str
    event: Event


def byok_log(
    texts: t.Iterable[str],
    format: str = "jsonl",
    start: str | None = None,
    end: str | None = None,
    level: str | None = "INFO",
    key: str | None = None,
    host: str | None = None,
    vault: str | None = None,
    job: str | None = None,
) -> dict[str, t.Any]:
    """Return the wanted events of job logs as one text, how many they are, and how many lines were none.

    :raises AnsibleFilterError: for an option that says nothing that can be looked for
    """
    level = level or "INFO"
    if isinstance(texts, str):
        raise AnsibleFilterError(
            "byok_log takes a list of texts, not one text. Put the text into brackets."
        )
    for name, value, choices in (("format", format, ("jsonl", "csv")), ("level", level, LEVELS)):
        if value not in choices:
            raise AnsibleFilterError(
                f"byok_log knows no {name} {value}. Give one of {', '.join(choices)}."
            )
    try:
        start, end = read_text(start, "start (byok_log_from)"), read_text(end, "end (byok_log_to)")
        key, host = read_text(key, "key (byok_log_key)"), read_text(host, "host (byok_log_host)")
        vault = read_text(vault, "vault (byok_log_vault)")
        first, last = (parse_moment(moment) if moment else None for moment in (start, end))
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error
    read = [_read(line) for text in texts for line in text.splitlines() if line.strip()]
    lines = [
        line
        for line in sorted(filter(None, read), key=lambda line: line.moment)
        if (not first or line.moment >= first)
        and (not last or line.moment < last)
        and LEVELS.index(line.event["level"]) >= LEVELS.index(level)
        and (not key or line.event.get("key") == key)
        and (not host or line.event.get("host") == host)
        and (not vault or vault.lower().rstrip("/") in _names(line.event))
        and (not job or str(job) in (line.event.get("job"), line.event.get("awx_job")))
    ]
    text = _csv(lines) if format == "csv" else "".join(f"{line.text}\n" for line in lines)
    return {"text": text, "events": len(lines), "broken": read.count(None)}


def _read(text: str) -> _Line | None:
    try:
        event = json.loads(text)
        moment = datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
        return _Line(moment, text, event) if moment.tzinfo and event["level"] in LEVELS else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _names(event: Event) -> tuple[str, ...]:
    url = str(event.get("vault", ""))
    host = urlsplit(url).hostname or ""
    return (url, host, host.partition(".")[0])


def _csv(lines: t.Iterable[_Line]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows([_cell(line.event.get(name)) for name in FIELDS] for line in lines)
    return text.getvalue()


def _cell(value: t.Any) -> str:
    if isinstance(value, bool) or value is None:
        return "true" if value else ""
    cell = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else cell


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"byok_log": byok_log}
