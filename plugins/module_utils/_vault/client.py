# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""A vault, and the one way in which requests go to it: outcome-aware, because a repeated import
makes a second version.
"""

from __future__ import annotations

import re
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
    API_VERSION,
    AzureError,
    NoToken,
    OddAnswer,
    UnreadableAnswer,
    VaultUnavailable,
    code_and_text,
    explain,
    unknown_version,
)
from ansible_collections.keyferry.azure.plugins.module_utils._vault.pace import Pace
from ansible_collections.keyferry.azure.plugins.module_utils._vault.transport import (
    vault_transport,
)

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

#: Answers to one question: a list with 25 keys on a page has 250,000 keys then
_MOST_PAGES = 10_000


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


@dataclass(frozen=True)
class Reconnect:
    """How a vault is asked in another api-version than the one that it does not know.

    :ivar client: returns a KeyClient for an api-version
    :ivar warn: takes the sentence that tells it
    """

    client: t.Callable[[str], t.Any]
    warn: t.Callable[[str], None]


class _Answers(threading.local):
    """What this thread got for its last question.

    :ivar status: of the last answer; None where there was none
    :ivar request_id: Azure's id of the last request
    :ivar pages: answers of 2xx
    """

    status: int | None = None
    request_id: str | None = None
    pages = 0


class Vault:
    """A vault or Managed HSM.

    It may be used by several threads at once.

    :param client: a KeyClient of azure-keyvault-keys
    :param clock: hears Entra ID's Date of this vault's credential as well
    :ivar reconnect: None where an unknown api-version is an error
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
        self.reconnect: Reconnect | None = None
        self._api_version: str | None = None  # the one that the vault named
        self._reconnecting = threading.Lock()
        self._answered = _Answers()
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
        return self._answered.request_id

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
        from azure.core.exceptions import HttpResponseError
        from azure.core.rest import HttpRequest

        response = self.client.send_request(HttpRequest(method, path, json=body), **options)
        response.raise_for_status()
        if response.status_code >= 300:  # which azure-core takes for no error
            raise HttpResponseError(response=response)
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
            version = self._api_version
            try:
                return self._send_once(call, kind)
            except Exception as error:
                failure = error
            if self._take_other_version(failure, version):
                continue
            tries += 1
            verdict = _judge(failure, self._answered.status)
            if kind == "write" and verdict in ("lost", "unreadable"):
                explained = self._explain(failure, what, verdict)
                raise _Unanswered(what, explained, verdict) from failure
            if verdict == "throttled":
                left = self._patience.throttle_timeout - waited
                again, pause = left > 0, min(wait, left)
            else:
                again = verdict in ("lost", "unsent") and tries < _UNSENT_TRIES
                pause = wait
            if not again:
                raise self._explain(failure, what, verdict) from failure
            self.sleep(pause)
            waited, wait = waited + pause, min(2 * wait, _LONGEST_WAIT)

    def _take_other_version(self, failure: Exception, version: str | None) -> bool:
        """Go on in the api-version that the vault names, where it does not know the SDK's.

        Such an answer is a certain no, so that also a write can be sent again.

        :param version: what the vault had named before that request was sent
        :returns: whether the request is worth another try
        """
        unknown = unknown_version(failure)
        if not unknown or not unknown.latest or not self.reconnect:
            return False
        with self._reconnecting:
            if self._api_version != version:  # another thread was quicker
                return True
            if version is not None:
                return False
            self.client = self.reconnect.client(unknown.latest)
            self._api_version = unknown.latest
        self.reconnect.warn(
            f"The {self} does not know the api-version {unknown.asked}. This run continues with "
            f"{unknown.latest}, the latest version that the {self} supports. To avoid this "
            f"warning, set api_version to {unknown.latest} (byok_api_version in the role)."
        )
        return True

    def _send_once(self, call: t.Callable[..., T], kind: str) -> T:
        """Send a request in its turn, and note what was answered."""
        from azure.core.exceptions import HttpResponseError

        self._answered.status, self._answered.pages = None, 0
        with self.pace.turn(kind) as turn:
            try:
                return call(retry_total=0, raw_response_hook=self._note)
            except HttpResponseError as error:
                turn.throttled = error.status_code == 429
                raise

    def _note(self, response: t.Any) -> None:
        """Note what an answer tells of itself.

        :raises OddAnswer: when the question has got more answers than are sensible
        """
        http, answered = response.http_response, self._answered
        answered.status = http.status_code
        self.clock.hear(VAULT, http.headers.get("Date"))
        answered.request_id = http.headers.get("x-ms-request-id", answered.request_id)
        answered.pages += http.status_code < 300
        if answered.pages > _MOST_PAGES:
            raise OddAnswer(f"it has more than {_MOST_PAGES} pages")

    def _explain(self, error: Exception, what: str, verdict: Verdict) -> Exception:
        """Return what is raised for a request that is not sent again."""
        if verdict == "unknown":
            return error
        if verdict == "unreadable":
            return UnreadableAnswer(what, error)
        if isinstance(error, UnicodeDecodeError):
            error = _unreadable_refusal(self._answered.status)
        return explain(error, what, managed_hsm=self.address.managed_hsm)


#: What became of a request. ``lost``: it may have been carried out; ``unsent``: it was not;
#: ``unreadable``: Azure said that it was, and what it answered cannot be read; ``unknown``: nobody
#: foresaw the exception
Verdict = t.Literal["refused", "throttled", "lost", "unsent", "unreadable", "unknown"]


def _judge(error: Exception, answered: int | None) -> Verdict:
    """Return what became of a request that raised.

    :param answered: the status of the last answer to it; None where there was none
    """
    from azure.core import exceptions

    if isinstance(error, NoToken):
        return "refused"
    if isinstance(error, OddAnswer):
        return "unreadable"
    status = answered if isinstance(error, UnicodeDecodeError) else None
    if isinstance(error, exceptions.HttpResponseError):
        status = error.status_code
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
    # A challenge for another resource is a ValueError
    return "refused" if isinstance(error, exceptions.AzureError | ValueError) else "unknown"


def _unreadable_refusal(status: int | None) -> Exception:
    """Return what stands for an error of Azure whose text is no UTF-8."""
    from azure.core.exceptions import HttpResponseError

    error = HttpResponseError(message="the text of its answer is no UTF-8")
    error.status_code = status
    return error


class _Unanswered(Exception):
    """The request may have been carried out.

    :ivar answered: Azure said that it was, so it must not be sent again
    """

    def __init__(self, what: str, explained: Exception, verdict: Verdict) -> None:
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
    """Tell whether an error says that there is no token for Azure."""
    from azure.core.exceptions import ClientAuthenticationError

    return isinstance(error, ClientAuthenticationError | NoToken)


def open_vault(
    options: t.Mapping[str, t.Any], warn: t.Callable[[str], None] | None = None
) -> Vault:
    """Return the vault of a module's options; nothing is sent yet.

    :param options: VAULT_OPTIONS of ``_ansible/arguments.py``
    :param warn: takes a sentence for the user; None where nobody hears it
    :raises ByokError: for a URL that is no vault, an incomplete credential, or a missing library
    """
    address = parse_address(options["vault_url"], options["cloud_environment"], options["cloud"])
    if options["api_version"] and not re.fullmatch(API_VERSION, options["api_version"]):
        raise ByokError(
            f"api_version {options['api_version']!r} is no version of Key Vault's API",
            "Give one such as 7.6 or 2025-07-01, or leave it out",
        )
    clock = Clock()
    credential: t.Any = make_credential(options, address.cloud, clock)
    try:
        from azure.keyvault.keys import KeyClient
    except ImportError as error:
        raise MissingLibrary("azure-keyvault-keys", error) from error
    transport = vault_transport(address.url, options["concurrency"])

    def connect(api_version: str | None) -> t.Any:
        return KeyClient(
            address.url,
            credential,
            transport=transport,
            permit_redirects=False,
            # A declared resource is checked by the credential
            verify_challenge_resource=address.cloud.resource is None,
            **({"api_version": api_version} if api_version else {}),
        )

    patience = Patience(options["settle_time"], options["throttle_timeout"])
    pace = Pace(options["concurrency"], options["max_rate"])
    vault = Vault(address, connect(options["api_version"]), patience, pace, clock=clock)
    vault.reconnect = Reconnect(connect, warn or (lambda sentence: None))
    return vault
