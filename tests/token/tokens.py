# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokens without hardware, as the modules' token options.

There are SoftHSM, NSS, and stand-ins for Luna and Futurex in front of them.

    python tokens.py luna-over-nss DIR --set STAND_IN_FIPS=1

prints such options as JSON. A directory that holds the token already is used as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Options = dict[str, Any]

SOURCE = Path(__file__).with_name("stand_in.c")
NSS_LABEL = "NSS Certificate DB"
_SOFTHSM = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
)
_NSS = (
    "/usr/lib/x86_64-linux-gnu/libsoftokn3.so",
    "/usr/lib/aarch64-linux-gnu/libsoftokn3.so",
    "/usr/lib64/libsoftokn3.so",
)
_OPENCRYPTOKI = (
    "/usr/lib/x86_64-linux-gnu/pkcs11/libopencryptoki.so",
    "/usr/lib/aarch64-linux-gnu/pkcs11/libopencryptoki.so",
    "/usr/lib64/pkcs11/libopencryptoki.so",
)
_SETTINGS = {
    "plain": {
        "trace",
        "faults",
        "run",
        "own_lists",
        "pin",
        "label",
        "firmware",
        "protected",
        "changes",
        "sizes",
    },
    "futurex": {
        "trace",
        "faults",
        "run",
        "pin",
        "label",
        "firmware",
        "kwp",
        "one_shot",
        "token_key",
    },
    "luna": {
        "trace",
        "faults",
        "run",
        "pin",
        "label",
        "firmware",
        "kwp",
        "fips",
        "null_iv",
        "policies",
        "old_policies",
        "no_policies",
        "private_only",
    },
}


def build_stand_in(directory: Path) -> Path:
    """Compile the stand-in into a directory, unless it is there and up to date.

    Returns the library.
    """
    library = directory / "stand_in.so"
    if not library.exists() or library.stat().st_mtime < SOURCE.stat().st_mtime:
        # Renamed when complete: another process may load the library.
        made = directory / f"stand_in.{os.getpid()}.so"
        options = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        _run("gcc", *options, "-o", made, SOURCE, "-ldl")
        made.rename(library)
    return library


def softhsm(
    directory: Path,
    label: str = "byok",
    pin: str = "1234",
    libraries: tuple[str, ...] = _SOFTHSM,
    tool: str = "softhsm2-util",
) -> Options:
    """Make a SoftHSM token; returns its options."""
    options = _options(directory, libraries, label, pin)
    configuration, tokens = directory / "softhsm2.conf", directory / "tokens"
    options["library_environment"] = {"SOFTHSM2_CONF": str(configuration)}
    if not tokens.exists():
        tokens.mkdir()
        configuration.write_text(
            f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        command = ["--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", pin]
        _run(tool, *command, environment=options["library_environment"])
    return options


def nss(directory: Path, pin: str = "1234") -> Options:
    """Make an NSS token, which wraps byte for byte as RFC 5649 says (by 0x210B).

    Returns its options.
    """
    options = _options(directory, _NSS, NSS_LABEL, pin)
    database = directory / "nss"
    options["library_parameters"] = (
        f"configdir='sql:{database}' certPrefix='' keyPrefix='' secmod='' flags="
    )
    if not database.exists():
        database.mkdir()
        _run("certutil", "-N", "-d", f"sql:{database}", "-f", options["pin_file"])
    return options


class Unavailable(Exception):
    """A token that is not to be had here, and why: tests of it are not run."""


def softhsm_2_7(directory: Path, label: str = "byok", pin: str = "1234") -> Options:
    """Make a token of SoftHSM 2.7 or later, whose RFC 5649 is right; returns its options.

    It is the installed one, or one below the folder that KEYFERRY_SOFTHSM names.
    """
    prefix = os.environ.get("KEYFERRY_SOFTHSM")
    libraries: tuple[str, ...] = _SOFTHSM
    tool = "softhsm2-util"
    if prefix:
        libraries = (f"{prefix}/lib/softhsm/libsofthsm2.so",)
        tool = f"{prefix}/bin/softhsm2-util"
    version = _run(tool, "--version").strip()
    if tuple(map(int, version.split(".")[:2])) < (2, 7):
        raise Unavailable(
            f"SoftHSM 2.7: {version} is installed, and KEYFERRY_SOFTHSM names no folder of another"
        )
    return softhsm(directory, label, pin, libraries, tool)


def opencryptoki(directory: Path) -> Options:
    """Return the options of openCryptoki's software token, which is one per machine.

    It is initialised if it holds nothing, and its daemon is started.
    """
    label, pin = "keyferry-test", "90817263"
    if not any(Path(path).exists() for path in _OPENCRYPTOKI):
        raise Unavailable("openCryptoki: not installed")
    if os.geteuid() != 0:
        raise Unavailable("openCryptoki: its daemon is for root to start")
    options = _options(directory, _OPENCRYPTOKI, label, pin)
    with contextlib.suppress(RuntimeError):  # where it runs already
        _run("pkcsslotd")
    script = Path(__file__).with_name("init_opencryptoki.py")
    told = json.loads(_run(sys.executable, script, options["pkcs11_library"], label, pin))
    major, minor = told["version"]
    if (major, minor) < (3, 23):  # 3.8 has neither EC keys nor an AES key wrap
        raise Unavailable(f"openCryptoki 3.23: {major}.{minor} is installed")
    if told["label"] != label:
        raise Unavailable(f"openCryptoki: somebody uses its software token ({told['label']})")
    return options | {"token_slot": told["slot"]}


def luna(base: Options, library: Path | None = None, **settings: object) -> Options:
    """Put a stand-in for a Thales Luna in front of a token.

    :param base: what softhsm() or nss() returned
    :param library: what build_stand_in() returned; otherwise it is built beside the token
    :param settings: the variables of stand_in.c without STAND_IN_ and in lower case:
        ``fips=1, policies="1=0"``
    """
    return _in_front(base, library, "luna", {"label": "byok", "kwp": _kwp(base), **settings})


def futurex(base: Options, library: Path | None = None, **settings: object) -> Options:
    """Put a stand-in for a Futurex HSM in front of a token; parameters as luna()."""
    options = _in_front(base, library, "futurex", {"label": "byok", "kwp": _kwp(base), **settings})
    configuration = Path(base["lock_directory"], "fxpkcs11.cfg")
    configuration.touch()
    options["library_environment"]["FXPKCS11_CFG"] = str(configuration)
    return options


def plain(base: Options, library: Path | None = None, **settings: object) -> Options:
    """Put a stand-in that only traces and fails on demand in front of a SoftHSM token.

    The parameters are those of luna().
    """
    if "library_parameters" in base:
        raise ValueError("plain passes no pReserved, which NSS needs: use softhsm()")
    return _in_front(base, library, "plain", settings)


def _in_front(
    base: Options, library: Path | None, shape: str, settings: dict[str, object]
) -> Options:
    if unknown := settings.keys() - _SETTINGS[shape]:
        raise ValueError(f"{shape} has no setting {', '.join(sorted(unknown))}")
    library = library or build_stand_in(Path(base["lock_directory"]))
    environment = {"STAND_IN_SHAPE": shape, "STAND_IN_MODULE": base["pkcs11_library"]}
    environment |= {f"STAND_IN_{name.upper()}": str(value) for name, value in settings.items()}
    options = dict(base)
    if parameters := options.pop("library_parameters", None):
        environment["STAND_IN_RESERVED"] = parameters
    options["library_environment"] = base["library_environment"] | environment
    options["pkcs11_library"] = str(library)
    options["token_label"] = environment.get("STAND_IN_LABEL", base["token_label"])
    return options


def _kwp(base: Options) -> str:
    """What the library behind calls RFC 5649."""
    return "0x210b" if "library_parameters" in base else "0x210a"


def _options(directory: Path, libraries: tuple[str, ...], label: str, pin: str) -> Options:
    """Return the token options of the first of the libraries that is installed."""
    library = next((path for path in libraries if Path(path).exists()), None)
    if library is None:
        raise RuntimeError(
            f"none of {', '.join(libraries)} is installed (Debian: softhsm2, libnss3)"
        )
    pin_file = directory / "pin"
    pin_file.write_text(pin)
    pin_file.chmod(0o600)
    return {
        "pkcs11_library": library,
        "token_label": label,
        "pin_file": str(pin_file),
        "library_environment": {},
        "lock_directory": str(directory),
    }


def _run(program: str, *arguments: object, environment: dict[str, str] | None = None) -> str:
    """Run a program, and return what it says; raises RuntimeError where it is missing or fails."""
    command = [program, *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            env=os.environ | (environment or {}),
            text=True,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise RuntimeError(
            f"{program} is not installed (Debian: gcc, softhsm2, libnss3-tools)"
        ) from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Print the options of the token that the command line names."""
    bases: dict[str, Callable[[Path], Options]] = {"softhsm": softhsm, "nss": nss}
    shapes: dict[str, Callable[..., Options]] = {"luna": luna, "futurex": futurex, "plain": plain}
    fronts = [f"{shape}-over-{base}" for shape, base in itertools.product(shapes, bases)]
    kinds = [*bases, *(front for front in fronts if front != "plain-over-nss")]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "--set", action="append", default=[], metavar="STAND_IN_NAME=VALUE", dest="settings"
    )
    arguments = parser.parse_args()
    directory = arguments.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    shape, _over, base = arguments.kind.rpartition("-over-")
    options = bases[base](directory)
    if shape:
        try:
            settings = {}
            for setting in arguments.settings:
                name, value = setting.removeprefix("STAND_IN_").split("=", 1)
                settings[name.lower()] = value
            options = shapes[shape](options, **settings)
        except ValueError as error:
            parser.error(str(error))
    elif arguments.settings:
        parser.error("--set is for a stand-in")
    print(json.dumps(options, indent=2))


if __name__ == "__main__":
    main()
