# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A vault, and the one way in which requests go to it: outcome-aware, because a repeated import makes a second version."""

from __future__ import annotations

import threading
import time
import typing as t
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import VAULT, Clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import MissingLibrary
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import (
    Address,
    parse_address,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.credentials import (
    make_credential,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    AzureError,
    VaultUnavailable,
    code_and_text,
    explain,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace

T = t.TypeVar("T")

#: Microsoft's advice for 429: wait 1, 2, 4, 8 and 16 seconds; the real one has no Retry-After
_LONGEST_WAIT = 16

#: A request that was never sent is tried this often in all: a wrong name or proxy does not heal
_UNSENT_TRIES = 3

#: What urllib3, requests and ssl call errors before any byte of a request was sent
_NEVER_SENT = (
    "NewConnectionError",
    "NameResolutionError",
    "Failed to establish a new connection",
    "Failed to resolve",
    "ConnectTimeout",
    "Tunnel connection failed",
    "CERTIFICATE_VERIFY_FAILED",
)

#: Azure's inner codes (409) while a key is being deleted or recovered, which takes up to a minute
_NAME_ON_ITS_WAY = ("ObjectIsBeingDeleted", "ObjectIsBeingRecovered")

#: What to do when it is not known whether something was done
_LATER = "Run again later: what is done is not done again"

_CONNECT_TIMEOUT = 20
_READ_TIMEOUT = 60


class Uncertain(VaultUnavailable):
    """A request may or may not have been carried out, and reading back did not tell."""


class Vault:
    """A vault or Managed HSM.

    It may be used by several threads at once.

    :param client: a KeyClient of azure-keyvault-keys
    :param settle_time: seconds after which an unanswered request counts as not carried out
    :param throttle_timeout: seconds to wait in all for a vault that answers 429
    :param clock: hears Entra ID's Date of this vault's credential as well
    """

    def __init__(
        self,
        address: Address,
        client: t.Any,
        settle_time: float,
        throttle_timeout: float,
        pace: Pace,
        sleep: t.Callable[[float], None] = time.sleep,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.address = address
        self.client = client
        self.pace = pace
        self._answered = threading.local()
        self._settle_time = settle_time
        self._throttle_timeout = throttle_timeout
        self.sleep = sleep
        self.clock = clock or Clock()

    def __str__(self) -> str:
        return str(self.address)

    @property
    def request_id(self) -> str | None:
        """Azure's id of the last request that this thread sent."""
        return getattr(self._answered, "request_id", None)

    @property
    def now(self) -> datetime:
        """What time it is, for what is due: see Clock.

        :raises WrongClock: where that is more than an hour from this host's clock
        """
        return self.clock.now(str(self))

    def read(self, what: str, call: t.Callable[..., T]) -> T:
        """Send a request that changes nothing; repeat it while the vault is throttled or not reached.

        :param what: what is done, for an error, such as ``Reading the key x``
        :param call: sends it, with the keyword arguments that it is given passed on to the SDK
        :raises AzureError: with what Azure answered
        """
        return self._send(what, call, "read")

    def read_if_there(self, what: str, call: t.Callable[..., T]) -> T | None:
        """Like read(), but None where Azure answers 404."""
        try:
            return self.read(what, call)
        except AzureError as error:
            if error.status == 404:
                return None
            raise

    def write(self, what: str, call: t.Callable[..., T], landed: t.Callable[[], T | None]) -> T:
        """Send a request that changes something, and carry it out exactly once as far as that can be known.

        429 is a certain no, so it is repeated; so is 409 while a deletion or recovery of the same name is on its way. When the
        answer is lost or 5xx: read back; wait for the settle time, for a request can commit late; read back; then try once more.

        :param landed: reads back; returns the outcome if the request was carried out
        :raises AzureError: with what Azure answered
        :raises Uncertain: when the second try had no certain answer either
        :raises WrongClock: before anything is sent
        """
        self.clock.now(str(self))
        for _attempt in range(2):
            try:
                return self._send(what, call, "write")
            except _Unanswered as unanswered:
                cause = f"{unanswered}; whether it was done is not known"
                for wait in (0, self._settle_time):
                    self.sleep(wait)
                    try:
                        outcome = landed()
                    except VaultUnavailable as error:
                        raise Uncertain(
                            f"{cause}, nor could it be looked up: {error.what}", _LATER
                        ) from error
                    if outcome is not None:
                        return outcome
        raise Uncertain(cause, _LATER)

    def request(self, method: str, path: str, body: t.Any = None, **options: t.Any) -> t.Any:
        """Send what the SDK has no fitting method for; called by read() or write().

        :param path: below the vault's URL
        :param body: what is sent as JSON
        :param options: what read() or write() passed on
        :returns: azure-core's response, which is no error
        """
        from azure.core.rest import HttpRequest

        response = self.client.send_request(HttpRequest(method, path, json=body), **options)
        response.raise_for_status()
        return response

    def import_package(
        self, name: str, spec: KeySpec, operations: t.Iterable[str], package: str, **options: t.Any
    ) -> t.Any:
        """Send a key transfer package; called by write().

        :param package: the text of the package
        :param options: the key's attributes, and what write() passed on
        :returns: the SDK's KeyVaultKey
        """
        from azure.keyvault.keys import JsonWebKey

        key = JsonWebKey(
            kty=spec.azure_type, crv=spec.curve, key_ops=list(operations), t=package.encode()
        )
        return self.client.import_key(name, key, **options)

    def _send(self, what: str, call: t.Callable[..., T], kind: str) -> T:
        from azure.core import exceptions

        def send() -> T:
            with self.pace.turn(kind) as turn:
                try:
                    return call(retry_total=0, raw_response_hook=self._note)
                except exceptions.HttpResponseError as error:
                    turn.throttled = error.status_code == 429
                    raise

        waited, wait, tries = 0.0, 1, 0
        while True:
            try:
                return send()
            except (
                OSError,
                UnicodeDecodeError,
            ) as error:  # a credential reads its file when it needs a token
                raise VaultUnavailable(
                    f"{what} failed: no token for Azure: the credential's file cannot be read ({error})",
                    "Correct federated_token_file, and see that the user who runs the module can read it",
                ) from error
            except (
                exceptions.AzureError,
                ValueError,
            ) as error:  # a challenge for another resource is a ValueError
                tries += 1
                status = (
                    error.status_code if isinstance(error, exceptions.HttpResponseError) else None
                )
                uncertain = (
                    _may_have_been_sent(error) if status is None else status >= 500 or status == 408
                )
                throttled = (
                    status == 429 or _code(error) in _NAME_ON_ITS_WAY
                )  # certainly not carried out
                if uncertain and kind == "write":
                    raise _Unanswered(explain(error, what).what) from error
                again = (
                    waited < self._throttle_timeout
                    if throttled
                    else (uncertain or isinstance(error, exceptions.ServiceRequestError))
                    and tries < _UNSENT_TRIES
                )
                if not again:
                    raise explain(error, what) from error
                pause = min(wait, self._throttle_timeout - waited) if throttled else wait
                self.sleep(pause)
                waited, wait = waited + pause, min(2 * wait, _LONGEST_WAIT)

    def _note(self, response: t.Any) -> None:
        headers = response.http_response.headers
        self.clock.hear(VAULT, headers.get("Date"))
        self._answered.request_id = headers.get("x-ms-request-id", self.request_id)


def _code(error: Exception) -> str | None:
    return code_and_text(error)[0]


class _Unanswered(Exception):
    """The request may have been carried out."""


def _may_have_been_sent(error: Exception) -> bool:
    # Behind a proxy azure-core says ServiceRequestError, "not sent", also when the connection broke after the request.
    from azure.core.exceptions import IncompleteReadError, ServiceRequestError, ServiceResponseError

    if isinstance(error, ServiceRequestError):
        return not any(word in str(error) for word in _NEVER_SENT)
    return isinstance(error, ServiceResponseError | IncompleteReadError)


def is_about_token(error: BaseException | None) -> bool:
    """Tell whether an error of the SDK says that Entra gave no token."""
    from azure.core.exceptions import ClientAuthenticationError

    return isinstance(error, ClientAuthenticationError)


def open_vault(options: t.Mapping[str, t.Any]) -> Vault:
    """Return the vault of a module's options; nothing is sent yet.

    :raises ByokError: for a URL that is no vault, an incomplete credential, or a missing library
    """
    address = parse_address(options["vault_url"], options["cloud_environment"])
    clock = Clock()
    credential = make_credential(options, address.login_host, clock)
    try:
        from azure.keyvault.keys import KeyClient
    except ImportError as error:
        raise MissingLibrary("azure-keyvault-keys", error) from error
    client = KeyClient(
        address.url, credential, transport=_transport(address.url, options["concurrency"])
    )
    pace = Pace(options["concurrency"], options["max_rate"])
    return Vault(
        address, client, options["settle_time"], options["throttle_timeout"], pace, clock=clock
    )


def _transport(url: str, concurrency: int) -> t.Any:
    """Return azure-core's transport for one vault, with as many connections as are used at a time; by itself it keeps ten."""
    import requests
    from azure.core.pipeline.transport import RequestsTransport

    session = requests.Session()
    session.mount(
        "https://", requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=concurrency)
    )
    # By itself requests looks for proxies anew with each request, a seventh of its time, and puts a ~/.netrc before the token.
    found = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.trust_env = found["proxies"], False
    return RequestsTransport(
        session=session,
        connection_verify=found["verify"],
        connection_timeout=_CONNECT_TIMEOUT,
        read_timeout=_READ_TIMEOUT,
    )
