# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The job log: what results of modules say, as events; and the file that they are appended to."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import typing as t

Event = dict[str, t.Any]

#: The members of an event, in the order of a line and of a CSV's columns; nothing else is ever
#: written.
FIELDS = (
    "time",
    "level",
    "job",
    "awx_job",
    "check",
    "host",
    "vault",
    "action",
    "key",
    "kid",
    "version",
    "generation",
    "thumbprint",
    "request_ids",
    "duration",
    "message",
)
#: From the least to the worst
LEVELS = ("INFO", "WARNING", "ERROR")

_COLLECTION = "keyferry.azure."
_SECRET_OPTIONS = ("pin", "secret", "client_secret", "password")

#: Of events that tell how a key is, and not what was done with it
_LEVELS_OF_STATES = {
    "conflict": "ERROR",
    "expired": "WARNING",
    "expires_soon": "WARNING",
    "not_yet_valid": "WARNING",
}

#: What tells of something that a run does not do itself
_NOT_DONE = ("plan", *_LEVELS_OF_STATES)

#: How Ansible's own sentences on wrong arguments begin. Those of the second kind hold the value of
#: the option that they name.
_ON_ARGUMENTS = re.compile(
    r"Unsupported parameters for |missing required arguments: |missing parameter\(s\) required by "
    r"|parameters are (mutually exclusive|required together): |one of the following is required: "
    r"|(value of|[Aa]rgument|Elements value for option) '?(?P<option>\w+)'?.* (must be|is of type) "
    r"|(?P<other>\w+) is .* but (all|any) of the following are missing: "
)

#: A module's sentence names the request as "Azure answered 403 (Forbidden, request ...)".
_REQUEST = re.compile(r"\brequest ([0-9A-Za-z-]{8,})[,)]")


class Row(t.NamedTuple):
    """How a list of a module's result becomes events.

    :ivar module: the module
    :ivar where: the list
    :ivar member: what tells of an entry what became of it
    :ivar words: its values in the log's words, None for no event; ``*`` stands for any other. A
        text that is not here is taken as it is, because a newer module may say more.
    :ivar message: sentences; one that names something that the entry does not tell is left out
    """

    module: str
    where: str
    member: str
    words: t.Mapping[t.Any, str | None]
    message: tuple[str, ...]


ROWS = (
    Row("byok_target_key", "target_keys", "created", {True: "create"}, ("Made in the token.",)),
    Row(
        "byok_target_key",
        "target_keys",
        "locked",
        {True: "lock"},
        ("Locked: it can go to no further vault.",),
    ),
    Row(
        "byok_target_key",
        "withdrawn",
        "state",
        {"*": "withdraw"},
        ("Withdrawn: never brought to any vault again.",),
    ),
    Row("byok_target_key", "destroyed", "state", {"*": "destroy"}, ("Destroyed in the token.",)),
    Row(
        "byok_plan",
        "plan",
        "action",
        {"none": None, None: None, "conflict": None, "*": "plan"},
        ("To do: {action} ({reason}).",),
    ),
    Row("byok_plan", "plan", "action", {"conflict": "conflict", "*": None}, ("{reason}",)),
    Row("byok_plan", "plan", "state", {None: None}, ("{reason}",)),
    Row(
        "byok_kek",
        "made",
        "state",
        {"*": "set_kek"},
        ("KEK made or changed.", "Trust: {kek_trust}."),
    ),
    Row("byok_kek", "deleted", "state", {"*": "delete_kek"}, ("KEK deleted.",)),
    Row("byok_wrap", "packages", "wrapped", {True: "wrap"}, ("Wrapped.", "KEK: {kek_id}")),
    Row("byok_wrap", "escrows", "wrapped", {True: "escrow"}, ("Wrapped under the escrow key.",)),
    Row(
        "byok_import",
        "deletions",
        "state",
        {"deleted": "delete", "purged": "purge", "recovered": "recover"},
        ("State in the vault: {state}.",),
    ),
    Row(
        "byok_import",
        "imports",
        "imported",
        {True: "import"},
        (
            "Imported.",
            "Recognised by: {identity}.",
            "Version before: {replaced}.",
            "Sent by a run that was interrupted, at {interrupted_at}.",
        ),
    ),
    Row("byok_import", "imports", "updated", {True: "update"}, ("Attributes changed.",)),
    Row("byok_rotate", "rotations", "done", {"conflict": "conflict", "*": None}, ("{reason}",)),
    Row(
        "byok_rotate",
        "rotations",
        "done",
        {"none": None, "conflict": None},
        ("Why: {reason}.", "Version before: {replaced}."),
    ),
    Row(
        "byok_rotate",
        "rotations",
        "locked",
        {True: "lock"},
        ("Locked: it can go to no further vault.",),
    ),
    Row(
        "byok_rotate",
        "retired",
        "state",
        {"*": "retire"},
        ("Disabled, because a newer version has replaced it.",),
    ),
)


def events(
    action: str,
    result: t.Mapping[str, t.Any],
    *,
    failed: bool = False,
    ignored: bool = False,
    check: bool = False,
) -> list[Event]:
    """Return what the result of a task says, without what is the same for all events of the task.

    :param action: full name of the module
    :param result: what the module returned; lists and members that ROWS does not name are ignored
    :param failed: the task failed
    :param ignored: what failed does not stop the play
    :param check: the task ran in check mode
    """
    module = action.removeprefix(_COLLECTION)
    trouble = "WARNING" if ignored else "ERROR"
    if "censored" in result:
        level = trouble if failed else "INFO"
        return [{"level": level, "action": module, "message": "no_log hides the result."}]
    lists = _lists(module, result)
    told: list[Event] = []
    for row in ROWS:
        if row.module == module:
            for entry in lists[row.where]:
                told += _told(row, entry)
    if check:
        # A look that reports no change, as the role's into the token, would have done nothing.
        changed = result.get("changed")
        told = [_would(event) for event in told if changed or event["action"] in _NOT_DONE]
    conflicts = [event["key"] for event in told if event["action"] == "conflict"]
    failures = [
        _problem(trouble, module, failure)
        for failure in _dicts(result, "failures")
        if text_of(failure, "name") not in conflicts
    ]
    # Modules say msg only where they fail, even if the task was told not to.
    if not (failures or conflicts) and (failed or "msg" in result):
        said = text_of(result, "msg")
        if "failures" not in result:  # of a module that did not begin, or crashed
            said = on_argument(said) or "It failed without a message; see the play's output."
        failures = [_problem(trouble if failed else "WARNING", module, {"msg": said})]
    warnings = [
        _problem("WARNING", module, {"msg": _warning(warning)})
        for warning in _list(result, "warnings")
    ]
    seen = sum(map(len, lists.values()))
    nothing = f"Nothing was changed. Keys: {seen}." if seen else "Nothing was changed."
    return [*told, *failures, *warnings] or [
        {"level": "INFO", "action": module, "message": nothing}
    ]


def on_argument(text: str) -> str:
    """Return a text if it is a sentence of Ansible's on a wrong argument; else nothing, as of one
    that may quote a secret.
    """
    match = _ON_ARGUMENTS.match(text)
    if match is None or {match["option"], match["other"]} & set(_SECRET_OPTIONS):
        return ""
    return text


def _problem(level: str, module: str, entry: t.Mapping[str, t.Any]) -> Event:
    return {**_facts(entry), "level": level, "action": module, "message": text_of(entry, "msg")}


def _lists(module: str, result: t.Mapping[str, t.Any]) -> dict[str, list[t.Mapping[str, t.Any]]]:
    """Return the lists that the module's rows are about.

    Those that a result tells in another form are made here.
    """
    lists = {row.where: _dicts(result, row.where) for row in ROWS if row.module == module}
    if module == "byok_kek":
        lists["made"] = _made_kek(result)
        lists["deleted"] = [{"name": name} for name in _list(result, "deleted")]
    if module == "byok_rotate":
        rotations = lists["rotations"]
        failed = {text_of(failure, "name") for failure in _dicts(result, "failures")}
        lists["rotations"] = []
        lists["retired"] = []
        for rotation in rotations:
            lists["rotations"].append(_rotated(rotation, text_of(rotation, "name") in failed))
            for version in _list(rotation, "retired"):
                lists["retired"].append({"name": rotation.get("name"), "version": version})
    return lists


def _made_kek(result: t.Mapping[str, t.Any]) -> list[t.Mapping[str, t.Any]]:
    """Return the KEK that byok_kek made or changed; none where it did not."""
    if not result.get("changed") or "kek_id" not in result:
        return []
    kek, kid = result.get("kek"), text_of(result, "kek_id")
    made = {
        "name": text_of(kek, "name") if isinstance(kek, t.Mapping) else "",
        "kid": kid,
        "version": kid.rpartition("/")[2],
        "kek_trust": result.get("kek_trust"),
    }
    return [made]


def _rotated(entry: t.Mapping[str, t.Any], failed: bool) -> t.Mapping[str, t.Any]:
    """Add what was done with a key of byok_rotate.

    The module tells as its action what it had planned.
    """
    action, imported = text_of(entry, "action"), entry.get("imported")
    if action == "conflict" or imported is True:
        return {**entry, "done": action}
    # False says that it was there; only attributes may have changed.
    if imported is False and action in ("update", "recover"):
        return {**entry, "done": action}
    if imported is not False and action in ("transfer", "rotate") and not failed:
        # kid and version are what is to be replaced.
        return {**entry, "done": "prepare", "kid": None, "version": None}
    return {**entry, "done": "none"}


def _told(row: Row, entry: t.Mapping[str, t.Any]) -> t.Iterator[Event]:
    """Yield the event that an entry of a list is by its row, if it is one."""
    value = entry.get(row.member)
    if not isinstance(value, (str, bool)):
        value = None
    word = row.words.get(value, row.words.get("*", value))
    if isinstance(word, str):
        level = _LEVELS_OF_STATES.get(word, "INFO")
        message = _sentences(row.message, entry)
        yield {**_facts(entry), "level": level, "action": word, "message": message}


def _facts(entry: t.Mapping[str, t.Any]) -> Event:
    facts = {fact: text_of(entry, fact) for fact in ("kid", "version", "generation", "thumbprint")}
    request = text_of(entry, "request_id")
    requests = [request] if request else _REQUEST.findall(text_of(entry, "msg"))
    return {"key": text_of(entry, "name"), **facts, "request_ids": requests}


def _would(event: Event) -> Event:
    if event["action"] in _NOT_DONE:
        return event
    return {**event, "message": f"Check mode, not done: {event['message']}"}


def _sentences(templates: t.Iterable[str], entry: t.Mapping[str, t.Any]) -> str:
    said = {name: value for name, value in entry.items() if isinstance(value, str) and value}
    sentences = []
    for template in templates:
        with contextlib.suppress(KeyError):
            sentences.append(template.format_map(said))
    return " ".join(sentences)


def _warning(warning: t.Any) -> str:
    """Return the text of a warning, which some ansible-core tell with more around it."""
    if isinstance(warning, t.Mapping):
        event = warning.get("event")
        return text_of(event if isinstance(event, t.Mapping) else warning, "msg")
    return warning if isinstance(warning, str) else ""


def text_of(entry: t.Mapping[str, t.Any], name: str) -> str:
    """Return a member that is a text; anything else counts as none."""
    value = entry.get(name)
    return value if isinstance(value, str) else ""


def _list(entry: t.Mapping[str, t.Any], name: str) -> list[t.Any]:
    value = entry.get(name)
    return list(value) if isinstance(value, (list, tuple)) else []


def _dicts(entry: t.Mapping[str, t.Any], name: str) -> list[t.Mapping[str, t.Any]]:
    return [item for item in _list(entry, name) if isinstance(item, t.Mapping)]


def secrets_in(arguments: t.Mapping[str, t.Any]) -> set[str]:
    """Return the values of a task's arguments that must not be written, whatever type they have."""
    secrets: set[str] = set()
    values: list[t.Any] = [arguments.get(name) for name in _SECRET_OPTIONS]
    while values:
        value = values.pop()
        if isinstance(value, t.Mapping):
            values.extend(value.values())
        elif isinstance(value, (list, tuple)):
            values.extend(value)
        elif value not in (None, ""):
            secrets |= {str(value), str(value).strip()}
    return secrets


def redact(text: str, secrets: t.Iterable[str]) -> str:
    """Return the text without the secrets.

    A secret of less than four characters counts as a whole word only.
    """
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        pattern = re.escape(secret)
        if len(secret) < 4:
            pattern = rf"(?<!\w){pattern}(?!\w)"
        text = re.sub(pattern, "***", text)
    return text


def to_line(event: Event) -> str:
    """Return an event as a line; what does not apply is left out."""
    members = {name: event[name] for name in FIELDS if event.get(name) not in (None, "", [])}
    return json.dumps(members) + "\n"


class LogFile:
    """A file that several runs append whole lines to, and that is renamed when it has grown.

    :param rotation_failed: called with the error when it cannot be renamed; it is written to all
        the same
    """

    def __init__(
        self,
        path: str,
        max_bytes: int,
        backups: int,
        rotation_failed: t.Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._backups = max(backups, 1)
        self._rotation_failed = rotation_failed
        self._first = True

    def append(self, line: str) -> None:
        """Append a line by one write.

        It is never done through a link, by which somebody could have it written to a file of ours.

        :raises OSError: when it could not be written, or not all of it
        """
        data = line.encode()
        # Not to wait for ever where the path is a pipe.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags, 0o600)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise OSError(f"{self.path} is a link; set byok_log_path to the file itself") from None
        try:
            if self._first and not self._is_whole(descriptor):
                data = b"\n" + data  # what a full disk cut off must not spoil this line as well
            self._first = False
            if os.write(descriptor, data) != len(data):
                raise OSError(f"only a part of a line could be written to {self.path}")
            if self._max_bytes > 0 and os.fstat(descriptor).st_size >= self._max_bytes:
                self._rotate(descriptor)
        finally:
            os.close(descriptor)

    @staticmethod
    def _is_whole(descriptor: int) -> bool:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
            return True
        return os.pread(descriptor, 1, status.st_size - 1) == b"\n"

    def _rotate(self, descriptor: int) -> None:
        """Rename the files, unless another run does.

        Nobody waits for a lock, as a line in the renamed file is not lost.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino != os.stat(self.path).st_ino:
                return
            for number in range(self._backups - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.replace(f"{self.path}.{number}", f"{self.path}.{number + 1}")
            os.replace(self.path, f"{self.path}.1")
        except (BlockingIOError, FileNotFoundError):
            return
        except OSError as error:
            self._max_bytes = 0
            self._rotation_failed(error)
