# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: byok_log
type: notification
short_description: Write the events of keys to a job log
version_added: 0.1.0
author:
  - Keyferry contributors (@keyferry)
description:
  - Writes one JSON object per line for each event of a run, such as a key that was made, wrapped,
    imported or deleted, and what
    failed. docs/log.md describes every member of a line.
  - Only runs that use modules of this collection are logged. PINs, secrets and keys never are.
  - A log that cannot be written never stops a play. The run warns once and continues without it.
requirements:
  - C(callbacks_enabled = keyferry.azure.byok_log) in the section C([defaults]) of ansible.cfg, or
    E(ANSIBLE_CALLBACKS_ENABLED)
options:
  byok_log_path:
    description:
      - Path of the log on the controller. Nothing is written without one. A new file can be read by
        its owner only. It must not be a symbolic link.
      - As a variable it may be an extra variable, or one of the play, a group or a host.
    type: path
    env:
      - name: BYOK_LOG_PATH
    ini:
      - section: callback_byok_log
        key: path
    vars:
      - name: byok_log_path
  byok_log_max_bytes:
    description: A log that reaches this size is renamed to O(byok_log_path) with the suffix C(.1).
      V(0) lets it grow.
    type: int
    default: 10485760
    env:
      - name: BYOK_LOG_MAX_BYTES
    ini:
      - section: callback_byok_log
        key: max_bytes
  byok_log_backups:
    description: How many renamed logs are kept, C(.1) being the newest. The oldest is deleted when
      there is one more.
    type: int
    default: 5
    env:
      - name: BYOK_LOG_BACKUPS
    ini:
      - section: callback_byok_log
        key: backups
seealso:
  - plugin: keyferry.azure.byok_log
    plugin_type: filter
"""

import contextlib
import functools
import os
import time
import typing as t
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import (
    comparable_url,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.job_log import (
    LEVELS,
    Event,
    LogFile,
    events,
    on_argument,
    redact,
    secrets_in,
    text_of,
    to_line,
)

_COLLECTION = "keyferry.azure."
_ROOT = Path(__file__).resolve().parents[2]
_FAILING = ("ansible.builtin.fail", "ansible.builtin.assert")
_VALIDATION = "ansible.builtin.validate_argument_spec"
_SECRET_VARIABLES = ("BYOK_PIN", "AZURE_SECRET", "AZURE_CLIENT_SECRET", "AZURE_PASSWORD")


@dataclass
class _Log:
    """A log that this run writes to, and how many events of each level it got."""

    file: LogFile
    counts: Counter[str] = field(default_factory=Counter)


Method = t.TypeVar("Method", bound=t.Callable[..., None])


def _never_fatal(method: Method) -> Method:
    """Make one warning of whatever goes wrong, and write nothing more."""

    @functools.wraps(method)
    def safe(self: CallbackModule, *args: t.Any, **kwargs: t.Any) -> None:
        try:
            method(self, *args, **kwargs)
        except Exception as error:
            self.disabled = True
            # Another exception may quote what must not be shown.
            why = str(error) if isinstance(error, OSError) else type(error).__name__
            self._display.warning(
                f"The job log is no longer written, but the play continues: {why}"
            )

    return t.cast(Method, safe)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Turns the results of tasks into lines of the log."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "keyferry.azure.byok_log"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self._job = str(uuid.uuid4())
        self._begun = datetime.now(timezone.utc)
        self._playbook = ""
        self._awx_job: str | None = None
        self._play: t.Any = None
        self._ours = False  # whether this play uses the collection
        self._path_missing = False
        self._logs: dict[str, _Log] = {}
        self._since: dict[tuple[str, str], float] = {}
        self._looped: set[tuple[str, str]] = set()
        self._errors: dict[str, list[str]] = {}
        self._secrets = {os.environ[name] for name in _SECRET_VARIABLES if os.environ.get(name)}

    @_never_fatal
    def v2_playbook_on_start(self, playbook: t.Any) -> None:
        """Remember what the run is called."""
        self._playbook = os.path.basename(playbook._file_name)

    @_never_fatal
    def v2_playbook_on_play_start(self, play: t.Any) -> None:
        """See whether the play is of interest."""
        self._play = play
        self._ours = _uses_collection(play)
        self._errors.clear()

    @_never_fatal
    def v2_runner_on_start(self, host: t.Any, task: t.Any) -> None:
        """Take the time."""
        self._since[host.get_name(), task._uuid] = time.monotonic()

    @_never_fatal
    def v2_runner_on_ok(self, result: t.Any) -> None:
        """Log what a task did."""
        self._log_result(result)

    @_never_fatal
    def v2_runner_on_failed(self, result: t.Any, ignore_errors: bool = False) -> None:
        """Log what a task did not do."""
        self._log_result(result, failed=True)

    @_never_fatal
    def v2_runner_on_unreachable(self, result: t.Any) -> None:
        """Log that a host was not reached."""
        self._log_result(result, failed=True, unreachable=True)

    @_never_fatal
    def v2_runner_item_on_ok(self, result: t.Any) -> None:
        """Log what one turn of a loop did."""
        self._log_result(result, turn=True)

    @_never_fatal
    def v2_runner_item_on_failed(self, result: t.Any) -> None:
        """Log what one turn of a loop did not do."""
        self._log_result(result, failed=True, turn=True)

    @_never_fatal
    def v2_playbook_on_stats(self, stats: t.Any) -> None:
        """Log how the run ended."""
        failed, unreachable = len(stats.failures), len(stats.dark)
        for log in self._logs.values():
            level = "INFO"
            if failed or unreachable:
                level = "ERROR"
            elif log.counts["ERROR"] or log.counts["WARNING"]:
                level = "WARNING"
            counts = ", ".join(f"{name} {log.counts[name]}" for name in LEVELS)
            message = (
                f"{self._playbook} ended. Hosts: {len(stats.processed)}, failed: {failed}, "
                f"unreachable: {unreachable}. Events: {counts}."
            )
            now = datetime.now(timezone.utc)
            duration = round((now - self._begun).total_seconds(), 3)
            end = {"level": level, "action": "end", "message": message, "duration": duration}
            self._write(log, end, now)
        if self._path_missing:
            self._display.warning(
                "The callback keyferry.azure.byok_log is enabled, but byok_log_path is not set: "
                "there is no job log."
            )

    def _log_result(
        self, result: t.Any, failed: bool = False, unreachable: bool = False, turn: bool = False
    ) -> None:
        """Log what a task of the collection did, or that another one failed.

        :param turn: the result is that of one turn of a loop
        """
        task, host = result._task, result._host.get_name()
        action = str(getattr(task, "resolved_action", None) or task.action)
        duration = self._duration(host, task, turn)
        if duration is None:  # the sum of a loop, whose turns were logged
            return
        is_ours = action.startswith(_COLLECTION)
        self._ours = self._ours or is_ours
        if not is_ours and not (failed and self._ours):
            return
        arguments = task.args if isinstance(task.args, t.Mapping) else {}
        self._secrets |= secrets_in(arguments)
        if not is_ours or "censored" in result._result:
            arguments = {}
        happened = self._events_of(result, action, failed, unreachable)
        if not happened:
            return
        values = self._variables(result)
        log = self._log_at(values.get("byok_log_path") or self.get_option("byok_log_path"), values)
        if log is None:
            return
        vault, name = text_of(arguments, "vault_url"), text_of(arguments, "name")
        # Of a loop or a task that failed early, the arguments are not rendered.
        if not vault or "{{" in vault:
            vault = values.get("byok_vault_url", "")
        shared = {
            "check": True if task.check_mode is True else None,
            "host": host,
            "vault": comparable_url(vault),
            "duration": duration,
        }
        for event in happened:
            message = redact(event["message"], self._secrets)
            line = {**shared, **event, "key": event.get("key") or name, "message": message}
            self._write(log, line, datetime.now(timezone.utc))
            if event["level"] == "ERROR":
                self._errors.setdefault(host, []).append(message)

    def _events_of(
        self, result: t.Any, action: str, failed: bool, unreachable: bool
    ) -> list[Event]:
        """Return what the result of a task says."""
        task = result._task
        ignored = bool(task.ignore_unreachable if unreachable else task.ignore_errors)
        happened: list[Event] = []
        if unreachable or not action.startswith(_COLLECTION):
            message = self._reason(result, action, unreachable)
            if message:
                level = "WARNING" if ignored else "ERROR"
                happened.append({"level": level, "action": "task", "message": message})
        else:
            check = task.check_mode is True
            happened = events(action, result._result, failed=failed, ignored=ignored, check=check)
        if "censored" in result._result:
            for event in happened:
                event["message"] = f"{task.get_name()}: {event['message']}"
        return happened

    def _duration(self, host: str, task: t.Any, turn: bool) -> float | None:
        """Return the seconds that a task or a turn of its loop took; None for a loop's sum."""
        at, now = (host, task._uuid), time.monotonic()
        since = self._since.pop(at, now)
        if turn:
            self._since[at] = now
            self._looped.add(at)
        elif at in self._looped:
            self._looped.remove(at)
            return None
        return round(now - since, 3)

    def _reason(self, result: t.Any, action: str, unreachable: bool) -> str:
        """Say that a task failed, in no words but ours; nothing if that has been logged."""
        task = result._task
        if unreachable:
            return f"{task.get_name()}: its host was not reached."
        if action == _VALIDATION and _is_our_role(result._result):
            errors = result._result.get("argument_errors") or ()
            said = " ".join(filter(None, map(on_argument, filter(_is_text, errors))))
            return redact(said, self._secrets) or f"{task.get_name()}: failed."
        text = text_of(result._result, "msg")
        if not text or action not in _FAILING or not _is_in_collection(task):
            return f"{task.get_name()} ({action}): failed."
        text = redact(text, self._secrets)
        for said in self._errors.get(result._host.get_name(), ()):
            if said and said in text:
                return ""
        return text

    def _variables(self, result: t.Any) -> dict[str, str]:
        """Return what the variables say that matter here.

        One that cannot be rendered is as one that is not set.
        """
        variables = self._play.get_variable_manager().get_vars(
            play=self._play, host=result._host, task=result._task
        )
        templar = Templar(loader=self._play.get_loader(), variables=variables)
        values = {}
        for name in ("byok_log_path", "byok_vault_url", "awx_job_id", "tower_job_id"):
            with contextlib.suppress(Exception):
                value = templar.template(variables[name])
                values[name] = str(value) if isinstance(value, (str, int)) else ""
        if os.environ.get("AWX_HOST"):  # JOB_ID alone may be of any other scheduler
            values.setdefault("awx_job_id", os.environ.get("JOB_ID", ""))
        return values

    def _log_at(self, path: str | None, values: t.Mapping[str, str]) -> _Log | None:
        """Return the log at a path; its first line in a run says that the run began."""
        if not path:
            self._path_missing = True
            return None
        path = os.path.abspath(os.path.expanduser(path))
        log = self._logs.get(path)
        if log is None:
            max_bytes = self.get_option("byok_log_max_bytes")
            backups = self.get_option("byok_log_backups")
            log = self._logs[path] = _Log(LogFile(path, max_bytes, backups, self._rotation_failed))
            self._awx_job = values.get("awx_job_id") or values.get("tower_job_id")
            start = {"level": "INFO", "action": "start", "message": f"{self._playbook} started."}
            self._write(log, start, self._begun)
        return log

    def _rotation_failed(self, error: OSError) -> None:
        self._display.warning(f"The job log cannot be renamed and keeps growing: {error}")

    def _write(self, log: _Log, event: Event, moment: datetime) -> None:
        if event["action"] not in ("start", "end"):
            log.counts[event["level"]] += 1
        time_text = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"awx_job": self._awx_job, **event, "time": time_text, "job": self._job}
        log.file.append(to_line(line))


def _uses_collection(play: t.Any) -> bool:
    """Tell whether a play names this collection, as far as that can be seen before it runs."""
    if any(str(role.get_name()).startswith(_COLLECTION) for role in play.roles):
        return True
    left = [*play.pre_tasks, *play.tasks, *play.post_tasks]
    while left:
        task = left.pop()
        if hasattr(task, "block"):
            left += [*task.block, *task.rescue, *task.always]
        else:
            names = (task.action, task.args.get("name"), task._role and task._role.get_name())
            if any(str(name).startswith(_COLLECTION) for name in names):
                return True
    return False


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str)


def _is_our_role(validated: t.Mapping[str, t.Any]) -> bool:
    """Tell whether it is this collection's role of which arguments were checked."""
    context = validated.get("validate_args_context")
    path = text_of(context, "path") if isinstance(context, t.Mapping) else ""
    return bool(path) and Path(path).resolve().is_relative_to(_ROOT / "roles")


def _is_in_collection(task: t.Any) -> bool:
    path = Path(str(task.get_path()).rpartition(":")[0]).resolve()
    return any(path.is_relative_to(_ROOT / part) for part in ("roles", "playbooks"))
