# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What a vendor's file says of a kind of token: the shape of it.

A profile only says what to try and in which order: a rehearsal shows what a mechanism really makes
before it is used. Never candidates: 0x2109 and 0x210C (no RFC 5649), 0x80000965 (ProtectToolkit's
own format), 0x8000210A (PKCS#5 padding), CBC.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import Library
from ansible_collections.keyferry.azure.plugins.module_utils._token.mechanisms import (
    RSA_PKCS_KEY_PAIR_GEN,
    STANDARD_WRAPPING,
    Mechanism,
)


@dataclass(frozen=True)
class Policy:
    """A partition policy that decides what can be wrapped.

    :ivar wanted: the value that it must have; None where both do
    :ivar why: what depends on it
    :ivar private: it is about private keys alone, not about secret ones
    """

    number: int
    name: str
    wanted: int | None
    why: str
    private: bool = False


def _not_told(_library: Library, _slot: int) -> None:
    """Answer for a token that has no way to tell."""
    return


@dataclass(frozen=True)
class Profile:
    """One kind of token.

    :ivar title: what it is called
    :ivar source: where this is from, and whether it was tried
    :ivar tokens: beginnings of manufacturerID and model in CK_TOKEN_INFO, in lower case
    :ivar libraries: where the library usually lies, by platform; its file name alone tells the
        vendor before it is loaded
    :ivar wrap_mechanisms: candidates, best first
    :ivar rsa_generation: candidates, best first
    :ivar public_keys_private: CKA_PRIVATE of public keys that are made or brought in, in the order
        to try: some tokens take no other than private objects
    :ivar role: the role that makes and wraps keys, in the vendor's words; it logs in as CKU_USER
    :ivar pin_form: how the PIN is written, where it is more than a PIN
    :ivar environment: environment variables that the client software reads, set by the option
        ``library_environment``
    :ivar required_environment: those without which it does not start
    :ivar most_sessions: how many sessions may be used at once, where more than one is known to fail
    :ivar not_ready: what to do when the token is not initialised
    :ivar policies: what byok_hsm_info asks for
    :ivar policy_command: the vendor's command that sets one, with ``{number}``, ``{value}`` and
        ``{slot}``
    :ivar no_backup_when: policies with which private keys can be wrapped, but no longer cloned or
        backed up by the vendor's means
    :ivar no_backup: what byok_hsm_info says then
    :ivar fips_policy: the policy that is 0 in FIPS mode
    :ivar fips_hides: a mechanism that is not offered in FIPS mode
    :ivar first_firmware: what can be brought only from which firmware on: ``*`` stands for any key
    :ivar return_codes: the vendor's own, by number
    :ivar remedies: what to do about a return code by name, where the vendor's words are better
    :ivar read_policies: asks a slot's token for its partition policies, by number; None where it
        does not tell
    :ivar read_firmware: asks it for its firmware's version with all its parts, which CK_TOKEN_INFO
        has no room for; None where it does not tell
    """

    title: str
    source: str
    tokens: tuple[tuple[str, str], ...] = ()
    libraries: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    wrap_mechanisms: tuple[Mechanism, ...] = STANDARD_WRAPPING
    rsa_generation: tuple[Mechanism, ...] = (RSA_PKCS_KEY_PAIR_GEN,)
    public_keys_private: tuple[bool, ...] = (False, True)
    role: str = "user"
    pin_form: str = ""
    environment: tuple[str, ...] = ()
    required_environment: tuple[str, ...] = ()
    most_sessions: int | None = None
    not_ready: str = "Initialise it and set the user's PIN with the token's own tool"
    policies: tuple[Policy, ...] = ()
    policy_command: str = ""
    no_backup_when: t.Mapping[int, int] = field(default_factory=dict)
    no_backup: str = ""
    fips_policy: int | None = None
    fips_hides: int | None = None
    first_firmware: t.Mapping[str, tuple[int, int]] = field(default_factory=dict)
    return_codes: t.Mapping[int, str] = field(default_factory=dict)
    remedies: t.Mapping[str, str] = field(default_factory=dict)
    read_policies: t.Callable[[Library, int], t.Mapping[int, int] | None] = _not_told
    read_firmware: t.Callable[[Library, int], str | None] = _not_told
