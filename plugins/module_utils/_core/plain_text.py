# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Text files that come from elsewhere, read as UTF-8 in one way; pure.

Editors and shells of Windows write byte order marks, UTF-16 (``>`` of Windows PowerShell) and
Windows-1252 (typographic quotes), and tools write a public key as DER. A mark is dropped, and what
is no UTF-8 is named, with the way to save it. No message holds anything of a file: it may be a PIN.
"""

from __future__ import annotations

import codecs
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

#: UTF-32 begins as UTF-16 does, so it comes first
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MARK = "\ufeff"

_MOST_SHOWN = 200


def decode_text(content: bytes, what: str) -> str:
    """Return what a text file holds, without a byte order mark.

    :param what: names the file, as the beginning of a sentence
    :raises ByokError: for what is no UTF-8
    """
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding:
        _refuse(what, f"is {encoding}", encoding)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        _refuse_bytes(content, what, error.start)
    if "\0" in text:
        _refuse_bytes(content, what, content.index(0))
    return text.removeprefix(_MARK)


def plain_text(text: str, what: str) -> str:
    """Return a text that Ansible has read from a file, as decode_text() would have read it.

    Its lookups and filters let a surrogate stand for each byte that is no UTF-8.

    :param what: names the file, as the beginning of a sentence
    :raises ByokError: for what is no UTF-8
    """
    try:
        content = text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise ByokError(f"{what} is not text", "Save it as UTF-8") from None
    return decode_text(content, what)


def quoted(value: object) -> str:
    """Return how a value is written, and no more of it than somebody reads."""
    written = repr(value)
    return written if len(written) <= _MOST_SHOWN else f"{written[:_MOST_SHOWN]}..."


def _refuse_bytes(content: bytes, what: str, at: int) -> t.NoReturn:
    """Name what is no UTF-8 from a byte on.

    :raises ByokError: always
    """
    if _is_der(content):
        raise ByokError(
            f"{what} is DER, the binary form, and not a PEM",
            "Convert a public key by openssl pkey -pubin -inform DER -in OLD -out NEW",
        )
    if 0 in content:
        # A text of Latin letters in UTF-16 has a zero in every other byte
        zeros = content[:200].count(0)
        if 3 * zeros >= len(content[:200]):
            _refuse(what, "is UTF-16 without a byte order mark", "UTF-16LE")
        raise ByokError(f"{what} is binary, and not text", "Give the text file itself")
    line = content.count(b"\n", 0, at) + 1
    _refuse(what, f"is not UTF-8 in line {line}, but probably Windows-1252", "WINDOWS-1252")


def _refuse(what: str, is_what: str, encoding: str) -> t.NoReturn:
    raise ByokError(
        f"{what} {is_what}",
        f"Save it as UTF-8, in the editor or by iconv -f {encoding} -t UTF-8 OLD > NEW",
    )


def _is_der(content: bytes) -> bool:
    """Tell whether it is one SEQUENCE as X.690 encodes it (tag 0x30, and a length that fits)."""
    if len(content) < 2 or content[0] != 0x30:
        return False
    length, header = content[1], 2
    if length > 0x80:
        header += length - 0x80
        length = int.from_bytes(content[2:header], "big")
    return header + length == len(content)
