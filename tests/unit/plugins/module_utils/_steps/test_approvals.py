# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Approvals, signed and checked by the real ssh-keygen."""

from __future__ import annotations

import base64
import time
import typing as t
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._approval.approvals import (
    MOST_APPROVALS,
    Counted,
    Refused,
    Subject,
    count,
    read_signature,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.approval import NAMESPACE
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.option_names import (
    as_set_in_role,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import FAILURES
from ansible_collections.keyferry.azure.plugins.module_utils._host import ssh_signatures
from ansible_collections.keyferry.azure.plugins.module_utils._host.ssh_signatures import ssh_keygen
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._approval.signers import (
    Signer,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)
VAULT = "https://contoso.vault.azure.net"
KEK = Subject("kek", "ab" * 32, VAULT)


class People(t.NamedTuple):
    anna: Signer
    anna_too: Signer
    bob: Signer


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    folder = tmp_path_factory.mktemp("people")
    kinds = {"anna": "ed25519", "anna_too": "ecdsa", "bob": "ecdsa"}
    return People(**{name: Signer(folder, name, kind) for name, kind in kinds.items()})


class Office:
    """A host with a file allowed_signers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def allow(self, *lines: str) -> None:
        self.path.write_text("".join(f"{line}\n" for line in lines))
        self.path.chmod(0o600)

    def count(
        self, *texts: str, subject: Subject = KEK, now: datetime = NOW, namespace: str = NAMESPACE
    ) -> Counted:
        with ssh_keygen(str(self.path), namespace, now) as keygen:
            return count(subject, texts, namespace, keygen)


@pytest.fixture
def office(tmp_path: Path, people: People) -> Office:
    office = Office(tmp_path / "allowed_signers")
    office.allow(
        "# custodians",
        f"anna@contoso.example {people.anna.public}",
        f"anna@contoso.example {people.anna_too.public}",
        f'bob namespaces="{NAMESPACE}" {people.bob.public}',
    )
    return office


def refusal(counted: Counted) -> str:
    """The only reason why a signature was not counted."""
    (refused,) = counted.refused
    assert counted.principals == ()
    assert refused.code in FAILURES
    return f"{refused.code}: {refused}"


def test_two_people_with_keys_of_two_kinds_are_two(office: Office, people: People) -> None:
    counted = office.count(people.bob.sign(str(KEK)), people.anna.sign(str(KEK)))
    assert counted.principals == ("anna@contoso.example", "bob")
    assert (counted.refused, counted.again, counted.others) == ((), (), 0)
    counted.demand(2, "The KEK")
    assert counted.approval().to_dict() == {
        "subject": "kek",
        "digest": "ab" * 32,
        "principals": ["anna@contoso.example", "bob"],
    }


@pytest.mark.parametrize("keys", [("anna", "anna"), ("anna", "anna_too")], ids="-".join)
def test_a_person_counts_once_and_that_is_said(
    office: Office, people: People, keys: tuple[str, str]
) -> None:
    # ECDSA signs anew each time; a copy of one signature is no second one.
    signatures = [getattr(people, key).sign(str(KEK)) for key in keys]
    counted = office.count(*signatures)
    assert counted.principals == ("anna@contoso.example",)
    if keys[0] != keys[1]:
        assert counted.again == ("anna@contoso.example",)
    with pytest.raises(ByokError) as error:
        counted.demand(2, "The KEK")
    assert error.value.reason == "approvals_missing"
    assert "The KEK has 1 of 2 approvals; approved by anna@contoso.example" in str(error.value)
    assert ("signed more than once, which counts once" in str(error.value)) == (keys[0] != keys[1])


def test_names_that_differ_in_case_are_one_person(office: Office, people: People) -> None:
    office.allow(f"Anna {people.anna.public}", f"anna {people.bob.public}")
    counted = office.count(people.anna.sign(str(KEK)), people.bob.sign(str(KEK)))
    assert (counted.principals, counted.again) == (("Anna",), ("Anna",))


@pytest.mark.parametrize(
    "line",
    [
        f"kek {'ab' * 31}ac {VAULT}",
        f"kek {'ab' * 32}",
        f"kek {'ab' * 32} https://fabrikam.vault.azure.net",
        f"owner-root {'ab' * 32}",
        f"plan {'ab' * 32}",
        "ab" * 32,
    ],
)
def test_the_approval_of_something_else(office: Office, people: People, line: str) -> None:
    counted = office.count(people.anna.sign(line))
    assert (counted.principals, counted.refused, counted.others) == ((), (), 1)
    with pytest.raises(ByokError, match="signatures of something else, or changed: 1") as error:
        counted.demand(1, "The KEK")
    assert error.value.reason == "approval_other_subject"


def test_approvals_of_earlier_subjects_may_lie_beside(office: Office, people: People) -> None:
    counted = office.count(people.anna.sign(str(KEK)), people.bob.sign(f"kek {'cd' * 32} {VAULT}"))
    counted.demand(1, "The KEK")
    with pytest.raises(ByokError) as error:
        counted.demand(2, "The KEK")
    assert error.value.reason == "approvals_missing"
    assert as_set_in_role(str(error.value)).endswith("give the signatures by byok_approvals.")


def test_a_signature_of_another_namespace(office: Office, people: People) -> None:
    told = refusal(office.count(people.anna.sign(str(KEK), namespace="git")))
    assert told.startswith("approval_wrong_namespace: the signature by the key SHA256:")
    assert f"has the namespace git, and approvals have {NAMESPACE}" in told


def test_a_key_that_may_not_sign_approvals(office: Office, people: People) -> None:
    office.allow(f'anna namespaces="git" {people.anna.public}')
    told = refusal(office.count(people.anna.sign(str(KEK))))
    assert told.startswith("approval_wrong_namespace: ")
    assert "does not allow the key this namespace" in told


def test_a_key_counts_as_long_as_it_is_valid(office: Office, people: People) -> None:
    office.allow(f'anna valid-after="20260101",valid-before="20261231" {people.anna.public}')
    signature = people.anna.sign(str(KEK))
    assert office.count(signature).principals == ("anna",)
    told = refusal(office.count(signature, now=NOW + timedelta(days=365)))
    assert told.startswith("approval_expired: ")
    assert "has expired (allowed-signers:1: key has expired: verify time 2027-06-01" in told
    told = refusal(office.count(signature, now=NOW - timedelta(days=365)))
    assert told.startswith("approval_not_yet_valid: ")


@pytest.mark.parametrize("zone", ["XXX+23:59", "XXX-23:59"])
def test_the_time_zone_of_a_task_makes_no_key_valid(
    office: Office, people: People, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    day = f"{NOW:%Y%m%d}"
    office.allow(
        f'anna valid-before="{day}" {people.anna.public}',
        f'bob valid-after="{NOW + timedelta(days=1):%Y%m%d}" {people.bob.public}',
    )
    signatures = people.anna.sign(str(KEK)), people.bob.sign(str(KEK))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        counted = office.count(*signatures)
    finally:
        monkeypatch.undo()
        time.tzset()
    codes = [each.code for each in counted.refused]
    assert codes == ["approval_expired", "approval_not_yet_valid"]


def test_a_key_that_nobody_listed_or_that_was_taken_out(office: Office, people: People) -> None:
    office.allow(f"bob {people.bob.public}")
    told = refusal(office.count(people.anna.sign(str(KEK))))
    assert told.startswith("approval_unknown_signer: ")
    office.allow()
    told = refusal(office.count(people.bob.sign(str(KEK))))
    assert told.startswith("approval_unknown_signer: ")


@pytest.mark.parametrize("names", ["anna,bob", "*", "*@contoso.example", "an?a", "!anna", "-anna"])
def test_a_line_that_names_no_one_person(office: Office, people: People, names: str) -> None:
    office.allow(f"{names} {people.anna.public}")
    told = refusal(office.count(people.anna.sign(str(KEK))))
    assert told.startswith("approval_ambiguous_signer: ")
    assert "its line has to begin with one name, and no pattern" in told


def test_a_key_with_two_lines_is_one_person(office: Office, people: People) -> None:
    office.allow(f"anna {people.anna.public}", f"bob {people.anna.public}")
    assert len(office.count(people.anna.sign(str(KEK))).principals) == 1


def test_a_line_that_is_broken_lets_the_others_count(office: Office, people: People) -> None:
    office.allow("what is this", f"anna {people.anna.public}")
    assert office.count(people.anna.sign(str(KEK))).principals == ("anna",)


def mutations(signature: str) -> t.Iterator[str]:
    """Changes of a signature that no reader may take."""
    lines = signature.splitlines()
    blob = base64.b64decode("".join(lines[1:-1]))
    for changed in (b"", blob[:-1], blob + b"\0", b"SSHSIG\0\0\0\2" + blob[10:], b"X" + blob[1:]):
        yield "\n".join([lines[0], base64.b64encode(changed).decode(), lines[-1], ""])
    yield ""
    yield signature + signature
    yield "A note.\n" + signature
    yield signature.replace("BEGIN", "BEGUN")
    yield "\n".join([lines[0], "=a===", lines[-1]])
    yield lines[0] + "\n" + "A" * 20000 + "\n" + lines[-1]


def test_what_is_no_whole_signature(office: Office, people: People) -> None:
    for text in mutations(people.anna.sign(str(KEK))):
        assert refusal(office.count(text)).startswith("approval_damaged: a signature is damaged: ")


def test_no_changed_byte_of_a_signature_counts(office: Office, people: People) -> None:
    signature = people.anna.sign(str(KEK))
    lines = signature.splitlines()
    blob = base64.b64decode("".join(lines[1:-1]))
    for at in range(0, len(blob), 7):
        changed = bytearray(blob)
        changed[at] ^= 1
        text = "\n".join([lines[0], base64.b64encode(changed).decode(), lines[-1], ""])
        assert office.count(text).principals == ()


def test_line_ends_of_windows_change_nothing(office: Office, people: People) -> None:
    text = people.anna.sign(str(KEK)).replace("\n", "\r\n")
    assert office.count(text).principals == ("anna@contoso.example",)


def test_an_own_namespace(office: Office, people: People) -> None:
    office.allow(f"anna {people.anna.public}")
    own = "keyferry-approval@contoso.example"
    text = people.anna.sign(str(KEK), namespace=own)
    assert office.count(text, namespace=own).principals == ("anna",)
    assert office.count(text).principals == ()


def test_too_many_signatures_are_not_tried(office: Office) -> None:
    with pytest.raises(ByokError, match=f"at most {MOST_APPROVALS}"):
        office.count(*(f"{number}" for number in range(MOST_APPROVALS + 1)))


def test_a_certificate_is_no_key_of_a_person() -> None:
    def string(octets: bytes) -> bytes:
        return len(octets).to_bytes(4, "big") + octets

    key = string(b"ssh-ed25519-cert-v01@openssh.com")
    fields = (key, NAMESPACE.encode(), b"", b"sha512", b"")
    blob = b"SSHSIG\0\0\0\1" + b"".join(map(string, fields))
    begin, end = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
    with pytest.raises(Refused, match="made with an OpenSSH certificate"):
        read_signature(f"{begin}\n{base64.b64encode(blob).decode()}\n{end}\n")


def test_a_host_without_ssh_keygen(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_signatures, "PLACES", "/nowhere")
    with pytest.raises(ByokError, match="this host has no ssh-keygen") as error:
        office.count()
    assert error.value.reason == "missing_program"


def test_an_old_ssh_keygen(office: Office, people: People, tmp_path: Path) -> None:
    old = tmp_path / "bin/ssh-keygen"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'unknown option -- Y' >&2; exit 1\n")
    old.chmod(0o700)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ssh_signatures, "PLACES", str(old.parent))
        with pytest.raises(ByokError, match="is too old to check signatures"):
            office.count(people.anna.sign(str(KEK)))


def test_the_path_of_a_task_chooses_no_ssh_keygen(
    office: Office, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    false = tmp_path / "bin/ssh-keygen"
    false.parent.mkdir()
    false.write_text("#!/bin/sh\necho mallory\n")
    false.chmod(0o700)
    office.allow(f"bob {people.bob.public}")
    text = people.anna.sign(str(KEK))
    monkeypatch.setenv("PATH", str(false.parent))
    assert office.count(text).principals == ()


def test_a_file_of_signers_that_others_may_write(office: Office) -> None:
    office.path.chmod(0o620)
    with pytest.raises(ByokError, match="can be written by others than its owner") as error:
        office.count()
    assert error.value.reason == "policy_unusable"


def test_no_file_of_signers(tmp_path: Path) -> None:
    with pytest.raises(ByokError, match="so nobody can approve") as error:
        Office(tmp_path / "allowed_signers").count()
    assert error.value.reason == "not_found"


def test_a_refusal_says_what_to_sign(office: Office) -> None:
    for least, people in ((1, "one person"), (2, "2 people")):
        with pytest.raises(ByokError) as error:
            office.count().demand(least, "The KEK", "approval@contoso.example")
        assert (
            f"Let {people} check it and sign this line: echo 'kek {'ab' * 32} {VAULT}' | "
            "ssh-keygen -Y sign -n approval@contoso.example -f KEY"
        ) in str(error.value)
