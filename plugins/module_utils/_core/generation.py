# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""The generations of a key in the token, as byok_target_key reported them; pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import Declaration
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import Version


@dataclass(frozen=True)
class KnownGeneration:
    """A generation in the token.

    :ivar generation: its CKA_ID in hexadecimal digits
    :ivar thumbprint: RFC 7638; None for oct keys
    :ivar made: the time in a CKA_ID that Keyferry gave; None for an adopted key
    :ivar usable: Keyferry made it in the token and nobody withdrew it, so it can be transferred
        although no vault has it yet
    :ivar withdrawn: it is never transferred to any vault again
    :ivar extractable: its CKA_EXTRACTABLE; None if only its public key was read
    """

    generation: str
    thumbprint: str | None
    made: datetime | None = None
    usable: bool = True
    withdrawn: bool = False
    extractable: bool | None = None

    @property
    def identity(self) -> str:
        """What people name it by: its thumbprint, or for oct keys its CKA_ID."""
        return self.thumbprint or self.generation

    def is_in(self, version: Version) -> bool:
        """Tell whether ``version`` is this generation."""
        return version.is_of(self.thumbprint, self.generation)


@dataclass(frozen=True)
class InToken:
    """What the token holds of a key.

    :ivar generations: oldest first
    :ivar wanted: the generation that the vault should have as its newest version; None if it must
        be made first
    """

    generations: tuple[KnownGeneration, ...]
    wanted: KnownGeneration | None

    def superseded_unlocked(self) -> tuple[KnownGeneration, ...]:
        """Return the generations of Keyferry's before the wanted one that can leave the token.

        None of them is ever brought again, but they may be in vaults.
        """
        if self.wanted is None or self.wanted not in self.generations:
            return ()
        older = self.generations[: self.generations.index(self.wanted)]
        return tuple(each for each in older if each.made and each.extractable)

    def holder_of(self, version: Version) -> KnownGeneration | None:
        """Return the generation that a version is; None for a foreign version."""
        for generation in self.generations:
            if generation.is_in(version):
                return generation
        return None


def in_the_token(declaration: Declaration, observed: t.Mapping[str, t.Any] | None) -> InToken:
    """Return what byok_target_key reported of a key.

    :param observed: its entry in the module's result ``target_keys``: ``generation`` is the wanted
        one, and ``generations`` lists all, oldest first
    :raises ByokError: when it reported nothing, or the declaration contradicts itself
    """
    if observed is None:
        raise ByokError(
            f"There is no result of byok_target_key for the key {declaration.name}",
            "Give target_keys as byok_target_key returned them for the same declarations",
        )
    if declaration.rotation and declaration.generation:
        raise ByokError(
            f"The key {declaration.name} is declared with a fixed generation, and with a rotation "
            "that makes new ones",
            "Declare one of the two",
        )
    generations = tuple(
        _read_generation(declaration, facts)
        for facts in observed["generations"]
        if not facts.get("half_made")
    )
    for generation in generations:
        # A CKA_ID alone may be that of several keys.
        is_that_key = generation.thumbprint == observed.get("thumbprint", generation.thumbprint)
        if generation.generation == observed["generation"] and is_that_key:
            return InToken(generations, generation)
    return InToken(generations, None)


def _read_generation(declaration: Declaration, facts: t.Mapping[str, t.Any]) -> KnownGeneration:
    made, withdrawn = facts.get("made"), bool(facts.get("withdrawn"))
    made_in_token = declaration.allow_external_origin or facts.get("origin") != "external"
    return KnownGeneration(
        generation=facts["generation"],
        thumbprint=facts["thumbprint"],
        made=parse_moment(made) if made else None,
        usable=bool(facts.get("made_by_keyferry")) and made_in_token and not withdrawn,
        withdrawn=withdrawn,
        extractable=facts.get("CKA_EXTRACTABLE"),
    )
