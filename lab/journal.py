# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked of the lab and what it answered: never a body, a token or a secret."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from starlette.requests import Request

_log = logging.getLogger("lab")


class Journal:
    """One line in the log per request, and for tests a list of what vaults and Entra answered."""

    def __init__(self) -> None:
        self.answers: list[dict[str, Any]] = []

    def record(
        self,
        operation: str,
        request: Request,
        status: int,
        started: float,
        key: str = "",
        fault: str | None = None,
    ) -> None:
        """Record an answer.

        `started` is of time.monotonic(); a `fault` can mean that nobody received the answer.
        """
        host = request.url.hostname
        self.answers.append(
            {
                "n": len(self.answers) + 1,
                "operation": operation,
                "vault": host,
                "key": key,
                "status": status,
                "fault": fault,
            }
        )
        self.log(request, status, started)

    def log(self, request: Request, status: int, started: float) -> None:
        """Write the line alone, for what is no operation."""
        milliseconds = round(1000 * (time.monotonic() - started))
        target = f"{request.url.hostname}{request.url.path}"
        _log.info(
            "%s %s %d %d ms %s", request.method, target, status, milliseconds, request_id(request)
        )


def request_id(request: Request) -> str:
    """The id of a request, the same whenever it is asked for."""
    if not hasattr(request.state, "request_id"):
        request.state.request_id = str(uuid.uuid4())
    return str(request.state.request_id)
