# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Throw values of every type at the interface to PKCS#11.

Run as ``python fuzz_cryptoki.py < options.json``, a process of its own, because what is feared is
that the interpreter itself is aborted. Whatever happens has to be an exception: a PKCS#11 error, or
a TypeError or ValueError before the token is asked.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    Library,
    Session,
    calling,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

ATTRIBUTES = (
    *(
        "LABEL",
        "ID",
        "TOKEN",
        "PRIVATE",
        "SENSITIVE",
        "EXTRACTABLE",
        "SIGN",
        "DERIVE",
        "WRAP",
        "VALUE_LEN",
        "EC_PARAMS",
    ),
    *(
        "MODULUS",
        "PUBLIC_EXPONENT",
        "EC_POINT",
        "CLASS",
        "KEY_TYPE",
        "LOCAL",
        "KEY_GEN_MECHANISM",
        "START_DATE",
        "NO_SUCH",
    ),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(alphabet=st.characters()),  # lone surrogates among them
    st.binary(max_size=5000),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.just(object()),
)
TEMPLATES = st.dictionaries(st.sampled_from(ATTRIBUTES), VALUES, max_size=6)
# Without those whose parameter holds pointers: 0x9 and 0x1054.
WRAPPING = st.one_of(
    st.sampled_from([0x2109, 0x210A, 0x210B, 0x80000171]), st.integers(0x2000, 2**64 - 1)
)
MECHANISMS = st.one_of(
    st.sampled_from([0x0, 0x1040, 0x1080, 0x80000143]), st.integers(0, 2**64 - 1)
)
PARAMETERS = st.one_of(st.none(), st.binary(max_size=64))
EXPECTED = (ByokError, TypeError, ValueError, KeyError)

run_quietly = settings(
    max_examples=300,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def survive(call: Callable[[], Any]) -> None:
    try:
        with calling("Fuzzing"):
            call()
    except EXPECTED:
        pass


def fuzz(session: Session) -> None:
    """Call everything that takes a template, a mechanism or octets."""
    template = {
        "TOKEN": False,
        "PRIVATE": True,
        "SENSITIVE": True,
        "EXTRACTABLE": True,
        "WRAP": True,
        "ENCRYPT": True,
    }
    key = session.generate_secret(256, template)

    @run_quietly
    @given(TEMPLATES, TEMPLATES, MECHANISMS, st.sampled_from([None, 1024, 0, -1, 2**40]))
    def pairs(public: Any, private: Any, mechanism: int, bits: int | None) -> None:
        # Big RSA keys would only take time.
        survive(
            lambda: session.generate_pair(
                mechanism, {"TOKEN": False, **public}, {"TOKEN": False, **private}, bits
            )
        )

    @run_quietly
    @given(TEMPLATES, st.one_of(st.integers(-1, 600), VALUES))
    def secrets(given_template: Any, bits: Any) -> None:
        survive(lambda: session.generate_secret(bits, {**given_template, "TOKEN": False}))

    @run_quietly
    @given(TEMPLATES, st.sampled_from(["PUBLIC_KEY", "SECRET_KEY", "NO_SUCH"]))
    def searches(given_template: Any, object_class: str) -> None:
        survive(lambda: session.find(object_class, **given_template))
        survive(lambda: session.create_public_rsa(**{**given_template, "TOKEN": False}))

    @run_quietly
    @given(
        st.lists(st.sampled_from(ATTRIBUTES), max_size=5),
        VALUES,
        st.one_of(st.just(key), st.integers(0, 2**64 - 1)),
    )
    def attributes(names: list[str], value: Any, handle: int) -> None:
        survive(lambda: session.read(handle, *names))
        survive(lambda: session.assign(handle, (*names, "LABEL")[0], value))

    @run_quietly
    @given(WRAPPING, PARAMETERS, st.binary(max_size=64), st.binary(max_size=9000))
    def operations(mechanism: int, parameter: bytes | None, iv: bytes, data: bytes) -> None:
        survive(lambda: session.wrap(mechanism, parameter, key, key))
        survive(lambda: session.encrypt_cbc(key, iv, data))

    for each in (pairs, secrets, searches, attributes, operations):
        each()


def main() -> None:
    """Open a session as the modules do, and fuzz it."""
    options = json.load(sys.stdin)
    os.environ.update(options["library_environment"])
    library = Library(options["pkcs11_library"], options.get("library_parameters"))
    slot = next(slot for slot in library.slots()[0] if slot.label == options["token_label"])
    session = library.open(slot.id)
    with open(options["pin_file"], encoding="utf-8") as file:
        session.login(file.read())
    fuzz(session)
    session.logout()
    session.close()
    print("survived")


if __name__ == "__main__":
    main()
