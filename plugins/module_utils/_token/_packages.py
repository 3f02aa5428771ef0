# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What byok_wrap does: wrap generations under a vault's KEK into key transfer packages."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.keyferry.azure.plugins.module_utils import _package, _receipt
from ansible_collections.keyferry.azure.plugins.module_utils._declaration import (
    Declaration,
    check_unique,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._file import read_text, write_private
from ansible_collections.keyferry.azure.plugins.module_utils._kek_trust import normalise_fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._module import Change, Outcome, items_of
from ansible_collections.keyferry.azure.plugins.module_utils._public_key import (
    RsaPublicKey,
    fingerprint,
    rsa_from_pem,
    to_pem,
)
from ansible_collections.keyferry.azure.plugins.module_utils._time import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._token import _generations, _wrapping
from ansible_collections.keyferry.azure.plugins.module_utils._token._challenge import make_challenge
from ansible_collections.keyferry.azure.plugins.module_utils._token._generations import Generation
from ansible_collections.keyferry.azure.plugins.module_utils._token._session import Token, open_token

_SMALLEST_KEK_BITS = 2048


@dataclass(frozen=True)
class Kek:
    """The KEK as it was given: all that is known of it on a host without network."""

    kid: str
    public_key: RsaPublicKey
    fingerprint: str
    trust: str

    def as_result(self) -> dict[str, t.Any]:
        """Return the facts that a receipt records."""
        return {"kid": self.kid, "fingerprint": self.fingerprint, "trust": self.trust, "size": self.public_key.size}


def wrap_packages(params: t.Mapping[str, t.Any], check_mode: bool) -> Outcome:
    """Wrap the wanted generations; keep a package that is there and is what this run would make.

    :raises ByokError: for a KEK that cannot be trusted, a token that cannot be opened, or a rehearsal that fails; what
        fails for one key is in the outcome's failures
    """
    items = items_of(params, "packages")
    declarations = [parse_declaration(item) for item in items]
    check_unique(declaration.name for declaration in declarations)
    kek = _read_kek(params, check_mode)
    outcome = Outcome({"packages": [], "rehearsal": None})
    with open_token(params) as token:
        listed = _generations.list_generations(token, [declaration.name for declaration in declarations])
        todo: list[tuple[Declaration, Generation, str | None]] = []
        for declaration, item in zip(declarations, items, strict=True):
            try:
                generation = _choose(token, declaration, listed[declaration.name], check_mode)
                kept = generation and kek and _kept(item["path"], declaration, generation, kek)
            except ByokError as error:
                outcome.failures.add(declaration.name, error)
                continue
            if kept:
                outcome.result["packages"].append(dict(kept, challenge=_challenge(token, declaration.name, generation)))
                continue
            outcome.changes.append(_change(declaration.name, generation, kek, item["path"]))
            if generation:
                todo.append((declaration, generation, item["path"]))
        if todo:
            rehearsal = _wrapping.rehearse(token, params["profile"], params["allow_trailing_zeros"])
            outcome.result["rehearsal"] = _rehearsal_facts(rehearsal)
            if kek and not check_mode:
                _wrap_all(token, kek, rehearsal, todo, outcome)
    if params["packages"] is None and outcome.result["packages"]:
        outcome.result["package"] = outcome.result["packages"][0]
    return outcome


def _read_kek(params: t.Mapping[str, t.Any], check_mode: bool) -> Kek | None:
    """Read the KEK; None in check mode when there is none yet."""
    kid, pem, expected, trust = (params[option] for option in ("kek_id", "kek_public_key", "kek_fingerprint", "kek_trust"))
    if not (kid and pem and expected):
        if check_mode and not (kid or pem or expected):
            return None
        raise ByokError("The KEK is not given whole", "Give kek_id, kek_public_key and kek_fingerprint, as byok_kek returns them")
    _package.parse_kid(kid)
    found = fingerprint(pem)
    if found != normalise_fingerprint(expected):
        raise ByokError(
            f"The KEK {kid} was substituted, or comes from elsewhere: the fingerprint of its public key is "
            f"{found} and not {expected}",
            "Do not wrap under it; get its public key from the vault again, and its fingerprint by another way",
        )
    public_key = rsa_from_pem(pem)
    if public_key.size < _SMALLEST_KEK_BITS:
        raise ByokError(f"The KEK {kid} has {public_key.size} bits", f"Use a KEK of at least {_SMALLEST_KEK_BITS} bits")
    if trust == "unverified" and not params["allow_unverified_kek"]:
        raise ByokError(
            f"Nothing shows that the KEK {kid} is the vault's own (kek_trust: unverified): whoever made it could read the key",
            "Compare its fingerprint in the vault and pin it in byok_kek's approved_keks, or let the run make an "
            "ephemeral KEK; allow_unverified_kek takes the risk",
        )
    return Kek(kid, public_key, found, trust)


def _choose(token: Token, declaration: Declaration, generations: list[Generation], check_mode: bool) -> Generation | None:
    generation = _generations.choose(declaration, generations)
    if generation is None:
        if check_mode:
            return None
        raise ByokError(
            f"There is no key {declaration.name} in the {token.info}", "Make it with byok_target_key, or correct its name"
        )
    _generations.refuse_unfit(declaration, generation, token)
    if not generation.evidence["CKA_EXTRACTABLE"]:
        raise ByokError(
            f"The key {declaration.name} ({generation.hex_id}) was locked after its transfer (after_transfer: lock)",
            "It can go to no further vault; make another generation of it",
        )
    return generation


def _kept(path: str | None, declaration: Declaration, generation: Generation, kek: Kek) -> dict[str, t.Any] | None:
    """Return the package at ``path`` when it is this key under this KEK, unchanged since it was wrapped."""
    text = path and read_text(path)
    receipt_text = path and read_text(_receipt.path_beside(path))
    if not path or not text or not receipt_text:
        return None
    try:
        receipt = json.loads(receipt_text)
        predicate = receipt["predicate"]
        same = (
            _package.parse(text).kid == kek.kid
            and predicate["kek"]["fingerprint"] == kek.fingerprint
            and predicate["key"]["generation"] == generation.hex_id
            and predicate["key"]["thumbprint"] == generation.thumbprint
            and _receipt.package_sha256(receipt) == _package.digest(text)
        )
    except (ByokError, ValueError, KeyError, TypeError):
        return None
    return _result(declaration.name, generation, kek, path, None, receipt, wrapped=False) if same else None


def _wrap_all(
    token: Token,
    kek: Kek,
    rehearsal: _wrapping.Rehearsal,
    todo: list[tuple[Declaration, Generation, str | None]],
    outcome: Outcome,
) -> None:
    with _wrapping.kek_object(token, kek.public_key) as kek_handle:
        for declaration, generation, path in todo:
            name = declaration.name
            try:
                ciphertext = _wrapping.wrap(token, kek_handle, generation.handle, rehearsal.mechanism, f"the key {name}")
                _package.check_wrapped_length(len(ciphertext) - kek.public_key.size // 8, declaration.spec)
                text = _package.build(kek.kid, ciphertext, _receipt.generator(vars(token.info)))
                receipt = _begin_receipt(token, declaration, generation, kek, rehearsal, text)
                challenge = _challenge(token, name, generation)
                if path:
                    write_private(path, text)
                    write_private(_receipt.path_beside(path), _receipt.to_text(receipt))
            except ByokError as error:
                outcome.failures.add(name, error)
                continue
            result = _result(name, generation, kek, path, None if path else text, receipt, wrapped=True)
            outcome.result["packages"].append(dict(result, challenge=challenge))


def _begin_receipt(
    token: Token,
    declaration: Declaration,
    generation: Generation,
    kek: Kek,
    rehearsal: _wrapping.Rehearsal,
    text: str,
) -> dict[str, t.Any]:
    return _receipt.begin(
        key={
            "name": declaration.name,
            "kind": generation.kind,
            "generation": generation.hex_id,
            "thumbprint": generation.thumbprint,
            "sha256": fingerprint(to_pem(generation.public_key)) if generation.public_key else None,
        },
        package_sha256=_package.digest(text),
        token=vars(token.info),
        evidence={"origin": generation.origin, **generation.evidence},
        kek=kek.as_result(),
        wrap={"oaep": "SHA-1, MGF1 with SHA-1", "aes_bits": 256, "rehearsal": _rehearsal_facts(rehearsal)},
        wrapped_at=format_moment(datetime.now(timezone.utc)),
    )


def _challenge(token: Token, name: str, generation: Generation | None) -> dict[str, str] | None:
    return make_challenge(token, name, generation) if generation and generation.public_key is None else None


def _rehearsal_facts(rehearsal: _wrapping.Rehearsal) -> dict[str, str]:
    return {
        "profile": rehearsal.profile,
        "mechanism": f"{rehearsal.mechanism.name} ({rehearsal.mechanism.number:#x})",
        "parameter": rehearsal.mechanism.parameter.hex() if rehearsal.mechanism.parameter else "NULL",
        "finding": rehearsal.finding,
    }


def _result(
    name: str,
    generation: Generation,
    kek: Kek,
    path: str | None,
    text: str | None,
    receipt: dict[str, t.Any],
    *,
    wrapped: bool,
) -> dict[str, t.Any]:
    return {
        "name": name,
        "generation": generation.hex_id,
        "thumbprint": generation.thumbprint,
        "kek_id": kek.kid,
        "path": path,
        "content": text,
        "sha256": _receipt.package_sha256(receipt),
        "wrapped": wrapped,
        "receipt": receipt,
    }


def _change(name: str, generation: Generation | None, kek: Kek | None, path: str | None) -> Change:
    after = {
        "key": name,
        "generation": generation.hex_id if generation else "the one that would be made",
        "thumbprint": generation and generation.thumbprint,
        "kek": kek.kid if kek else "the one that would be made",
    }
    return Change(f"key transfer package {path or f'of {name}'}", {}, after)
