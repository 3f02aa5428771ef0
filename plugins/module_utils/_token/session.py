# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Opening a token: library, slot, one login, as many sessions as wanted; and closing it again."""

from __future__ import annotations

import os
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import SimpleQueue

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import (
    ByokError,
    as_byok_error,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import read_text
from ansible_collections.keyferry.azure.plugins.module_utils._host.lock import process_lock
from ansible_collections.keyferry.azure.plugins.module_utils._token.choice import (
    facts_of,
    fits,
    in_words,
    several,
    wanted_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    CKR_GENERAL_ERROR,
    LOADER_REMEDY,
    CryptokiError,
    Library,
    Session,
    Slot,
    TokenError,
    calling,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import Mechanism
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Profile
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile_file import read_profile
from ansible_collections.keyferry.azure.plugins.module_utils._token.profiles import (
    PROFILES,
    choose_profile,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.refused_pin import (
    WRONG_PIN,
    RefusedPin,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.return_codes import (
    REMEDIES,
    name_of,
)

#: Flags of CK_TOKEN_INFO (PKCS#11 v3.1, 3.4)
CKF_LOGIN_REQUIRED = 0x4
CKF_PROTECTED_AUTHENTICATION_PATH = 0x100
CKF_TOKEN_INITIALIZED = 0x400
CKF_USER_PIN_COUNT_LOW = 0x10000
CKF_USER_PIN_FINAL_TRY = 0x20000
CKF_USER_PIN_LOCKED = 0x40000

_LOOKS = 5  # at the tokens, while one of them gives CKR_GENERAL_ERROR
_PAUSE = 0.1  # seconds between two looks

T = t.TypeVar("T")
R = t.TypeVar("R")


@dataclass(frozen=True)
class TokenInfo(Shape):
    """The token's identity, as evidence: CK_TOKEN_INFO (PKCS#11 v3.1, 3.4)."""

    label: str
    serial: str
    manufacturer: str
    model: str
    firmware: str
    library: str

    def __str__(self) -> str:
        return f"token {self.label} ({self.serial})" if self.serial else f"token {self.label}"


@dataclass(frozen=True)
class Token:
    """An open token.

    :ivar profile_name: which kind of token it is taken for
    :ivar profile: what is known of this kind of token
    :ivar session: the first session, logged in unless it was not wanted
    :ivar sessions: how many may be used at once
    """

    info: TokenInfo
    slot: Slot
    library: Library
    profile_name: str
    profile: Profile
    mechanisms: frozenset[int]
    session: Session
    sessions: int = 1

    def rsa_generation(self) -> list[Mechanism]:
        """Return the mechanisms that make RSA key pairs here, best first.

        :raises ByokError: when there is none
        """
        candidates = self.profile.rsa_generation
        offered = [mechanism for mechanism in candidates if mechanism.number in self.mechanisms]
        if not offered:
            names = ", ".join(mechanism.name for mechanism in candidates)
            raise ByokError(
                f"The {self.info} cannot make RSA keys: it offers none of {names}",
                "Declare EC keys, or use another token",
            )
        return offered

    def calling(self, what: str) -> t.ContextManager[None]:
        """Turn what PKCS#11 answers inside into a sentence, in this vendor's words.

        :param what: what is done; "in the token" is added
        """
        return _calling(f"{what} in the {self.info}", self.profile)

    def for_each(
        self, items: t.Sequence[T], work: t.Callable[[Session, T], R]
    ) -> list[tuple[T, R | ByokError]]:
        """Do ``work`` with every item, in several sessions at once where that is wanted.

        :returns: every item in order, with what came of it or the error that it met
        """

        def attempt(session: Session, item: T) -> tuple[T, R | ByokError]:
            try:
                return item, work(session, item)
            except Exception as error:
                return item, as_byok_error(error)

        count = min(self.sessions, len(items), self.profile.most_sessions or self.sessions)
        if count < 2:
            return [attempt(self.session, item) for item in items]
        with self._further_sessions(count) as sessions, ThreadPoolExecutor(count) as pool:
            idle: SimpleQueue[Session] = SimpleQueue()
            for session in sessions:
                idle.put(session)

            def in_a_session(item: T) -> tuple[T, R | ByokError]:
                session = idle.get()
                try:
                    return attempt(session, item)
                finally:
                    idle.put(session)

            return list(pool.map(in_a_session, items))

    @contextmanager
    def _further_sessions(self, count: int) -> t.Iterator[list[Session]]:
        """Open sessions beside the first one, which are logged in because that one is."""
        sessions: list[Session] = []
        try:
            for _number in range(count):
                with self.calling("Opening a further session"):
                    session = self.library.open(
                        self.slot.id,
                        self.profile.public_keys_private,
                        read_only=self.slot.write_protected,
                    )
                sessions.append(session)
            yield sessions
        finally:
            for session in sessions:
                session.close()


@contextmanager
def open_token(
    options: t.Mapping[str, t.Any],
    login: t.Callable[[Slot], bool] = lambda slot: True,
    *,
    final_try: bool = False,
    read_only: bool = False,
) -> t.Iterator[Token]:
    """Load the library, find the token, log in once, and log out at the end.

    :param options: the token options of a module
    :param login: whether to log in; without a login, only public objects are seen
    :param final_try: log in although a wrong PIN would lock the token
    :param read_only: for a look that makes nothing, not even a session object
    :raises ByokError: for a missing library or token, two tokens of one label, or a refused login
    """

    def load() -> Library:
        _set_environment(options["library_environment"] or {})
        path = options["pkcs11_library"]
        if not path:
            raise ByokError(
                "No PKCS#11 library is given",
                "Set pkcs11_library, or the environment variable BYOK_PKCS11_LIBRARY",
            )
        # Until the token says what it is, the name of its library does.
        _name, guess = _choose_profile(options, "", "")
        return _load(path, options["library_parameters"], guess)

    with _opened(load, options, login, final_try, read_only) as token:
        yield token


@contextmanager
def open_beside(token: Token, options: t.Mapping[str, t.Any]) -> t.Iterator[Token]:
    """Open another token of the same library, by a login of its own, and log out at the end.

    :param token: an open one; if it is the same as the wanted one, it is yielded itself, because a
        token takes one login of a process
    :param options: the token options of a module, which name the other token and its PIN
    :raises ByokError: for a missing token, two tokens of one label, or a refused login
    """
    path = options["pkcs11_library"]
    if _find(token.library, path, token.profile, options).id == token.slot.id:
        yield token
        return
    with _opened(lambda: token.library, options, lambda slot: True, False, False) as other:
        yield other


@contextmanager
def _opened(
    load: t.Callable[[], Library],
    options: t.Mapping[str, t.Any],
    login: t.Callable[[Slot], bool],
    final_try: bool,
    read_only: bool,
) -> t.Iterator[Token]:
    """Open a token of a library, and close it at the end."""
    path = options["pkcs11_library"]
    # One process at a time: SoftHSM rewrites the token at a login, and who initialises just then
    # sees no token.
    with process_lock(f"open {path}", options["lock_directory"], options["lock_timeout"]):
        token, logged_in = _open(load(), options, login, final_try, read_only)
    try:
        with token.calling("A call"):  # of which nobody said what it is for
            yield token
    finally:
        # What fails here must not hide the error that led here; the session that logged in is
        # closed last.
        if logged_in:
            with suppress(CryptokiError):
                token.session.logout()
        token.session.close()


def _open(
    library: Library,
    options: t.Mapping[str, t.Any],
    login: t.Callable[[Slot], bool],
    final_try: bool,
    read_only: bool,
) -> tuple[Token, bool]:
    """Return the open token, and whether this process has to log out of it."""
    path = options["pkcs11_library"]
    _name, guess = _choose_profile(options, "", "")
    slot = _find(library, path, guess, options)
    info = _info(slot, path)
    profile_name, profile = _choose_profile(options, slot.manufacturer, slot.model)
    if not slot.flags & CKF_TOKEN_INITIALIZED:
        raise ByokError(f"The {info} is not initialised", profile.not_ready)
    with _calling(f"Reading the mechanisms of the {info}", profile):
        mechanisms = library.mechanisms(slot.id)
    pin = _pin(options, slot, info, profile, final_try) if login(slot) else None
    refused = RefusedPin(options, info.to_dict())
    if pin is not None and not final_try:
        refused.refuse(str(info))
    read_only = read_only or slot.write_protected
    with _calling(f"Opening a session of the {info}", profile):
        session = library.open(slot.id, profile.public_keys_private, read_only=read_only)
    logged_in = False
    if pin is not None:
        logged_in = _log_in(session, pin, info, profile, refused)
    sessions = options["sessions"]
    token = Token(info, slot, library, profile_name, profile, mechanisms, session, sessions)
    return token, logged_in


def _choose_profile(
    options: t.Mapping[str, t.Any], manufacturer: str, model: str
) -> tuple[str, Profile]:
    """Return the profile of a token with its name: the user's own, or one of this collection.

    :raises ByokError: when the user's cannot be read
    """
    path = options["hsm_profile_file"]
    if not path:
        name = choose_profile(
            options["hsm_profile"], manufacturer, model, options["pkcs11_library"]
        )
        return name, PROFILES[name]
    text = read_text(path)
    if text is None:
        raise ByokError(f"There is no profile {path} on this host", "Correct hsm_profile_file")
    profile = read_profile(text, f"The profile {path}")
    return f"file ({profile.title})", profile


def _set_environment(variables: t.Mapping[str, t.Any]) -> None:
    """Set what the library reads.

    :raises ByokError: for what only the loader reads, and only when a process begins (ld.so(8))
    """
    for_the_loader = sorted(name for name in variables if name.startswith("LD_"))
    if for_the_loader:
        names = " and ".join(for_the_loader)
        raise ByokError(
            f"library_environment sets {names}, which the loader reads only when a process begins, "
            "so it has no effect on the PKCS#11 library",
            f"Remove it from library_environment. If a library is not found, {LOADER_REMEDY}",
        )
    os.environ.update({name: str(value) for name, value in variables.items()})


def _info(slot: Slot, path: str) -> TokenInfo:
    return TokenInfo(
        label=slot.label,
        serial=slot.serial,
        manufacturer=slot.manufacturer,
        model=slot.model,
        firmware="{}.{}".format(*slot.firmware),
        library=path,
    )


def _log_in(
    session: Session, pin: str, info: TokenInfo, profile: Profile, refused: RefusedPin
) -> bool:
    """Log in, or close the session; return whether this process has to log out."""
    try:
        with _calling(f"Logging in to the {info} as its {profile.role}", profile):
            logged_in = session.login(pin)
    except ByokError as error:
        session.close()
        code = error.code if isinstance(error, TokenError) else None
        if code is not None and name_of(code, profile.return_codes).split(" ")[0] in WRONG_PIN:
            refused.keep()
        raise
    refused.forget()
    return logged_in


def _calling(what: str, profile: Profile) -> t.ContextManager[None]:
    return calling(what, profile.return_codes, profile.remedies)


def _load(path: str, parameters: str | None, profile: Profile) -> Library:
    """Load and initialise the library.

    :param profile: the vendor's, as far as the library's name tells
    :raises ByokError: when it is not there, or does not start
    """
    if not os.path.isfile(path):
        remedy = "Install the token's client software here, or correct pkcs11_library"
        usual = " or ".join(profile.libraries.get(sys.platform, ()))
        if usual:
            remedy += f" (usually {usual})"
        raise ByokError(f"There is no PKCS#11 library {path} on this host", remedy)
    try:
        with _calling(f"Initialising the PKCS#11 library {path}", profile):
            return Library(path, parameters or None)
    except TokenError as error:
        missing = [name for name in profile.required_environment if name not in os.environ]
        if not missing:
            raise
        raise ByokError(
            error.what,
            f"The library reads the environment variable {' and '.join(missing)}, which is not "
            "set; set it in library_environment, or put the client's configuration where the "
            "library looks without it",
        ) from error


def _find(
    library: Library,
    path: str,
    profile: Profile,
    options: t.Mapping[str, t.Any],
    sleep: t.Callable[[float], None] = time.sleep,
) -> Slot:
    """Return the slot of the token that the options name.

    :param profile: the vendor's, as far as the library's name tells
    :param sleep: waits this many seconds
    :raises ByokError: when no token is named, or the name fits none or several
    """
    wanted = wanted_token(options)
    if not wanted:
        raise ByokError(
            "No token is named",
            "Set token_label, token_serial, token_slot or token_uri, or the environment variable "
            "BYOK_TOKEN_LABEL",
        )
    for look in range(_LOOKS):
        with _calling(f"Listing the tokens of {path}", profile):
            slots, errors = library.slots()
        matching = [slot for slot in slots if fits(wanted, facts_of(slot))]
        # SoftHSM 2.6.1 gives it for up to 13 ms (measured) while another process logs in.
        if matching or CKR_GENERAL_ERROR not in {error.code for error in errors}:
            break
        if look < _LOOKS - 1:
            sleep(_PAUSE)
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise several(wanted, matching)
    if errors:  # it may be one of those that cannot be read
        with _calling(f"Looking for the token among those of {path}", profile):
            raise errors[0]
    raise _no_such_token(slots, profile, in_words(wanted))


def _no_such_token(slots: list[Slot], profile: Profile, wanted: str) -> ByokError:
    """Return the error for a token that is not among those in the slots.

    :param wanted: in words, what was looked for
    """
    present = ", ".join(
        f"{slot.label} ({slot.serial or f'slot {slot.id}'})" for slot in slots if slot.label
    )
    remedy = (
        "Correct token_label or token_serial, or check that the client software reaches the token"
    )
    if profile.environment:
        remedy += f" (it reads {', '.join(profile.environment)}: library_environment)"
    return ByokError(f"There is no token with {wanted}; present are: {present or 'none'}", remedy)


def _pin(
    options: t.Mapping[str, t.Any], slot: Slot, info: TokenInfo, profile: Profile, final_try: bool
) -> str | None:
    """Return the PIN to try; None where the token wants no login.

    :param options: those of the token; ``pin`` comes before ``pin_file``
    :param final_try: give it although a wrong one would lock the token
    :raises ByokError: when it must not be tried, or is not given
    """
    if slot.flags & CKF_USER_PIN_LOCKED:
        remedies = {**REMEDIES, **profile.remedies}
        raise ByokError(f"The user PIN of the {info} is locked", remedies["CKR_PIN_LOCKED"])
    if slot.flags & CKF_USER_PIN_FINAL_TRY and not final_try:
        raise ByokError(
            f"The {info} will lock its user PIN after one more wrong try, so it was not tried",
            "Log in once with the token's own tool, which resets the count, then run again",
        )
    if options["pin"]:
        return str(options["pin"])
    path = options["pin_file"]
    if path:
        return _read_pin(path)
    if not slot.flags & CKF_LOGIN_REQUIRED:
        return None
    remedy = "Set pin_file, or the environment variable BYOK_PIN_FILE"
    if profile.pin_form:
        remedy += f"; the PIN is written as {profile.pin_form}"
    if slot.flags & CKF_PROTECTED_AUTHENTICATION_PATH:
        remedy += (
            "; if the token asks at its own PIN pad, let it keep the login first "
            "(on a Luna: activation)"
        )
    raise ByokError("No PIN is given", remedy)


def _read_pin(path: str) -> str:
    text = read_text(path, "PIN file")
    if text is None:
        raise ByokError(
            f"The PIN file {path} cannot be read (No such file or directory)",
            "Give a file that the user who runs the module can read",
        )
    pin = text.rstrip("\r\n")
    if not pin:
        raise ByokError(f"The PIN file {path} is empty", "Write the PIN into it, and nothing else")
    return pin
