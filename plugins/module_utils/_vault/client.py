# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A vault, and the one way in which requests go to it: outcome-aware, because a repeated import
makes a second version.
"""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import VAULT, Clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import KeySpec
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    MissingLibrary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.address import (
    Address,
    parse_address,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.credentials import (
    make_credential,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.errors import (
    AzureError,
    UnreadableAnswer,
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

#: Seconds after which a request without an answer is given up
ANSWERED_WITHIN = _CONNECT_TIMEOUT + _READ_TIMEOUT


class Uncertain(AzureError):
    """A request may or may not have been carried out, and reading back did not tell."""

    def __init__(self, what: str) -> None:
        super().__init__(what, _LATER, reason="uncertain")


class UncertainUnavailable(Uncertain, VaultUnavailable):
    """The same, because the vault does not answer any more."""


@dataclass(frozen=True)
class Patience:
    """How long a vault is waited for.

    :ivar settle_time: seconds after which an unanswered request counts as not carried out
    :ivar throttle_timeout: seconds to wait in all for a vault that answers 429
    """

    settle_time: float
    throttle_timeout: float


class Vault:
    """A vault or Managed HSM.

    It may be used by several threads at once.

    :param client: a KeyClient of azure-keyvault-keys
    :param clock: hears Entra ID's Date of this vault's credential as well
    """

    def __init__(
        self,
        address: Address,
        client: t.Any,
        patience: Patience,
        pace: Pace,
        sleep: t.Callable[[float], None] = time.sleep,
        *,
        clock: Clock | None = None,
    ) -> None:
        self.address = address
        self.client = client
        self.pace = pace
        self._answered = threading.local()
        self._patience = patience
        self.sleep = sleep
        self.clock = clock or Clock()

    def __str__(self) -> str:
        return str(self.address)

    @property
    def settle_time(self) -> float:
        """Seconds after which an unanswered request counts as not carried out."""
        return self._patience.settle_time

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
        """Send a request that changes nothing; repeat it while the vault is throttled or not
        reached.

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
        """Send a request that changes something, and carry it out exactly once as far as that can
        be known.

        429 is a certain no, so it is repeated; so is 409 while a deletion or recovery of the same
        name is on its way. When the answer is lost or 5xx: read back; wait for the settle time, for
        a request can commit late; read back; then try once more. An answer of 2xx that cannot be
        read is read back as well, but the request is not sent again.

        :param landed: reads back; returns the outcome if the request was carried out
        :raises AzureError: with what Azure answered
        :raises Uncertain: when it was not found, or could not be looked for
        :raises WrongClock: before anything is sent
        """
        self.clock.now(str(self))
        for _attempt in range(2):
            try:
                return self._send(what, call, "write")
            except _Unanswered as error:
                unanswered = error
            outcome = self._read_back(landed, unanswered)
            if outcome is not None:
                return outcome
            if unanswered.answered:  # Azure says that it was done: sent again, it would be twice
                break
        raise unanswered.as_uncertain()

    def _read_back(self, landed: t.Callable[[], T | None], unanswered: _Unanswered) -> T | None:
        """Look now and after the settle time whether a request was carried out.

        :raises Uncertain: when that cannot be looked up
        """
        for wait in (0, self._patience.settle_time):
            self.sleep(wait)
            try:
                outcome = landed()
            except AzureError as error:
                raise unanswered.as_uncertain(error) from error
            if outcome is not None:
                return outcome
        return None

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
        """Send a request until it is answered, or waiting for that is over.

        :param kind: ``read`` or ``write``
        :raises _Unanswered: for a write that may have been carried out
        :raises AzureError: with what Azure answered
        """
        waited, wait, tries = 0.0, 1, 0
        while True:
            try:
                return self._send_once(call, kind)
            except Exception as error:
                failure = error
            tries += 1
            verdict = _judge(failure, self._answered.status)
            if kind == "write" and verdict in ("lost", "unreadable"):
                raise _Unanswered(what, failure, verdict) from failure
            if verdict == "throttled":
                left = self._patience.throttle_timeout - waited
                again, pause = left > 0, min(wait, left)
            else:
                again = verdict in ("lost", "unsent") and tries < _UNSENT_TRIES
                pause = wait
            if not again:
                raise _explain(failure, what, verdict) from failure
            self.sleep(pause)
            waited, wait = waited + pause, min(2 * wait, _LONGEST_WAIT)

    def _send_once(self, call: t.Callable[..., T], kind: str) -> T:
        """Send a request in its turn, and note what was answered."""
        from azure.core.exceptions import HttpResponseError

        self._answered.status = None
        with self.pace.turn(kind) as turn:
            try:
                return call(retry_total=0, raw_response_hook=self._note)
            except HttpResponseError as error:
                turn.throttled = error.status_code == 429
                raise

    def _note(self, response: t.Any) -> None:
        headers = response.http_response.headers
        self._answered.status = response.http_response.status_code
        self.clock.hear(VAULT, headers.get("Date"))
        self._answered.request_id = headers.get("x-ms-request-id", self.request_id)


#: What became of a request. ``lost``: it may have been carried out; ``unsent``: it was not;
#: ``unreadable``: Azure said that it was, and what it answered cannot be read; ``no_token``: the
#: credential's file cannot be read; ``unknown``: nobody foresaw the exception
Verdict = t.Literal["refused", "throttled", "lost", "unsent", "unreadable", "no_token", "unknown"]


def _judge(error: Exception, answered: int | None) -> Verdict:
    """Return what became of a request that raised.

    :param answered: the status of the last answer to it; None where there was none
    """
    from azure.core import exceptions

    status = error.status_code if isinstance(error, exceptions.HttpResponseError) else None
    if status == 429 or code_and_text(error)[0] in _NAME_ON_ITS_WAY:
        return "throttled"  # certainly not carried out
    if status is not None and status >= 300:
        return "lost" if status >= 500 or status == 408 else "refused"
    if _may_have_been_sent(error):
        return "lost"
    if isinstance(error, exceptions.ServiceRequestError):
        return "unsent"
    if (status or answered or 0) in range(200, 300):
        return "unreadable"
    if isinstance(error, exceptions.AzureError):
        return "refused"
    if isinstance(error, OSError | UnicodeDecodeError):  # a credential reads its file
        return "no_token"
    # A challenge for another resource is a ValueError
    return "refused" if isinstance(error, ValueError) else "unknown"


def _explain(error: Exception, what: str, verdict: Verdict) -> Exception:
    """Return what is raised for a request that is not sent again."""
    if verdict == "unknown":
        return error
    if verdict == "unreadable":
        return UnreadableAnswer(what, error)
    if verdict == "no_token":
        return VaultUnavailable(
            f"{what} failed: no token for Azure: the credential's file cannot be read ({error})",
            "Correct federated_token_file, and ensure that the user who runs the module can read "
            "it",
        )
    return explain(error, what)


class _Unanswered(Exception):
    """The request may have been carried out.

    :ivar answered: Azure said that it was, so it must not be sent again
    """

    def __init__(self, what: str, error: Exception, verdict: Verdict) -> None:
        explained = _explain(error, what, verdict)
        super().__init__(explained.what if isinstance(explained, ByokError) else what)
        self.answered = verdict == "unreadable"

    def as_uncertain(self, looking: AzureError | None = None) -> Uncertain:
        """Return what is told when reading back did not tell.

        :param looking: why it could not be looked up
        """
        cause = f"{self}; whether it was done is not known"
        if looking is not None:
            cause += f", nor could it be looked up: {looking.what}"
        served = isinstance(looking, AzureError) and not isinstance(looking, VaultUnavailable)
        return Uncertain(cause) if self.answered or served else UncertainUnavailable(cause)


def _may_have_been_sent(error: Exception) -> bool:
    # Behind a proxy azure-core says ServiceRequestError, "not sent", also when the connection broke
    # after the request.
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

    :param options: VAULT_OPTIONS of ``_ansible/arguments.py``
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
    patience = Patience(options["settle_time"], options["throttle_timeout"])
    pace = Pace(options["concurrency"], options["max_rate"])
    return Vault(address, client, patience, pace, clock=clock)


def _transport(url: str, concurrency: int) -> t.Any:
    """Return azure-core's transport for one vault, with as many connections as are used at a time.

    By itself it keeps ten.
    """
    import requests
    from azure.core.pipeline.transport import RequestsTransport

    session = requests.Session()
    adapter = requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=concurrency)
    session.mount("https://", adapter)
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
