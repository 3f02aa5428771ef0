# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.
"""The wrapping policy: what the token's host lets out, whoever asks; pure.

What it does not name, it does not allow. It is judged by what is on the token's host and by what
people or hardware signed, never by the word of the controller or of the host that reaches Azure.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import NAMESPACE
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.identifiers import comparable_url
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    DEMANDS,
    normalise_fingerprint,
)

FORMAT_VERSION = 1

_SEE = "Write it as docs/approvals.md shows (The wrapping policy)"
_MOST_PEOPLE = 100
_NAMESPACE = re.compile(r"[!-~]{1,255}")
_VAULT = re.compile(r"https://[a-z0-9.-]+")

Read = t.Callable[[t.Any], t.Any]
Fold = t.Callable[[str], str]


class PolicyRefused(ByokError):
    """The wrapping policy does not allow something."""

    def __init__(self, what: str, where: str, remedy: str = "") -> None:
        super().__init__(
            f"{what}: the wrapping policy {where} refuses it",
            remedy or "If it is right, let whoever keeps the policy of the token's host change it",
            code="policy_refused",
        )


@dataclass(frozen=True)
class Rule:
    """Which keys may leave to which vaults, and which KEK that takes.

    :ivar names: patterns of whole names and labels
    :ivar vaults: as comparable_url() returns them
    :ivar kek_trust: words of DEMANDS, of which one has to be met
    :ivar kek_approvals: how many people have to have approved the KEK
    """

    names: tuple[str, ...]
    vaults: tuple[str, ...]
    kek_trust: tuple[str, ...]
    kek_approvals: int = 0

    def __str__(self) -> str:
        people = f", {self.kek_approvals} approvals of the KEK" if self.kek_approvals else ""
        return (
            f"{', '.join(self.names)} to {', '.join(self.vaults)} under a KEK that is "
            f"{' or '.join(self.kek_trust)}{people}"
        )


@dataclass(frozen=True)
class WrappingPolicy:
    """A file of the token's host that says what may leave its token.

    :ivar where: its path
    :ivar sha256: of its text
    :ivar allowed_signers: path of the file that says who may approve; None where nobody has to
    :ivar owner_roots: its own, by pool; None of the controller's replaces one
    :ivar owner_root_approvals: how many people make the root count that the controller gives for
        another pool; None where no number does
    :ivar approved_keks: fingerprints by vault, so that the KEK of one cannot stand for another's
    :ivar escrow: fingerprints of escrow keys
    :ivar make: patterns of keys that may be made, locked, withdrawn and destroyed in the token
    :ivar destroy_approvals: how many people a destruction takes; None where nothing is destroyed
    """

    where: str
    sha256: str
    rules: tuple[Rule, ...]
    allowed_signers: str | None = None
    namespace: str = NAMESPACE
    owner_roots: t.Mapping[str, str] | None = None
    maker_roots: tuple[str, ...] = ()
    owner_root_approvals: int | None = None
    approved_keks: t.Mapping[str, tuple[str, ...]] | None = None
    escrow: tuple[str, ...] = ()
    make: tuple[str, ...] = ()
    destroy_approvals: int | None = None

    def rules_for(self, name: str, label: str, vault: str | None) -> list[Rule]:
        """Return the rules that decide about a key; all of them have to be met.

        The first rule that matches decides, once for the name, which the key has in the vault, and
        once for the label, which it has in the token: neither is a way around the other's rule.

        :param vault: its URL; None where that is not known yet
        :raises PolicyRefused: when no rule matches one of them
        """
        wanted = vault and comparable_url(vault)
        deciding = []
        for what, text, fold in _named(name, label):
            for rule in self.rules:
                if wanted in (None, *rule.vaults) and _matches(text, rule.names, fold):
                    deciding.append(rule)
                    break
            else:
                raise PolicyRefused(
                    f"The key {name} may not leave{f' to {wanted}' if wanted else ''}, because no "
                    f"rule is for the {what} {text}",
                    self.where,
                )
        return list(dict.fromkeys(deciding))

    def approves(self, fingerprint: str, vault: str) -> bool:
        """Tell whether the policy itself approves a KEK of a vault."""
        return fingerprint in (self.approved_keks or {}).get(comparable_url(vault), ())

    def check_change(self, name: str, label: str, what: str) -> None:
        """Check that a key may be changed in the token.

        :param what: what is done with it, such as "made"
        :raises PolicyRefused: when it may not
        """
        for which, text, fold in _named(name, label):
            if not _matches(text, self.make, fold):
                raise PolicyRefused(
                    f"The key {name} may not be {what}, because make does not list the {which} "
                    f"{text}",
                    self.where,
                )

    def check_escrow(self, fingerprint: str) -> None:
        """Check that packages may be made for an escrow key.

        :raises PolicyRefused: when they may not
        """
        if fingerprint not in self.escrow:
            raise PolicyRefused(
                f"No key leaves for the escrow key {fingerprint}, because escrow does not list it",
                self.where,
            )

    def demands(self) -> list[str]:
        """Return in words what it demands."""
        told = [str(rule) for rule in self.rules]
        told.append(f"escrow keys: {', '.join(self.escrow) or 'none'}")
        told.append(f"may be made and changed in the token: {', '.join(self.make) or 'nothing'}")
        people = self.destroy_approvals
        told.append(
            "may be destroyed: nothing"
            if people is None
            else f"approvals of a destruction: {people}"
        )
        return told


def _named(name: str, label: str) -> tuple[tuple[str, str, Fold], ...]:
    """Return what a key is called, and how that is compared: Azure ignores the case of names, and a
    token does not ignore that of labels.
    """
    return ("name", name, str.lower), ("label", label, str)


def _matches(text: str, patterns: t.Iterable[str], fold: Fold) -> bool:
    return any(fnmatchcase(fold(text), fold(pattern)) for pattern in patterns)


def read_policy(document: t.Any, where: str, sha256: str) -> WrappingPolicy:
    """Read a policy strictly: what is not known is an error, because it may be a limit.

    :param document: what the file says, as plain data
    :param where: its path
    :param sha256: of its text
    :raises ByokError: naming the first member that cannot be
    """
    try:
        version = document.get("version") if isinstance(document, dict) else None
        if version.__class__ is not int or version != FORMAT_VERSION:
            raise ValueError(f"has no version: {FORMAT_VERSION}")
        given = {name: value for name, value in document.items() if name != "version"}
        policy = WrappingPolicy(where, sha256, **_members(given, _FIELDS, ("rules",)))
        counts = [policy.owner_root_approvals, policy.destroy_approvals]
        counts += [rule.kek_approvals for rule in policy.rules]
        if policy.allowed_signers is None and any(counts):
            raise ValueError("demands approvals, and names no file of allowed signers")
    except ValueError as error:
        raise ByokError(
            f"The wrapping policy {where} {error}", _SEE, code="policy_unusable"
        ) from None
    return policy


def _members(
    given: t.Mapping[t.Any, t.Any],
    fields: t.Mapping[str, tuple[str, Read]],
    needed: tuple[str, ...],
) -> dict[str, t.Any]:
    """Return the members of a mapping by the names that classes have for them."""
    read: dict[str, t.Any] = {}
    for name, value in given.items():
        if name not in fields:
            raise ValueError(f"has {name!r}, which is no member of it")
        field, reader = fields[name]
        try:
            read[field] = reader(value)
        except ByokError as error:
            raise ValueError(f"has an unexpected value: policy.{name}: {error.what}") from None
        except ValueError as error:
            raise ValueError(f"has an unexpected value: policy.{name} {error}") from None
    for name in needed:
        if name not in given:
            raise ValueError(f"lacks {name}")
    return read


def _text(value: t.Any) -> str:
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise ValueError("holds something that is no line of text; quote numbers")
    return value


def _path(value: t.Any) -> str:
    if not _text(value).startswith("/"):
        raise ValueError(f"is {value}, and no absolute path")
    return t.cast(str, value)


def _namespace(value: t.Any) -> str:
    if not _NAMESPACE.fullmatch(_text(value)):
        raise ValueError("has blanks or letters that are not ASCII")
    return t.cast(str, value)


def _each(read: t.Callable[[t.Any], str], least: int = 0) -> Read:
    """Return what reads a list.

    :param least: how many it must hold
    """

    def read_all(value: t.Any) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) < least:
            raise ValueError("is no list" + (" with something in it" if least else ""))
        return tuple(read(member) for member in value)

    return read_all


def _fingerprint(value: t.Any) -> str:
    return normalise_fingerprint(_text(value))


def _vault(value: t.Any) -> str:
    url = comparable_url(_text(value))
    if not _VAULT.fullmatch(url):
        raise ValueError(f"holds {value}, which is no URL of a vault such as https://HOST")
    return url


def _trust(value: t.Any) -> str:
    if value not in DEMANDS:
        raise ValueError(f"holds {value!r}, which is none of {', '.join(DEMANDS)}")
    return t.cast(str, value)


def _people(value: t.Any) -> int:
    if value.__class__ is not int or not 0 <= value <= _MOST_PEOPLE:
        raise ValueError("is no number of people")
    return value


def _pem(value: t.Any) -> str:
    if not isinstance(value, str) or "-----BEGIN CERTIFICATE-----" not in value:
        raise ValueError("holds something that is no certificate in PEM")
    return value


def _roots(value: t.Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("is no mapping of pools")
    return {_text(pool): _fingerprint(root) for pool, root in value.items()}


def _keks(value: t.Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise ValueError("is no mapping of vaults to lists of fingerprints")
    read = _each(_fingerprint)
    keks = {_vault(vault): read(fingerprints) for vault, fingerprints in value.items()}
    if len(keks) != len(value):
        raise ValueError("names a vault twice")
    return keks


_RULE: t.Mapping[str, tuple[str, Read]] = {
    "names": ("names", _each(_text, 1)),
    "vaults": ("vaults", _each(_vault, 1)),
    "kek_trust": ("kek_trust", _each(_trust, 1)),
    "kek_approvals": ("kek_approvals", _people),
}


def _rules(value: t.Any) -> tuple[Rule, ...]:
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError("is no list of rules")
    needed = ("names", "vaults", "kek_trust")
    rules = []
    for number, each in enumerate(value, 1):
        try:
            rules.append(Rule(**_members(each, _RULE, needed)))
        except ValueError as error:
            raise ValueError(f"(rule {number}) {error}") from None
    return tuple(rules)


#: By the members of the file: what WrappingPolicy calls them, and what reads them
_FIELDS: t.Mapping[str, tuple[str, Read]] = {
    "allowed_signers": ("allowed_signers", _path),
    "approval_namespace": ("namespace", _namespace),
    "attestation_owner_roots": ("owner_roots", _roots),
    "attestation_maker_roots": ("maker_roots", _each(_pem)),
    "owner_root_approvals": ("owner_root_approvals", _people),
    "approved_keks": ("approved_keks", _keks),
    "rules": ("rules", _rules),
    "escrow": ("escrow", _each(_fingerprint)),
    "make": ("make", _each(_text)),
    "destroy_approvals": ("destroy_approvals", _people),
}
