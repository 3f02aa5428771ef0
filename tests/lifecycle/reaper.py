# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Death of a run at any moment: before or after any request to a vault and any call of PKCS#11."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from unittest import mock

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Library

#: What a dead process's token does by itself; it is not counted
_CLEARED_UP = ("C_Logout", "C_CloseSession")

#: Requests and calls of PKCS#11 that change what outlives the process; what a wrap makes and
#: destroys are session objects
_CHANGING = ("C_GenerateKeyPair", "C_SetAttributeValue", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Moment:
    """Before or after the call of this number, among those whose names begin so."""

    number: int
    after: bool
    names: tuple[str, ...] = ("",)


class Killed(BaseException):
    """The process is dead."""


class Reaper:
    """Counts what a run sends to vaults and token, and kills it: then nothing more is sent."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.moment: Moment | None = None
        self.dead = False

    def call(self, name: str, send: Callable[[], Any]) -> Any:
        if name in _CLEARED_UP:
            return send()
        if self.dead:
            raise Killed
        if self._repeats(name):
            return send()
        self.calls.append(name)
        self._die(after=False)
        answer = send()
        self._die(after=True)
        return answer

    def _repeats(self, name: str) -> bool:
        """Tell whether a call is the next look or page of the same: how many there are differs."""
        return name.startswith("GET") and self.calls[-1:] == [name]

    def _die(self, *, after: bool) -> None:
        if (
            self.moment
            and self.moment.after == after
            and self.calls[-1].startswith(self.moment.names)
        ):
            self.dead = (
                self.dead
                or sum(name.startswith(self.moment.names) for name in self.calls)
                == self.moment.number + 1
            )
            if self.dead:
                raise Killed

    def moments(self) -> list[Moment]:
        """When to kill.

        Before each request, before and after each call that changes something, and at the end. Of
        calls to the token in a row that only look, the first stands for all, because nothing
        differs between them.
        """

        def looks(numbered: tuple[int, str]) -> bool:
            return " " not in numbered[1] and not numbered[1].startswith(_CHANGING)

        moments = []
        for looking, group in groupby(enumerate(self.calls), looks):
            for number, name in [next(group)] if looking else group:
                moments += [
                    Moment(number, after)
                    for after in (False, True)[: 1 + name.startswith(_CHANGING)]
                ]
        return [*moments, Moment(len(self.calls) - 1, True)]

    def kills(self, run: Callable[[], Any], moment: Moment) -> str:
        """Let a run die at this moment; returns the call."""
        self.calls, self.moment, self.dead = [], moment, False
        with pytest.raises(Killed):
            run()
        self.moment, self.dead = None, False
        return f"{'after' if moment.after else 'before'} {self.calls[-1]}"

    def watch(self, run: Callable[[], Any]) -> list[Moment]:
        """Let a run live, and return the moments at which others shall die."""
        self.calls, self.moment, self.dead = [], None, False
        run()
        return self.moments()


@contextmanager
def reaping() -> Iterator[Reaper]:
    """Watch over what this process sends."""
    from azure.core.pipeline.transport import RequestsTransport

    reaper = Reaper()

    def through(kind: type, name: str, called: Callable[..., str]) -> Any:
        plain = getattr(kind, name)

        def call(self: Any, *arguments: Any, **options: Any) -> Any:
            return reaper.call(called(*arguments), lambda: plain(self, *arguments, **options))

        return mock.patch.object(kind, name, call)

    def request(sent: Any) -> str:
        return f"{sent.method} {sent.url.partition('?')[0]}"

    with ExitStack() as stack:
        stack.enter_context(through(RequestsTransport, "send", request))
        stack.enter_context(through(Library, "call", lambda function, *_arguments: str(function)))
        yield reaper
