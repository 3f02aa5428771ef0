# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""What users declare of a key, validated before any token or vault is touched; pure."""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import parse_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.plain_text import quoted
from ansible_collections.keyferry.azure.plugins.module_utils._core.rotation import (
    Rotation,
    parse_rotation,
)

#: What Azure Key Vault and Managed HSM can import, beside the curves (Microsoft, "Import
#: HSM-protected keys", supported key types)
RSA_SIZES = (2048, 3072, 4096)
OCT_SIZES = (128, 192, 256)

#: Azure's key operations per type; EC takes no others (Azure answers BadParameter), nor does
#: oct-HSM
OPERATIONS = {
    "RSA": ("encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"),
    "EC": ("sign", "verify"),
    "oct": ("encrypt", "decrypt", "wrapKey", "unwrapKey"),
}

#: Key Vault REST reference: ^[0-9a-zA-Z-]+$, at most 127 characters
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")

#: RFC 7638 with SHA-256, in base64url; never a CKA_ID, whose hexadecimal digits are even in number
THUMBPRINT = re.compile(r"[0-9A-Za-z_-]{43}")

#: Key Vault, "About keys": 15 tags, names and values of at most 256 characters
MAX_TAGS = 15
MAX_TAG_LENGTH = 256

#: Tags that Keyferry sets on what it imports begin so; five places are kept for them
OUR_TAGS = "keyferry-"
MAX_OWN_TAGS = MAX_TAGS - 5


@dataclass(frozen=True)
class KeySpec:
    """Type and strength of a key.

    :ivar type: ``RSA``, ``EC`` or ``oct``
    :ivar size: bits, for RSA and oct
    :ivar curve: Azure's curve name, for EC
    """

    type: str
    size: int | None = None
    curve: str | None = None

    def __str__(self) -> str:
        if self.curve:
            return self.curve
        algorithm = "AES" if self.type == "oct" else self.type
        return f"{algorithm}-{self.size}"

    @property
    def azure_type(self) -> str:
        """Azure's kty of an imported key of this type."""
        return f"{self.type}-HSM"


@dataclass(frozen=True)
class Declaration:
    """A key as it shall be, in the token and in the vault.

    ``None`` means: not declared, so left as it is.

    :ivar own_label: CKA_LABEL in the token, where that is not the name
    :ivar generation: CKA_ID in hexadecimal digits, or thumbprint of the public key
    :ivar create: make it where the token has none
    :ivar derive: CKA_DERIVE of a key that is made; Azure has no such operation
    :ivar modifiable: CKA_MODIFIABLE of a key that is made
    :ivar token_operations: what a key that is made may do in the token, where that is not what it
        may do in the vault
    """

    name: str
    spec: KeySpec
    operations: tuple[str, ...] | None = None
    enabled: bool | None = None
    not_before: datetime | None = None
    expires: datetime | None = None
    tags: t.Mapping[str, str] | None = None
    own_label: str | None = None
    generation: str | None = None
    allow_external_origin: bool = False
    after_transfer: str = "keep"
    create: bool = True
    derive: bool = False
    modifiable: bool = True
    token_operations: tuple[str, ...] | None = None
    rotation: Rotation | None = None

    @property
    def label(self) -> str:
        """CKA_LABEL of the key in the token."""
        return self.own_label or self.name

    @property
    def named_thumbprint(self) -> str | None:
        """The thumbprint that names the generation; None where none does."""
        named = self.generation
        return named if named and THUMBPRINT.fullmatch(named) else None

    @property
    def named_id(self) -> str | None:
        """The CKA_ID that names the generation; None where none does."""
        return None if self.named_thumbprint else self.generation

    @property
    def wanted_operations(self) -> tuple[str, ...]:
        """The operations of a key that is made or imported.

        Where none are declared, all of its type, as Azure does.
        """
        return self.operations or OPERATIONS[self.spec.type]

    @property
    def made_for(self) -> tuple[str, ...]:
        """The operations of a key that is made in the token."""
        return self.token_operations or self.wanted_operations


def check_name(name: str) -> str:
    """Return ``name`` if Azure takes it as a key's name.

    :raises ByokError: otherwise
    """
    if not _NAME.fullmatch(name):
        raise ByokError(
            f"{quoted(name)} cannot be a key's name in Azure",
            "Use 1 to 127 letters, digits and hyphens, and nothing else",
        )
    return name


def parse_spec(options: t.Mapping[str, t.Any]) -> KeySpec:
    """Read ``type``, ``size`` and ``curve`` (sizes in bits).

    :raises ByokError: when the type does not come in that size or curve
    """
    name, kind, size, curve = (options.get(option) for option in ("name", "type", "size", "curve"))
    if kind == "EC":
        if curve not in CURVES or size is not None:
            raise ByokError(
                f"The EC key {name} is declared {_strength(size, curve)}",
                f"Give curve as one of {', '.join(CURVES)}, and no size",
            )
        return KeySpec("EC", curve=curve)
    sizes = {"RSA": RSA_SIZES, "oct": OCT_SIZES}.get(str(kind))
    if sizes is None:
        raise ByokError(
            f"The key {name} is declared {f'with type {kind}' if kind else 'without type'}",
            "Give type as one of RSA, EC and oct",
        )
    if size not in sizes or curve is not None:
        raise ByokError(
            f"The {kind} key {name} is declared {_strength(size, curve)}",
            f"Give size as one of {', '.join(map(str, sizes))} bits, and no curve",
        )
    return KeySpec(str(kind), size=size)


def _strength(size: t.Any, curve: t.Any) -> str:
    """Say which size and curve are declared."""
    given = {"size": size, "curve": curve}
    told = [f"{option} {value}" for option, value in given.items() if value is not None]
    return f"with {' and '.join(told)}" if told else "without size or curve"


def parse_operations(
    name: str, spec: KeySpec, operations: t.Sequence[str] | None
) -> tuple[str, ...] | None:
    """Return the declared operations in Azure's order.

    :raises ByokError: when the type does not allow one of them
    """
    allowed = OPERATIONS[spec.type]
    if operations is None:
        return None
    if not operations or set(operations) - set(allowed):
        raise ByokError(
            f"The {spec.type} key {name} is declared with the operations "
            f"{', '.join(operations) or '(none)'}",
            f"Azure allows {spec.type} keys one or more of {', '.join(allowed)}",
        )
    return tuple(operation for operation in allowed if operation in operations)


def parse_tags(name: str, tags: t.Mapping[str, t.Any] | None) -> dict[str, str] | None:
    """Return the tags.

    :raises ByokError: when they are no texts, break Azure's limits, or are named like Keyferry's
        own
    """
    if tags is None:
        return None
    unlike = [str(tag) for tag, value in tags.items() if not isinstance(value, str)]
    if unlike:
        raise ByokError(
            f"The key {name} is declared with tags whose values are no texts: {', '.join(unlike)}",
            "Put them into quotes; as a number, 00412 would be 266",
        )
    texts = {str(tag): str(value) for tag, value in tags.items()}
    if any(tag.lower().startswith(OUR_TAGS) for tag in texts):
        raise ByokError(
            f"The key {name} is declared with a tag that begins with {OUR_TAGS}",
            "Give it another name; tags named so are set by Keyferry on what it imports",
        )
    longest = max((len(text) for text in (*texts, *texts.values())), default=0)
    if len(texts) > MAX_OWN_TAGS or longest > MAX_TAG_LENGTH:
        raise ByokError(
            f"The key {name} is declared with tags that Azure does not take",
            f"Declare at most {MAX_OWN_TAGS} tags, with names and values of at most "
            f"{MAX_TAG_LENGTH} characters",
        )
    return texts


def parse_generation(name: str, spec: KeySpec, text: str | None) -> str | None:
    """Return what names a generation, as it is compared.

    :param text: a CKA_ID, of which the digits may be of either case, or a thumbprint
    :raises ByokError: for the thumbprint of an oct key, which has none
    """
    if not text or not THUMBPRINT.fullmatch(text):
        return text and text.lower()
    if spec.type == "oct":
        raise ByokError(
            f"The oct key {name} is declared with a thumbprint as generation, and has no public "
            "key",
            "Give the CKA_ID of the key in hexadecimal digits",
        )
    return text


def parse_label(name: str, label: str | None) -> str | None:
    """Return the label in the token, if that is not the name.

    :raises ByokError: for an empty one, which nothing could be found by
    """
    if label is not None and not label.strip(" \0"):
        raise ByokError(
            f"The key {name} is declared with an empty label",
            "Give the CKA_LABEL of the key in the token, or leave label out",
        )
    return label


def parse_declaration(options: t.Mapping[str, t.Any]) -> Declaration:
    """Read the options of one declared key.

    :param options: all of DECLARATION_OPTIONS (``_ansible/arguments.py``), ``None`` where not given
    :raises ByokError: naming the key and the first field that cannot be
    """
    name = check_name(options["name"])
    spec = parse_spec(options)
    not_before, expires = (
        options[at] and parse_moment(options[at]) for at in ("not_before", "expires")
    )
    if not_before and expires and expires <= not_before:
        raise ByokError(
            f"The key {name} expires before it becomes valid",
            "Give expires a later moment than not_before",
        )
    if options["after_transfer"] == "lock" and not options["modifiable"]:
        raise ByokError(
            f"The key {name} is declared with after_transfer: lock and modifiable: false",
            "A key that cannot be modified cannot be locked: leave one of them out",
        )
    return Declaration(
        name=name,
        spec=spec,
        operations=parse_operations(name, spec, options["operations"]),
        enabled=options["enabled"],
        not_before=not_before,
        expires=expires,
        tags=parse_tags(name, options["tags"]),
        own_label=parse_label(name, options["label"]),
        generation=parse_generation(name, spec, options["generation"]),
        allow_external_origin=options["allow_external_origin"],
        after_transfer=options["after_transfer"],
        create=options["create"],
        derive=options["derive"],
        modifiable=options["modifiable"],
        token_operations=parse_operations(name, spec, options["token_operations"]),
        rotation=parse_rotation(name, options["rotation"], expires),
    )


def check_unique(names: t.Iterable[str]) -> None:
    """See that no name is declared twice; Azure compares names without regard to case.

    :raises ByokError: naming those that are
    """
    counts = Counter(name.lower() for name in names)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ByokError(f"Declared more than once: {', '.join(twice)}", "Declare every key once")
