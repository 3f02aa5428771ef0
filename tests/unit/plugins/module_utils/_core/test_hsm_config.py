# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import contextlib
import re
import typing as t

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import (
    DECLARATION_OPTIONS,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.declaration import (
    KeySpec,
    parse_declaration,
)
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.hsm_config import (
    HsmConfig,
    is_only_ours,
    parse_hsm_config,
    transfer_variables,
)
from hypothesis import given
from hypothesis import strategies as st

KID = "https://mysafenetkeyvault.vault.azure.net/keys/KEK2048-BYOK/cdf405fb31414d4fb3b003d9dd5c4284"
LIBRARY = "/usr/safenet/lunaclient/lib/libCryptoki2_64.so"

# As a copy of the guide's PDF has it: two values are wrapped, and a page ends in the middle.
GUIDE = r"""
[ byok ]
; cryptoki library
libraryName = "C:\Program Files\SafeNet\LunaClient\cryptoki.dll"
; label of partition
tokenLabel = "byok"
; available ciphers for wrapping
wrappingCiphers = CKG_MGF1_SHA1, CKM_AES_KWP
; label of key to find/generate
targetKeyName = "my-target-key-rsa2048"
```

```
; details of key to generate
targetKeySpec = CKK_RSA, 2048, none
targetKeyFlags = CKF_ENCRYPT, CKF_DECRYPT, CKF_SIGN, CKF_VERIFY,
CKF_DERIVE, CKF_TOKEN, CKF_MODIFIABLE,
CKF_EXTRACTABLE, CKF_CREATE_IF_NOT_FOUND
; Azure kid
kid = "https://mysafenetkeyvault.vault.azure.net/keys/KEK2048-
BYOK/cdf405fb31414d4fb3b003d9dd5c4284"
; Azure schema
SchemaVersion = "1.0.0.0"
"""

PLAIN = {
    "libraryName": LIBRARY,
    "tokenLabel": "byok",
    "wrappingCiphers": "CKG_MGF1_SHA1, CKM_AES_KWP",
    "targetKeyName": "my-key",
    "targetKeySpec": "CKK_RSA, 2048, none",
    "targetKeyFlags": "CKF_SIGN, CKF_VERIFY, CKF_TOKEN, CKF_EXTRACTABLE",
    "kid": KID,
    "SchemaVersion": "1.0.0.0",
}
EC_FLAGS = (
    "CKF_ENCRYPT, CKF_SIGN, CKF_VERIFY, CKF_DERIVE, CKF_TOKEN, CKF_MODIFIABLE, CKF_EXTRACTABLE, "
    "CKF_CREATE_IF_NOT_FOUND"
)


def written(**changes: str) -> str:
    """A file with one value a line, its first key in line 2; changes replace values."""
    return "[ byok ]\n" + "".join(
        f"{key} = {value}\n" for key, value in {**PLAIN, **changes}.items()
    )


def parsed(**changes: str) -> HsmConfig:
    return parse_hsm_config(written(**changes))


def test_the_guide_s_own_text() -> None:
    config = parse_hsm_config(GUIDE)
    assert config.library == r"C:\Program Files\SafeNet\LunaClient\cryptoki.dll"
    assert transfer_variables(config, LIBRARY) == {
        "pkcs11_library": LIBRARY,
        "token_label": "byok",
        "vault_url": "https://mysafenetkeyvault.vault.azure.net",
        "kek_id": KID,
        "declaration": {
            "name": "my-target-key-rsa2048",
            "type": "RSA",
            "size": 2048,
            "token_operations": ["encrypt", "decrypt", "sign", "verify"],
            "derive": True,
            "modifiable": True,
            "create": True,
        },
        "notes": [
            "CKF_DERIVE is set on a key that is made in the token, and not sent to Azure, "
            "which has no such operation.",
            "targetKeyFlags apply in the token. In the vault a new key may wrapKey, "
            "unwrapKey as well, as after az keyvault key import without --ops, "
            "and an existing key keeps its operations; hsmbyok_operations declares others.",
        ],
    }


def test_wrapped_lines_are_joined_as_they_broke() -> None:
    config = parsed(
        libraryName='"/usr/lib/\nlibCryptoki2_64.so"',
        tokenLabel="my\npartition",
        kid=KID.replace("-", "-\n"),
    )
    assert config == parsed(libraryName="/usr/lib/libCryptoki2_64.so", tokenLabel='"my partition"')


def test_a_kid_as_powershell_prints_it() -> None:
    assert parsed(kid=f"{KID.replace('.net/', '.net:443/')}/") == parsed()


def test_flags_that_are_not_there() -> None:
    told = transfer_variables(
        parsed(targetKeyFlags="CKF_UNWRAP, CKF_WRAP, CKF_TOKEN, CKF_EXTRACTABLE"), trusted=True
    )
    assert told["declaration"] == {
        "name": "my-key",
        "type": "RSA",
        "size": 2048,
        "token_operations": ["wrapKey", "unwrapKey"],
        "derive": False,
        "modifiable": False,
        "create": False,
    }
    assert told["pkcs11_library"] == LIBRARY
    assert not any("DERIVE" in note for note in told["notes"])


@pytest.mark.parametrize(
    ("spec", "curve"),
    [
        ('CKK_EC, 256, "P-256"', "P-256"),
        ('CKK EC, 384, "P-384"', "P-384"),
        ("ckk_ec,521,p-521", "P-521"),
        ('CKK_EC, 256, "X9_62_prime256v1"', "P-256"),
        ('CKK_EC, 384, "secp384r1"', "P-384"),
        ('CKK_EC, 521, "secp521r1"', "P-521"),
    ],
)
def test_an_ec_key_with_the_flags_of_the_guide(spec: str, curve: str) -> None:
    told = transfer_variables(parsed(targetKeySpec=spec, targetKeyFlags=EC_FLAGS), trusted=True)
    assert told["declaration"] == {
        "name": "my-key",
        "type": "EC",
        "curve": curve,
        "token_operations": ["sign", "verify"],
        "derive": True,
        "modifiable": True,
        "create": True,
    }
    assert [note.split()[0] for note in told["notes"]] == ["CKF_DERIVE", "CKF_ENCRYPT:"]


def test_the_declaration_is_one_that_the_modules_take() -> None:
    declaration = transfer_variables(parse_hsm_config(GUIDE), LIBRARY)["declaration"]
    assert declaration.keys() <= DECLARATION_OPTIONS.keys()
    empty = {name: spec.get("default") for name, spec in DECLARATION_OPTIONS.items()}
    assert parse_declaration({**empty, **declaration}).spec == KeySpec("RSA", size=2048)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"targetKeyFlags": "CKF_SIGN, CKF_EXTRACTABLE"},
            "line 7: targetKeyFlags lacks CKF_TOKEN: .* session",
        ),
        (
            {"targetKeyFlags": "CKF_SIGN, CKF_TOKEN"},
            "line 7: targetKeyFlags lacks CKF_EXTRACTABLE: .* never leave",
        ),
        (
            {"targetKeyFlags": PLAIN["targetKeyFlags"] + ", CKF_MAGIC"},
            "line 7: targetKeyFlags has CKF_MAGIC",
        ),
        (
            {"targetKeyFlags": PLAIN["targetKeyFlags"] + " ; all"},
            "line 7: targetKeyFlags .* a line of its own",
        ),
        (
            {"targetKeyFlags": "CKF_DERIVE, CKF_TOKEN, CKF_EXTRACTABLE"},
            "line 7: targetKeyFlags has nothing .* RSA .* wrapKey",
        ),
        (
            {
                "targetKeySpec": 'CKK_EC, 256, "P-256"',
                "targetKeyFlags": "CKF_DECRYPT, CKF_TOKEN, CKF_EXTRACTABLE",
            },
            "line 7: targetKeyFlags has nothing .* EC .* some of sign, verify",
        ),
        (
            {"targetKeySpec": "CKK_RSA, 1024, none"},
            "line 6: targetKeySpec is CKK_RSA, 1024, none.* 2048, 3072, 4096",
        ),
        ({"targetKeySpec": "CKK_RSA, 2048"}, "line 6: targetKeySpec"),
        ({"targetKeySpec": 'CKK_RSA, 2048, "P-256"'}, "line 6: targetKeySpec"),
        ({"targetKeySpec": 'CKK_EC, 256, "P-384"'}, "line 6: targetKeySpec"),
        (
            {"targetKeySpec": 'CKK_EC, 256, "secp256k1"'},
            r"line 6: targetKeySpec .* Declare it in byok_keys \(type: EC, curve: P-256K\)",
        ),
        (
            {"targetKeySpec": "CKK_AES, 256, none"},
            r"line 6: targetKeySpec .* Declare it in byok_keys \(type: oct, size: 256\)",
        ),
        ({"targetKeySpec": "CKK_AES, 512"}, "line 6: .* no key that Azure imports"),
        (
            {"targetKeySpec": 'CKK_EC, 256, "P-256K"'},
            r"line 6: targetKeySpec .* Declare it in byok_keys \(type: EC, curve: P-256K\)",
        ),
        (
            {"wrappingCiphers": "CKM_AES_KWP"},
            "line 4: wrappingCiphers is CKM_AES_KWP. Give CKG_MGF1_SHA1, CKM_AES_KWP",
        ),
        ({"wrappingCiphers": "CKG_MGF1_SHA256, CKM_AES_KWP"}, "line 4: wrappingCiphers"),
        ({"wrappingCiphers": "CKG_MGF1_SHA1, CKM_AES_KWP, CKM_AES_KW"}, "line 4: wrappingCiphers"),
        ({"SchemaVersion": "2.0"}, "line 9: SchemaVersion is 2.0, .* Give 1.0.0.0"),
        ({"kid": KID[:-33]}, "line 8: kid is .* names no version"),
        ({"kid": f'"{KID}'}, "line 8: kid .* quotes"),
        ({"tokenLabel": '"'}, "line 3: tokenLabel .* quotes"),
        ({"tokenLabel": '"by"ok"'}, "line 3: tokenLabel .* quotes"),
        ({"tokenLabel": '"byok" ; partition'}, "line 3: tokenLabel .* quotes"),
        ({"tokenLabel": "byok ; partition"}, "line 3: tokenLabel .* a line of its own"),
        ({"tokenLabel": ""}, "line 3: tokenLabel is empty"),
        ({"tokenLabel": '""'}, "line 3: tokenLabel is empty"),
        ({"tokenlabel": "other"}, "line 3: tokenLabel is repeated in line 10 again"),
        ({"pin": "1234"}, "line 10: pin is no key of hsmbyok"),
        ({"SchemaVersion": "1.0.0.0\n[ Misc ]"}, r"line 10: \[ Misc \] is not \[ byok \]"),
        ({"SchemaVersion": "1.0.0.0\n[ byok"}, r"line 10: \[ byok is not \[ byok \]"),
    ],
)
def test_what_cannot_be_honoured_is_named_with_its_line(changes: dict[str, str], says: str) -> None:
    with pytest.raises(ByokError, match="^HsmConfig.ini, " + says):
        parsed(**changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no libraryName, tokenLabel, .*, SchemaVersion"),
        (re.sub("(?m)^kid.*\n", "", written()), "HsmConfig.ini has no kid"),
        (written().partition("\n")[2], r"line 1: libraryName .* Begin the file with \[ byok \]"),
        ("[byok]\nhello", "line 2: hello is no KEY = VALUE"),
    ],
)
def test_a_file_that_is_not_whole(text: str, says: str) -> None:
    with pytest.raises(ByokError, match=says):
        parse_hsm_config(text)


@pytest.mark.parametrize(
    "library", [r"C:\x\cryptoki.dll", "cryptoki.DLL", r"\\server\share\cryptoki"]
)
def test_a_library_for_windows_needs_another(library: str) -> None:
    config = parsed(libraryName=library)
    with pytest.raises(ByokError, match="byok_pkcs11_library"):
        transfer_variables(config)
    assert transfer_variables(config, LIBRARY)["pkcs11_library"] == LIBRARY


@pytest.mark.parametrize("name", ["my_key", "my key", "x" * 128])
def test_a_name_that_azure_does_not_take(name: str) -> None:
    with pytest.raises(ByokError, match=r"targetKeyName: .* Set hsmbyok_name"):
        transfer_variables(parsed(targetKeyName=name), trusted=True)
    chosen = transfer_variables(parsed(targetKeyName=name), name="in-azure", trusted=True)
    declaration = chosen["declaration"]
    assert (declaration["name"], declaration["label"]) == ("in-azure", name.strip('"'))


BLANKS = st.text(" \t\u00a0", max_size=3)
ENDS = st.sampled_from(["\n", "\r\n"])
QUOTES = st.sampled_from(['""', "\u201c\u201d", "\u201e\u201c", "''"])
WORD = st.characters(
    exclude_categories=("C", "Z"),
    exclude_characters="`;#'\"\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b",
)
LABEL = st.text(WORD | st.just(" "), min_size=1).map(str.strip).filter(bool)
NAME = st.from_regex(r"[0-9A-Za-z-]{1,40}", fullmatch=True)
KEK_ID = st.from_regex(
    r"https://[a-z0-9-]{3,24}\.vault\.azure\.net/keys/[0-9A-Za-z-]{1,40}/[0-9a-f]{32}",
    fullmatch=True,
)
SPECS = {
    "CKK_RSA,2048,none": KeySpec("RSA", size=2048),
    "CKK_RSA,4096,none": KeySpec("RSA", size=4096),
    "CKK_EC,384,P-384": KeySpec("EC", curve="P-384"),
    "CKK_EC,521,secp521r1": KeySpec("EC", curve="P-521"),
}
FLAGS = sorted({*EC_FLAGS.split(", "), "CKF_WRAP", "CKF_UNWRAP"} - {"CKF_SIGN"})


@st.composite
def lines_of(draw: st.DrawFn, value: str, separator: str) -> list[str]:
    """A value as the lines that a copy makes of it, broken behind some of the separators."""
    lines = [""]
    for part in re.findall(f"[^{separator}]*{separator}?", value) if separator else [value]:
        lines[-1] += draw(BLANKS) + part if separator == "," else part
        if separator and part.endswith(separator) and draw(st.booleans()):
            lines.append("")
    return [line for line in lines if line]


@st.composite
def texts(draw: st.DrawFn) -> tuple[HsmConfig, str]:
    """A configuration, and a text that says it, with all that a copy may do to it."""
    spec = draw(st.sampled_from(sorted(SPECS)))
    flags = {"CKF_SIGN", "CKF_TOKEN", "CKF_EXTRACTABLE", *draw(st.sets(st.sampled_from(FLAGS)))}
    config = HsmConfig(
        draw(LABEL), draw(LABEL), draw(NAME), SPECS[spec], frozenset(flags), draw(KEK_ID)
    )

    def quoted(value: str, separator: str = "") -> list[str]:
        quotes = draw(QUOTES)
        return draw(lines_of(quotes[0] + value + quotes[1], separator))

    def listed(value: str) -> list[str]:
        lost = str.replace if draw(st.booleans()) else lambda text, old, new: text
        return draw(lines_of(lost(value, "CKK_", "CKK "), ","))

    values = {
        "libraryName": quoted(config.library),
        "tokenLabel": [config.token_label] if draw(st.booleans()) else quoted(config.token_label),
        "wrappingCiphers": listed(
            draw(st.sampled_from(["CKG_MGF1_SHA1,CKM_AES_KWP", "CKM_AES_KWP,CKG_MGF1_SHA1"]))
        ),
        "targetKeyName": quoted(config.key_name),
        "targetKeySpec": listed(spec),
        "targetKeyFlags": listed(",".join(draw(st.permutations(sorted(flags))))),
        "kid": quoted(config.kek_id, "-")
        if draw(st.booleans())
        else draw(lines_of(config.kek_id, "/")),
        "SchemaVersion": quoted("1.0.0.0"),
    }
    lines = [draw(st.sampled_from(["[byok]", "[ byok ]", "[ BYOK\u00a0]"]))]
    for key in draw(st.permutations(sorted(values))):
        first, *more = values[key]
        spelling = draw(st.sampled_from([key, key.lower(), key.upper()]))
        lines += [f"{spelling}{draw(BLANKS)}={draw(BLANKS)}{first}", *more]
    noise = st.lists(st.sampled_from(["", "; a comment = this", "# [ this ]", "```"]), max_size=2)
    copied = [*(line for known in lines for line in (*draw(noise), known)), *draw(noise)]
    text = "".join(draw(BLANKS) + line + draw(BLANKS) + draw(ENDS) for line in copied)
    return config, draw(st.sampled_from(["", "\ufeff"])) + text


@given(texts())
def test_what_is_written_is_read(pair: tuple[HsmConfig, str]) -> None:
    config, text = pair
    assert parse_hsm_config(text) == config


LINES = st.one_of(
    st.text(),
    st.builds(
        "{} = {}".format,
        st.sampled_from(sorted(PLAIN)),
        st.sampled_from(sorted(PLAIN.values())) | st.text(),
    ),
)


@given(st.text() | st.lists(LINES).map(lambda lines: "\n".join(["[byok]", *lines])))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ByokError):
        transfer_variables(parse_hsm_config(text), trusted=True)


@given(st.dictionaries(st.sampled_from(sorted(PLAIN)), st.text(), min_size=1, max_size=2))
def test_any_value_is_read_or_refused(changes: dict[str, t.Any]) -> None:
    with contextlib.suppress(ByokError):
        transfer_variables(parsed(**changes), trusted=True)


def test_a_library_that_the_file_names_is_used_only_if_the_file_is_trusted() -> None:
    with pytest.raises(ByokError, match=rf"libraryName is {LIBRARY}, and .* code. .* Set"):
        transfer_variables(parsed())
    assert transfer_variables(parsed(), trusted=True)["pkcs11_library"] == LIBRARY
    for trusted in (True, False):
        told = transfer_variables(parsed(), "/opt/other.so", trusted=trusted)
        assert told["pkcs11_library"] == "/opt/other.so"


PLACE = {"exists": True, "islnk": False, "uid": 1000, "wgrp": False, "woth": False}


@pytest.mark.parametrize(
    ("changes", "ours"),
    [
        ({}, True),
        ({"uid": 0}, True),
        ({"uid": 1001}, False),
        ({"wgrp": True}, False),
        ({"woth": True}, False),
        ({"islnk": True}, False),
        ({"exists": False}, False),
    ],
)
def test_who_can_write_the_file_and_its_folder(changes: dict[str, t.Any], ours: bool) -> None:
    assert is_only_ours([{**PLACE, **changes}, PLACE], 1000) is ours
    assert is_only_ours([PLACE, {**PLACE, **changes}], 1000) is ours


def test_a_file_of_windows_is_read_or_named() -> None:
    assert parse_hsm_config("\ufeff" + written().replace("\n", "\r\n")) == parsed()
    for encoding, told in (("utf-16", "UTF-16"), ("cp1252", "probably Windows-1252")):
        text = written(tokenLabel="\u201cbyok\u201d").encode(encoding)
        with pytest.raises(ByokError, match=rf"The file HsmConfig\.ini is .*{told}"):
            parse_hsm_config(text.decode(errors="surrogateescape"))


def test_whose_the_file_is_must_be_known() -> None:
    assert not is_only_ours([], 1000)
    assert not is_only_ours([PLACE], None)
