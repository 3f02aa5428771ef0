# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import re
import typing as t
from dataclasses import replace
from datetime import datetime, timezone

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.filter.byok_ask import byok_ask
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    KeySpec,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation import in_the_token
from ansible_collections.keyferry.azure.plugins.module_utils._core.generation_id import make_id
from ansible_collections.keyferry.azure.plugins.module_utils._core.plan import plan_key
from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import (
    EcPublicKey,
    PublicKey,
    RsaPublicKey,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.version import (
    InVault,
    Version,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.generations import (
    EVIDENCE,
    Found,
    Generation,
    by_age,
    choose,
    refuse_unfit,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.listing import (
    Listing,
    write_listing,
)
from ansible_collections.keyferry.azure.plugins.module_utils._token.session import TokenInfo
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st


def discovered(vault_info: t.Any, *arguments: t.Any, **named: t.Any) -> t.Any:
    return byok_ask(vault_info, "discovered", *arguments, **named)


INFO = TokenInfo("byok", "1312109861410", "SafeNet", "LunaSA 7.4.0", "7.4", "/lib/cryptoki.so")
TOLD = {
    "LOCAL": True,
    "ALWAYS_SENSITIVE": True,
    "SENSITIVE": True,
    "EXTRACTABLE": True,
    "NEVER_EXTRACTABLE": False,
}
OURS = [make_id(1_790_000_000_000 + number, bytes(10), []) for number in range(4)]
HSM_TYPES = {"RSA": "RSA-HSM", "EC": "EC-HSM", "oct": "oct-HSM"}
OF_TYPE = {"RSA": ["sign", "verify"], "EC": ["sign", "verify"], "oct": ["encrypt", "decrypt"]}


def ec_key() -> PublicKey:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return EcPublicKey("P-256", numbers.x, numbers.y)


def rsa_key(bits: int) -> PublicKey:
    numbers = rsa.generate_private_key(65537, bits).public_key().public_numbers()
    return RsaPublicKey(numbers.n, numbers.e)


EC_KEYS = [ec_key() for number in range(5)]
RSA_2048, RSA_1024 = rsa_key(2048), rsa_key(1024)
OCT = KeySpec("oct", size=256)


def generation(
    identifier: bytes, material: PublicKey | KeySpec | str, **told: bool | None
) -> Generation:
    facts: dict[str, t.Any] = {f"CKA_{name}": {**TOLD, **told}.get(name) for name in EVIDENCE}
    spec = material if isinstance(material, KeySpec) else None
    public_key = None if isinstance(material, (str, KeySpec)) else material
    if isinstance(public_key, RsaPublicKey):
        spec = KeySpec("RSA", size=public_key.size)
    elif public_key:
        spec = KeySpec("EC", curve="P-256")
    return Generation(identifier, str(material), spec, public_key, facts)


def version_of(name: str, material: PublicKey | KeySpec, **facts: t.Any) -> Version:
    kind = (
        material.type
        if isinstance(material, KeySpec)
        else "RSA"
        if isinstance(material, RsaPublicKey)
        else "EC"
    )
    given: dict[str, t.Any] = {
        "kid": f"https://contoso.vault.azure.net/keys/{name}/{'0' * 32}",
        "version": "0" * 32,
        "type": HSM_TYPES[kind],
        "public_key": None if isinstance(material, KeySpec) else material,
        "operations": tuple(OF_TYPE[kind]),
        "enabled": True,
        "not_before": None,
        "expires": None,
        "created": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "tags": {},
        "recovery_level": "Recoverable",
    }
    return Version(**{**given, **facts})


def listed(name: str, version: Version, **more: t.Any) -> dict[str, t.Any]:
    """What byok_vault_info says of it."""
    facts: dict[str, t.Any] = {
        "name": name,
        "kind": str(version.public_key or version.type),
        "type": version.type,
    }
    facts |= {
        "thumbprint": version.thumbprint,
        "kek": version.operations == ("import",),
        "managed": False,
    }
    return {**facts, **version.attributes(), **more}


def text_of(
    in_vault: t.Mapping[str, Version] | list[dict[str, t.Any]],
    in_token: t.Mapping[str, list[Generation]],
    *,
    kind: str = "premium",
    host: str = "contoso",
    **options: t.Any,
) -> str:
    keys = in_vault if isinstance(in_vault, list) else [listed(*each) for each in in_vault.items()]
    found = {
        label: Found(sorted(generations, key=by_age), []) for label, generations in in_token.items()
    }
    listing = write_listing(Listing(INFO, datetime(2026, 11, 22, tzinfo=timezone.utc), found))
    info = {"vault": {"url": "https://contoso.vault.azure.net", "kind": kind}, "vault_keys": keys}
    text: str = discovered(info, listing, host, **options)
    return text


def comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.lstrip().startswith("#"))


def test_a_key_is_declared_as_it_is() -> None:
    version = version_of(
        "signing-key",
        EC_KEYS[0],
        operations=("verify", "sign"),
        enabled=False,
        not_before=datetime(2026, 1, 1, tzinfo=timezone.utc),
        expires=datetime(2030, 1, 1, tzinfo=timezone.utc),
        tags={"owner": 'pay"ments', "yes": "no", "keyferry-token": "1", "Keyferry-x": "1"},
    )
    text = text_of(
        {"signing-key": version}, {"signing-key": [generation(OURS[0], EC_KEYS[0])]}, token="prod"
    )
    assert text.partition("\n\n")[2] == (
        '  - name: "signing-key"\n'
        "    type: EC\n"
        "    curve: P-256\n"
        "    operations: [sign, verify]\n"
        "    enabled: false\n"
        '    not_before: "2026-01-01T00:00:00Z"\n'
        '    expires: "2030-01-01T00:00:00Z"\n'
        "    tags:\n"
        '      "owner": "pay\\"ments"\n'
        '      "yes": "no"\n'
    )
    assert yaml.safe_load(text)["vaults"] == ["contoso"]
    assert yaml.safe_load(text)["token"] == "prod"


def test_what_the_token_demands_is_declared_and_said() -> None:
    vault = {"outside": version_of("outside", EC_KEYS[0]), "locked": version_of("locked", RSA_2048)}
    vault["older"] = version_of("older", EC_KEYS[1])
    vault["many-tags"] = version_of(
        "many-tags", EC_KEYS[3], tags={str(number): "" for number in range(11)}
    )
    vault["released"] = version_of("released", EC_KEYS[4], operations=("sign", "release"))
    token = {
        "outside": [generation(b"\1", EC_KEYS[0], LOCAL=False)],
        "locked": [generation(OURS[0], RSA_2048, EXTRACTABLE=False)],
        "older": [generation(OURS[0], EC_KEYS[1]), generation(OURS[1], EC_KEYS[2])],
        "many-tags": [generation(OURS[0], EC_KEYS[3])],
        "released": [generation(OURS[0], EC_KEYS[4])],
    }
    text = text_of(vault, token)
    keys = {key["name"]: key for key in yaml.safe_load(text)["keys"]}
    assert list(keys) == sorted(vault)
    assert keys["outside"]["allow_external_origin"] is True
    assert keys["locked"]["after_transfer"] == "lock"
    assert keys["older"]["generation"] == OURS[0].hex()
    assert "tags" not in keys["many-tags"]
    assert "operations" not in keys["released"]
    for said in (
        "came from outside",
        "can go to no further vault",
        "Without generation",
        "Declare at most 10",
        "release, sign",
    ):
        assert said in comments(text)


@pytest.mark.parametrize(
    ("key", "generations", "says"),
    [
        (listed("a", version_of("a", RSA_2048, operations=("import",))), {}, "a key exchange key"),
        (listed("a", version_of("a", RSA_2048), managed=True), {}, "belongs to a certificate"),
        (
            listed("a", version_of("a", EC_KEYS[0])),
            {"a": [generation(b"\1", EC_KEYS[1])]},
            "not in the token",
        ),
        (
            listed("a", version_of("a", EC_KEYS[0])),
            {label: [generation(b"\1", EC_KEYS[0])] for label in ("b c\n", "d")},
            r'under the label "b c\\U0000000a", "d"; declare it with that label',
        ),
        (
            listed("a", version_of("a", EC_KEYS[0])),
            {"a": [replace(generation(OURS[0], EC_KEYS[0]), withdrawn=True)]},
            "withdrawn",
        ),
        (
            listed("a", version_of("a", EC_KEYS[0])),
            {"a": [generation(b"\1", EC_KEYS[0], SENSITIVE=False)]},
            "CKA_SENSITIVE false",
        ),
        (
            listed("a", version_of("a", OCT, tags={"keyferry-generation": "01"})),
            {"a": [generation(b"\1", OCT)] * 2},
            "2 keys labelled a have one CKA_ID",
        ),
        (
            listed("a", version_of("a", OCT, tags={"keyferry-generation": "01"})),
            {"b": [generation(b"\1", OCT)]},
            'under the label "b"',
        ),
        (
            listed("a", version_of("a", RSA_1024)),
            {"a": [generation(b"\1", RSA_1024)]},
            "Give size as one of 2048",
        ),
        (
            listed("a", version_of("a", OCT)),
            {"a": [generation(OURS[0], OCT)]},
            "no tag of it names a generation",
        ),
    ],
)
def test_what_is_not_declared_stands_in_a_comment(
    key: dict[str, t.Any], generations: dict[str, list[Generation]], says: str
) -> None:
    text = text_of([key], generations)
    assert yaml.safe_load(text)["keys"] == []
    [line] = [line for line in text.splitlines() if line.startswith('# - "a" (')]
    assert re.search(says, line)


def test_an_oct_key_is_known_by_its_tag() -> None:
    version = version_of("a", OCT, tags={"keyferry-generation": OURS[0].hex()})
    text = text_of({"a": version}, {"a": [generation(OURS[0], OCT)]}, kind="managed_hsm")
    assert yaml.safe_load(text)["keys"] == [
        {"name": "a", "type": "oct", "size": 256, "operations": ["encrypt", "decrypt"]}
    ]
    assert "by its tag alone" in comments(text)


def test_a_key_under_another_label_is_adopted_by_its_public_key() -> None:
    vault = {"pay": version_of("pay", EC_KEYS[0]), "other": version_of("other", EC_KEYS[0])}
    held = [generation(b"\1", EC_KEYS[0]), generation(b"\1", EC_KEYS[1])]
    text = text_of(vault, {"Pay 2023_1\0": held})
    shape = {"type": "EC", "curve": "P-256", "operations": ["sign", "verify"]}
    # Only one key of the vault can be it, and the first one by name is declared so.
    [key] = yaml.safe_load(text)["keys"]
    assert {name: key[name] for name in ("name", "label", "generation", *shape)} == {
        "name": "other",
        "label": "Pay 2023_1\0",
        "generation": held[0].thumbprint,
        **shape,
    }
    assert '# - "pay" (' in comments(text)
    by_name = {"pay": [generation(b"\1", EC_KEYS[0])]}
    assert [key["name"] for key in yaml.safe_load(text_of(vault, by_name))["keys"]] == ["pay"]


TOKEN_ONLY = {
    "new": [generation(OURS[0], EC_KEYS[0])],
    "Taken": [generation(OURS[0], EC_KEYS[1])],
    "under_score": [generation(OURS[0], EC_KEYS[2])],
    "two": [generation(b"\1", EC_KEYS[3]), generation(b"\2", EC_KEYS[4])],
    "outside": [generation(b"\1", RSA_2048, LOCAL=False)],
    "aes": [generation(OURS[0], OCT)],
    "dsa": [generation(b"\1", "DSA")],
    "half": [generation(OURS[0], KeySpec("EC", curve="P-256"))],
    "": [generation(b"\1", RSA_1024)],
}


def test_keys_that_only_the_token_has_are_comments_to_take_away_or_declared() -> None:
    vault = {
        "taken": version_of("taken", ec_key()),
        "other-name": version_of("other-name", EC_KEYS[0]),
    }
    text = text_of(
        vault,
        {
            **TOKEN_ONLY,
            "new-2": TOKEN_ONLY["new"],
            "new-3": TOKEN_ONLY["new"],
            "new": [generation(OURS[1], RSA_2048)],
        },
    )
    assert yaml.safe_load(text)["keys"] == []
    for said in (
        '"new-2": the vault has it as "other-name"',
        '"Taken": another key has this name in the vault, or would have it',
        "\"under_score\": 'under_score' cannot be a key's name in Azure",
        '"two": 2 keys that were made elsewhere are labelled two',
        '"outside": The key outside (01) in the token byok (1312109861410) has CKA_LOCAL false',
        '"aes": AES-256, which only a Managed HSM takes',
        '"dsa": DSA, which Azure does not take',
        '"half": no generation of it can be brought',
        '"": ',
    ):
        assert f"# - {said}" in comments(text)
    assert 'uncomment its lines, and remove the "[]" after "keys"' in comments(text)
    uncommented = re.sub(r"^#   (- name|  )", r"  \1", text, flags=re.MULTILINE).replace(
        "keys: []", "keys:"
    )
    new = {"name": "new", "type": "RSA", "size": 2048}
    assert yaml.safe_load(uncommented)["keys"] == [new]
    token = {**TOKEN_ONLY, "new": [generation(OURS[1], RSA_2048)]}
    assert yaml.safe_load(text_of({}, token, token_keys=True))["keys"] == [
        new,
        {"name": "Taken", "type": "EC", "curve": "P-256"},
    ]
    cases = {"case": TOKEN_ONLY["new"], "CASE": [generation(OURS[0], EC_KEYS[1])]}
    assert [key["name"] for key in yaml.safe_load(text_of({}, cases, token_keys=True))["keys"]] == [
        "CASE"
    ]
    both = yaml.safe_load(text_of({}, TOKEN_ONLY, token_keys=True, kind="managed_hsm"))["keys"]
    assert {"name": "aes", "type": "oct", "size": 256} in both


HOSTILE = st.text(max_size=30) | st.sampled_from(
    [
        "{{ lookup('pipe', 'id') }}",
        "\nkeys: []",
        "# x",
        "\x85vaults: [x]",
        "\u2028- a",
        '"',
        "\\",
        "\x7f",
        "\ud7ff\U0001f511",
        "!!python/x",
    ]
)


@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_no_text_breaks_out(label: str, tag: str, value: str, host: str) -> None:
    tags = {tag: value, "keyferry-generation": value}
    vault = {"a": version_of("a", EC_KEYS[0], tags=tags), "b": version_of("b", OCT, tags=tags)}
    vault["c"] = version_of("c", EC_KEYS[1])
    token = {label: [generation(b"\1", EC_KEYS[1])], "a": [generation(OURS[0], EC_KEYS[0])]}
    text = text_of(vault, token, host=host, token=label, token_keys=True)
    assert re.fullmatch(r"[\n -~]*", text)
    document = yaml.safe_load(text)
    assert document.keys() == {"vaults", "keys", *(["token"] if label else [])}
    assert document["vaults"] == [host]
    assert document.get("token", "") == label
    keys = {key["name"]: key for key in document["keys"]}
    assert {"a"} <= keys.keys() <= {"a", "c"}
    ours = {} if tag.lower().startswith("keyferry-") else {tag: value}
    assert keys["a"].get("tags", {}) == ours
    for line in text.splitlines():
        assert re.match(
            r'($|#|  #|vaults: \["|token: "|keys:|  - name: "|    [a-z_]+:|      ")', line
        )


def test_what_is_no_character_leaves_the_file_readable() -> None:
    text = text_of(
        {"a": version_of("a", EC_KEYS[0], tags={"x": "\ud800"})},
        {"a": [generation(OURS[0], EC_KEYS[0])]},
    )
    for loader in (yaml.SafeLoader, yaml.CSafeLoader):
        # As a stream: before ansible-core 2.19 the text is of a kind that the C loader refuses
        assert yaml.load(io.StringIO(text), loader)["keys"][0]["tags"] == {"x": "\ufffd"}


def test_what_the_next_run_locks_is_told() -> None:
    locked = generation(OURS[1], EC_KEYS[1], EXTRACTABLE=False)
    vault, note = {"key": version_of("key", EC_KEYS[1])}, "The next run locks its older generations"
    assert note not in text_of(vault, {"key": [locked]})
    assert note in text_of(vault, {"key": [generation(OURS[0], EC_KEYS[0]), locked]})


@given(st.data())
def test_a_plan_finds_what_is_declared_in_place(data: st.DataObject) -> None:
    """Whatever token and vault hold: a declared key is taken as it is, and nothing must be done."""
    name, oct_keys = "key", data.draw(st.booleans())
    flags = st.fixed_dictionaries(
        {
            flag: st.sampled_from([True, False, None])
            for flag in ("LOCAL", "SENSITIVE", "EXTRACTABLE")
        }
    )
    identifiers = data.draw(st.lists(st.sampled_from([*OURS, b"\1", b"\2", b""]), max_size=4))
    generations = []
    for number, identifier in enumerate(identifiers):
        material: t.Any = (
            OCT
            if oct_keys
            else data.draw(st.sampled_from([EC_KEYS[number], KeySpec("EC", curve="P-256")]))
        )
        made = generation(identifier, material, **data.draw(flags | st.just({})))
        generations.append(replace(made, withdrawn=identifier in OURS and data.draw(st.booleans())))
    tags = {
        "keyferry-generation": data.draw(st.sampled_from([each.hex() for each in (*OURS, b"\1")]))
    }
    version = version_of(
        name, OCT if oct_keys else data.draw(st.sampled_from(EC_KEYS)), tags={**tags, "own": "tag"}
    )
    text = text_of({name: version}, {name: generations}, kind="managed_hsm")
    generations.sort(key=by_age)
    for key in yaml.safe_load(text)["keys"]:
        options = {
            **{option: spec.get("default") for option, spec in DECLARATION_OPTIONS.items()},
            **key,
        }
        declaration = parse_declaration(options)
        chosen = choose(declaration, generations)
        assert chosen is not None
        refuse_unfit(declaration, chosen, INFO)
        observed = {
            "generation": chosen.hex_id,
            "thumbprint": chosen.thumbprint,
            "generations": [each.as_result() for each in generations],
        }
        planned = plan_key(declaration, in_the_token(declaration, observed), InVault(version))
        expected = "lock" if "The next run locks its older generations" in text else "none"
        assert planned.action in ("none", expected)
    if "keys: []" in text:
        assert f'# - "{name}" (' in text


def test_what_is_no_list_is_an_error_of_ansible() -> None:
    with pytest.raises(AnsibleFilterError, match="list_keys: true"):
        discovered({"vault": {}, "vault_keys": None}, {}, "host")
    with pytest.raises(AnsibleFilterError, match="not the listing of a token"):
        discovered({"vault": {}, "vault_keys": []}, {}, "host")
