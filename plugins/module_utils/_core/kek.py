# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Why a KEK is believed to be the vault's own; pure.

Whoever makes a KEK can read what is wrapped under it. So a KEK is judged in three places by the
same policies: byok_kek reports, the controller decides what to give byok_wrap, and byok_wrap
decides again on the token's host. No word of the host that reaches Azure is a reason by itself.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    RsaPublicKey,
    rsa_from_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    fingerprint as fingerprint_of,
)

Trust: t.TypeAlias = t.Literal["created", "pinned", "attested", "unverified"]

#: What may be demanded of a KEK: the option's word, the verdict that meets it
DEMANDS: t.Mapping[str, Trust] = {
    "created": "created",
    "approved": "pinned",
    "attested": "attested",
}


class UntrustedKek(ByokError):
    """Nothing shows that a KEK is the vault's own."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy, code="kek_unverified")


@dataclass(frozen=True)
class Wording:
    """What a refusal says, by the names of the options that its reader sets.

    :ivar unapproved: what to do where others are approved, but not this KEK
    :ivar unverified: what to do where nothing shows whose KEK it is
    :ivar untrusted_maker: what to do where this run made it, by a host that is not trusted
    :ivar maker: what is wrong then, after "The KEK ..."

    ``{fingerprint}`` in them is the KEK's.
    """

    unapproved: str
    unverified: str
    untrusted_maker: str
    maker: str = "was made by a host that is not trusted like the controller"


_UNAPPROVED = (
    "Find out why the vault gives this KEK. If it is the right one, compare its fingerprint with "
    "the KEK in the vault by another way than this run, then add {fingerprint} to "
)
_COMPARE = "Compare that with the KEK in the vault by another way than this run, then set "

ROLE = Wording(
    unapproved=_UNAPPROVED + "byok_approved_keks",
    unverified=_COMPARE
    + "byok_approved_keks: [{fingerprint}]. byok_allow_unverified_kek accepts the risk",
    untrusted_maker="Use a permanent KEK (byok_kek_name or byok_kek_id), and set "
    "byok_approved_keks to its fingerprint when somebody compared that with the vault. Or set "
    "byok_azure_host_trusted: true, if you trust byok_azure_host like the controller. "
    "byok_allow_unverified_kek accepts the risk",
)
BYOK_WRAP = Wording(
    unapproved=_UNAPPROVED + "approved_keks",
    unverified=_COMPARE + "approved_keks: [{fingerprint}]. allow_unverified_kek accepts the risk",
    untrusted_maker=_COMPARE + "approved_keks: [{fingerprint}]. Or set kek_created: true, if this "
    "run made the KEK by a host that you trust like the controller. allow_unverified_kek takes "
    "the risk",
    maker="is said to be created (kek_trust), which counts only with kek_created: true",
)
BYOK_ROTATE = Wording(
    unapproved=BYOK_WRAP.unapproved,
    unverified=_COMPARE + "approved_keks: [{fingerprint}]. Or leave kek_id out, so that the run "
    "makes a KEK. allow_unverified_kek accepts the risk",
    untrusted_maker=BYOK_WRAP.untrusted_maker,
)


@dataclass(frozen=True)
class Kek:
    """A KEK as it is presented, before it is judged.

    :ivar kid: its identifier with its version
    :ivar fingerprint: of its public key, computed from the PEM by whoever judges
    :ivar made: it is said that this run made it, and nobody a version of that name before
    :ivar maker_trusted: who says so is trusted like the controller
    :ivar public_key: as whoever judges has read it, where that is needed
    :ivar attestation: the answer of a Managed HSM, as text; None where there is none
    """

    kid: str
    fingerprint: str
    made: bool = False
    maker_trusted: bool = False
    public_key: RsaPublicKey | None = None
    attestation: str | None = None

    def refusal(self, why: str, remedy: str) -> UntrustedKek:
        """Return the error of a policy that does not believe this KEK.

        :param why: a sentence that begins with what is wrong
        :param remedy: of :class:`Wording`
        """
        return UntrustedKek(
            f"{why} (kek_trust: unverified): whoever made it could read the key. "
            f"Its fingerprint is {self.fingerprint}",
            remedy.format(fingerprint=self.fingerprint),
        )


@dataclass(frozen=True)
class Verdict:
    """Why a KEK may be used.

    :ivar trust: the word that results and receipts have for it
    :ivar reason: the same for people
    :ivar attested: what a receipt tells of the attestation that was judged: ``attestation`` (the
        SHA-256 of the raw answer), ``owner_root`` and ``maker``
    """

    trust: Trust
    reason: str
    attested: t.Mapping[str, str] = field(default_factory=dict)


class Policy(t.Protocol):
    """One reason to believe that a KEK is the vault's own, or not to."""

    def judge(self, kek: Kek) -> Verdict | None:
        """Return the verdict; None where this policy has none, so that the next one judges.

        :raises UntrustedKek: when no later policy may believe this KEK either
        """


@dataclass(frozen=True)
class Approved:
    """Somebody compared the fingerprint with the vault; where any is approved, no other counts.

    :ivar fingerprints: the approved ones, normalised
    """

    fingerprints: frozenset[str]
    wording: Wording

    def judge(self, kek: Kek) -> Verdict | None:
        """Return ``pinned`` for an approved KEK, and refuse any other unless none is approved."""
        if not self.fingerprints:
            return None
        if kek.fingerprint in self.fingerprints:
            return Verdict("pinned", "its fingerprint is approved")
        raise kek.refusal(
            f"The KEK {kek.kid} is not among the approved KEKs, so nothing shows that it is "
            "the vault's own",
            self.wording.unapproved,
        )


@dataclass(frozen=True)
class NotByWord:
    """``kek_trust: pinned`` alone shows nothing, because the host that says so may be lying.

    :ivar asserted: the value of the option ``kek_trust``, None where it is not given
    """

    asserted: str | None

    def judge(self, kek: Kek) -> Verdict | None:
        """Refuse what is said to be pinned; :class:`Approved` has judged before."""
        if self.asserted == "pinned":
            raise kek.refusal(
                f"The KEK {kek.kid} is said to be pinned (kek_trust), but approved_keks does not "
                "contain it, so nothing shows that it is the vault's own",
                _COMPARE + "approved_keks: [{fingerprint}]",
            )
        return None


@dataclass(frozen=True)
class CreatedByThisRun:
    """This run made the KEK, by a host that is trusted like the controller."""

    def judge(self, kek: Kek) -> Verdict | None:
        """Return ``created`` where both is so."""
        if kek.made and kek.maker_trusted:
            return Verdict("created", "this run made it, by a host that is trusted")
        return None


@dataclass(frozen=True)
class UnsafeUnverified:
    """Any KEK may be used, by an explicit option: whoever made it may read the keys."""

    def judge(self, kek: Kek) -> Verdict | None:
        """Return ``unverified``."""
        return Verdict(
            "unverified", f"nothing shows whose {kek.kid} is, and that risk was accepted"
        )


@dataclass(frozen=True)
class RefuseUnverified:
    """What no policy before believes is refused."""

    wording: Wording

    def judge(self, kek: Kek) -> Verdict | None:
        """Refuse the KEK."""
        if kek.made:
            raise kek.refusal(
                f"The KEK {kek.kid} {self.wording.maker}, so nothing shows that it is the vault's "
                "own",
                self.wording.untrusted_maker,
            )
        raise kek.refusal(
            f"Nothing shows that the KEK {kek.kid} is the vault's own", self.wording.unverified
        )


@dataclass(frozen=True)
class KekRules:
    """What the user decided about KEKs: the policies, in their order.

    :ivar approved: fingerprints that somebody compared with the vault, as the user wrote them
    :ivar allow_unverified: take the risk of a KEK of which nothing shows whose it is
    :ivar wording: for whom refusals are worded
    :ivar asserted: byok_wrap's deprecated option ``kek_trust``
    :ivar hardware: believes what a Managed HSM's hardware attests; None where no root is pinned
    :ivar demanded: words of DEMANDS, of which one has to be met; none demands nothing
    :ivar people: believes what people approved on this host; None where nobody did
    """

    approved: t.Sequence[str]
    allow_unverified: bool
    wording: Wording
    asserted: str | None = None
    hardware: Policy | None = None
    demanded: tuple[str, ...] = ()
    people: Policy | None = None

    def policies(self) -> tuple[Policy, ...]:
        """Return the chain; the first policy that decides wins.

        :raises ByokError: for an approved fingerprint that is none
        """
        fingerprints = frozenset(normalise_fingerprint(text) for text in self.approved)
        last: Policy = RefuseUnverified(self.wording)
        if self.allow_unverified:
            last = UnsafeUnverified()
        return (
            Approved(fingerprints, self.wording),
            NotByWord(self.asserted),
            *((self.hardware,) if self.hardware else ()),
            *((self.people,) if self.people else ()),
            CreatedByThisRun(),
            last,
        )

    def judge(self, kek: Kek) -> Verdict:
        """Return why the KEK may be used.

        :raises UntrustedKek: when it may not
        :raises ByokError: for an approved fingerprint that is none
        """
        for policy in self.policies():
            verdict = policy.judge(kek)
            if verdict:
                return self._demanded(kek, verdict)
        raise AssertionError("the last policy decides")

    def _demanded(self, kek: Kek, verdict: Verdict) -> Verdict:
        """Return the verdict if it is one that the user demands, or none is demanded.

        :raises UntrustedKek: otherwise
        """
        if not self.demanded or verdict.trust in [DEMANDS[each] for each in self.demanded]:
            return verdict
        raise UntrustedKek(
            f"The KEK {kek.kid} is {verdict.trust} ({verdict.reason}), and "
            f"{' or '.join(self.demanded)} is demanded",
            "Use a KEK that meets that. For attested, pin the root of the Managed HSM "
            "(attestation_owner_roots); for approved, compare its fingerprint with the vault",
        )


def report_trust(kek: Kek, approved: t.Sequence[str]) -> Trust:
    """Return the word for a KEK where nothing is wrapped under it, so nothing is refused.

    :raises ByokError: for an approved fingerprint that is none
    """
    try:
        return KekRules(approved, True, BYOK_WRAP).judge(kek).trust
    except UntrustedKek:
        return "unverified"


@dataclass(frozen=True)
class WrapOptions:
    """What byok_wrap is given about the KEK, by its option names.

    The KEK itself is None in check mode when it would be made.
    """

    approved_keks: tuple[str, ...]
    allow_unverified_kek: bool
    kek_created: bool = False
    kek_id: str | None = None
    kek_public_key: str | None = None
    kek_fingerprint: str | None = None
    kek_attestation: str | None = None

    def to_dict(self) -> dict[str, t.Any]:
        """Return the options that are given."""
        options = {**vars(self), "approved_keks": list(self.approved_keks)}
        return {name: value for name, value in options.items() if value is not None}


def judge(result: t.Mapping[str, t.Any], rules: KekRules, azure_host_trusted: bool) -> WrapOptions:
    """Judge on the controller what byok_kek returned, and return what to give byok_wrap.

    :param result: of byok_kek: ``kek_id``, ``kek_public_key``, ``kek_fingerprint``, ``kek_trust``.
        The host that reaches Azure may have made up every one; None in check mode, when the KEK
        would be made
    :param azure_host_trusted: that host is trusted like the controller, or is the controller
    :raises UntrustedKek: for a KEK that may not be used
    :raises ByokError: for an answer that is no KEK
    """
    options = WrapOptions(tuple(rules.approved), rules.allow_unverified)
    if result.get("kek_id") is None and result.get("kek_public_key") is None:
        return options
    kid = _text_of(result, "kek_id")
    pem = _text_of(result, "kek_public_key")
    parse_kid(kid)
    computed = check_fingerprint(f"KEK {kid}", pem, _text_of(result, "kek_fingerprint"))
    made = result.get("kek_trust") == "created"
    attestation = result.get("kek_attestation")
    if not isinstance(attestation, str | None):
        raise ByokError(
            "byok_kek returned a kek_attestation that is no text",
            "Check the host that reaches Azure",
        )
    public_key = rsa_from_pem(pem) if attestation else None
    rules.judge(Kek(kid, computed, made, azure_host_trusted, public_key, attestation))
    return replace(
        options,
        kek_created=made and azure_host_trusted,
        kek_id=kid,
        kek_public_key=pem,
        kek_fingerprint=computed,
        kek_attestation=attestation,
    )


def _text_of(result: t.Mapping[str, t.Any], fact: str) -> str:
    value = result.get(fact)
    if not isinstance(value, str):
        raise ByokError(
            f"byok_kek returned a {fact} that is no text", "Check the host that reaches Azure"
        )
    return value


def refuse_making_untrusted(rules: KekRules, azure_host_trusted: bool) -> None:
    """Refuse, before it is made, a KEK for one run that :func:`judge` would refuse afterwards.

    For the role alone: byok_rotate makes its KEK itself.

    :raises UntrustedKek: when it would be refused
    """
    if rules.approved:
        raise UntrustedKek(
            "This run would make a KEK of its own, which cannot be an approved one",
            "Use an approved KEK (byok_kek_ephemeral: false, and byok_kek_name or byok_kek_id), "
            "or set no byok_approved_keks",
        )
    if not azure_host_trusted and not rules.allow_unverified and not rules.hardware:
        raise UntrustedKek(
            "This run would make its KEK by a host that is not trusted like the controller: "
            "whoever controls that host could give another key as the KEK, and read the keys",
            ROLE.untrusted_maker,
        )


def refuse_kek_of_other_vault(kid: str, vault_url: str) -> None:
    """Refuse a KEK that is not in the vault that the keys go to.

    :param kid: the KEK's identifier with its version
    :param vault_url: as the user wrote it
    :raises ByokError: for a KEK of another vault, and for what is no identifier
    """
    vault = parse_kid(kid).vault
    if vault != comparable_url(vault_url):
        raise ByokError(
            f"The KEK {kid} is in {vault}, and the keys go to {vault_url}",
            "Use a KEK of the vault that the keys go to: no other vault can unwrap them",
        )


def check_fingerprint(what: str, pem: str, expected: str | None) -> str:
    """Return the fingerprint of a public key, as computed from its PEM.

    :param what: such as "KEK https://...", for the message
    :param expected: what came beside the PEM, to notice that one of both was replaced on its way
    :raises ByokError: when they differ, and for what is no PEM
    """
    computed = fingerprint_of(pem)
    if expected is not None and computed != normalise_fingerprint(expected):
        raise ByokError(
            f"The {what} was substituted, or comes from elsewhere: the fingerprint of its public "
            f"key is {computed} and not {expected}",
            "Do not wrap under it; get its public key from its owner again, and its fingerprint by "
            "another way",
        )
    return computed


def normalise_fingerprint(text: str) -> str:
    """Return a SHA-256 fingerprint as 64 hexadecimal digits in lower case.

    Colons, as OpenSSL writes them, are dropped.

    :raises ByokError: when it is none
    """
    digits = text.strip().replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise ByokError(
            f"{text!r} is no fingerprint of a public key",
            "Give the SHA-256 of its SubjectPublicKeyInfo as 64 hexadecimal digits, as byok_kek "
            "returns it",
        )
    return digits


def unusable_kek(what: str, state: str) -> str:
    """Return a warning of a KEK that stays, and that cannot be used now or soon.

    One that was made without an expiry may have got one of 48 hours (azure-powershell 22654).

    :param what: names the KEK and its vault, to begin a sentence
    :param state: goes on with it, as sentence_of() says
    """
    return (
        f"{what} {state}. Nothing can be imported under an expired KEK or one that is not yet "
        "valid: make another one under a new name, and have it approved again"
    )
