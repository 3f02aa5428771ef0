# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of a module that acts only if enough people approved it."""

from __future__ import annotations


class ModuleDocFragment:
    """Approval options; private to the collection."""

    DOCUMENTATION = r"""
options:
  approvals:
    description:
      - Signatures of people who approve a KEK, the root of a Managed HSM's owner, the destruction
        of a generation, or the deletion of a key in the vault, as C(ssh-keygen -Y sign) writes
        them. Signatures of other things are ignored. C(docs/approvals.md) shows what people sign.
      - They are needed where a wrapping policy or O(required_approvals) demands them, and then the
        host where the module runs needs C(ssh-keygen).
    type: list
    elements: str
    default: []
  allowed_signers:
    description:
      - Path of a file on the host where the module runs that lists who can approve, as
        C(ssh-keygen) reads it (ALLOWED SIGNERS). It counts for O(required_approvals). A wrapping
        policy names a file of its own.
      - Each line must begin with the name of one person, without a pattern.
    type: path
  required_approvals:
    description:
      - How many people must approve, by V(kek), V(owner-root) and V(destroy). A person counts once,
        whatever keys that person has.
      - A wrapping policy demands its own approvals beside these.
    type: dict
    default: {}
  approval_namespace:
    description: The namespace of the signatures for O(required_approvals).
    type: str
    default: keyferry-approval@keyferry.azure
"""
