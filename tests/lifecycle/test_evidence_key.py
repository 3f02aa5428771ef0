# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""byok_rotate signs the receipts of what it wraps, and begins nothing that it could not sign."""

from __future__ import annotations

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.evidence_key import EvidenceKey
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    Declare,
    Vault,
    generations,
    only,
    run,
)

LABEL = "evidence-of-rotations"


def test_what_cannot_be_signed_is_not_begun(vault: Vault, key: Declare) -> None:
    declared = key()
    with pytest.raises(ByokError, match="There is no evidence key none-such in the token"):
        vault.rotate(declared, evidence_key="none-such")
    assert generations(declared) == {declared["name"]: []}
    assert vault.keks() == []
    planned = vault.rotate(declared, evidence_key="none-such", check=True)
    assert any("There is no evidence key none-such" in each for each in planned["warnings"])


def test_each_statement_of_a_rotation_is_signed(
    vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("byok_evidence_key", evidence_key=LABEL)
    signatures: list[bytes] = []
    sign = EvidenceKey.sign

    def noted(evidence_key: EvidenceKey, digest: bytes) -> bytes:
        signatures.append(digest)
        return sign(evidence_key, digest)

    monkeypatch.setattr(EvidenceKey, "sign", noted)
    declared = [key(), key("RSA")]
    rotated = vault.rotate(*declared, evidence_key=LABEL)
    assert [each["action"] for each in rotated["rotations"]] == ["transfer", "transfer"]
    # The trial, both packages, both imports, and the manifest
    assert len(set(signatures)) == 6
    again = vault.rotate(declared[0], evidence_key=LABEL)
    assert only(again)["action"] == "none"
    assert len(signatures) == 7  # the trial of the second run
