# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_hsm_info does: report what a token is, what state it is in, and which keys can be made
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
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    EvidenceKeyFacts,
    HsmInfo,
    KeyTypeFacts,
    MechanismFacts,
    PolicyFacts,
    ProfileFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence_key import (
    evidence_facts,
    open_evidence_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.gate import Gate, open_gate
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    KEY_CLASSES,
    Key,
    Slot,
    Value,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    choose,
    list_declared,
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
        "One more wrong PIN locks the token, so no login was tried. Log in once with the token's "
        "own tool, which resets the count, or set accept_final_try.",
    ),
    CKF_USER_PIN_COUNT_LOW: ("count_low", ""),
}


_WRITE_PROTECTED = (
    "The token is write-protected, so keys can be wrapped, but not made, locked or destroyed. Make "
    "it writable before the first transfer."
)


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
    """What is found on the way to the verdicts.

    :ivar unmet: policies that are not as they must be, each with a reason for a verdict
    :ivar no_wrap: why the rehearsal failed
    :ivar nameless: how many keys have neither label nor CKA_ID; None where that is not known
    :ivar no_evidence: why nothing can be signed, where that was asked for
    """

    policies: list[PolicyFacts] = field(default_factory=list)
    unmet: list[tuple[Policy, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rehearsal: Rehearsal | None = None
    no_wrap: str | None = None
    firmware: str = ""
    fips: bool | None = None
    fips_source: str = ""
    nameless: int | None = None
    evidence_key: EvidenceKeyFacts | None = None
    no_evidence: ByokError | None = None
    verdicts: list[_Verdict] = field(default_factory=list)


def describe_token(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Look at the token and change nothing, not even in normal mode.

    :raises ByokError: when the token cannot be opened, and in a rehearsal for an evidence key that
        is missing or not fit; keys that cannot be made or wrapped are in the outcome's failures
    """
    declarations = [parse_declaration(item) for item in params["declarations"] or []]
    gate = open_gate(params)
    gate.refuse_leaving(declarations, None, outcome.failures)

    def login(slot: Slot) -> bool:
        blocking = CKF_USER_PIN_LOCKED
        if not params["accept_final_try"]:
            blocking |= CKF_USER_PIN_FINAL_TRY
        given = bool(params["pin"] or params["pin_file"])
        return given and not slot.flags & blocking

    # Session keys of a rehearsal are made as byok_wrap makes them, in a session that can write.
    looks = not params["rehearse"]
    given_up = params["accept_final_try"]
    with open_token(params, login, final_try=given_up, read_only=looks) as token:
        pin_states = (state for flag, state in _PIN_STATES.items() if token.slot.flags & flag)
        pin, pin_problem = next(pin_states, ("ok", ""))
        findings = _Findings()
        logged_in = login(token.slot)
        usable = logged_in or not token.slot.flags & CKF_LOGIN_REQUIRED
        if pin_problem and not logged_in:
            findings.problems.append(pin_problem)
        if token.slot.write_protected:
            findings.problems.append(_WRITE_PROTECTED)
        _examine(token, params["rehearse"] and usable, params["allow_trailing_zeros"], findings)
        in_token = _already_there(token, declarations) if usable else set()
        if usable:
            _count_nameless(token, findings)
        listing = _list_keys(token, usable) if params["list_keys"] else None
        if usable:  # last, because a token may not end a signature that fails
            _look_at_evidence_key(token, params, check_mode, outcome, findings)
    hsm = _describe(token, pin, logged_in, findings, gate)
    outcome.result.update(hsm=hsm.to_dict(), listing=listing)
    outcome.warnings += findings.problems
    _refuse(token, declarations, in_token, findings.verdicts, outcome.failures)
    if findings.no_evidence and params["rehearse"]:
        raise findings.no_evidence


def _look_at_evidence_key(
    token: Token,
    params: t.Mapping[str, t.Any],
    check_mode: bool,
    outcome: Outcome,
    findings: _Findings,
) -> None:
    """Find the evidence key, and let it sign something."""
    try:
        with open_evidence_key(token, params, check_mode, outcome) as key:
            if key:
                findings.evidence_key = evidence_facts(key.token, key.label, key)
    except ByokError as error:
        findings.no_evidence = error
        findings.problems.append(str(error))


def _describe(token: Token, pin: str, logged_in: bool, findings: _Findings, gate: Gate) -> HsmInfo:
    """Return what is told of a token, and of what its host lets out.

    :param pin: the state of the user PIN, one of those of _PIN_STATES, or ``ok``
    """
    profile = token.profile
    return HsmInfo(
        token={**token.info.to_dict(), "firmware": findings.firmware},
        profile=ProfileFacts(token.profile_name, profile.title, profile.source),
        pin=pin,
        logged_in=logged_in,
        write_protected=token.slot.write_protected,
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
        problems=tuple(map(printable, findings.problems)),
        notes=tuple(map(printable, findings.notes)),
        nameless_objects=findings.nameless,
        evidence_key=findings.evidence_key,
        wrapping_policy=gate.facts(),
    )


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
    in_token = _already_there(token, declarations)
    _refuse(token, declarations, in_token, findings.verdicts, outcome.failures)


def _examine(
    token: Token, rehearsing: bool, allow_trailing_zeros: bool, findings: _Findings
) -> None:
    """Find out what keys the token can make and wrap: from what it tells, and by a rehearsal."""
    where = token.library, token.slot.id
    with token.calling("Reading firmware and policies"):
        findings.firmware = token.profile.read_firmware(*where) or token.info.firmware
        values = token.profile.read_policies(*where) or {}
    _judge_policies(token, values, findings)
    if rehearsing:
        _rehearse(token, allow_trailing_zeros, findings)
    findings.fips, findings.fips_source = _fips_mode(token, values)
    findings.verdicts = [_judge(token, spec, findings) for spec in _SPECS]
    if rehearsing:
        for verdict in findings.verdicts:
            _try_to_make(token, verdict)


def _judge_policies(token: Token, values: t.Mapping[int, int], findings: _Findings) -> None:
    """Say which partition policies are not as they must be.

    :param values: by the policy's number; empty where the token does not report them
    """
    profile = token.profile
    for policy in profile.policies:
        if policy.number in values:
            _judge_policy(token, policy, values[policy.number], findings)
    if profile.policies and not values:
        findings.notes.append(
            "The token does not report its partition policies; check them with the vendor's own "
            "tool."
        )
    without_backup = profile.no_backup_when
    if without_backup and without_backup.items() <= values.items():
        findings.notes.append(profile.no_backup)


def _judge_policy(token: Token, policy: Policy, value: int, findings: _Findings) -> None:
    """Say whether a partition policy is as it must be, and what to do otherwise."""
    met = policy.wanted is None or value == policy.wanted
    command = ""
    if not met:
        command = token.profile.policy_command.format(number=policy.number, value=policy.wanted)
        state = f"policy {policy.number} ({policy.name}) is {value}"
        findings.unmet.append((policy, f"partition {state} ({command})"))
        findings.problems.append(
            f"Partition {state} but must be {policy.wanted}: {policy.why}. "
            f"As the partition's Security Officer: {command}."
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


def _rehearse(token: Token, allow_trailing_zeros: bool, findings: _Findings) -> None:
    try:
        findings.rehearsal = rehearse(token, allow_trailing_zeros)
    except ByokError as error:
        findings.no_wrap = error.what
        findings.problems.append(str(error))


def _fips_mode(token: Token, values: t.Mapping[int, int]) -> tuple[bool | None, str]:
    """Return whether the token is in FIPS mode, and what tells so; None where nothing does."""
    profile = token.profile
    if profile.fips_policy is not None and profile.fips_policy in values:
        in_fips_mode = values[profile.fips_policy] == 0
        return in_fips_mode, f"partition policy {profile.fips_policy}"
    # That it is offered tells nothing: a client may map it to those that FIPS mode allows.
    if profile.fips_hides is not None and profile.fips_hides not in token.mechanisms:
        return True, f"the mechanism {profile.fips_hides:#x} is not offered"
    return None, ""


def _judge(token: Token, spec: KeySpec, findings: _Findings) -> _Verdict:
    """Return whether keys of one kind can be made and wrapped, before that is tried."""
    verdict = _Verdict(spec)
    _judge_making(token, verdict, findings.fips)
    _judge_wrapping(token, verdict, findings)
    by_kind = token.profile.first_firmware
    major, minor = max(by_kind.get("*", (0, 0)), by_kind.get(str(spec), (0, 0)))
    if _version(findings.firmware) < (major, minor):
        verdict.reasons.append(
            f"the vendor supports it from firmware {major}.{minor} on, and this is "
            f"{findings.firmware}"
        )
    return verdict


def _judge_making(token: Token, verdict: _Verdict, fips: bool | None) -> None:
    """Say whether keys of one kind can be made, by what the token tells.

    :param fips: whether the token is in FIPS mode; None where that is not known
    """
    spec = verdict.spec
    candidates = {
        "RSA": token.profile.rsa_generation,
        "EC": (_EC_GENERATION,),
        "oct": (_AES_GENERATION,),
    }[spec.type]
    offered = [mechanism for mechanism in candidates if mechanism.number in token.mechanisms]
    if not offered:
        names = ", ".join(mechanism.name for mechanism in candidates)
        verdict.deny("make", f"the token offers none of {names}")
        return
    if fips and spec.curve and not CURVES[spec.curve].fips:
        verdict.deny("make", "FIPS mode does not have this curve")
        return
    verdict.make = True
    bits = CURVES[spec.curve].bits if spec.curve else spec.size
    if not bits or spec.type == "oct":  # of secret keys, some tokens tell bits and some bytes
        return
    sizes = [token.library.key_sizes(token.slot.id, mechanism.number) for mechanism in offered]
    told = [size for size in sizes if size]
    if len(told) == len(sizes) and not any(low <= bits <= high for low, high in told):
        verdict.make = None  # what a mechanism tells is advice, so that a try decides
        verdict.reasons.append(
            f"the token tells that it makes keys of {told[0][0]} to {told[0][1]} bits"
        )


def _judge_wrapping(token: Token, verdict: _Verdict, findings: _Findings) -> None:
    """Say whether keys of one kind can be wrapped, by the rehearsal or else by the policies."""
    offered = {mechanism.number for mechanism in token.profile.wrap_mechanisms} & token.mechanisms
    needs_oaep = CKM_RSA_AES_KEY_WRAP not in offered
    secret = verdict.spec.type == "oct"
    relevant = [reason for policy, reason in findings.unmet if not (policy.private and secret)]
    if not offered:
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
    """Make a session key of the kind: a list of mechanisms names no curves, and sizes are advice.

    An RSA key, which takes long, is made only where the token tells that it makes none of its size.
    """
    spec = verdict.spec
    if verdict.make is False or (verdict.make and spec.type == "RSA"):
        return
    try:
        with ExitStack() as stack, token.calling(f"Making a throw-away {spec} key"):
            for key in _make_session_keys(token, spec):
                stack.enter_context(destroyed_at_the_end(token, token.session, key))
    except ByokError as error:
        verdict.deny("make", error.what)
    else:
        verdict.make = True


def _make_session_keys(token: Token, spec: KeySpec) -> tuple[Key, ...]:
    """Make a secret key, or a pair, and return the handles with the private key's first."""
    session = token.session
    private: dict[str, Value] = {
        "TOKEN": False,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
    }
    if spec.type == "oct":
        return (session.generate_secret(spec.size or 0, {**private, "ENCRYPT": True}),)
    public: dict[str, Value] = {"TOKEN": False, "VERIFY": True}
    private["SIGN"] = True
    if spec.type == "RSA":
        mechanism = token.rsa_generation()[0]
        pair = session.generate_pair(mechanism.number, public, private, spec.size)
    else:
        public["EC_PARAMS"] = CURVES[str(spec.curve)].parameters
        pair = session.generate_pair(CKM_EC_KEY_PAIR_GEN, public, private)
    return tuple(reversed(pair))


def _count_nameless(token: Token, findings: _Findings) -> None:
    """Count the keys that have neither label nor CKA_ID, and say what they may be."""
    # Not every token searches for empty values.
    with suppress(ByokError), token.calling("Searching for keys without label and CKA_ID"):
        findings.nameless = sum(token.session.count_nameless(kind) for kind in KEY_CLASSES)
    if findings.nameless:
        findings.notes.append(
            f"Key objects that have neither label nor CKA_ID: {findings.nameless}. An interrupted "
            "run can leave such objects. No run uses them; look at them with the token's own tool."
        )


def _already_there(token: Token, declarations: t.Sequence[Declaration]) -> set[str]:
    """Return the names of the declared keys of which the token holds a generation."""
    if not declarations:
        return set()
    listed = list_declared(token, declarations)
    names = set()
    for declaration in declarations:
        with suppress(ByokError):  # byok_target_key says which of several is not clear
            if choose(declaration, listed[declaration.name].generations) is None:
                continue
        names.add(declaration.name)
    return names


def _list_keys(token: Token, usable: bool) -> dict[str, t.Any]:
    """Return a listing of the token, as a later run can be given it.

    :param usable: whether the token shows its private keys
    :raises ByokError: otherwise
    """
    if not usable:
        raise ByokError(
            f"The keys of the {token.info} cannot be listed without a login",
            "Give pin_file, and check that the PIN works",
        )
    return write_listing(Listing(token.info, host_clock(), list_generations(token, None)))


def _mechanisms(token: Token) -> tuple[MechanismFacts, ...]:
    """Return those mechanisms that matter and are offered."""
    profile = token.profile
    mechanisms = (
        *profile.wrap_mechanisms,
        *profile.rsa_generation,
        _OAEP,
        _EC_GENERATION,
        _AES_GENERATION,
    )
    names = {mechanism.number: mechanism.name for mechanism in mechanisms}
    offered = sorted(set(names) & token.mechanisms)
    return tuple(MechanismFacts(names[number], f"{number:#x}") for number in offered)


def _refuse(
    token: Token,
    declarations: t.Iterable[Declaration],
    in_token: t.Collection[str],
    verdicts: t.Iterable[_Verdict],
    failures: Failures,
) -> None:
    """Name the keys that cannot be made or wrapped, before anything is.

    :param in_token: the names of those that need not be made
    """
    by_kind = {str(verdict.spec): verdict for verdict in verdicts}
    for declaration in declarations:
        name, verdict = declaration.name, by_kind[str(declaration.spec)]
        impossible = []
        if verdict.make is False and name not in in_token:
            impossible.append("made")
        if verdict.wrap is False:
            impossible.append("wrapped")
        if impossible:
            what = (
                f"The key {name} ({declaration.spec}) cannot be {' or '.join(impossible)} in the "
                f"{token.info}: {'; '.join(verdict.reasons)}"
            )
            remedy = "Change that, or declare a key that this token can make and wrap"
            failures.add(name, ByokError(what, remedy))


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))[:2]
