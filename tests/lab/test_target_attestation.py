# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a pool answers of an imported key becomes a verdict with a sentence, and no error."""

from __future__ import annotations

import hashlib
import json
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._attestation import target
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.attestation import Roots
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.certificate import (
    read_certificate,
)
from ansible_collections.keyferry.azure.plugins.module_utils._attestation.target import (
    TargetAttestation,
    judge_target,
    read_roots,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.tests.lab.test_attestation import (
    ASKED,
    KID,
    WRONG,
    Asked,
    maker,
    material,
    pool,
    public_key,
    stated,
)

from lab.adapter import pem

OWNER = read_certificate(pool().owner.certificate).fingerprint
ROOTS = Roots({"pool": OWNER}, (read_certificate(maker().certificate),))


def judged(attestation: t.Any, roots: Roots = ROOTS, asked: Asked = ASKED) -> TargetAttestation:
    text = json.dumps({"attributes": {"attestation": attestation}})
    verdict = judge_target(text, KID, public_key(material(asked.family)), roots, asked.now)
    assert verdict.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert verdict.told.endswith(".")
    assert "FIPS" not in verdict.told
    return verdict


@pytest.mark.parametrize("firmware", [2, 3])
@pytest.mark.parametrize("family", ["RSA", "EC", "oct"])
@pytest.mark.parametrize("made_here", [True, False])
def test_an_imported_key_is_attested(firmware: int, family: str, made_here: bool) -> None:
    attestation = stated(firmware, family=family, made_here=made_here)
    verdict = judged(attestation, asked=Asked(family=family))
    assert (verdict.verdict, verdict.owner_root, verdict.maker) == (
        "attested",
        OWNER,
        "not Marvell",
    )
    assert ("which an imported key is not" in verdict.told) == made_here
    assert not verdict.alarms


#: What is wrong with a key that was made in a pool alone
_RIGHT_FOR_IMPORTED = ("not made there", "extractable once", "not always sensitive")


@pytest.mark.parametrize("name", [name for name in WRONG if name not in _RIGHT_FOR_IMPORTED])
def test_what_is_wrong_is_a_verdict(name: str) -> None:
    make, asked, reason = WRONG[name]
    owners = {"pool": OWNER} if asked.owners is None else asked.owners
    roots = Roots(owners, ROOTS.makers if asked.with_maker else ())
    verdict = judged(make(), roots, asked)
    expected = {
        "attestation_malformed": "unreadable",
        "attestation_owner_unpinned": "root_not_pinned",
    }
    assert verdict.verdict == expected.get(reason, "differs")
    assert verdict.alarms == (verdict.verdict == "differs")
    assert (verdict.owner_root, verdict.maker) == (None, None)


@pytest.mark.parametrize("name", _RIGHT_FOR_IMPORTED)
def test_that_a_key_comes_from_elsewhere_is_right(name: str) -> None:
    assert judged(WRONG[name][0]()).verdict == "attested"


@pytest.mark.parametrize("name", ["another public key", "another version"])
def test_another_key_alarms_also_where_no_root_is_pinned(name: str) -> None:
    assert judged(WRONG[name][0](), Roots({})).verdict == "differs"
    assert judged(stated(), Roots({})).verdict == "root_not_pinned"


def test_an_error_that_nobody_foresaw_is_a_verdict_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise RuntimeError("secret")

    monkeypatch.setattr(target, "parse_answer", fail)
    verdict = judged(stated())
    assert verdict.verdict == "unreadable"
    assert "secret" not in verdict.told


def test_roots_are_read_before_there_is_something_to_judge() -> None:
    roots = read_roots({"pool": OWNER.upper()}, [pem([maker().certificate])])
    assert judged(stated(), roots).verdict == "attested"
    for owners, makers in (({"pool": "no fingerprint"}, []), ({}, ["no certificate"])):
        with pytest.raises(ByokError):
            read_roots(owners, makers)
    with pytest.raises(ByokError, match=r"Root 2 in attestation_maker_roots .* not the path"):
        read_roots({}, [pem([maker().certificate]), "/etc/keyferry/maker.pem"])
