# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The evidence folder of a host: what runs leave as proof, by vault; lines are added and never
removed.

::

    DIR/HOST/keys/NAME.intoto.jsonl     receipts of a key, oldest first, one envelope a line
    DIR/HOST/runs.intoto.jsonl          run manifests
    DIR/HOST/attestations/SHA256.json   what hardware stated, as Azure answered it

HOST is the vault's host and NAME the key's name, both in lower case. No link below DIR is followed.
What the lines say is not judged here.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import typing as t
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import check_name
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import see_directory

#: Made by an administrator, for all users who run Keyferry on a host
_ADMINISTRATORS = "/var/lib/keyferry/receipts"
_OWN = "~/.local/share/keyferry/receipts"

#: In bytes; a statement has some KiB, and the manifest of a run with 1,000 keys has 0.7 MiB
MOST_OF_A_LINE = 1 << 24
MOST_OF_A_FILE = 1 << 28

_HOST = re.compile(r"[a-z0-9][a-z0-9.-]*")

_ENDING = ".intoto.jsonl"
_OF_A_KEY = re.compile(rf"([0-9a-z-]{{1,127}}){re.escape(_ENDING)}")
_RUNS = f"runs{_ENDING}"
_KEYS, _ATTESTATIONS = "keys", "attestations"

_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
#: A link is not followed, and a pipe is not waited for
_THERE = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_TO_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class Lines:
    """What a file of envelopes holds.

    :ivar whole: the lines without their newlines
    :ivar torn: what follows the last newline, as a process that dies leaves it; empty for nothing
    """

    whole: tuple[str, ...] = ()
    torn: str = ""


def default_directory() -> str:
    """Return where evidence goes on this host, where nobody says otherwise.

    :raises ByokError: for a user without a home, as containers have some
    """
    if os.path.isdir(_ADMINISTRATORS):
        return _ADMINISTRATORS
    own = os.path.expanduser(_OWN)
    if not os.path.isabs(own):
        raise ByokError(
            "The user who runs the module has no home directory, so no receipts can be kept there",
            f"Set receipt_directory to an existing directory, or make {_ADMINISTRATORS}",
        )
    return own


class EvidenceFolder:
    """The evidence of one vault.

    :param directory: DIR, which exists; None for :func:`default_directory`, which is made
    """

    def __init__(self, directory: str | None, vault_url: str) -> None:
        self.directory = directory or default_directory()
        self._is_default = directory is None
        self._host = comparable_url(vault_url).removeprefix("https://")
        if not _HOST.fullmatch(self._host):
            raise ByokError(
                f"vault_url {vault_url!r} names no host", "Give the URL of a vault or Managed HSM"
            )

    @property
    def is_lacking(self) -> bool:
        """Whether somebody named a directory that is not there, so that nothing can be kept."""
        return not self._is_default and not os.path.isdir(self.directory)

    def prepare(self) -> None:
        """Make the directories, before there is something to write.

        :raises ByokError: when they cannot be made or written
        """
        if self._is_default:
            with _told(self.directory, "made"):
                os.makedirs(self.directory, mode=0o700, exist_ok=True)
        see_directory(self.directory, "the receipts")
        for parts in ((), (_KEYS,), (_ATTESTATIONS,)):
            path = os.path.join(self.directory, self._host, *parts)
            with _told(path, "made or opened"), self._opened(*parts, made=True):
                see_directory(path, "the receipts")

    def add_receipts(self, name: str, *lines: str) -> None:
        """Add lines to the receipts of a key: all of them reach the disk, or an error tells.

        :raises ByokError: when they cannot be written
        """
        self._add((_KEYS,), _file_of(name), lines)

    def add_run(self, line: str) -> None:
        """Add a run manifest.

        :raises ByokError: when it cannot be written
        """
        self._add((), _RUNS, [line])

    def receipts(self, name: str) -> Lines:
        """Return the receipts of a key; none where there is no file.

        :raises ByokError: when they cannot be read
        """
        return self._read((_KEYS,), _file_of(name))

    def runs(self) -> Lines:
        """Return the run manifests, oldest first.

        :raises ByokError: when they cannot be read
        """
        return self._read((), _RUNS)

    def names(self) -> list[str]:
        """Return the keys that have receipts, in lower case; a file of another name is of no key.

        :raises ByokError: when the directory cannot be read
        """
        with _told(self._path(_KEYS), "read"):
            try:
                with self._opened(_KEYS) as directory:
                    files = os.listdir(directory)
            except FileNotFoundError:
                return []
        return sorted(match[1] for match in map(_OF_A_KEY.fullmatch, files) if match)

    def change_receipts(self, name: str, change: t.Callable[[str], str]) -> int:
        """Replace lines of a key's receipts, all at once or none; what is torn stays as it is.

        :param change: returns what takes a line's place, which may be the same
        :returns: how many lines it changed
        :raises ByokError: when they cannot be read or written
        """
        path = self._path(_KEYS, _file_of(name))
        with (
            _told(path, "written"),
            self._opened(_KEYS, made=True) as directory,
            _locked(directory, _file_of(name)) as descriptor,
        ):
            lines = _lines(_content(descriptor, path))
            changed = {line: new for line in lines.whole if (new := change(line)) != line}
            if changed:
                for line in changed.values():
                    _one_line(line, path)
                placed = (changed.get(line, line) for line in lines.whole)
                text = "".join(f"{line}\n" for line in placed) + lines.torn
                _replace(directory, _file_of(name), _octets(text))
        return len(changed)

    def keep_attestation(self, text: str) -> str:
        """Keep an answer of Azure as it came, and return its SHA-256 in hexadecimal digits.

        :raises ByokError: when it cannot be written
        """
        sha256 = hashlib.sha256(text.encode()).hexdigest()
        file = f"{sha256}.json"
        with (
            _told(self._path(_ATTESTATIONS, file), "written"),
            self._opened(_ATTESTATIONS, made=True) as directory,
        ):
            if not _is_regular(directory, file):
                _replace(directory, file, text.encode())
        return sha256

    def _path(self, *parts: str) -> str:
        return os.path.join(self.directory, self._host, *parts)

    @contextmanager
    def _opened(self, *parts: str, made: bool = False) -> t.Iterator[int]:
        """Open a directory of the vault, through no link below DIR."""
        descriptor = os.open(self.directory, _DIRECTORY)
        try:
            for part in (self._host, *parts):
                if made:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=descriptor)
                inner = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = inner
                _refuse_others(descriptor, part)
            yield descriptor
        finally:
            os.close(descriptor)

    def _add(self, parts: tuple[str, ...], file: str, lines: t.Iterable[str]) -> None:
        path = self._path(*parts, file)
        added = _octets("".join(f"{_one_line(line, path)}\n" for line in lines))
        with _told(path, "written"), self._opened(*parts, made=True) as directory:
            with _locked(directory, file) as descriptor:
                size = os.fstat(descriptor).st_size
                if size + len(added) >= MOST_OF_A_FILE:
                    raise _too_big(path)
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    added = b"\n" + added
                os.lseek(descriptor, 0, os.SEEK_END)
                _write(descriptor, added)
            if not size:
                os.fsync(directory)  # where a new file's name is

    def _read(self, parts: tuple[str, ...], file: str) -> Lines:
        path = self._path(*parts, file)
        with _told(path, "read"):
            try:
                with self._opened(*parts) as directory:
                    descriptor = os.open(file, _TO_READ, dir_fd=directory)
            except FileNotFoundError:
                return Lines()
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)  # what is just being written is not torn
                return _lines(_content(descriptor, path))
            finally:
                os.close(descriptor)


def _file_of(name: str) -> str:
    """Return the file of a key.

    :raises ByokError: for what is no name of a key, and so might be a path
    """
    return f"{check_name(name).lower()}{_ENDING}"


def _one_line(line: str, path: str) -> str:
    """:raises ByokError: for what a reader would not take for one line"""
    if "\n" in line or not line or len(line.encode(errors="surrogateescape")) > MOST_OF_A_LINE:
        raise ByokError(
            f"What was to be written to {path} is no line of at most {MOST_OF_A_LINE} bytes",
            "Find out who made it",
        )
    return line


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _lines(content: bytes) -> Lines:
    *whole, torn = content.decode(errors="surrogateescape").split("\n")
    return Lines(tuple(whole), torn)


def _content(descriptor: int, path: str) -> bytes:
    """:raises ByokError: for what is no file of lines"""
    there = os.fstat(descriptor)
    if not stat.S_ISREG(there.st_mode):
        raise _irregular(path)
    if there.st_size > MOST_OF_A_FILE:
        raise _too_big(path)
    return os.pread(descriptor, there.st_size, 0)


@contextmanager
def _locked(directory: int, file: str) -> t.Iterator[int]:
    """Open a file of lines, and make it if need be; no other process writes to it meanwhile."""
    descriptor = -1
    try:
        while descriptor < 0:
            with suppress(FileExistsError):
                os.close(os.open(file, _NEW, 0o600, dir_fd=directory))
            descriptor = os.open(file, _THERE, dir_fd=directory)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise _irregular(file)
            _refuse_others(descriptor, file)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            there = os.stat(file, dir_fd=directory, follow_symlinks=False)
            if not os.path.samestat(there, os.fstat(descriptor)):  # somebody replaced it just now
                os.close(descriptor)
                descriptor = -1
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _refuse_others(descriptor: int, path: str) -> None:
    """Refuse what another user put where this one's evidence goes, and so can change.

    :raises ByokError: for it; root, who can read what any user wrote, goes on with that
    """
    owner, me = os.fstat(descriptor).st_uid, os.geteuid()
    if me and owner not in (0, me):
        raise ByokError(
            f"{path} in the evidence folder belongs to the user with the number {owner}, who "
            "could change what is written there",
            "Let one user run the modules on this host, or set receipt_directory to a directory "
            "of this user's",
        )


def _is_regular(directory: int, file: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISREG(os.stat(file, dir_fd=directory, follow_symlinks=False).st_mode)
    return False


def _replace(directory: int, file: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = f".{file[:64]}-{os.urandom(8).hex()}"
    descriptor = os.open(temporary, _NEW, 0o600, dir_fd=directory)
    try:
        try:
            _write(descriptor, content)
        finally:
            os.close(descriptor)
        os.replace(temporary, file, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    os.fsync(directory)


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


@contextmanager
def _told(path: str, done: str) -> t.Iterator[None]:
    """:raises ByokError: instead of an error of the system"""
    try:
        yield
    except OSError as error:
        raise ByokError(
            f"The evidence in {path} cannot be {done} ({error.strerror})",
            "Ensure that the user who runs the module owns it and that it is no link, or set "
            "receipt_directory to another directory",
        ) from error


def _irregular(path: str) -> ByokError:
    return ByokError(f"{path} is no regular file", "Remove it, and find out who made it")


def _too_big(path: str) -> ByokError:
    return ByokError(
        f"The file {path} would have more than {MOST_OF_A_FILE >> 20} MiB",
        "Move it to an archive, and note its digest there",
    )
