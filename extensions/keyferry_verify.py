# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify a folder of receipts offline. Needs Python and the library cryptography, and no Ansible.

Exit codes: 0 whole, 1 incomplete, 2 broken, 3 nothing could be judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import typing as t
from pathlib import Path
from types import ModuleType

COLLECTION = Path(__file__).resolve().parents[1]

OLDEST = (3, 10)

#: Nothing could be judged; argparse's own 2 would read as broken
FAILED = 3


def find_collection() -> None:
    """Make the collection importable from where it lies, which may have any name.

    Only the packages on the way to it are made up, so that no Ansible is needed and no other
    collection of that name is taken.
    """
    for name in ("ansible_collections", "ansible_collections.keyferry"):
        package = ModuleType(name)
        package.__path__ = []
        sys.modules[name] = package
    package = ModuleType("ansible_collections.keyferry.azure")
    package.__path__ = [str(COLLECTION)]
    sys.modules[package.__name__] = package


class Arguments(argparse.ArgumentParser):
    """Tells a wrong command line apart from broken evidence."""

    def error(self, message: str) -> t.NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def arguments() -> Arguments:
    """What the command takes."""
    parser = Arguments(
        prog="keyferry_verify.py",
        description="Verify a folder of receipts offline.",
        epilog="Exit codes: 0 whole, 1 incomplete, 2 broken, 3 nothing could be judged.",
    )
    parser.add_argument("receipts", metavar="DIR", help="the folder of receipts")
    parser.add_argument("--trust", metavar="TRUST", required=True, help="the trust folder")
    parser.add_argument(
        "--listing",
        metavar="FILE",
        action="append",
        default=[],
        help="a listing of a token, as playbooks/list.yml writes it; can be repeated",
    )
    parser.add_argument(
        "--vaults",
        metavar="FILE",
        action="append",
        default=[],
        help="an export of vaults (byok_shown); can be repeated",
    )
    parser.add_argument(
        "--head",
        metavar="VAULT=N:SHA256",
        action="append",
        default=[],
        help="the last run manifest of a vault that you know; can be repeated",
    )
    parser.add_argument("--json", metavar="OUT", help="write the whole result to this file")
    parser.add_argument("--html", metavar="OUT", help="write the evidence report to this file")
    return parser


def main() -> int:
    """Verify, print a summary and return the exit code."""
    if sys.version_info < OLDEST:
        print(f"Python {'.'.join(map(str, OLDEST))} or later is needed", file=sys.stderr)
        return FAILED
    options = arguments().parse_args()
    find_collection()
    from ansible_collections.keyferry.azure.plugins.module_utils._audit.report import files_of
    from ansible_collections.keyferry.azure.plugins.module_utils._audit.summary import summary
    from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import as_byok_error
    from ansible_collections.keyferry.azure.plugins.module_utils._host.files import write_private
    from ansible_collections.keyferry.azure.plugins.module_utils._steps.verify import verify

    try:
        verification = verify(
            options.receipts, options.trust, options.listing, options.vaults, options.head
        )
        if options.json:
            text = json.dumps(verification.to_dict(), indent=2)
            Path(options.json).write_text(f"{text}\n", encoding="utf-8")
        if options.html:
            write_private(options.html, files_of(verification)["evidence.html"])
    except OSError as error:
        print(f"{options.json} cannot be written ({error.strerror})", file=sys.stderr)
        return FAILED
    except Exception as error:
        print(as_byok_error(error), file=sys.stderr)
        return FAILED
    print("\n".join(summary(verification)))
    return verification.exit


if __name__ == "__main__":
    sys.exit(main())
