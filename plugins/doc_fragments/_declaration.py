# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of one declared key: those of the module, and the same in its list option."""

from __future__ import annotations

import textwrap

_OPTIONS = r"""
name:
  description:
    - Name of the key in the vault, and label (CKA_LABEL) in the token unless C(label) is given.
    - Letters, digits and hyphens, at most 127.
  type: str
  required: REQUIRED
type:
  description:
    - Type of the key, needed with its name except where a key is deleted or recovered.
    - V(oct) keys, which are AES keys, can be imported into a Managed HSM only.
  type: str
  required: REQUIRED
  choices: [RSA, EC, oct]
size:
  description: Size in bits. V(2048), V(3072) or V(4096) for RSA, V(128), V(192) or V(256) for oct.
  type: int
curve:
  description: Curve of an EC key.
  type: str
  choices: [P-256, P-384, P-521, P-256K]
operations:
  description:
    - The operations of the key, in Azure's words. EC keys can V(sign) and V(verify) only; oct keys
      cannot do that.
    - If not given, a new key gets all operations that its type allows, and the operations of an
      existing version are kept.
  type: list
  elements: str
  choices: [encrypt, decrypt, sign, verify, wrapKey, unwrapKey]
label:
  description:
    - Label (CKA_LABEL) of the key in the token, if that is not its name in the vault. Such a key is
      found under this label, and new generations of it are made under this label.
    - Labels may hold characters that Azure does not take in a name, such as blanks and underscores.
  type: str
generation:
  description:
    - The generation to use, by its CKA_ID in hexadecimal digits, or by the RFC 7638 thumbprint of
      its public key.
    - Needed if several keys that were made elsewhere share the label. If not given, the newest
      generation is used.
  type: str
allow_external_origin:
  description: Accept a key although its CKA_LOCAL or CKA_ALWAYS_SENSITIVE is false, so that copies
    of it may exist elsewhere.
  type: bool
  default: false
after_transfer:
  description:
    - V(lock) sets CKA_EXTRACTABLE to false for ever after the transfer. The key can then go to no
      further vault. The role
      P(keyferry.azure.byok#role) waits until each vault of the inventory that declares the key of
      this token has this generation.
  type: str
  choices: [keep, lock]
  default: keep
create:
  description: Make the key if the token does not have it. If V(false), a missing key is an error.
  type: bool
  default: true
derive:
  description: Make the key with CKA_DERIVE as well. That counts in the token only, as Azure has no
    such operation.
  type: bool
  default: false
token_operations:
  description: What the key may do in the token when it is made there, if that is not what
    C(operations) says for token and vault.
  type: list
  elements: str
  choices: [encrypt, decrypt, sign, verify, wrapKey, unwrapKey]
modifiable:
  description: Make the key with CKA_MODIFIABLE. Without it the key cannot be locked, renamed or
    changed in the token, so V(false) and C(after_transfer=lock) are refused together.
  type: bool
  default: true
enabled:
  description: Whether the version can be used. A new version can, if this is not given.
  type: bool
not_before:
  description: From when on the version is valid, ISO 8601 with a time zone.
  type: str
expires:
  description: When the version expires, ISO 8601 with a time zone.
  type: str
tags:
  description:
    - Tags of the version. They are merged with its existing tags. Values are texts; put a number
      into quotes, because C(00412) would be 266.
    - At most ten, and no names that begin with C(keyferry-). Keyferry sets such tags on versions
      that it imports, to tell people where a version comes from (C(keyferry-generation),
      C(keyferry-token), C(keyferry-thumbprint), C(keyferry-package)), and C(keyferry-unchecked) on
      a version from a file until it is shown to be the key. Keyferry itself trusts none of them.
  type: dict
rotation:
  description:
    - How the key is rotated. Durations are ISO 8601, such as V(P90D), V(P6M) or V(P2Y), with the
      months of the calendar.
    - Only a run that rotates (M(keyferry.azure.byok_rotate), or M(keyferry.azure.byok_plan) with
      its option C(rotate)) replaces the key because of it. Every import sets the expiry by
      C(valid_for).
  type: dict
  suboptions:
    every:
      description: The key is due when its newest version is older.
      type: str
    valid_for:
      description: The time from the import of a version to its expiry.
      type: str
    before_expiry:
      description: The key is due when the expiry of its newest version is nearer. Needs
        C(valid_for).
      type: str
    overlap:
      description: How long a newer version must have existed, and been valid, before an older
        version may be disabled. If it is shorter than V(P1D) and C(retire=disable), byok_plan
        warns, because services look for a new version once a day.
      type: str
      default: P2D
    min_interval:
      description: At most one new generation is made in this time, even if the key is due again.
      type: str
      default: P1D
    notify_before:
      description:
        - How long before the expiry Azure should announce it by an event. If not given, the
          vault's setting is kept.
        - A Managed HSM has no such events.
      type: str
    retire:
      description: Whether a run that retires disables older versions, or all versions stay
        enabled.
      type: str
      choices: [keep, disable]
      default: keep
    on_foreign:
      description:
        - What a run that rotates does if the newest version is not of this token. V(conflict)
          reports it and imports nothing, V(rotate) supersedes it.
      type: str
      choices: [conflict, rotate]
      default: conflict
"""


def _alone(options: str) -> str:
    return "options:\n" + textwrap.indent(options.replace("REQUIRED", "false").lstrip(), "  ")


def _in_list(
    former: str | None = None,
    more: str = "",
    description: str = "Many keys in one call, instead of O(name).",
    type_required: str = "true",
) -> str:
    """Return the documentation of the option ``declarations``.

    :param former: the name that it had before
    :param more: options of a key beside its declaration
    """
    options = _OPTIONS.replace("REQUIRED", "true", 1).replace("REQUIRED", type_required)
    item = textwrap.indent(options.lstrip() + more, "    ")
    head = f"declarations:\n  description:\n    - {description}\n"
    kind = "  type: list\n  elements: dict\n"
    if former:
        head += f"    - The alias O({former}) is deprecated and will be removed in version 1.0.0.\n"
        kind += f"  aliases: [{former}]\n"
    return "options:\n" + textwrap.indent(f"{head}{kind}  suboptions:\n{item}", "  ")


_PATH = """path:
  description:
    - Path of the key transfer package, by custom ending in C(.byok). Written with mode 0600, and
      the receipt beside it with
      C(.receipt.json) appended.
    - If not given, the package is in the results only.
  type: path
escrow_path:
  description:
    - Path of the escrow package, written like O(path) and with its receipt. Only with
      O(escrow_public_key).
    - The public key of an RSA or EC key is written beside the escrow package, as PEM, with
      C(.pub.pem) appended to the path. After a restore, an EC key is not recognised without the
      public key.
    - If not given, the escrow package is in the results only.
  type: path
"""
_IMPORT = """path:
  description: Path of the key transfer package, with its receipt beside it, if there is one, with
    C(.receipt.json) appended.
  type: path
package:
  description: The key transfer package itself, instead of a path.
  type: jsonarg
thumbprint:
  description:
    - RFC 7638 thumbprint of the key that the package must hold, as
      M(keyferry.azure.byok_target_key), the declaration or a person gives it. Oct keys have none;
      see O(sha256).
  type: str
sha256:
  description:
    - SHA-256 of the package, as M(keyferry.azure.byok_wrap) returned it, brought by another way
      than the package itself. Blanks and colons between its 64 hexadecimal digits are ignored.
    - It shows that a package from a file is the one that the token made. A package of an oct key
      from a file needs it, because nothing else shows which key the package holds. Give
      O(generation) as well, by which later plans find the key of that package.
  type: str
replaces:
  description:
    - The newest version of the name, which this import may supersede. If not given, the key is
      imported only if the name has no version.
  type: str
confirm:
  description:
    - The newest version of the key that is deleted (O(state=absent)), or of the deleted key that is
      purged (O(on_deleted=purge)),
      as its 32 digits or its identifier. If not given, nothing is deleted or purged.
  type: str
challenge:
  description:
    - RV(keyferry.azure.byok_target_key#module:target_keys[].challenge), to prove an oct key that is
      in the vault already. A package brings its own.
  type: dict
prove:
  description:
    - Have the vault use the key by an operation that it allows, and check the outcome against the
      token's key. If that is not possible, the key fails, before anything is imported.
    - Always done after the import of an oct key if there is a challenge of the token, because an
      oct key has no public key to compare.
  type: bool
  default: false
"""


_ROTATION = """data_reencrypted:
  description:
    - Declare that no data is encrypted or wrapped under the older versions any more, so that
      O(stage=retire) may disable them although they can decrypt or unwrap.
  type: bool
  default: false
confirm:
  description: The deleted key's newest version, for O(on_deleted=purge).
  type: str
"""


class ModuleDocFragment:
    """Options of declared keys; private to the collection."""

    # Annotated, because ansible-test's yamllint takes every plain assignment here for a literal.
    DOCUMENTATION: str = _alone(_OPTIONS)
    TARGET_KEYS: str = _in_list("target_keys")
    NEEDED_KEYS: str = _in_list(
        "target_keys",
        description="Keys to check. Keys that cannot be made and wrapped are in RV(failures).",
    )
    DECLARATIONS: str = _in_list()
    PACKAGE: str = _alone(_PATH)
    PACKAGES: str = _in_list("packages", _PATH)
    ROTATION: str = _alone(_ROTATION)
    ROTATIONS: str = _in_list("rotations", _ROTATION)
    IMPORT: str = _alone(_IMPORT)
    IMPORTS: str = _in_list("imports", _IMPORT, type_required="false")
