# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a verification says of folders that are whole, incomplete or broken in one way each."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._audit.summary import (
    sentences,
    summary,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.trust import (
    Trust,
    parse_head,
    parse_trust,
)
from ansible_collections.keyferry.azure.plugins.module_utils._audit.verification import (
    KeyVerdict,
    Verification,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.reasons import (
    FAILURES,
    PROBLEMS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import Head
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import Envelope
from ansible_collections.keyferry.azure.tests.unit.plugins.module_utils._audit.evidence_made import (  # noqa: E501
    AZURE,
    DATABASE,
    PAYMENTS,
    POOL,
    STRANGER,
    TOKEN,
    TOKENS,
    VAULT,
    WEB,
    Key,
    Made,
    SoftwareKey,
    by,
    named,
    rsa_key,
    sha256,
    small,
    trust,
    trust_files,
    verified,
)

WEB_FILE, RUNS = f"{POOL}/keys/web.intoto.jsonl", f"{POOL}/runs.intoto.jsonl"


def of(made: Made, files: dict[str, bytes] | None = None, heads: bool = True) -> Verification:
    """Verify a folder, by default with its heads known."""
    return verified(made.files() if files is None else files, trust(made if heads else None))


def codes(verification: Verification, key: str | None = None) -> set[str]:
    return {each.code for each in verification.problems if key in (None, each.key)}


def key_of(verification: Verification, name: str) -> KeyVerdict:
    keys = [key for vault in verification.vaults for key in vault.keys]
    return next(key for key in keys if key.name.lower() == name.lower())


def test_a_whole_folder_is_whole_in_all_its_parts() -> None:
    verification = of(small())
    assert (verification.verdict, verification.exit, verification.problems) == ("whole", 0, ())
    assert [vault.chain.verdict for vault in verification.vaults] == ["whole", "whole"]
    keys = [key for vault in verification.vaults for key in vault.keys]
    assert [key.name for key in keys] == ["Payments", "web", "database", "tokens"]
    assert {key.verdict for key in keys} == {"whole"}
    web = key_of(verification, "web")
    assert [version.thumbprint for version in web.versions] == [key.thumbprint for key in WEB]
    assert [version.attestation.verdict for version in web.versions] == ["attested"] * 2
    assert [version.kek_attestation.maker for version in web.versions] == ["not Marvell"] * 2
    payments = key_of(verification, "payments").versions[0]
    assert payments.wrapped is not None
    assert payments.imported is not None
    assert payments.wrapped["signed_by"] == [TOKEN.keyid]
    assert payments.imported["signed_by"] == sorted((TOKEN.keyid, AZURE.keyid))
    assert payments.wrapped["named_by"] == [1]
    assert len(key_of(verification, "payments").copies) == 1
    found = {each.code for each in key_of(verification, "tokens").versions[0].deviations}
    assert found == {"oaep_hash", "kek_weaker", "vault_without_attestation"}


def test_the_result_is_json_and_comes_back() -> None:
    verification = of(small())
    told = json.loads(json.dumps(verification.to_dict()))
    assert told["exit"] == 0
    assert Verification.from_dict(told).to_dict() == told
    assert told["trust"]["evidence_keys"] == told["trust"]["azure_keys"] == 1
    assert told["trust"]["keyids"] == {TOKEN.keyid: "token.pem", AZURE.keyid: "azure.pem"}


def test_without_a_head_a_chain_is_whole_up_to_its_last_manifest_only() -> None:
    verification = of(small(), heads=False)
    assert (verification.verdict, verification.exit) == ("incomplete", 1)
    assert [vault.chain.verdict for vault in verification.vaults] == [
        "whole up to 2",
        "whole up to 1",
    ]
    assert "nothing shows whether more followed" in verification.vaults[0].chain.told
    assert codes(verification) == {"end_unknown"}
    assert {key.verdict for vault in verification.vaults for key in vault.keys} == {"whole"}


def test_a_cut_off_end_is_found_only_by_whoever_knows_the_head() -> None:
    made = small()
    known = trust(made)
    made.lines[RUNS].pop()
    del made.lines[WEB_FILE][2:]
    unknown = verified(made.files(), trust())
    assert unknown.vaults[0].chain.verdict == "whole up to 1"
    cut = verified(made.files(), known)
    assert cut.vaults[0].chain.verdict == "broken at 2"
    assert "chain_broken" in codes(cut)
    assert cut.exit == 2


def test_a_head_of_last_year_shows_what_was_before_it() -> None:
    made = small()
    first = trust().with_heads([(POOL, Head(1, made.lines[RUNS][0].digest))])
    assert verified(made.files(), first).vaults[0].chain.verdict == "whole up to 2"
    false = trust().with_heads([(POOL, Head(1, "f" * 64))])
    broken = verified(made.files(), false)
    assert broken.vaults[0].chain.verdict == "broken at 1"


Change = Callable[[Made], "dict[str, bytes] | None"]


def without(*paths: str) -> Change:
    return lambda made: {path: c for path, c in made.files().items() if path not in paths}


def renamed(path: str, other: str) -> Change:
    def change(made: Made) -> dict[str, bytes]:
        files = made.files()
        return {**{each: c for each, c in files.items() if each != path}, other: files[path]}

    return change


def attestation(made: Made, number: int = 0) -> str:
    return sorted(path for path in made.raw if "attestations" in path)[number]


def lost_line(made: Made) -> None:
    del made.lines[WEB_FILE][1]


def lost_first_line(made: Made) -> None:
    del made.lines[WEB_FILE][0]


def lost_first_run(made: Made) -> None:
    del made.lines[RUNS][0]


def other_line(made: Made) -> None:
    made.keep(POOL, "web", made.lines[f"{POOL}/keys/payments.intoto.jsonl"][0])


def line_of_other_vault(made: Made) -> None:
    made.keep(POOL, "database", *made.lines[f"{VAULT}/keys/database.intoto.jsonl"])


def run_among_keys(made: Made) -> None:
    made.keep(POOL, "web", made.lines[RUNS][0])


def swapped_signatures(made: Made) -> None:
    first, second = made.lines[WEB_FILE][:2]
    made.lines[WEB_FILE][:2] = [
        replace(first, signatures=second.signatures),
        replace(second, signatures=first.signatures),
    ]


def edited_payload(made: Made) -> None:
    envelope = made.lines[WEB_FILE][0]
    payload = envelope.payload.replace(b'"size":2048', b'"size":4096')
    assert payload != envelope.payload
    made.lines[WEB_FILE][0] = replace(envelope, payload=payload)


def edited_run(made: Made) -> None:
    envelope = made.lines[RUNS][-1]
    payload = envelope.payload.replace(b'"job":"rotate"', b'"job":"delete"')
    made.lines[RUNS][-1] = replace(envelope, payload=payload)


def forged_run(made: Made) -> None:
    made.run(POOL, [], STRANGER)


def unsigned_run(made: Made) -> None:
    made.run(POOL, [], None)


def stripped_run(made: Made) -> None:
    made.lines[RUNS][-1] = replace(made.lines[RUNS][-1], signatures=())


def forked_run(made: Made) -> None:
    last = made.lines[RUNS].pop()
    made.run(POOL, [])
    made.lines[RUNS].append(last)


def lost_attestation(made: Made) -> None:
    del made.raw[attestation(made)]


def edited_attestation(made: Made) -> None:
    made.raw[attestation(made)] += b" "


def swapped_attestations(made: Made) -> None:
    one, other = attestation(made, 0), attestation(made, 1)
    made.raw[one], made.raw[other] = made.raw[other], made.raw[one]


def loose_attestation(made: Made) -> None:
    made.raw[f"{POOL}/attestations/{sha256('{}')}.json"] = b"{}"


def strange(made: Made) -> None:
    made.raw[f"{POOL}/keys/.byok-1234"] = b""


def torn(made: Made) -> dict[str, bytes]:
    files = made.files()
    return {**files, WEB_FILE: files[WEB_FILE] + b'{"payload":"eyJf'}


def healed(made: Made) -> dict[str, bytes]:
    """What a later run adds behind a torn line."""
    files = made.files()
    first, _newline, rest = files[WEB_FILE].partition(b"\n")
    return {**files, WEB_FILE: first + b'\n{"payload":"eyJf\n' + rest}


def garbage(made: Made) -> dict[str, bytes]:
    files = made.files()
    return {**files, WEB_FILE: files[WEB_FILE] + b"\xff\n"}


ONE: list[tuple[str, str, Change, str | None]] = [
    ("lost_receipt", "broken", without(WEB_FILE), "web"),
    ("lost_receipt", "broken", lost_line, "web"),
    ("link_broken", "broken", lost_first_line, "web"),
    ("other_key", "broken", renamed(WEB_FILE, f"{POOL}/keys/web2.intoto.jsonl"), "web2"),
    ("lost_receipt", "broken", renamed(WEB_FILE, f"{POOL}/keys/web2.intoto.jsonl"), "web"),
    ("other_key", "broken", other_line, "web"),
    ("other_vault", "broken", line_of_other_vault, "database"),
    ("strange_statement", "broken", run_among_keys, "web"),
    ("bad_signature", "broken", swapped_signatures, "web"),
    ("bad_signature", "broken", edited_payload, "web"),
    ("lost_receipt", "broken", edited_payload, "web"),
    ("bad_signature", "broken", edited_run, None),
    ("bad_signature", "broken", stripped_run, None),
    ("unknown_signer", "broken", forged_run, None),
    ("unsigned", "incomplete", unsigned_run, None),
    ("chain_broken", "broken", lost_first_run, None),
    ("chain_broken", "broken", forked_run, None),
    ("lost_file", "broken", lost_attestation, None),
    ("altered_file", "broken", edited_attestation, None),
    ("altered_file", "broken", swapped_attestations, None),
    ("strange_file", "incomplete", loose_attestation, None),
    ("strange_file", "incomplete", strange, None),
    ("torn_line", "incomplete", torn, "web"),
    ("torn_line", "incomplete", healed, "web"),
    ("evidence_malformed", "broken", garbage, "web"),
]


@pytest.mark.parametrize(
    ("code", "verdict", "change", "key"), ONE, ids=[f"{i}-{each[0]}" for i, each in enumerate(ONE)]
)
def test_what_somebody_did_to_a_folder_is_found(
    code: str, verdict: str, change: Change, key: str | None
) -> None:
    made = small()
    known = trust(made)
    files = change(made)
    verification = verified(made.files() if files is None else files, known)
    assert code in codes(verification, key)
    assert verification.verdict == verdict
    if key:
        assert key_of(verification, key).verdict == verdict
    others = {"tokens"} - {key}
    assert all(key_of(verification, other).verdict == "whole" for other in others)


def test_a_vault_that_is_lost_is_known_by_its_head() -> None:
    made = small()
    files = {path: c for path, c in made.files().items() if path.startswith(POOL)}
    assert "lost_vault" in codes(verified(files, trust(made)))
    assert verified({}, trust()).problems[0].code == "nothing_there"


def one_run(*receipts: tuple[Key, str, Envelope], made: Made, host: str = POOL) -> Verification:
    """Keep statements, name them in a run and verify."""
    for key, _kind, envelope in receipts:
        made.keep(host, key.name, envelope)
    made.run(host, [named(key, kind, envelope) for key, kind, envelope in receipts])
    return of(made)


def test_a_statement_that_nobody_signed_is_unsigned_unless_a_signed_manifest_names_it() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE), TOKEN)
    imported = made.bring(VAULT, DATABASE, wrapped)
    made.keep(VAULT, "database", wrapped, imported)
    receipts = [named(DATABASE, "wrapped", wrapped), named(DATABASE, "imported", imported)]
    loose = verified(made.files(), trust())
    assert codes(loose, "database") == {"unsigned", "not_in_a_run"}
    made.run(VAULT, receipts)
    vouched = of(made)
    assert vouched.verdict == "whole"
    assert "its imported/v1 is unsigned, and the signed manifest 1 names it" in (
        key_of(vouched, "database").told
    )
    unsigned = Made(lines={path: list(lines) for path, lines in made.lines.items()})
    unsigned.lines.pop(f"{VAULT}/runs.intoto.jsonl")
    unsigned.run(VAULT, receipts, None)
    assert key_of(of(unsigned), "database").code == "unsigned"


@pytest.mark.parametrize(
    ("signers", "code"), [((), "unsigned"), ((AZURE,), "unknown_signer")], ids=["nobody", "vault"]
)
def test_azure_s_side_cannot_state_what_the_token_wrapped(
    signers: tuple[SoftwareKey, ...], code: str
) -> None:
    """A host that lies makes up a statement of the token's side, and an import of a killed run that
    names it: the next run's manifest names both, and the token signs it.
    """
    made = Made()
    forged = by(made.wrap(VAULT, DATABASE, kek__fingerprint="f" * 64), *signers)
    moment = "2026-11-01T12:00:00Z"
    imported = by(made.bring(VAULT, DATABASE, forged, interrupted_at=moment), TOKEN)
    receipts = (DATABASE, "wrapped", forged), (DATABASE, "imported", imported)
    verification = one_run(*receipts, made=made, host=VAULT)
    assert codes(verification, "database") == {code}
    copy = by(made.wrap(None, DATABASE), *signers)
    verification = one_run((DATABASE, "escrow", copy), made=made, host=VAULT)
    assert code in codes(verification, "database")


def test_a_key_of_the_vault_signs_no_manifest() -> None:
    made = Made()
    receipts = made.transfer(VAULT, DATABASE, TOKEN)
    made.run(VAULT, receipts, AZURE)
    assert {each.code for each in of(made).problems} == {"unknown_signer"}


def test_a_key_that_a_stranger_signed_is_broken() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE), STRANGER)
    imported = by(made.bring(VAULT, DATABASE, wrapped), STRANGER)
    made.keep(VAULT, "database", wrapped, imported)
    verification = verified(made.files(), trust())
    assert key_of(verification, "database").code == "unknown_signer"
    assert verification.exit == 2


def test_a_trust_folder_without_a_key_is_told_apart_from_a_stranger_s_signature() -> None:
    made = Made()
    made.keep(VAULT, "database", by(made.wrap(VAULT, DATABASE), TOKEN))
    lacking = key_of(verified(made.files(), parse_trust({}, {})), "database")
    assert "the trust folder has no key in evidence-keys/" in lacking.told
    stranger = parse_trust({"evidence-keys/other.pem": STRANGER.pem.encode()}, {})
    told = key_of(verified(made.files(), stranger), "database").told
    assert "which is no key of the trust folder that may sign it" in told


def test_a_key_of_azure_s_side_vouches_for_azure_s_side_alone() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE), TOKEN)
    imported = by(made.bring(VAULT, DATABASE, wrapped), AZURE)
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    assert one_run(*receipts, made=made, host=VAULT).verdict == "whole"
    made = Made()
    forged = by(made.wrap(VAULT, DATABASE), AZURE)
    made.keep(VAULT, "database", forged, by(made.bring(VAULT, DATABASE, forged), AZURE))
    verification = verified(made.files(), trust())
    assert key_of(verification, "database").code == "unknown_signer"
    made.run(VAULT, [], AZURE)
    chain = verified(made.files(), trust(made)).vaults[0].chain
    assert chain.verdict == "broken at 1"


def test_the_steps_of_a_transfer_that_nothing_tells_of_are_named() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, WEB[0]), TOKEN)
    assert key_of(one_run((WEB[0], "wrapped", wrapped), made=made, host=VAULT), "web").code == (
        "imported_missing"
    )
    made = Made()
    imported = by(made.bring(VAULT, WEB[0], None), TOKEN)
    key = key_of(one_run((WEB[0], "imported", imported), made=made, host=VAULT), "web")
    assert (key.verdict, key.code) == ("incomplete", "wrapped_missing")
    made = Made()
    found = by(made.find(VAULT, WEB[0]), TOKEN)
    key = key_of(one_run((WEB[0], "found", found), made=made, host=VAULT), "web")
    assert (key.verdict, key.code) == ("incomplete", "found_in_place")


def test_a_package_that_another_one_of_the_same_generation_replaced_is_no_gap() -> None:
    made = Made()
    abandoned = by(made.wrap(VAULT, DATABASE), TOKEN)
    made.keep(VAULT, "database", abandoned)
    made.run(VAULT, [named(DATABASE, "wrapped", abandoned)])
    made.run(VAULT, made.transfer(VAULT, DATABASE, TOKEN))
    verification = of(made)
    assert verification.verdict == "whole"
    key = key_of(verification, "database")
    told = [version.told for version in key.versions]
    assert told[0] == "The package was not imported; another one of the same generation was"
    assert key.told == "1 version and 1 package that the vault did not take, each of them whole"


LIES = [
    ("thumbprint_differs", {"key__thumbprint": WEB[1].thumbprint}),
    ("link_broken", {"key__generation": WEB[1].generation}),
    ("other_vault", {"vault": "https://other.vault.azure.net"}),
    ("other_vault", {"kid": f"https://other.vault.azure.net/keys/database/{'1' * 32}"}),
    ("other_key", {"kid": f"https://{VAULT}/keys/web/{'1' * 32}"}),
    ("evidence_malformed", {"kid": "https://x"}),
    ("evidence_malformed", {"clock": "moon"}),
]


@pytest.mark.parametrize(("code", "lie"), LIES, ids=[f"{i}" for i, _lie in enumerate(LIES)])
def test_azure_s_side_cannot_tell_something_else_than_the_token(
    code: str, lie: dict[str, t.Any]
) -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE), TOKEN)
    imported = by(made.bring(VAULT, DATABASE, wrapped, **lie), AZURE)
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    verification = one_run(*receipts, made=made, host=VAULT)
    assert code in codes(verification, "database")
    assert key_of(verification, "database").verdict == "broken"


def test_a_package_or_a_public_key_of_another_transfer_is_found() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE), TOKEN)
    made.day += 1
    other = by(made.wrap(VAULT, DATABASE), TOKEN)
    imported = made.bring(VAULT, DATABASE, wrapped)
    payload = imported.payload.replace(wrapped.digest.encode(), other.digest.encode())
    forged = by(Envelope(payload), AZURE)
    verification = one_run(
        (DATABASE, "wrapped", other), (DATABASE, "imported", forged), made=made, host=VAULT
    )
    (told,) = [each.msg for each in verification.problems if each.code == "link_broken"]
    assert told == "Both sides of the transfer name another package"


def test_a_public_key_that_differs_under_one_thumbprint_is_found() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE), TOKEN)
    spki = str(DATABASE.spki).encode()
    payload = made.bring(VAULT, DATABASE, wrapped).payload.replace(spki, b"f" * 64)
    imported = by(Envelope(payload), AZURE)
    verification = one_run(
        (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported), made=made, host=VAULT
    )
    (told,) = [each.msg for each in verification.problems]
    assert told == "Both sides of the transfer name another public key"


@pytest.mark.parametrize(
    ("key", "kind"), [(TOKENS, "wrapped"), (DATABASE, "imported"), (DATABASE, "escrow")]
)
def test_a_manifest_that_names_a_statement_as_something_else_is_broken(key: Key, kind: str) -> None:
    made = Made()
    (wrapped, imported) = made.transfer(VAULT, DATABASE, TOKEN)
    made.run(VAULT, [{**wrapped, "key": key.name, "kind": kind}, imported])
    verification = of(made)
    assert codes(verification, key.name) == {"link_broken"}
    assert verification.exit == 2


def test_an_event_of_an_unsigned_manifest_excuses_nothing() -> None:
    made = small()
    event = {
        "key": "web",
        "what": "destroyed",
        "generation": WEB[1].generation,
        "kid": None,
        "time": None,
    }
    made.run(POOL, [], None, events=[event])
    listings = listing(*(key for key in ALL if key is not WEB[1]))
    assert "not_in_token" in codes(verified(made.files(), trust(made), listings), "web")


def test_one_key_twice_in_a_vault_is_told_unless_the_first_one_was_deleted() -> None:
    def folder(events: Iterable[dict[str, t.Any]]) -> Verification:
        made = Made()
        receipts = made.transfer(VAULT, DATABASE, TOKEN)
        made.run(VAULT, receipts)
        wrapped = by(made.wrap(VAULT, DATABASE), TOKEN)
        kid = f"https://{VAULT}/keys/database/{'2' * 32}"
        imported = by(made.bring(VAULT, DATABASE, wrapped, kid=kid), TOKEN)
        made.keep(VAULT, "database", wrapped, imported)
        made.run(
            VAULT,
            [named(DATABASE, "wrapped", wrapped), named(DATABASE, "imported", imported)],
            events=list(events),
        )
        return of(made)

    twice = folder([])
    assert key_of(twice, "database").code == "two_versions"
    assert twice.exit == 1
    first = key_of(twice, "database").versions[0]
    event = {
        "key": "database",
        "what": "purged",
        "generation": None,
        "kid": first.kid,
        "time": None,
    }
    purged = folder([event])
    assert purged.verdict == "whole"
    told = key_of(purged, "database").versions[0].events
    assert told == ({**event, "run": 2, "signed_by": [TOKEN.keyid]},)


def test_one_import_that_is_told_twice_is_a_duplicate_unless_a_run_was_killed() -> None:
    def folder(**changes: t.Any) -> Verification:
        made = Made()
        receipts = made.transfer(VAULT, DATABASE, TOKEN)
        made.run(VAULT, receipts)
        wrapped = made.lines[f"{VAULT}/keys/database.intoto.jsonl"][0]
        again = by(made.bring(VAULT, DATABASE, wrapped, **changes), TOKEN)
        return one_run((DATABASE, "imported", again), made=made, host=VAULT)

    assert key_of(folder(), "database").code == "duplicate"
    assert folder(interrupted_at="2026-11-01T11:00:00Z").verdict == "whole"


def test_each_statement_of_one_import_has_to_name_the_wrap() -> None:
    made = Made()
    made.run(VAULT, made.transfer(VAULT, DATABASE, TOKEN))
    other = by(made.wrap(VAULT, DATABASE), TOKEN)
    told = made.bring(VAULT, DATABASE, other, interrupted_at="2026-11-01T11:00:00Z")
    receipts = (DATABASE, "wrapped", other), (DATABASE, "imported", by(told, TOKEN))
    verification = one_run(*receipts, made=made, host=VAULT)
    assert codes(verification, "database") == {"link_broken"}


def test_attestations_count_under_the_auditor_s_own_roots_only() -> None:
    made = small()
    files = trust_files()
    no_root = parse_trust({**files, "owner-roots.json": b"{}"}, {})
    verification = verified(made.files(), no_root)
    web = key_of(verification, "web")
    assert (web.verdict, web.code) == ("incomplete", "attestation_owner_unpinned")
    assert web.versions[0].attestation.verdict == "root_not_pinned"
    other_root = json.dumps({"contoso": "a" * 64}).encode()
    other = verified(made.files(), parse_trust({**files, "owner-roots.json": other_root}, {}))
    web = key_of(other, "web")
    assert (web.verdict, web.code) == ("broken", "attestation_other_owner")
    assert web.versions[0].kek_attestation.verdict == "wrong"
    no_maker = verified(made.files(), parse_trust(dict(list(files.items())[:3]), {}))
    assert key_of(no_maker, "web").code == "attestation_maker"


def test_an_attestation_of_another_key_is_found_though_its_digest_is_named() -> None:
    made = Made()
    kid = f"https://{POOL}/keys/kek/{'1' * 32}"
    other = Key("kek", "RSA-2048", "", rsa_key(7))
    answer = made.attest(POOL, other, kid, made_here=True)
    wrapped = by(made.wrap(POOL, DATABASE, kek__attestation=answer), TOKEN)
    kek = {path for path in made.raw if answer and answer in path}
    imported = by(made.bring(POOL, DATABASE, wrapped), TOKEN)
    made.raw = {
        path: c
        for path, c in made.raw.items()
        if path in kek or (imported.payload.find(path[-69:-5].encode()) > 0)
    }
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    verification = one_run(*receipts, made=made)
    assert codes(verification) == {"attestation_other_key"}
    assert verification.exit == 2


def test_an_attestation_is_judged_at_the_time_of_its_statement() -> None:
    made = Made()
    early = "2026-09-01T00:00:00Z"
    wrapped = by(made.wrap(POOL, DATABASE, wrap__time=early), TOKEN)
    imported = by(made.bring(POOL, DATABASE, wrapped), TOKEN)
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    assert codes(one_run(*receipts, made=made)) == {"attestation_expired"}


def test_an_attestation_that_no_run_believed_is_shown_and_no_gap() -> None:
    made = Made()
    wrapped = by(made.wrap(POOL, DATABASE), TOKEN)
    imported = by(
        made.bring(POOL, DATABASE, wrapped, attestation__verdict="root_not_pinned"), TOKEN
    )
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    verification = one_run(*receipts, made=made)
    assert verification.verdict == "whole"
    version = key_of(verification, "database").versions[0]
    assert version.attestation.verdict == "attested"
    assert "target_root_not_pinned" in {each.code for each in version.deviations}


def test_a_statement_that_names_another_root_than_its_answer_is_broken() -> None:
    made = Made()
    wrapped = by(made.wrap(POOL, DATABASE, kek__owner_root="b" * 64), TOKEN)
    imported = by(made.bring(POOL, DATABASE, wrapped), TOKEN)
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    assert codes(one_run(*receipts, made=made)) == {"attestation_other_owner"}


def test_a_kek_that_was_not_made_in_the_pool_is_not_attested() -> None:
    made = Made()
    kid = f"https://{POOL}/keys/kek/{'1' * 32}"
    answer = made.attest(POOL, Key("kek", "RSA-2048", "", rsa_key(0)), kid, made_here=False)
    (brought,) = made.raw
    wrapped = by(made.wrap(POOL, DATABASE, kek__attestation=answer), TOKEN)
    made.raw = {brought: made.raw[brought]}
    imported = by(made.bring(POOL, DATABASE, wrapped), TOKEN)
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    assert codes(one_run(*receipts, made=made)) == {"attestation_object"}


def test_a_claim_without_an_answer_is_broken() -> None:
    made = Made()
    wrapped = by(made.wrap(VAULT, DATABASE, kek__trust="attested"), TOKEN)
    imported = by(made.bring(VAULT, DATABASE, wrapped), TOKEN)
    receipts = (DATABASE, "wrapped", wrapped), (DATABASE, "imported", imported)
    assert codes(one_run(*receipts, made=made, host=VAULT)) == {"lost_file"}


# What a token and the vaults have now


def listing(*keys: Key, at: str = "2026-11-29T00:00:00Z", **changes: t.Any) -> dict[str, str]:
    """A listing as playbooks/list.yml writes it, as far as it is read."""
    names = {key.name for key in keys}
    document = {
        "format": "keyferry-listing",
        "version": 1,
        "listed_at": at,
        "token_host": "hsm",
        "target_keys": [
            {
                "name": name,
                "generations": [
                    {
                        "generation": key.generation,
                        "thumbprint": key.thumbprint,
                        "public_key": key.pem,
                    }
                    for key in keys
                    if key.name == name
                ],
            }
            for name in sorted(names)
        ],
        **changes,
    }
    return {"listing.json": json.dumps(document)}


def export(host: str, *keys: tuple[Key, str], at: str = "2026-11-29T00:00:00Z") -> dict[str, str]:
    """An export of one vault as the role's entry point show sets it, as far as it is read."""
    shown = {
        "vault_url": f"https://{host}/",
        "read_at": at,
        "target_keys": [
            {
                "name": key.name,
                "deleted": False,
                "last_rotated": None,
                "next_due": None,
                "versions": [
                    {
                        "version": kid[-32:],
                        "kid": kid,
                        "type": "EC-HSM",
                        "thumbprint": key.thumbprint,
                        "generation": key.generation,
                        "ours": True,
                        "active": True,
                        "created": at,
                        "operations": [],
                        "enabled": True,
                        "not_before": None,
                        "expires": None,
                        "tags": {},
                    }
                ],
            }
            for key, kid in keys
        ],
    }
    return {f"{host}.json": json.dumps([{"versions": shown, "token": {}, "plan": []}])}


EARLY = "2026-11-01T00:00:00Z"
ALL = (*WEB, PAYMENTS, TOKENS, DATABASE)


def kid_of(name: str) -> str:
    return str(key_of(of(small()), name).versions[-1].kid)


def looked(
    listings: dict[str, str] | None = None, vaults: dict[str, str] | None = None
) -> Verification:
    made = small()
    return verified(made.files(), trust(made), listings, vaults)


def test_a_token_and_a_vault_that_have_what_was_brought_change_nothing() -> None:
    vaults = export(VAULT, (DATABASE, kid_of("database")), (TOKENS, kid_of("tokens")))
    verification = looked(listing(*ALL), vaults)
    assert verification.verdict == "whole"
    assert (verification.trust["listing"], verification.trust["vaults"]) == (True, [VAULT])


def test_a_newest_version_that_is_not_in_the_token_is_broken() -> None:
    verification = looked(listing(*(key for key in ALL if key is not WEB[1])))
    assert codes(verification) == {"not_in_token"}
    assert key_of(verification, "web").verdict == "broken"
    assert "not_in_token" in codes(looked(listing(*WEB)), "tokens")
    older = looked(listing(*(key for key in ALL if key is not WEB[1]), at="2026-11-02T00:00:00Z"))
    assert older.verdict == "whole"  # the rotation was later


def test_a_generation_that_was_destroyed_is_not_missed() -> None:
    made = small()
    event = {
        "key": "web",
        "what": "destroyed",
        "generation": WEB[1].generation,
        "kid": None,
        "time": None,
    }
    made.run(POOL, [], events=[event])
    listings = listing(*(key for key in ALL if key is not WEB[1]))
    verification = verified(made.files(), trust(made), listings)
    assert verification.verdict == "whole"
    assert key_of(verification, "web").versions[1].events[0]["run"] == 3


def test_versions_without_a_receipt_are_found_also_of_keys_that_have_none_at_all() -> None:
    strange_kid = f"https://{VAULT}/keys/database/{'9' * 32}"
    other = Key("other", "P-256", "", WEB[0].private)
    other_kid = f"https://{VAULT}/keys/other/{'8' * 32}"
    database = export(VAULT, (replace(other, name="database"), strange_kid), (other, other_kid))
    verification = looked(None, database)
    assert codes(verification, "database") == {"without_receipt", "version_gone"}
    assert key_of(verification, "other").versions[0].kid == other_kid
    assert key_of(verification, "other").code == "without_receipt"
    assert verification.exit == 1
    before = looked(None, export(VAULT, (replace(other, name="database"), strange_kid), at=EARLY))
    assert codes(before, "database") == {"without_receipt"}  # the import was later


def test_a_version_with_another_public_key_than_was_brought_is_broken() -> None:
    other = replace(DATABASE, private=WEB[0].private)
    verification = looked(None, export(VAULT, (other, kid_of("database"))))
    assert key_of(verification, "database").code == "thumbprint_differs"
    assert verification.exit == 2


def test_versions_of_a_key_that_was_deleted_are_not_missed() -> None:
    def folder(time: str | None) -> set[str]:
        made = small()
        file = f"{POOL}/keys/web.intoto.jsonl"
        predicates = [each.statement()["predicate"] for each in made.lines[file]]
        newest = predicates[-1]["kid"]
        event = {"key": "web", "what": "deleted", "generation": None, "kid": newest, "time": time}
        made.run(POOL, [], events=[event])
        host, gone = POOL, replace(WEB[0], name="Web")
        document = json.loads(export(host, (gone, newest))[f"{host}.json"])
        document[0]["versions"]["target_keys"][0] |= {"deleted": True, "versions": []}
        return codes(verified(made.files(), trust(made), {}, {"export": json.dumps(document)}))

    assert folder("2026-11-10T00:00:00Z") == set()
    assert folder(None) == set()
    assert folder("2026-11-01T18:00:00Z") == {"version_gone"}  # the rotation was later


@pytest.mark.parametrize(
    ("listings", "vaults", "says"),
    [
        ({"a": "{"}, {}, "is no JSON"),
        ({"a": "[]"}, {}, "is no listing of a token"),
        (listing(WEB[0], version=2), {}, "is no listing of a token"),
        (listing(replace(WEB[0], name="")), {"a": "{"}, "is no JSON"),
        ({}, {"a": "[1]"}, "is no export of vaults"),
        ({}, {"a": '{"versions": {"vault_url": "x"}}'}, "the field read_at is missing"),
    ],
)
def test_what_is_no_listing_and_no_export_is_refused(
    listings: dict[str, str], vaults: dict[str, str], says: str
) -> None:
    with pytest.raises(ByokError, match=says):
        looked(listings, vaults)


def test_a_listing_whose_thumbprint_is_not_that_of_its_key_is_refused() -> None:
    text = listing(WEB[0])["listing.json"].replace(str(WEB[0].thumbprint), str(WEB[1].thumbprint))
    with pytest.raises(ByokError, match="is no listing"):
        looked({"listing.json": text})


# What is trusted


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evidence-keys/a.pem": b"x"}, "no PEM"),
        ({"owner-roots.json": b"[]"}, "is no JSON object"),
        ({"owner-roots.json": b"{"}, "is no JSON object"),
        ({"owner-roots.json": b'{"a": "x"}'}, "no SHA-256"),
        ({"owner-roots.json": b'{"a": 1}'}, "no SHA-256"),
        ({"heads.json": b'{"a": {"number": 1}}'}, "no head for a"),
        ({"heads.json": b'{"a": {"number": 1, "sha256": "x"}}'}, "no head for a"),
        ({"maker-roots/a.pem": b"x"}, "certificate"),
    ],
)
def test_a_trust_folder_that_cannot_be_read_is_refused(
    changes: dict[str, bytes], says: str
) -> None:
    with pytest.raises(ByokError, match=says):
        parse_trust({**trust_files(), **changes}, {})


def test_a_misspelt_file_of_the_trust_folder_is_refused() -> None:
    with pytest.raises(ByokError, match=r"owner_roots\.json in the trust folder does not count"):
        parse_trust({}, {"owner_roots.json": "its name or place is unknown"})
    with pytest.raises(ByokError, match=r"cannot be read.* Let the user who runs this read it"):
        parse_trust({}, {"evidence-keys/a.pem": "it cannot be read (Permission denied)"})


def test_heads_come_from_a_file_and_a_command_line() -> None:
    head = {"https://Contoso.vault.azure.net/": {"number": 3, "sha256": "a" * 64}}
    trusted = parse_trust({"heads.json": json.dumps(head).encode()}, {})
    assert trusted.heads == {"contoso.vault.azure.net": (Head(3, "a" * 64),)}
    assert parse_head(f"Contoso.vault.azure.net=3:{'A' * 64}") == (
        "contoso.vault.azure.net",
        Head(3, "a" * 64),
    )
    more = trusted.with_heads([("contoso.vault.azure.net", Head(4, "b" * 64))])
    assert len(more.heads["contoso.vault.azure.net"]) == 2
    for text in ("x", f"a=3:{'g' * 64}", f"=3:{'a' * 64}", f"a=-1:{'a' * 64}"):
        with pytest.raises(ByokError, match="no head of a chain"):
            parse_head(text)


def test_nothing_is_trusted_where_nobody_is() -> None:
    made = small()
    verification = verified(made.files(), Trust())
    assert verification.verdict == "broken"
    assert "unknown_signer" in codes(verification)
    assert all(key.verdict == "broken" for vault in verification.vaults for key in vault.keys)


# What people read


def test_the_summary_begins_with_the_verdict_and_what_is_wrong() -> None:
    made = small()
    lost_line(made)
    lines = summary(of(made))
    assert lines[0] == "broken: 4 keys (1 broken, 0 incomplete, 3 whole)"
    assert lines[1].startswith(f"broken: {RUNS}:1: Manifest 1 names the imported statement")
    assert lines[1].endswith("(lost_receipt)")
    assert any(line.startswith(f"{POOL}: broken; chain whole: ") for line in lines)
    web = next(line for line in lines if line.startswith("  web: broken: "))
    assert lines.index(web) < next(i for i, each in enumerate(lines) if "  Payments" in each)


def test_many_problems_of_one_kind_are_told_in_one_line() -> None:
    made = Made()
    for number in range(40):
        made.raw[f"x{number}"] = b""
    lines = sentences(verified(made.files(), trust()))
    assert "incomplete: 20 more of the kind strange_file" in lines


def test_what_others_wrote_is_printable() -> None:
    made = small()
    made.raw["\x1b[31m\u202e"] = b""
    assert all(line.isprintable() for line in summary(of(made)))


def test_each_code_is_listed() -> None:
    seen = {code for code, _verdict, _change, _key in ONE} | {code for code, _lie in LIES}
    assert seen <= {*PROBLEMS, *FAILURES}
