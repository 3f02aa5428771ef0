# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible_collections.keyferry.azure.plugins.lookup import hsm_config

NAME = "keyferry.azure.hsm_config"
TEXT = r"""[ byok ]
libraryName = "C:\cryptoki.dll"
tokenLabel = "byok"
wrappingCiphers = CKG_MGF1_SHA1, CKM_AES_KWP
targetKeyName = "KEY"
targetKeySpec = CKK_EC, 256, "P-256"
targetKeyFlags = CKF_SIGN, CKF_TOKEN, CKF_EXTRACTABLE
kid = "https://contoso.vault.azure.net/keys/kek/0123456789abcdef0123456789abcdef"
SchemaVersion = "1.0.0.0"
"""


def look_up(folder: Path, *terms: str, **options: t.Any) -> t.Any:
    """Call the lookup as a play in ``folder`` does."""
    constants.config.initialize_plugin_configuration_definitions(
        "lookup", NAME, yaml.safe_load(hsm_config.DOCUMENTATION)["options"]
    )
    loader = DataLoader()
    loader.set_basedir(str(folder))
    lookup = hsm_config.LookupModule(loader=loader)
    lookup._load_name = NAME
    return lookup.run(terms, {}, **options)


def test_files_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files/HsmConfig.ini").write_text(TEXT.replace("KEY", "one"))
    (tmp_path / "other.ini").write_bytes(
        b"\xef\xbb\xbf" + TEXT.replace("KEY", "other").replace("\n", "\r\n").encode()
    )
    first, second = look_up(
        tmp_path, "HsmConfig.ini", str(tmp_path / "other.ini"), pkcs11_library="/usr/lib/lib.so"
    )
    assert (first["declaration"]["name"], second["declaration"]["name"]) == ("one", "other")
    assert first["pkcs11_library"] == "/usr/lib/lib.so"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (TEXT.encode(), "HsmConfig.ini: .*byok_pkcs11_library"),
        (TEXT.encode("utf-16"), "HsmConfig.ini is not UTF-8 .* Save it as UTF-8"),
        (b"[ byok ]\nx = 1\n", "line 2: x is no key of hsmbyok"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_ansible(
    tmp_path: Path, content: bytes, says: str
) -> None:
    (tmp_path / "HsmConfig.ini").write_bytes(content)
    with pytest.raises(AnsibleError, match=says):
        look_up(tmp_path, "HsmConfig.ini")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AnsibleError, match=r"HsmConfig.ini"):
        look_up(tmp_path, "HsmConfig.ini")
