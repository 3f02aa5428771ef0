# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin util is **PRIVATE** to the collection: it can change at any time.

"""Files that somebody else wrote, read as plain data.

Templates, tags, aliases and symbolic links count for nothing, and memory is bounded. Ansible's own
loader is not used, because it follows links, decrypts, expands aliases, and takes the last of two
equal fields.
"""

from __future__ import annotations

import glob
import os
import re
import stat
import typing as t
from dataclasses import dataclass
from pathlib import PurePath

import yaml
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import decode_text

MOST_BYTES = 4_000_000
_MOST_DEPTH = 10

#: Beside an inventory or a playbook, Ansible reads every file in them as variables
_FOLDERS_OF_VARIABLES = frozenset({"group_vars", "host_vars"})

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

#: What libyaml says from 0.2.6 on, which looks further ahead than its events tell
_BEYOND_LIBYAML = "exceeded maximum nesting depth"
_TOO_DEEP = ("it is nested too deep", "Declare keys as docs/fleets.md shows")

#: YAML 1.2 as editors read it, in which NO is a country. Other numbers than these become floats,
#: which no field takes.
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LONGEST_NUMBER = 40


@dataclass(frozen=True)
class Document:
    """What a file holds.

    :ivar lines: on which each of its mappings begins, by its path, such as ``("keys", 3)``
    """

    value: t.Any
    lines: t.Mapping[tuple[str | int, ...], int]


def read_by_ansible(sources: t.Iterable[str]) -> dict[str, str]:
    """Return what Ansible reads of the sources of an inventory, each with why it does.

    :param sources: files, folders and lists of hosts
    :returns: real paths of files and folders, with words behind the name of what lies there
    """
    read = {}
    for source in map(os.path.abspath, sources):
        if os.path.isdir(source):
            why = f"lies in {source}, a source of the inventory that is a folder"
            read[os.path.realpath(source)] = why
            for parent, folders, files in os.walk(source):
                for path in (os.path.join(parent, name) for name in (*folders, *files)):
                    if os.path.islink(path):  # which Ansible follows
                        read[os.path.realpath(path)] = why
        else:
            read[os.path.realpath(source)] = "is a source of the inventory itself"
    return read


def read_as_code(folder: str, pattern: str, read: t.Mapping[str, str]) -> str | None:
    """Return why Ansible itself reads a file of a pattern, and renders its texts as templates.

    :param folder: that the pattern is relative to
    :param read: by Ansible, as read_by_ansible() returns it
    :returns: None where it does not
    """
    for path in _glob(folder, pattern):
        place = PurePath(folder, path)
        if _FOLDERS_OF_VARIABLES.intersection(place.parts):
            return f"{path} lies in a folder group_vars or host_vars, whose files are variables"
        place = PurePath(os.path.realpath(place))
        for each in map(str, (place, *place.parents)):
            if each in read:
                return f"{path} {read[each]}"
    return None


def _glob(folder: str, pattern: str) -> list[str]:
    # As bytes, because the texts of a configuration are rendered as templates, and a file may be
    # named like one.
    return sorted(
        os.fsdecode(path) for path in glob.glob(os.fsencode(pattern), root_dir=os.fsencode(folder))
    )


def find_files(folder: str, pattern: str) -> list[str]:
    """Return the files of a pattern.

    They are relative to the folder where that is how the pattern is written.

    :raises ByokError: when there is none, or one is found by way of a symbolic link
    """
    paths = _glob(folder, pattern)
    if not paths:
        raise ByokError(
            f"{pattern} matches no file", "Correct the path; a file without keys holds keys: []"
        )
    for path in paths:
        parts = path.split(os.sep)
        for number in range(len(parts)):
            part = os.sep.join(parts[: number + 1]) or os.sep
            if os.path.islink(os.path.join(folder, part)):
                raise ByokError(
                    f"{part} is a symbolic link, so {path} could be any file of this machine",
                    "Put the file itself there, or name the folder that the link leads to",
                )
    return paths


def read_file(path: str) -> bytes:
    """Return the content of a file.

    It can be no link, pipe or device, and is no larger than declarations are.

    :raises ByokError: when it cannot be read, or is something else
    """
    remedy = "Put a file with declarations there"
    try:
        with open(path, "rb", opener=_open_regular) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ByokError("It is no regular file", remedy)
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ByokError(f"It cannot be read ({error.strerror})", remedy) from error
    if len(content) > MOST_BYTES:
        raise ByokError(f"It is larger than {MOST_BYTES // 1_000_000} MB", "Split it")
    return content


def _open_regular(path: str, flags: int) -> int:
    """Open a file, through no link, and without waiting where it is a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def parse_document(content: bytes) -> Document:
    """Read one YAML document of mappings, lists, texts, whole numbers, booleans and nulls.

    :raises ByokError: when it is no YAML, or holds anything else
    """
    builder = _Builder()
    try:
        for event in yaml.parse(content.decode(), Loader=_LOADER):
            builder.take(event)
    except UnicodeDecodeError:
        decode_text(content, "It")  # names the encoding
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark and error.problem == _BEYOND_LIBYAML:
            _refuse(mark.line + 1, *_TOO_DEEP)
        line = f" on line {mark.line + 1}" if mark else ""
        raise ByokError(
            f"It is not YAML{line}: {error.problem or error.context}", "Correct it"
        ) from error
    except yaml.YAMLError as error:
        raise ByokError(
            "It is not YAML: it holds a character that YAML does not take", "Correct it"
        ) from error
    return Document(builder.value, builder.lines)


class _Builder:
    """Builds a value out of events.

    So neither depth nor aliases cost more than the file's size.
    """

    def __init__(self) -> None:
        self.value: t.Any = None
        self.lines: dict[tuple[str | int, ...], int] = {}
        # Containers, outermost first, with their paths
        self._open: list[tuple[t.Any, tuple[str | int, ...]]] = []
        # Of each of them, the field whose value comes next
        self._field: list[str | None] = []
        self._documents = 0

    def take(self, event: t.Any) -> None:
        """Add what an event of the parser says."""
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                _refuse(_line(event), "a second document begins", "Make it one file each")
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._field.pop()
        elif isinstance(event, yaml.NodeEvent):
            if event.anchor is not None:
                _refuse(
                    _line(event), "there is an anchor or an alias", "Write it out, or use defaults"
                )
            if getattr(event, "tag", None) is not None:
                _refuse(
                    _line(event),
                    "there is a tag",
                    "Declarations are plain data: write the text without what begins with !",
                )
            self._add(event)

    def _add(self, event: t.Any) -> None:
        """Add a field's name to the mapping that is open, or else a value to what is open."""
        in_mapping = bool(self._open) and isinstance(self._open[-1][0], dict)
        field = self._field[-1] if in_mapping else None
        if in_mapping and field is None:
            if not isinstance(event, yaml.ScalarEvent):
                _refuse(
                    _line(event),
                    "a field is named by a list or a mapping",
                    "Put a text with braces or brackets into quotes",
                )
            if event.value in self._open[-1][0]:
                _refuse(_line(event), f"the field {event.value[:60]!r} occurs twice", "Leave one")
            self._field[-1] = event.value
            return
        value: t.Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        if isinstance(event, yaml.ScalarEvent):
            value = _plain(event.value) if event.implicit[0] else event.value
        path: tuple[str | int, ...] = ()
        if self._open:
            container, outer = self._open[-1]
            if field is None:
                path = (*outer, len(container))
                container.append(value)
            else:
                path = (*outer, field)
                container[field] = value
                self._field[-1] = None
        else:
            self.value = value
        if not isinstance(event, yaml.ScalarEvent):
            if len(path) > _MOST_DEPTH:
                _refuse(_line(event), *_TOO_DEEP)
            if isinstance(event, yaml.MappingStartEvent):
                self.lines[path] = _line(event)
            self._open.append((value, path))
            self._field.append(None)


def _refuse(line: int, what: str, remedy: str) -> t.NoReturn:
    raise ByokError(f"It is not plain data: on line {line} {what}", remedy)


def _line(event: t.Any) -> int:
    return int(event.start_mark.line) + 1


def _plain(text: str) -> t.Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if len(text) <= _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        return float(text)
    return text
