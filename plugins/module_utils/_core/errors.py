# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""Errors that carry their own remedy."""

from __future__ import annotations


class ByokError(Exception):
    """A failure as a sentence for the user: what failed and why, then what to do.

    :param what: what failed, on which key, token or vault, and why (return code, or Azure's code and request id)
    :param remedy: what the user can do about it
    """

    def __init__(self, what: str, remedy: str) -> None:
        self.what = what.rstrip(".")
        self.remedy = remedy.rstrip(".")
        super().__init__(f"{self.what}. {self.remedy}.")


class MissingLibrary(ByokError):
    """A Python library that this side needs is not installed."""

    def __init__(self, library: str, error: ImportError) -> None:
        super().__init__(
            f"The Python library {library} cannot be imported on this host ({error})",
            f"Install it for the interpreter that runs the module (pip install {library}), "
            "or point ansible_python_interpreter to one that has it",
        )


class Failures:
    """The errors of single keys, collected so that one bad key does not stop the others."""

    def __init__(self) -> None:
        self._errors: dict[str, ByokError] = {}

    def add(self, name: str, error: ByokError) -> None:
        """Remember that the key ``name`` failed; the first error of a key is the one that counts."""
        self._errors.setdefault(name, error)

    def take_over(self, others: Failures) -> None:
        """Remember the failures of a step as well."""
        for name, error in others._errors.items():
            self.add(name, error)

    def __bool__(self) -> bool:
        return bool(self._errors)

    def as_result(self) -> list[dict[str, str]]:
        """Return one dict with ``name`` and ``msg`` per failed key."""
        return [{"name": name, "msg": str(error)} for name, error in self._errors.items()]
