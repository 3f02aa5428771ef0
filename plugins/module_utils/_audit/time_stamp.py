# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Time stamps over run manifests (RFC 3161): somebody else's word that a manifest was there; pure.

Nothing needs one. The clocks of a manifest are those of hosts, and a stamp is of a time-stamping
authority that whoever verifies trusts. The response is checked by rfc3161-client, which no host of
a run needs.
"""

from __future__ import annotations

import typing as t
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._core.moments import format_moment
from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable
from ansible_collections.keyferry.azure.plugins.module_utils._core.shape import Shape

#: SHA-256 in the imprint of a stamp (RFC 8017, appendix B.1)
_SHA256 = "2.16.840.1.101.3.4.2.1"

_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class TimeStamp(Shape):
    """What a time stamp shows.

    :ivar sha256: of the payload of the manifest that it names
    :ivar verdict: ``stamped``; ``not_checked`` where nothing here can check it; ``wrong``
    :ivar told: the same as a sentence
    :ivar time: by the authority's clock; None where it is not stamped
    """

    sha256: str
    verdict: t.Literal["stamped", "not_checked", "wrong"]
    told: str
    time: datetime | None = None


def judge_stamp(response: bytes, sha256: str, roots: Sequence[str]) -> TimeStamp:
    """Judge a response of a time-stamping authority.

    :param response: TimeStampResp in DER (RFC 3161, section 2.4.2)
    :param sha256: the digest that it has to be about, in hexadecimal digits
    :param roots: PEM texts of the authorities' roots that count
    """
    if not roots:
        return TimeStamp(sha256, "not_checked", "No root of a time-stamping authority is trusted")
    try:
        from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response
    except ImportError:
        why = "The time stamp was not checked, because rfc3161-client is not installed here"
        return TimeStamp(sha256, "not_checked", why)
    builder = VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(_certificate(root))
    try:
        if len(response) > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        stamp = decode_timestamp_response(response)
        if stamp.tst_info.message_imprint.hash_algorithm.dotted_string != _SHA256:
            raise ValueError("its imprint is no SHA-256")
        builder.build().verify(stamp, bytes.fromhex(sha256))
        time = stamp.tst_info.gen_time
    except (ValueError, VerificationError) as error:
        return TimeStamp(sha256, "wrong", f"The time stamp is wrong: {printable(str(error))}")
    told = f"A time-stamping authority states that it was there at {format_moment(time)}"
    return TimeStamp(sha256, "stamped", told, time)


def check_root(text: str, where: str) -> None:
    """Refuse what is no certificate of an authority.

    :param text: PEM
    :raises ByokError: naming where it stands
    """
    try:
        _certificate(text)
    except ValueError as error:
        raise ByokError(
            f"{where} is no certificate in PEM ({printable(str(error))})",
            "Give the root certificate of the time-stamping authority",
        ) from None


def _certificate(text: str) -> t.Any:
    from cryptography.x509 import load_pem_x509_certificate

    return load_pem_x509_certificate(text.encode())
