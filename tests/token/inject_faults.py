# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let every function of PKCS#11 that the modules call fail, now and then, in one process.

    python inject_faults.py < options.json

Prints a JSON line per injected error: where it was injected, and what the user read. The process
is one of its own, because it keeps the library loaded.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from ansible_collections.keyferry.azure.plugins.module_utils._core.public_key import fingerprint
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import envelope_of
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.statements import found
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    CryptokiError,
    Library,
)
from ansible_collections.keyferry.azure.tests.lifecycle.modules import Result, attempt
from ansible_collections.keyferry.azure.tests.token.conftest import escrow_options
from cryptography.hazmat.primitives.asymmetric import rsa

CODES = (0x30, 0x80000123)  # CKR_DEVICE_ERROR, and one that no standard knows
SHAPES: tuple[Result, ...] = (
    {"type": "EC", "curve": "P-256"},
    {"type": "EC", "curve": "P-384"},
    {"type": "oct", "size": 256},
)
EVIDENCE = "proof"
VAULT = "https://contoso.vault.azure.net"
_plain_call = Library.call


class Injector:
    """Counts the calls of each function, and lets one of them fail.

    :ivar fault: function, the number of its call from 1 on, and the return code
    """

    def __init__(self) -> None:
        self.fault: tuple[str, int, int] | None = None
        self.counts: Counter[str] = Counter()

    def call(self, library: Library, function: str, *arguments: Any, **options: Any) -> int:
        """Stand in for Library.call()."""
        self.counts[function] += 1
        if self.fault and self.fault[:2] == (function, self.counts[function]):
            raise CryptokiError(function, self.fault[2])
        return _plain_call(library, function, *arguments, **options)

    def spared(self, act: Callable[[], Result]) -> Result:
        """Run a module without a fault, and count none of its calls."""
        fault, counts = self.fault, Counter(self.counts)
        done = self.run(act, None)
        self.fault, self.counts = fault, counts
        return done

    def run(self, act: Callable[[], Result], fault: tuple[str, int, int] | None) -> Result:
        """Run a module with this fault."""
        self.fault, self.counts = fault, Counter()
        return act()


def keys(prefix: str) -> list[Result]:
    return [{"name": f"{prefix}-{number}", **shape} for number, shape in enumerate(SHAPES)]


def runs(injector: Injector, options: Result) -> Iterator[tuple[str, Callable[[str], Result]]]:
    """Yield what the modules do with a token; each is given a prefix for names of its own."""
    escrow = escrow_options(rsa.generate_private_key(65537, 2048))
    signing = {**options, "evidence_key": EVIDENCE}
    wrapping: Result = {"allow_trailing_zeros": True, **escrow, **signing}
    there = keys("there")

    def info(_prefix: str) -> Result:
        return attempt(
            "byok_hsm_info",
            declarations=there,
            rehearse=True,
            allow_trailing_zeros=True,
            list_keys=True,
            **signing,
        )

    def look(_prefix: str) -> Result:
        return attempt("byok_target_key", True, declarations=there, **options)

    def look_without_pin(_prefix: str) -> Result:
        without = {name: value for name, value in options.items() if name != "pin_file"}
        return attempt("byok_target_key", True, declarations=there[:2], **without)

    def make(prefix: str) -> Result:
        return attempt("byok_target_key", declarations=keys(prefix), **options)

    def lock(prefix: str) -> Result:
        key = {"name": prefix, **SHAPES[2], "after_transfer": "lock"}
        made = injector.spared(lambda: attempt("byok_target_key", declarations=[key], **options))
        in_vault = [made["target_keys"][0]["generation"]]
        given: Result = {**options, "transferred": in_vault, "challenges": True}
        return attempt("byok_target_key", False, declarations=[key], **given)

    def wrap(_prefix: str) -> Result:
        return attempt("byok_wrap", declarations=there, **wrapping)

    def make_evidence_key(prefix: str) -> Result:
        return attempt("byok_evidence_key", evidence_key=prefix, **options)

    def sign(prefix: str) -> Result:
        state = os.path.join(options["lock_directory"], prefix)
        made = injector.spared(
            lambda: attempt("byok_target_key", True, declarations=there, **options)
        )
        given = statement_of(made["target_keys"][0])
        return attempt(
            "byok_sign",
            vault_url=VAULT,
            statements=[given],
            state_directory=state,
            **signing,
        )

    yield from {
        "info": info,
        "look": look,
        "look without a PIN": look_without_pin,
        "wrap": wrap,
        "lock": lock,
        "make": make,
        "make the evidence key": make_evidence_key,
        "sign": sign,
    }.items()


def statement_of(key: Result) -> str:
    """Return the line of a statement that a key of the token was found in a vault."""
    made = key["generations"][-1]
    predicate = {
        "key": {name: key[name] for name in ("name", "generation", "thumbprint")},
        "vault": VAULT,
        "kid": f"{VAULT}/keys/{key['name']}/{'1' * 32}",
        "identity": "public_key",
        "kek": "unknown",
        "told": "found in place",
        "time": "2026-11-22T12:00:00Z",
        "clock": "host",
    }
    return envelope_of(found(predicate, public_key=fingerprint(made["public_key"]))).to_line()


def main() -> None:
    """Inject an error into the first, the second and the last call of each function, twice each."""
    options = json.load(sys.stdin)
    os.environ.update(options["library_environment"])
    injector, number = Injector(), 0

    def call(library: Library, function: str, *arguments: Any, **given: Any) -> int:
        return injector.call(library, function, *arguments, **given)

    with mock.patch.object(Library, "call", call):
        attempt("byok_target_key", declarations=keys("there"), **options)
        attempt("byok_evidence_key", evidence_key=EVIDENCE, **options)
        for name, act in runs(injector, options):
            clean = injector.run(lambda act=act: act("clean"), None)  # type: ignore[misc]
            assert not clean["failed"], clean
            counts = Counter(injector.counts)
            faults = [
                (function, nth, code)
                for function, count in counts.items()
                for nth in sorted({1, min(2, count), count})
                for code in CODES
            ]
            for fault in faults:
                number += 1
                prefix = f"key-{number}"
                done = injector.run(lambda act=act, given=prefix: act(given), fault)  # type: ignore[misc]
                injector.fault = None
                after = again(name, options, prefix)
                print(json.dumps({"run": name, "fault": fault, "done": told(done), "after": after}))


def again(name: str, options: Result, prefix: str) -> Any:
    """Return what a further run finds of what a run made; None for one that makes nothing."""
    if name == "make":
        return make_again(options, prefix)
    if name == "make the evidence key":
        return attempt("byok_evidence_key", evidence_key=prefix, **options)["failed"]
    return None


def make_again(options: Result, prefix: str) -> list[int]:
    """Return how many generations each key has after a further run, which must not fail."""
    done = attempt("byok_target_key", declarations=keys(prefix), **options)
    assert not done["failed"], done
    return [len(key["generations"]) for key in done["target_keys"]]


def told(done: Result) -> Result:
    """Return what the user reads of a result, and which keys are there."""
    hsm = done.get("hsm") or {}
    verdicts = [reason for kind in hsm.get("key_types", ()) for reason in kind["reasons"]]
    return {
        "failed": done["failed"],
        "aborted": done["aborted"],
        "msg": done.get("msg") or "",
        "failures": [failure["name"] for failure in done["failures"]],
        "said": [*done["warnings"], *hsm.get("problems", ()), *verdicts],
        "target_keys": [key["name"] for key in done.get("target_keys", ())],
    }


if __name__ == "__main__":
    main()
