# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.filter.plain_text import FilterModule

plain_text = FilterModule().filters()["plain_text"]


def slurped(content: bytes) -> dict[str, t.Any]:
    """What ansible.builtin.slurp returns of a file."""
    return {
        "content": base64.b64encode(content).decode(),
        "source": "/opt/hsmbyok/kekBlob.pem",
        "encoding": "base64",
    }


def test_the_text_of_a_file_is_returned_without_a_mark() -> None:
    assert plain_text(slurped("-----\u201cx\u201d".encode("utf-8-sig"))) == "-----\u201cx\u201d"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (slurped("text".encode("utf-16")), "The file /opt/hsmbyok/kekBlob.pem is UTF-16"),
        (slurped(b"\x30\x03\x02\x01\xff"), "The file /opt/hsmbyok/kekBlob.pem is DER"),
        ({"content": "#"}, "and not another mapping"),
        (7, "and not int"),
        (None, "and not NoneType"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_ansible(given: t.Any, says: str) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        plain_text(given)


def test_the_text_of_a_lookup_is_read_in_the_same_way() -> None:
    assert plain_text("\ufeffx") == "x"
    text = "x".encode("utf-16").decode(errors="surrogateescape")
    for name, called in (("kek.pem", "The file kek.pem"), (None, "The text")):
        with pytest.raises(AnsibleFilterError, match=f"^{called} is UTF-16"):
            plain_text(text, name)
