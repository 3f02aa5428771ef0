# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""How requests leave this host: those to a vault to its host alone, and with answers that have a
bounded size.
"""

from __future__ import annotations

import time
import typing as t
from urllib.parse import urlsplit

from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    NoToken,
    OddAnswer,
)

#: Bytes of one answer, unpacked: a page of 25 keys with 15 tags each has less than 2 MiB
_MOST_BYTES = 4 * 2**20

#: The same of all answers of a run
_MOST_BYTES_OF_A_RUN = 2**30

_CONNECT_TIMEOUT = 20
_READ_TIMEOUT = 60

#: Seconds after which a request without an answer is given up
ANSWERED_WITHIN = _CONNECT_TIMEOUT + _READ_TIMEOUT


def vault_transport(url: str, concurrency: int) -> t.Any:
    """Return azure-core's transport for one vault, with as many connections as are used at a time.

    By itself it keeps ten, and goes to whatever host a nextLink names.

    :param url: as comparable_url() returns it
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport

    class Nowhere(requests.adapters.BaseAdapter):
        """Refuses a request before it is sent."""

        def send(self, request: t.Any, *_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
            parts = urlsplit(request.url)
            raise OddAnswer(f"it leads away from the vault, to {parts.scheme}://{parts.netloc}")

        def close(self) -> None:
            pass

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, Nowhere())
    adapter = _bounded_adapter(pool_connections=4, pool_maxsize=concurrency)
    for authority in (url, f"{url}:443"):  # the longest one that fits a request's URL counts
        session.mount(f"{authority}/", adapter)
    # By itself requests looks for proxies anew with each request, a seventh of its time, and puts
    # a ~/.netrc before the token.
    settings = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.trust_env = settings["proxies"], False
    return RequestsTransport(
        session=session,
        connection_verify=settings["verify"],
        connection_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
    )


def login_transport(longest_wait: float, sleep: t.Callable[[float], None] = time.sleep) -> t.Any:
    """Return azure-core's transport for Entra ID.

    By itself azure-core waits as long as a Retry-After says, be it a day.

    :param longest_wait: seconds to wait in all for one answer that is no error
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport

    class Impatient(RequestsTransport):  # type: ignore[misc]
        """Waits as long as it may between two tries."""

        waited = 0.0

        def send(self, request: t.Any, **options: t.Any) -> t.Any:
            response = super().send(request, **options)
            if response.status_code < 400:
                self.waited = 0.0
            return response

        def sleep(self, duration: float) -> None:
            self.waited += duration
            if self.waited > longest_wait:
                raise NoToken(
                    f"Entra ID takes no more requests for now, and says to wait {duration:g} "
                    f"seconds, but throttle_timeout is {longest_wait:g}",
                    "Run again later, or set throttle_timeout higher",
                    code="throttled",
                )
            sleep(duration)

    session = requests.Session()
    session.mount("https://", _bounded_adapter())
    return Impatient(
        session=session, connection_timeout=_CONNECT_TIMEOUT, read_timeout=_READ_TIMEOUT
    )


def _bounded_adapter(**options: t.Any) -> t.Any:
    """Return an adapter of requests that reads no more than is sensible."""
    import requests

    class Bounded(requests.adapters.HTTPAdapter):
        """Counts what is read, after it was unpacked."""

        size = 0

        def build_response(self, req: t.Any, resp: t.Any) -> t.Any:
            stream = resp.stream

            def bounded(*arguments: t.Any, **options: t.Any) -> t.Iterator[bytes]:
                size = 0
                for part in stream(*arguments, **options):
                    size += len(part)
                    self.size += len(part)
                    if size > _MOST_BYTES or self.size > _MOST_BYTES_OF_A_RUN:
                        resp.close()
                        raise OddAnswer(f"it has more than {size} bytes, {self.size} in this run")
                    yield part

            resp.stream = bounded
            return super().build_response(req, resp)

    return Bounded(**options)
