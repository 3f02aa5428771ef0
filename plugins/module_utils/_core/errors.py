# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Errors that carry their own remedy."""

from __future__ import annotations

import traceback
import typing as t
from pathlib import PurePath

from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable

#: Where the collection's own code is, on a host as on the controller
_OURS = "ansible_collections/keyferry/azure/plugins/"


class ByokError(Exception):
    """A failure as a sentence for the user: what failed and why, then what to do.

    It is one printable line, whatever text of others is quoted.

    :param what: what failed, on which key, token or vault, and why (return code, or Azure's code
        and request id)
    :param remedy: what the user can do about it
    :param code: the same for programs, one of FAILURES of ``_core/reasons.py``
    """

    def __init__(self, what: str, remedy: str, *, code: str = "failed") -> None:
        self.what = printable(what).rstrip(".")
        self.remedy = printable(remedy).rstrip(".")
        self.reason = code
        super().__init__(f"{self.what}. {self.remedy}.")

    def __reduce__(self) -> tuple[t.Any, ...]:
        """Let it be told to another process, where its kind no longer matters."""
        return _told, (self.what, self.remedy, self.reason)


def _told(what: str, remedy: str, code: str) -> ByokError:
    return ByokError(what, remedy, code=code)


class DeclarationError(Exception):
    """Declared keys have problems, of which each line tells one.

    :ivar problems: a printable sentence for each
    """

    def __init__(self, *problems: str) -> None:
        self.problems = [printable(problem) for problem in problems]
        super().__init__("\n".join(self.problems))


class MissingLibrary(ByokError):
    """A Python library that this side needs is not installed."""

    def __init__(self, library: str, error: ImportError) -> None:
        super().__init__(
            f"The Python library {library} cannot be imported on this host ({error})",
            f"Install it for the interpreter that runs the module (pip install {library}), "
            "or point ansible_python_interpreter to one that has it",
            code="missing_library",
        )


class Unexpected(ByokError):
    """An exception that nobody foresaw, told by its type and place alone: its text may hold a
    secret.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"{type(error).__name__} was raised at {_place(error)}, which Keyferry did not expect",
            "What was done before the error is in the result. Run again. If the error recurs, "
            "report this sentence with the versions of keyferry.azure and of its Python libraries",
            code="unexpected",
        )


def as_byok_error(error: Exception) -> ByokError:
    """Return what is told to the user of any exception."""
    return error if isinstance(error, ByokError) else Unexpected(error)


def _place(error: BaseException) -> str:
    """Return file and line where an exception left the collection's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if _OURS in PurePath(frame.filename).as_posix()]
    if not ours:
        return "an unknown place"
    path = "/".join(PurePath(ours[-1].filename).parts[-2:])
    return f"{path}:{ours[-1].lineno}"
