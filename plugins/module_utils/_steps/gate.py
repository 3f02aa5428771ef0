# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.
"""What the token's host lets out: its wrapping policy, and the approvals that options demand.

The gate stands on the token's host. Everything that another host or the controller says can only
make it narrower.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.keyferry.azure.plugins.module_utils._approval.approvals import (
    Counted,
    Subject,
    count,
    text_digest,
)
from ansible_collections.keyferry.azure.plugins.module_utils._approval.policy import (
    PolicyRefused,
    Rule,
    WrappingPolicy,
    read_policy,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import Roots
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.kek_policy import (
    policy_for,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import (
    DEMANDED,
    NAMESPACE,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    Kek,
    UntrustedKek,
    Verdict,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Failures, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import parse_kid
from ansible_collections.keyferry.azure.plugins.module_utils._core.reports import (
    PolicyFileFacts,
    WrappingPolicyFacts,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.policy_files import (
    DEFAULT_PLACES,
    read_policies,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.protected_file import owner_of
from ansible_collections.keyferry.azure.plugins.module_utils._host.ssh_signatures import ssh_keygen

Params = t.Mapping[str, t.Any]

NO_POLICY = (
    f"There is no wrapping policy on this host ({DEFAULT_PLACES[0]}): the options of modules alone "
    "decide what may leave the token"
)


@dataclass(frozen=True)
class _Signers:
    """Who may approve: a file of this host, and the namespace of their signatures."""

    allowed_signers: str | None
    namespace: str


@dataclass(frozen=True)
class ByPeople:
    """A KEK is the vault's own because people say so, on the token's host.

    :ivar reason: in words
    :ivar fingerprint: of the KEK that they mean
    """

    reason: str
    fingerprint: str

    def judge(self, kek: Kek) -> Verdict | None:
        """Return ``pinned`` for that KEK."""
        return Verdict("pinned", self.reason) if kek.fingerprint == self.fingerprint else None


class Gate:
    """What this host allows; made by :func:`open_gate`.

    :ivar policies: all of them have to agree
    """

    def __init__(self, policies: t.Sequence[WrappingPolicy], params: Params) -> None:
        self.policies = tuple(policies)
        self._approvals: t.Sequence[str] = params.get("approvals") or ()
        self._own = _Signers(
            params.get("allowed_signers"), params.get("approval_namespace") or NAMESPACE
        )
        self._required = _required(params.get("required_approvals") or {}, self._own)
        self._roots: t.Mapping[str, t.Any] = params.get("attestation_owner_roots") or {}
        self._counted: dict[tuple[Subject, _Signers], Counted] = {}

    # Keys that leave

    def owner_roots(self, vault: str) -> dict[str, t.Any]:
        """Return the roots that the options and the policies pin, for the options to be judged by.

        :raises ByokError: when a root that the options pin lacks the approvals they demand
        """
        roots = dict(self._roots)
        given = _pinned(roots, vault)
        if given and self._required.get("owner-root"):
            subject, least = Subject("owner-root", given), self._required["owner-root"]
            self._demand(subject, least, self._own, _root_of(vault))
        for policy in self.policies:
            own = _pinned(policy.owner_roots or {}, vault)
            if own:
                roots[vault.removeprefix("https://")] = own
        return roots

    def maker_roots(self) -> list[str]:
        """Return the certificates of makers that the policies add to those of the options."""
        return [text for policy in self.policies for text in policy.maker_roots]

    def by_people(self, kek: Kek) -> ByPeople | None:
        """Return that people approved a KEK; None if nobody did, or nobody was asked.

        :raises ByokError: when fewer did than the options demand
        """
        subject = _subject(kek)
        vault = parse_kid(kek.kid).vault
        reasons = []
        least = self._required.get("kek", 0)
        if least:
            counted = self._demand(subject, least, self._own, f"The KEK {kek.kid}")
            reasons.append(f"approved by {', '.join(counted.principals)}")
        for policy in self.policies:
            if policy.approves(kek.fingerprint, vault):
                reasons.append(f"the wrapping policy {policy.where} approves it")
            numbers = [rule.kek_approvals for rule in policy.rules if vault in rule.vaults]
            fewest = min(filter(None, numbers), default=0)
            if fewest:
                people = self._count(subject, _signers_of(policy)).principals
                if len(people) >= fewest:
                    reasons.append(f"approved by {', '.join(people)}")
        return ByPeople("; ".join(reasons), kek.fingerprint) if reasons else None

    def refuse_leaving(
        self, declarations: t.Iterable[Declaration], kek: Kek | None, failures: Failures
    ) -> None:
        """Fail the keys that may not leave under a KEK.

        :param kek: None where it is not known yet
        :param failures: gets a failure for each of them
        """
        vault = parse_kid(kek.kid).vault if kek else None
        for declaration in declarations:
            with failures.of(declaration.name):
                for policy, rule in self._rules(declaration, vault):
                    if kek:
                        self._meet(policy, rule, kek, declaration.name)

    def refuse_before_kek(
        self, declarations: t.Iterable[Declaration], vault: str, made: bool, failures: Failures
    ) -> None:
        """Fail the keys that may not leave to a vault, before its KEK is made or read.

        :param vault: its URL
        :param made: whether the run makes the KEK itself
        """
        for declaration in declarations:
            with failures.of(declaration.name):
                if made and self._required.get("kek"):
                    raise _unmade(declaration.name, "required_approvals demands approvals of it")
                for policy, rule in self._rules(declaration, vault):
                    if made:
                        self._foresee(policy, rule, vault, declaration.name)

    def _foresee(self, policy: WrappingPolicy, rule: Rule, vault: str, name: str) -> None:
        """Check that a KEK that is yet to be made can be what a rule wants.

        :raises ByokError: when it cannot
        """
        if rule.kek_approvals:
            raise _unmade(name, f"the wrapping policy {policy.where} demands approvals of it")
        attested = "attested" in rule.kek_trust and self._hardware(policy, vault)
        if not (attested or "created" in rule.kek_trust):
            wanted = " or ".join(rule.kek_trust)
            raise _unmade(name, f"the wrapping policy {policy.where} wants one that is {wanted}")

    def check_escrow(self, fingerprint: str) -> None:
        """Check that packages may be made for an escrow key: it is a way out for every key.

        :raises PolicyRefused: when they may not
        """
        for policy in self.policies:
            policy.check_escrow(fingerprint)

    def _rules(
        self, declaration: Declaration, vault: str | None
    ) -> t.Iterator[tuple[WrappingPolicy, Rule]]:
        """Yield the rules that decide about a key.

        :raises PolicyRefused: when there is none
        """
        for policy in self.policies:
            for rule in policy.rules_for(declaration.name, declaration.label, vault):
                yield policy, rule

    def _meet(self, policy: WrappingPolicy, rule: Rule, kek: Kek, name: str) -> None:
        """Check that a KEK is what a rule wants.

        :raises ByokError: when it is not
        """
        if rule.kek_approvals:
            what = f"The KEK {kek.kid}"
            signers = _signers_of(policy)
            self._demand(_subject(kek), rule.kek_approvals, signers, what)
        vault = parse_kid(kek.kid).vault
        approved = bool(rule.kek_approvals) or policy.approves(kek.fingerprint, vault)
        why: list[str] = []
        for word in rule.kek_trust:
            if word == "created" and kek.made and kek.maker_trusted:
                return
            if word == "approved" and approved:
                return
            if word == "attested":
                try:
                    self._attest(policy, kek)
                except ByokError as error:
                    why.append(error.what)
                else:
                    return
        wanted = " or ".join(rule.kek_trust)
        raise PolicyRefused(
            "; ".join(
                [
                    f"The key {name} may not leave under the KEK {kek.kid} with the fingerprint "
                    f"{kek.fingerprint}, which is not {wanted} by what this host knows itself",
                    *why,
                ]
            ),
            policy.where,
            "Use a KEK that meets the policy's rule for this key",
        )

    def _attest(self, policy: WrappingPolicy, kek: Kek) -> None:
        """Check that a pool's hardware attests a KEK, by the roots of the policy.

        :raises ByokError: when it does not, or no root of the pool counts
        """
        hardware = self._hardware(policy, parse_kid(kek.kid).vault)
        if hardware is None:
            raise UntrustedKek(f"{policy.where} pins no root for the pool of {kek.kid}", "Pin it")
        hardware.judge(kek)

    def _hardware(self, policy: WrappingPolicy, vault: str) -> t.Any:
        """Return what judges attestations for a policy; None if no root of the pool counts.

        The controller's root counts if enough people approved it, and the policy has none itself.

        :raises ByokError: when fewer did
        """
        root = _pinned(policy.owner_roots or {}, vault)
        given = _pinned(self._roots, vault)
        if root is None and given and policy.owner_root_approvals is not None:
            signers, least = _signers_of(policy), policy.owner_root_approvals
            self._demand(Subject("owner-root", given), least, signers, _root_of(vault))
            root = given
        if root is None:
            return None
        host = vault.removeprefix("https://")
        return policy_for(vault, {host: root}, policy.maker_roots, host_clock())

    # Keys that are changed in the token

    def check_change(self, declaration: Declaration, what: str) -> None:
        """Check that a key may be changed in the token.

        :param what: what is done with it, such as "made"
        :raises PolicyRefused: when it may not
        """
        for policy in self.policies:
            policy.check_change(declaration.name, declaration.label, what)

    def check_making(self, label: str) -> None:
        """Check that a key may be made in the token that is no target key.

        :raises PolicyRefused: when it may not
        """
        for policy in self.policies:
            policy.check_change(label, label, "made")

    def check_destruction(self, identities: t.Iterable[str]) -> None:
        """Check that enough people approved the destruction of each of these generations.

        :param identities: thumbprints, for oct keys CKA_IDs
        :raises ByokError: before the first is destroyed, when they did not
        """
        for identity in identities:
            what = f"The destruction of the generation {identity}"
            subject = Subject("destroy", text_digest(identity))
            for policy in self.policies:
                least = policy.destroy_approvals
                if least is None:
                    raise PolicyRefused(f"{what} may not be done", policy.where)
                self._demand(subject, least, _signers_of(policy), what)
            self._demand(subject, self._required.get("destroy", 0), self._own, what)

    def check_deletion(self, kid: str, done: str) -> None:
        """Check that enough people approved that a key is deleted or purged in a vault.

        :param kid: of its newest version
        :param done: ``deleted`` or ``purged``
        :raises ByokError: when they did not
        """
        least, what = self._required.get("destroy", 0), f"The key {kid}, which would be {done},"
        self._demand(Subject("destroy", text_digest(kid)), least, self._own, what)

    # What is told

    def facts(self) -> WrappingPolicyFacts:
        """Return what byok_hsm_info tells of the policies."""
        files = tuple(
            PolicyFileFacts(
                policy.where, policy.sha256, owner_of(policy.where), tuple(policy.demands())
            )
            for policy in self.policies
        )
        paths = " and ".join(policy.where for policy in self.policies)
        told = f"{paths} decides what may leave the token, whatever the options of modules say"
        return WrappingPolicyFacts(told if files else NO_POLICY, files)

    def report(self, outcome: Outcome) -> None:
        """Tell who approved what, and who signed more than once."""
        known = {str(each.subject): each for each in self._counted.values() if each.principals}
        outcome.result["approvals"] = [each.approval().to_dict() for each in known.values()]
        for counted in known.values():
            for name in counted.again:
                warning = f"{counted.subject}: {counted.once(name)}"
                if warning not in outcome.warnings:
                    outcome.warnings.append(warning)

    def _demand(self, subject: Subject, least: int, signers: _Signers, what: str) -> Counted:
        """Return who approved; checks that they are enough.

        :raises ByokError: when they are fewer than ``least``
        """
        if not least:
            return Counted(subject, ())
        counted = self._count(subject, signers)
        counted.demand(least, what, signers.namespace)
        return counted

    def _count(self, subject: Subject, signers: _Signers) -> Counted:
        known = self._counted.get((subject, signers))
        if known is None:
            path = signers.allowed_signers or ""
            with ssh_keygen(path, signers.namespace, host_clock()) as keygen:
                known = count(subject, self._approvals, signers.namespace, keygen)
            self._counted[subject, signers] = known
        return known


def open_gate(params: Params) -> Gate:
    """Read the policies of this host, and what the options demand beside them.

    :param params: ``policy_file``, and as far as the module has them ``approvals``,
        ``allowed_signers``, ``required_approvals``, ``approval_namespace`` and
        ``attestation_owner_roots``
    :raises ByokError: for a policy that cannot be used; then nothing may be done
    """
    policies = [
        read_policy(found.document, found.path, found.sha256)
        for found in read_policies(params.get("policy_file"))
    ]
    return Gate(policies, params)


def _subject(kek: Kek) -> Subject:
    return Subject("kek", kek.fingerprint, parse_kid(kek.kid).vault)


def _signers_of(policy: WrappingPolicy) -> _Signers:
    return _Signers(policy.allowed_signers, policy.namespace)


def _pinned(roots: t.Mapping[str, t.Any], vault: str) -> str | None:
    """Return the root that is pinned for a vault; what is no text, is told by who judges."""
    return Roots({pool: root for pool, root in roots.items() if isinstance(root, str)}).pinned(
        vault
    )


def _root_of(vault: str) -> str:
    return f"The root that is given for {vault} (attestation_owner_roots)"


def _unmade(name: str, why: str) -> ByokError:
    return ByokError(
        f"The key {name} may not leave under a KEK that this run makes: {why}",
        "Use a KEK that stays (kek_id), and have it approved",
        code="policy_refused",
    )


def _required(given: t.Mapping[str, t.Any], signers: _Signers) -> dict[str, int]:
    """Read ``required_approvals``.

    :raises ByokError: for a kind that is not known, what is no number, and where nobody can approve
    """
    read: dict[str, int] = {}
    for kind, number in given.items():
        text = str(number)  # before ansible-core 2.19 a template makes a text of it
        if (
            kind not in DEMANDED
            or isinstance(number, bool)
            or not text.isascii()
            or not text.isdigit()
        ):
            raise ByokError(
                f"required_approvals has {kind}: {number}",
                f"Give a number of people for some of {', '.join(DEMANDED)}",
            )
        read[kind] = int(text)
    if any(read.values()) and not signers.allowed_signers:
        raise ByokError(
            "required_approvals is given without allowed_signers, so nobody can approve",
            "Give the path of a file of allowed signers on the host where the module runs",
        )
    return read
