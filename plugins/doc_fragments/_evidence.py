# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that name the key that signs evidence."""

from __future__ import annotations


class ModuleDocFragment:
    """Evidence options; private to the collection."""

    DOCUMENTATION = r"""
options:
  evidence_key:
    description:
      - Label of the key in the token that signs receipts. M(keyferry.azure.byok_evidence_key) makes
        it.
      - If the key is missing, not fit, or the token does not sign with it, the module fails before
        it makes anything.
      - A signature says that somebody with the PIN made it in this token. It does not say that what
        is signed is true.
      - If not given, receipts are not signed.
    type: str
  evidence_token:
    description:
      - The token that holds O(evidence_key), if it is another token of the same PKCS#11 library,
        with a PIN of its own. So those who can wrap keys need not be those who can sign.
      - If not given, the key is in the token that the other options name.
    type: dict
    suboptions:
      token_label:
        description: Label of the token.
        type: str
      token_serial:
        description: Serial number of the token.
        type: str
      token_slot:
        description: Number of the token's slot.
        type: int
      token_uri:
        description: The token as a PKCS#11 URI (RFC 7512).
        type: str
      pin_file:
        description: Path of a file with the user's PIN of this token, and nothing else.
        type: path
      pin:
        description: The user's PIN of this token. Prefer O(evidence_token.pin_file).
        type: str
"""
