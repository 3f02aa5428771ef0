# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What byok_wrap does: wrap generations under a vault's KEK into key transfer packages."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.keyferry.azure.plugins.module_utils._ansible.module import (
    add_singles,
    items_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.kek_policy import (
    AttestedByHardware,
    policy_for,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.clock import host_clock
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.kek import (
    BYOK_WRAP,
    Kek,
    KekRules,
    check_fingerprint,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.outcome import Change, Outcome
from ansible_collections.keyferry.azure.plugins.module_utils._core.package import (
    build,
    build_escrow,
    check_wrapped_length,
    digest,
    escrow_fingerprint,
    parse,
    parse_kid,
    spoken,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    RsaPublicKey,
    fingerprint,
    rsa_from_pem,
    to_pem,
    weakness,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    begin,
    envelope_beside,
    generator,
    package_sha256,
    path_beside,
    public_key_beside,
    to_text,
    with_challenge,
    wrapped_of,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.receipt import (
    parse as parse_receipt,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.results import Package
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    Malformed,
    envelope_of,
    parse_envelope,
    signed,
)
from ansible_collections.keyferry.azure.plugins.module_utils._host.files import (
    read_text,
    write_private,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.evidence_key import (
    open_evidence_key,
)
from ansible_collections.keyferry.azure.plugins.module_utils._steps.gate import Gate, open_gate
from ansible_collections.keyferry.azure.plugins.module_utils._token.challenge import make_challenge
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Session
from ansible_collections.keyferry.azure.plugins.module_utils._token.evidence_key import EvidenceKey
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    Found,
    Generation,
    choose,
    list_declared,
    refuse_alike,
    refuse_unfit,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.rehearsal import (
    Rehearsal,
    rehearse,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import Token, open_token
from ansible_collections.keyferry.azure.plugins.module_utils._token.wrapping import kek_object, wrap


@dataclass(frozen=True)
class Recipient:
    """Whom packages are wrapped for: a vault by its KEK, or an escrow key.

    It is all that is known of them on a host without network.

    :ivar kid: the KEK's identifier; None for an escrow key
    :ivar trust: why the KEK is believed to be the vault's own, as judged on this host
    :ivar attested: as Verdict of ``_core/kek.py`` has it
    :ivar results: the return value that lists its packages
    :ivar path_option: the option of a key that says where its package goes
    :ivar kek: as it was presented; None for an escrow key
    """

    kid: str | None
    public_key: RsaPublicKey
    fingerprint: str
    trust: str
    results: str = "packages"
    path_option: str = "path"
    attested: t.Mapping[str, str] = field(default_factory=dict)
    kek: Kek | None = None

    def __str__(self) -> str:
        return self.kid or f"escrow key {self.fingerprint}"

    def as_result(self) -> dict[str, t.Any]:
        """Return the facts that a receipt records."""
        return {
            "kid": self.kid,
            "fingerprint": self.fingerprint,
            "trust": self.trust,
            "size": self.public_key.size,
            **self.attested,
        }

    def package(self, ciphertext: bytes, made_by: str) -> str:
        """Return the text of a package for this recipient."""
        if self.kid is None:
            return build_escrow(self.fingerprint, ciphertext, made_by)
        return build(self.kid, ciphertext, made_by)

    def is_for_me(self, text: str) -> bool:
        """Tell whether a package is for this recipient."""
        if self.kid is None:
            return escrow_fingerprint(text) == self.fingerprint
        return parse_kid(parse(text).kid).is_key(parse_kid(self.kid))


@dataclass(frozen=True)
class _Order:
    """A package to make."""

    declaration: Declaration
    generation: Generation
    path: str | None
    challenge: t.Mapping[str, str] | None = None


@dataclass(frozen=True)
class Means:
    """What there is to wrap with.

    :ivar allow_trailing_zeros: use a mechanism that leaves zeros behind the key
    :ivar evidence_key: signs the receipts; None where nobody does
    """

    allow_trailing_zeros: bool
    evidence_key: EvidenceKey | None = None


def wrap_packages(params: t.Mapping[str, t.Any], check_mode: bool, outcome: Outcome) -> None:
    """Wrap the wanted generations; keep a package that is there and is what this run would make.

    :raises ByokError: for a KEK that cannot be trusted, a token that cannot be opened, or a
        rehearsal that fails; what fails for one key is in the outcome's failures
    """
    outcome.result.update(packages=[], escrows=[], rehearsal=None, approvals=[])
    items = items_of(params, "declarations")
    check_unique(item["name"] for item in items)
    gate = open_gate(params)
    escrow = _read_escrow(params, gate)
    kek = read_kek(params, check_mode, escrow, gate)
    recipients = [recipient for recipient in (kek, escrow) if recipient]
    if kek or not escrow:
        items = let_out(items, kek, gate, outcome)
    with (
        open_token(params) as token,
        open_evidence_key(token, params, check_mode, outcome) as evidence_key,
    ):
        means = Means(params["allow_trailing_zeros"], evidence_key)
        wrap_for(token, items, recipients, means, check_mode, outcome=outcome)
    add_singles(params, "declarations", outcome, package="packages", escrow="escrows")


def let_out(
    items: t.Sequence[t.Mapping[str, t.Any]], kek: Recipient | None, gate: Gate, outcome: Outcome
) -> list[t.Mapping[str, t.Any]]:
    """Return those of the keys that this host lets out; the others are in the outcome's failures.

    :param kek: None in check mode, when it would be made
    """
    declarations = [parse_declaration(item) for item in items]
    gate.refuse_leaving(declarations, kek.kek if kek else None, outcome.failures)
    gate.report(outcome)
    return [item for item in items if item["name"] not in outcome.failures]


def wrap_for(
    token: Token,
    items: t.Sequence[t.Mapping[str, t.Any]],
    recipients: t.Sequence[Recipient],
    means: Means,
    check_mode: bool,
    *,
    outcome: Outcome | None = None,
) -> Outcome:
    """Do the same in a token that is open.

    :param items: the options of one key each
    :param outcome: is filled as this goes, and returned; a new one where none is given
    :raises ByokError: for a rehearsal that fails; what fails for one key is in the outcome's
        failures
    """
    outcome = Outcome() if outcome is None else outcome
    outcome.result.update(packages=[], escrows=[], rehearsal=None)
    declarations = [parse_declaration(item) for item in items]
    listed = list_declared(token, declarations)
    todo: dict[str, list[_Order]] = {"packages": [], "escrows": []}
    for declaration, item in zip(declarations, items, strict=True):
        with outcome.failures.of(declaration.name):
            generation = _choose(token, declaration, listed[declaration.name], check_mode)
            if not recipients:
                outcome.changes.append(_change(declaration.name, generation, None, item["path"]))
            for recipient in recipients:
                path = item[recipient.path_option]
                kept = generation and _kept(path, declaration, generation, recipient)
                if generation and kept:
                    kept = _with_envelope(kept, means.evidence_key, check_mode, outcome)
                    outcome.add(recipient.results, kept)
                    continue
                if check_mode:
                    outcome.changes.append(_change(declaration.name, generation, recipient, path))
                if generation:
                    todo[recipient.results].append(_Order(declaration, generation, path))
    if any(todo.values()):
        rehearsal = rehearse(token, means.allow_trailing_zeros)
        outcome.result["rehearsal"] = rehearsal.as_result()
        for recipient in recipients:
            if not check_mode:
                wrapping = _Wrapping(token, recipient, rehearsal, means.evidence_key)
                _wrap_all(wrapping, todo[recipient.results], outcome)
    return outcome


@dataclass(frozen=True)
class _Wrapping:
    """What is the same for all packages of one recipient."""

    token: Token
    recipient: Recipient
    rehearsal: Rehearsal
    evidence_key: EvidenceKey | None


def read_kek(
    params: t.Mapping[str, t.Any], check_mode: bool, escrow: Recipient | None, gate: Gate
) -> Recipient | None:
    """Read the KEK, and judge on this host, which is the token's, whether it may be used.

    :param params: ``kek_id``, ``kek_public_key`` and ``approved_keks`` of byok_wrap, and as far as
        they are given ``kek_fingerprint``, ``kek_created``, ``kek_trust``, ``allow_unverified_kek``
    :returns: None where no KEK is given, if only an escrow key is, or in check mode, when the KEK
        would be made
    :raises ByokError: for a KEK that may not be used, or that is not given whole
    """
    kid, pem, given_fingerprint = (
        params.get(option) for option in ("kek_id", "kek_public_key", "kek_fingerprint")
    )
    if (check_mode or escrow) and not (kid or pem or given_fingerprint):
        return None
    if not (kid and pem):
        raise ByokError(
            "The KEK is given only in part",
            "Give kek_id and kek_public_key, as byok_kek returns them",
        )
    kid = str(parse_kid(kid))  # as Azure writes it, for the packages
    public_key, computed = _read_public_key(f"KEK {kid}", pem, given_fingerprint or None)
    created, asserted = bool(params.get("kek_created")), params.get("kek_trust")
    kek = Kek(
        kid,
        computed,
        # kek_trust can take trust away, and word a refusal; it gives none.
        made=asserted == "created" or (created and asserted != "unverified"),
        maker_trusted=created,
    )
    kek = replace(kek, public_key=public_key, attestation=_attestation_of(params))
    rules = KekRules(
        params["approved_keks"],
        bool(params.get("allow_unverified_kek")),
        BYOK_WRAP,
        asserted,
        _hardware_policy(params, kid, gate),
        tuple(params.get("required_kek_trust") or ()),
        gate.by_people(kek),
    )
    verdict = rules.judge(kek)
    return Recipient(kid, public_key, computed, verdict.trust, attested=verdict.attested, kek=kek)


def _hardware_policy(
    params: t.Mapping[str, t.Any], kid: str, gate: Gate
) -> AttestedByHardware | None:
    """Return the policy for the pool of a KEK; None where its root is not pinned.

    :param params: ``attestation_maker_roots``, if it is given
    """
    vault = parse_kid(kid).vault
    makers = [*(params.get("attestation_maker_roots") or ()), *gate.maker_roots()]
    return policy_for(vault, gate.owner_roots(vault), makers, host_clock())


def _attestation_of(params: t.Mapping[str, t.Any]) -> str | None:
    """Return the attestation that is given as text or as a file; None where none is.

    :raises ByokError: for a file that is not there
    """
    path = params.get("kek_attestation_path")
    if not path:
        return params.get("kek_attestation") or None
    text = read_text(path)
    if text is None:
        raise ByokError(
            f"There is no file {path} (kek_attestation_path)",
            "Store the attestation there that byok_kek returned on the host that reaches Azure",
            code="not_found",
        )
    return text


def _read_escrow(params: t.Mapping[str, t.Any], gate: Gate) -> Recipient | None:
    """Read the escrow key, which is trusted by its pinned fingerprint alone.

    :raises ByokError: for one that is not that, or that the policy of this host does not list
    """
    pem, expected = params["escrow_public_key"], params["escrow_fingerprint"]
    if not pem:
        return None
    if not expected:
        raise ByokError(
            "The escrow key is given without its fingerprint; that of the given PEM is "
            f"{fingerprint(pem)}",
            "Compare it with the escrow HSM's own, then set escrow_fingerprint to it",
        )
    public_key, computed = _read_public_key("escrow key", pem, expected)
    gate.check_escrow(computed)
    return Recipient(None, public_key, computed, "pinned", "escrows", "escrow_path")


def _read_public_key(what: str, pem: str, expected: str | None) -> tuple[RsaPublicKey, str]:
    """Return the key to wrap under and its fingerprint, which is computed from the same PEM."""
    computed = check_fingerprint(what, pem, expected)
    public_key = rsa_from_pem(pem)
    weak = weakness(public_key)
    if weak:
        raise ByokError(
            f"The {what} has {weak}",
            "Do not wrap under it: use an RSA key of at least 2048 bits that an HSM made",
        )
    return public_key, computed


def _choose(
    token: Token, declaration: Declaration, found: Found, check_mode: bool
) -> Generation | None:
    """Return the generation to wrap; None in check mode, where it would be made first.

    :raises ByokError: when it is not there, unfit or locked
    """
    generation = choose(declaration, found.generations)
    if generation is None:
        refuse_alike(declaration, found, token.info)
        if check_mode:
            return None
        raise ByokError(
            f"There is no key {declaration.name} in the {token.info}",
            "Make it with byok_target_key, or correct its name",
        )
    refuse_unfit(declaration, generation, token.info)
    if not generation.evidence["CKA_EXTRACTABLE"]:
        raise ByokError(
            f"The key {declaration.name} ({generation.hex_id}) was locked after its transfer "
            "(after_transfer: lock)",
            "It can go to no further vault; make another generation of it",
            code="locked",
        )
    return generation


def _kept(
    path: str | None, declaration: Declaration, generation: Generation, recipient: Recipient
) -> Package | None:
    """Return the package at ``path`` if it is this key for this recipient, as it was wrapped.

    That is never said of an oct key for a vault: anyone can have put another one there, and when it
    has arrived no public key would show it.
    """
    if generation.public_key is None and recipient.kid is not None:
        return None
    if path and recipient.kid is None and not _is_public_key_there(path, generation):
        return None
    text = path and read_text(path)
    receipt_text = path and read_text(path_beside(path))
    if not path or not text or not receipt_text:
        return None
    try:
        receipt = parse_receipt(receipt_text, path_beside(path))
        predicate = receipt["predicate"]
        recorded = (
            predicate["kek"]["fingerprint"],
            predicate["key"]["generation"],
            predicate["key"]["thumbprint"],
            package_sha256(receipt),
        )
        is_for_recipient = recipient.is_for_me(text)
    except ByokError:
        return None
    expected = (recipient.fingerprint, generation.hex_id, generation.thumbprint, digest(text))
    if not is_for_recipient or recorded != expected:
        return None
    order = _Order(declaration, generation, path)
    return _result(order, recipient, text, receipt, wrapped=False)


def _is_public_key_there(escrow_path: str, generation: Generation) -> bool:
    """Tell whether the public key is beside an escrow package, as far as there is one."""
    if generation.public_key is None:
        return True
    return read_text(public_key_beside(escrow_path)) == to_pem(generation.public_key)


def _with_envelope(
    kept: Package, evidence_key: EvidenceKey | None, check_mode: bool, outcome: Outcome
) -> Package:
    """Return a kept package with the envelope of its receipt: the one beside it, if the evidence
    key signed it, else another one, which is written there.

    :raises ByokError: when the token refuses to sign, or the file cannot be written
    """
    path = envelope_beside(kept.path or "")
    receipt = t.cast("dict[str, t.Any]", kept.receipt)
    wanted = envelope_of(wrapped_of(receipt))
    there = _read_envelope(path, wanted.payload)
    if there and (evidence_key is None or _is_signed(there, evidence_key)):
        return replace(kept, envelope=there.to_line())
    keyid = evidence_key.keyid if evidence_key else None
    outcome.changes.append(Change(f"receipt {path}", {}, {"key": kept.name, "signed by": keyid}))
    if check_mode:
        return kept
    envelope = there or wanted
    if evidence_key:
        envelope = signed(envelope, evidence_key)
    write_private(path, envelope.to_line() + "\n")
    return replace(kept, envelope=envelope.to_line())


def _read_envelope(path: str, payload: bytes) -> Envelope | None:
    """Return the envelope in a file; None where there is none, or one of something else."""
    text = read_text(path)
    try:
        envelope = parse_envelope(text or "", f"The file {path}")
    except Malformed:
        return None
    return envelope if envelope.payload == payload else None


def _is_signed(envelope: Envelope, evidence_key: EvidenceKey) -> bool:
    return bool(envelope.signers({evidence_key.keyid: evidence_key.pem}))


def _write(order: _Order, recipient: Recipient, package: Package) -> None:
    """Write a package, its receipt in both forms, and beside an escrow package the public key: a
    token that the key is restored to does not know an EC key by its private half alone.
    """
    if not order.path:
        return
    public_key = order.generation.public_key
    if recipient.kid is None and public_key:
        write_private(public_key_beside(order.path), to_pem(public_key))
    write_private(order.path, package.content)
    write_private(path_beside(order.path), to_text(package.receipt or {}))
    write_private(envelope_beside(order.path), f"{package.envelope}\n")


def _wrap_all(wrapping: _Wrapping, todo: list[_Order], outcome: Outcome) -> None:
    """Make the packages for one recipient; what fails for one key is in the outcome's failures."""
    token, recipient = wrapping.token, wrapping.recipient
    with kek_object(token, recipient.public_key) as kek_handle:

        def make(session: Session, order: _Order) -> Package:
            ciphertext = wrap(
                token,
                session,
                kek_handle,
                order.generation.handle,
                wrapping.rehearsal.mechanism,
                f"the key {order.declaration.name}",
            )
            check_wrapped_length(
                len(ciphertext) - recipient.public_key.size // 8, order.declaration.spec
            )
            text = recipient.package(ciphertext, generator(vars(token.info)))
            receipt = _begin_receipt(wrapping, order, text)
            envelope = envelope_of(receipt)
            if wrapping.evidence_key:
                envelope = signed(envelope, wrapping.evidence_key)
            package = _result(order, recipient, text, receipt, wrapped=True)
            package = replace(package, envelope=envelope.to_line())
            _write(order, recipient, package)
            return package

        ready = []
        for order in todo:
            with outcome.failures.of(order.declaration.name):
                ready.append(replace(order, challenge=_challenge(token, recipient, order)))
        for order, made in token.for_each(ready, make):
            name, generation = order.declaration.name, order.generation
            with outcome.failures.of(name):
                if isinstance(made, ByokError):
                    raise made
                outcome.changes.append(_change(name, generation, recipient, order.path))
                outcome.add(recipient.results, made)


def _begin_receipt(wrapping: _Wrapping, order: _Order, text: str) -> dict[str, t.Any]:
    """Return the receipt of a package, as far as the token's side knows it.

    :param text: the package itself
    """
    generation = order.generation
    sha256 = None
    if generation.public_key:
        sha256 = fingerprint(to_pem(generation.public_key))
    receipt = begin(
        key={
            "name": order.declaration.name,
            "kind": generation.kind,
            "generation": generation.hex_id,
            "thumbprint": generation.thumbprint,
            "sha256": sha256,
        },
        package_sha256=digest(text),
        token=vars(wrapping.token.info),
        evidence={"origin": generation.origin, **generation.evidence},
        kek=wrapping.recipient.as_result(),
        wrap={
            "oaep": "SHA-1, MGF1 with SHA-1",
            "aes_bits": 256,
            "rehearsal": wrapping.rehearsal.as_result(),
            "time": format_moment(host_clock()),
        },
    )
    return with_challenge(receipt, order.challenge)


def _challenge(token: Token, recipient: Recipient, order: _Order) -> t.Mapping[str, str] | None:
    """Return what shows later that a vault holds the same secret key; None where none is needed."""
    if order.generation.public_key is not None or recipient.kid is None:
        return None
    return make_challenge(token, order.declaration.name, order.generation)


def _result(
    order: _Order, recipient: Recipient, text: str, receipt: dict[str, t.Any], *, wrapped: bool
) -> Package:
    """Return what byok_wrap returns of a package.

    :param text: the package itself
    :param wrapped: by this run; otherwise it was there
    """
    return Package(
        name=order.declaration.name,
        generation=order.generation.hex_id,
        thumbprint=order.generation.thumbprint,
        kek_id=recipient.kid,
        path=order.path,
        content=text,
        sha256=digest(text),
        sha256_spoken=spoken(digest(text)),
        wrapped=wrapped,
        receipt=receipt,
        challenge=order.challenge,
    )


def _change(
    name: str, generation: Generation | None, recipient: Recipient | None, path: str | None
) -> Change:
    after = {
        "key": name,
        "generation": generation.hex_id if generation else "the one that would be made",
        "thumbprint": generation and generation.thumbprint,
        "kek": str(recipient) if recipient else "the one that would be made",
    }
    kind = "escrow package" if recipient and recipient.kid is None else "key transfer package"
    return Change(f"{kind} {path or f'of {name}'}", {}, after)
