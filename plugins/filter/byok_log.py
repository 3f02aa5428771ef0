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
    description: The lowest level to include. V(WARN) is V(WARNING).
    type: str
    choices: [INFO, WARN, WARNING, ERROR]
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
    content: >-
      {{ (log | keyferry.azure.byok_log(format='csv', level='ERROR', start=first, end=next)).text }}
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
      {"time": "2026-11-22T16:00:00.000Z", "level": "INFO",
      "job": "0d9f0b0c-6d54-4b4e-a7d1-6f0f6d1f3f11", "action": "start",
      "message": "byok.yml started."}
    events: 1
    broken: 0
"""

import csv
import io
import json
import typing as t
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.module_utils._core.answers import text as read_text
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._host.job_log import (
    FIELDS,
    LEVELS,
    Event,
)

#: Options that are texts, with the variables by which the playbook log gives them
_TEXTS = {
    "start": "byok_log_from",
    "end": "byok_log_to",
    "key": "byok_log_key",
    "host": "byok_log_host",
    "vault": "byok_log_vault",
}


#: Other words for a level
_ALIASES = {"WARN": "WARNING"}


class _Line(t.NamedTuple):
    moment: datetime
    text: str
    event: Event


@dataclass(frozen=True)
class _Options:
    """The options of the filter, in the order of its documentation."""

    format: str = "jsonl"
    start: str | None = None
    end: str | None = None
    level: str | None = "INFO"
    key: str | None = None
    host: str | None = None
    vault: str | None = None
    job: str | None = None


@dataclass(frozen=True)
class _Choice:
    """Which events are chosen: those that are all of what is given.

    :ivar start: the first moment
    :ivar end: the first moment that is too late
    :ivar level: the least level
    :ivar vault: its URL, host name or name
    :ivar job: its id, or that in AWX
    """

    start: datetime | None
    end: datetime | None
    level: str
    key: str | None
    host: str | None
    vault: str | None
    job: str | None

    def takes(self, line: _Line) -> bool:
        """Tell whether a line is chosen."""
        event = line.event
        if self.start and line.moment < self.start:
            return False
        if self.end and line.moment >= self.end:
            return False
        if LEVELS.index(event["level"]) < LEVELS.index(self.level):
            return False
        if self.key and event.get("key") != self.key:
            return False
        if self.host and event.get("host") != self.host:
            return False
        if self.vault and comparable_url(self.vault) not in _names(event):
            return False
        return not self.job or str(self.job) in (event.get("job"), event.get("awx_job"))


def byok_log(texts: t.Iterable[str], *positional: t.Any, **named: t.Any) -> dict[str, t.Any]:
    """Return the chosen events of job logs as one text.

    :param texts: of logs, the oldest first
    :param positional: options as in :class:`_Options`
    :param named: the same by their names
    :returns: ``text``, how many ``events`` it holds, and how many lines were ``broken``
    :raises AnsibleFilterError: for an option that says nothing that can be looked for
    """
    options = _Options(*positional, **named)
    if isinstance(texts, str):
        raise AnsibleFilterError(
            "byok_log takes a list of texts, not one text. Put the text into brackets."
        )
    choice = _choice(options)
    lines: list[_Line] = []
    broken = 0
    for text in texts:
        for raw in text.splitlines():
            if not raw.strip():
                continue
            line = _read(raw)
            if line is None:
                broken += 1
            elif choice.takes(line):
                lines.append(line)
    lines.sort(key=lambda line: line.moment)
    write = _csv if options.format == "csv" else _jsonl
    return {"text": write(lines), "events": len(lines), "broken": broken}


def _choice(options: _Options) -> _Choice:
    """Check the options of the filter.

    :raises AnsibleFilterError: for one that says nothing that can be looked for
    """
    level = options.level or "INFO"
    level = _ALIASES.get(level, level)
    for name, value, choices in (
        ("format", options.format, ("jsonl", "csv")),
        ("level", level, LEVELS),
    ):
        if value not in choices:
            raise AnsibleFilterError(
                f"byok_log knows no {name} {value}. Give one of {', '.join(choices)}."
            )
    try:
        texts = {
            name: read_text(getattr(options, name), f"{name} ({variable})")
            for name, variable in _TEXTS.items()
        }
        return _Choice(
            start=parse_moment(texts["start"]) if texts["start"] else None,
            end=parse_moment(texts["end"]) if texts["end"] else None,
            level=level,
            key=texts["key"],
            host=texts["host"],
            vault=texts["vault"],
            job=options.job,
        )
    except ByokError as error:
        raise AnsibleFilterError(str(error)) from error


def _read(text: str) -> _Line | None:
    try:
        event = json.loads(text)
        moment = datetime.fromisoformat(event["time"].replace("Z", "+00:00"))
        if moment.tzinfo and event["level"] in LEVELS:
            return _Line(moment, text, event)
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _names(event: Event) -> tuple[str, ...]:
    url = str(event.get("vault", ""))
    host = urlsplit(url).hostname or ""
    return (url, host, host.partition(".")[0])


def _jsonl(lines: t.Iterable[_Line]) -> str:
    return "".join(f"{line.text}\n" for line in lines)


def _csv(lines: t.Iterable[_Line]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for line in lines:
        writer.writerow([_cell(line.event.get(name)) for name in FIELDS])
    return text.getvalue()


def _cell(value: t.Any) -> str:
    """Return a member of an event as a spreadsheet shows it, and does not take for a formula."""
    if value is None or value is False:
        return ""
    if value is True:
        return "true"
    cell = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return f"'{cell}"
    return cell


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return it by its name."""
        return {"byok_log": byok_log}
