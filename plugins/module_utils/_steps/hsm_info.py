# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_hsm_info does: say what a token is, what state it is in, and which keys can be made
there and wrapped.
"""

from __future__ import annotations

import typing as t
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    OCT_SIZES,
    RSA_SIZES,
    Declaration,
    KeySpec,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import (
    Failures,
    Outcome,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import (
    HsmInfo,
    KeyTypeFacts,
    MechanismFacts,
    PolicyFacts,
    ProfileFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Slot, Value
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    choose,
    list_generations,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.listing import (
    Listing,
    write_listing,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    CKM_AES_KEY_GEN,
    CKM_EC_KEY_PAIR_GEN,
    CKM_RSA_AES_KEY_WRAP,
    CKM_RSA_PKCS_OAEP,
    Mechanism,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.profile import Policy
from ansible_collections.keyferry.azure.plugins.module_utils._token.rehearsal import (
    Rehearsal,
    rehearse,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import (
    CKF_LOGIN_REQUIRED,
    CKF_USER_PIN_COUNT_LOW,
    CKF_USER_PIN_FINAL_TRY,
    CKF_USER_PIN_LOCKED,
    Token,
    open_token,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.wrapping import (
    destroyed_at_the_end,
)

_SPECS = (
    *(KeySpec("RSA", size=size) for size in RSA_SIZES),
    *(KeySpec("EC", curve=curve) for curve in CURVES),
    *(KeySpec("oct", size=size) for size in OCT_SIZES),
)

_OAEP = Mechanism("CKM_RSA_PKCS_OAEP", CKM_RSA_PKCS_OAEP)
_EC_GENERATION = Mechanism("CKM_EC_KEY_PAIR_GEN", CKM_EC_KEY_PAIR_GEN)
_AES_GENERATION = Mechanism("CKM_AES_KEY_GEN", CKM_AES_KEY_GEN)

_PIN_STATES = {
    CKF_USER_PIN_LOCKED: (
        "locked",
        "The user PIN is locked. The token's Security Officer must unlock it.",
    ),
    CKF_USER_PIN_FINAL_TRY: (
        "final_try",
        "One more wrong PIN locks the token, so no login was tried. Log in once with the token's own tool, which resets the "
        "count, or set accept_final_try.",
    ),
    CKF_USER_PIN_COUNT_LOW: ("count_low", ""),
}


@dataclass
class _Verdict:
    """Whether keys of one kind can be made here and wrapped; None where that was not tried and
    nothing else tells.
    """

    spec: KeySpec
    make: bool | None = None
    wrap: bool | None = None
    reasons: list[str] = field(default_factory=list)

    def deny(self, what: str, reason: str) -> None:
        """Say that something cannot be done, and why."""
        setattr(self, what, False)
        self.reasons.append(reason)

    def facts(self) -> KeyTypeFacts:
        """Return the verdict as a return value."""
        return KeyTypeFacts(str(self.spec), self.make, self.wrap, tuple(self.reasons))


@dataclass
class _Findings:
    """What is found on the way to the verdicts."""

    policies: list[PolicyFacts] = field(default_factory=list)
    unmet: list[tuple[Policy, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rehearsal: Rehearsal | None = None
    no_wrap: str | None = None
    firmware: str = ""
    fips: bool | None = None
    fips_source: str = ""
    verdicts: list[_Verdict] = field(default_factory=list)


def describe_token(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Look at the token and change nothing, not even in normal mode.

    :raises ByokError: when the token cannot be opened; keys that cannot be made or wrapped are in
        the outcome's failures
    """
    declarations = [parse_declaration(item) for item in params["declarations"] or []]

    def login(slot: Slot) -> bool:
        given = bool(params["pin"] or params["pin_file"])
        blocked = slot.flags & CKF_USER_PIN_LOCKED or (
            slot.flags & CKF_USER_PIN_FINAL_TRY and not params["accept_final_try"]
        )
        return given and not blocked

    with open_token(params, login, final_try=params["accept_final_try"]) as token:
        pin, pin_problem = next(
            (state for flag, state in _PIN_STATES.items() if token.slot.flags & flag), ("ok", "")
        )
        findings = _Findings()
        logged_in = login(token.slot)
        usable = logged_in or not token.slot.flags & CKF_LOGIN_REQUIRED
        if pin_problem and not logged_in:
            findings.problems.append(pin_problem)
        _examine(token, params["rehearse"] and usable, params["allow_trailing_zeros"], findings)
        in_token = _already_there(token, declarations) if usable else set()
        listing = _list_keys(token, usable) if params["list_keys"] else None
    profile = token.profile
    described = HsmInfo(
        token={**token.info.to_dict(), "firmware": findings.firmware},
        profile=ProfileFacts(token.profile_name, profile.title, profile.source),
        pin=pin,
        logged_in=logged_in,
        free_memory={
            "public": token.slot.free_public_memory,
            "private": token.slot.free_private_memory,
        },
        mechanisms=_mechanisms(token),
        policies=tuple(findings.policies),
        fips_mode=findings.fips,
        fips_mode_source=findings.fips_source,
        rehearsal=findings.rehearsal.as_result() if findings.rehearsal else None,
        key_types=tuple(verdict.facts() for verdict in findings.verdicts),
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    )
    outcome.result.update(hsm=described.to_dict(), listing=listing)
    outcome.warnings += findings.problems
    _refuse(token, declarations, in_token, findings.verdicts, outcome.failures)


def refuse_untransferable(
    token: Token,
    declarations: t.Sequence[Declaration],
    allow_trailing_zeros: bool,
    outcome: Outcome,
) -> None:
    """Fail the keys that this token cannot make or wrap, before anything is made.

    :param outcome: gets a failure for each of them
    """
    findings = _Findings()
    _examine(token, True, allow_trailing_zeros, findings)
    wanted = list(declarations)
    in_token = _already_there(token, wanted)
    _refuse(token, wanted, in_token, findings.verdicts, outcome.failures)


def _examine(
    token: Token, rehearsing: bool, allow_trailing_zeros: bool, findings: _Findings
) -> None:
    """Find out what keys the token can make and wrap: from what it tells, and by a rehearsal."""
    where = token.library, token.slot.id
    findings.firmware = token.profile.read_firmware(*where) or token.info.firmware
    values = token.profile.read_policies(*where) or {}
    _judge_policies(token, values, findings)
    if rehearsing:
        _rehearse(token, allow_trailing_zeros, findings)
    findings.fips, findings.fips_source = _fips_mode(token, values)
    findings.verdicts = [
        _judge(token, spec, findings.firmware, findings.fips, findings) for spec in _SPECS
    ]
    if rehearsing:
        for verdict in findings.verdicts:
            _try_to_make(token, verdict)


def _judge_policies(token: Token, values: t.Mapping[int, int], findings: _Findings) -> None:
    profile = token.profile
    for policy in profile.policies:
        if policy.number not in values:
            continue
        value = values[policy.number]
        met = policy.wanted is None or value == policy.wanted
        command = (
            "" if met else profile.policy_command.format(number=policy.number, value=policy.wanted)
        )
        findings.policies.append(
            PolicyFacts(
                number=policy.number,
                name=policy.name,
                value=value,
                wanted=policy.wanted,
                met=met,
                why=policy.why,
                command=command,
            )
        )
        if not met:
            findings.unmet.append(
                (policy, f"partition policy {policy.number} ({policy.name}) is {value} ({command})")
            )
            findings.problems.append(
                f"Partition policy {policy.number} ({policy.name}) is {value} but must be "
                f"{policy.wanted}: {policy.why}. "
                f"As the partition's Security Officer: {command}."
            )
    if profile.policies and not values:
        findings.notes.append(
            "The token does not report its partition policies; check them with the vendor's own "
            "tool."
        )
    if profile.no_backup_when and all(
        values.get(number) == value for number, value in profile.no_backup_when.items()
    ):
        findings.notes.append(profile.no_backup)


def _rehearse(token: Token, allow_trailing_zeros: bool, findings: _Findings) -> None:
    try:
        findings.rehearsal = rehearse(token, allow_trailing_zeros)
    except ByokError as error:
        findings.no_wrap = error.what
        findings.problems.append(str(error))


def _fips_mode(token: Token, values: t.Mapping[int, int]) -> tuple[bool | None, str]:
    """Return whether the token is in FIPS mode, and what tells so; None where nothing does."""
    profile = token.profile
    if profile.fips_policy in values:
        return values[
            t.cast(int, profile.fips_policy)
        ] == 0, f"partition policy {profile.fips_policy}"
    # That it is offered tells nothing: a client may map it to those that FIPS mode allows.
    if profile.fips_hides is not None and profile.fips_hides not in token.mechanisms:
        return True, f"the mechanism {profile.fips_hides:#x} is not offered"
    return None, ""


def _judge(
    token: Token, spec: KeySpec, firmware: str, fips: bool | None, findings: _Findings
) -> _Verdict:
    verdict = _Verdict(spec)
    _judge_making(token, verdict, fips)
    _judge_wrapping(token, verdict, findings)
    first = max(
        (
            version
            for kind, version in token.profile.first_firmware.items()
            if kind in ("*", str(spec))
        ),
        default=(0, 0),
    )
    if _version(firmware) < first:
        verdict.reasons.append(
            "the vendor supports it from firmware {}.{} on, and this is {}".format(*first, firmware)
        )
    return verdict


def _judge_making(token: Token, verdict: _Verdict, fips: bool | None) -> None:
    spec = verdict.spec
    candidates = {
        "RSA": token.profile.rsa_generation,
        "EC": (_EC_GENERATION,),
        "oct": (_AES_GENERATION,),
    }[spec.type]
    offered = [each for each in candidates if each.number in token.mechanisms]
    if not offered:
        verdict.deny(
            "make", f"the token offers none of {', '.join(each.name for each in candidates)}"
        )
        return
    bits = CURVES[spec.curve].bits if spec.curve else spec.size
    if bits and spec.type != "oct":  # of secret keys, some tokens tell bits and some bytes
        sizes = [token.library.key_sizes(token.slot.id, each.number) for each in offered]
        if not any(smallest <= bits <= largest for smallest, largest in sizes):
            verdict.deny("make", f"the token makes keys of {sizes[0][0]} to {sizes[0][1]} bits")
            return
    if fips and spec.curve and not CURVES[spec.curve].fips:
        verdict.deny("make", "FIPS mode does not have this curve")
        return
    verdict.make = True


def _judge_wrapping(token: Token, verdict: _Verdict, findings: _Findings) -> None:
    candidates = [each for each in token.profile.wrap_mechanisms if each.number in token.mechanisms]
    needs_oaep = all(each.number != CKM_RSA_AES_KEY_WRAP for each in candidates)
    relevant = [
        reason
        for policy, reason in findings.unmet
        if not policy.private or verdict.spec.type != "oct"
    ]
    if not candidates:
        verdict.deny(
            "wrap", "the token offers no mechanism that is known to make what Azure unwraps"
        )
    elif needs_oaep and CKM_RSA_PKCS_OAEP not in token.mechanisms:
        verdict.deny("wrap", "the token does not offer CKM_RSA_PKCS_OAEP")
    elif findings.rehearsal:
        verdict.wrap = True  # what the token did counts, not what documents say about policies
    elif relevant:
        for reason in relevant:
            verdict.deny("wrap", reason)
    elif findings.unmet:
        # A policy about private keys; the rehearsal is one with such a key, so it tells nothing
        # about secret ones.
        pass
    elif findings.no_wrap:
        verdict.deny("wrap", findings.no_wrap)


def _try_to_make(token: Token, verdict: _Verdict) -> None:
    """Make a session key of the kind where that is quick: a list of mechanisms names no curves."""
    spec, session = verdict.spec, token.session
    private: dict[str, Value] = {
        "TOKEN": False,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
    }
    if not verdict.make or spec.type == "RSA":
        return
    try:
        with ExitStack() as stack, token.calling(f"Making a throw-away {spec} key"):
            if spec.type == "oct":
                made = [session.generate_secret(spec.size or 0, {**private, "ENCRYPT": True})]
            else:
                public: dict[str, Value] = {
                    "TOKEN": False,
                    "VERIFY": True,
                    "EC_PARAMS": CURVES[str(spec.curve)].parameters,
                }
                made = list(
                    reversed(
                        session.generate_pair(
                            CKM_EC_KEY_PAIR_GEN, public, {**private, "SIGN": True}
                        )
                    )
                )
            for key in made:
                stack.enter_context(destroyed_at_the_end(token, session, key))
    except ByokError as error:
        verdict.deny("make", error.what)


def _already_there(token: Token, declarations: list[Declaration]) -> set[str]:
    listed = (
        list_generations(token, [declaration.name for declaration in declarations])
        if declarations
        else {}
    )
    there = set()
    for declaration in declarations:
        with suppress(ByokError):  # byok_target_key says which of several is not clear
            if choose(declaration, listed[declaration.name].generations) is None:
                continue
        there.add(declaration.name)
    return there


def _list_keys(token: Token, usable: bool) -> dict[str, t.Any]:
    if not usable:
        raise ByokError(
            f"The keys of the {token.info} cannot be listed without a login",
            "Give pin_file, and check that the PIN works",
        )
    return write_listing(Listing(token.info, host_clock(), list_generations(token, None)))


def _mechanisms(token: Token) -> tuple[MechanismFacts, ...]:
    """Return those mechanisms that matter and are offered."""
    profile = token.profile
    matter = (
        *profile.wrap_mechanisms,
        *profile.rsa_generation,
        _OAEP,
        _EC_GENERATION,
        _AES_GENERATION,
    )
    known = {each.number: each.name for each in matter}
    offered = sorted(set(known) & token.mechanisms)
    return tuple(MechanismFacts(known[number], f"{number:#x}") for number in offered)


def _refuse(
    token: Token,
    declarations: list[Declaration],
    in_token: set[str],
    verdicts: list[_Verdict],
    failures: Failures,
) -> None:
    """Name the keys that cannot be made or wrapped, before anything is."""
    by_kind = {str(verdict.spec): verdict for verdict in verdicts}
    for declaration in declarations:
        verdict = by_kind[str(declaration.spec)]
        making = verdict.make is False and declaration.name not in in_token
        verbs = [
            verb
            for verb, impossible in (("made", making), ("wrapped", verdict.wrap is False))
            if impossible
        ]
        if verbs:
            what = (
                f"The key {declaration.name} ({declaration.spec}) cannot be "
                f"{' or '.join(verbs)} in the {token.info}"
            )
            remedy = "Change that, or declare a key that this token can make and wrap"
            failures.add(
                declaration.name, ByokError(f"{what}: {'; '.join(verdict.reasons)}", remedy)
            )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))[:2]
