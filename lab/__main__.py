# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: python -m lab start | stop | status | env."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.authority import Authority
from lab.environment import enter_lines, leave_line, variables
from lab.federation import Issuer
from lab.folder import Folder, write_private
from lab.proxy import CONTROL
from lab.server import Setup, listen, serve
from lab.service import Options
from lab.tenant import Tenant, open_tenant
from lab.token import Token, TokenError, open_token

_PORT = 18443
_ANSWER_WITHIN = 30.0  # seconds
_STOP_WITHIN = 10.0  # seconds
_VAULTS = {
    "premium": "https://keyferry-lab-premium.vault.azure.net",
    "hsm": "https://keyferry-lab-hsm.managedhsm.azure.net",
}


class LabError(Exception):
    """What went wrong and what to do, in one sentence for the user."""


def main() -> int:
    arguments = _parser().parse_args()
    folder = Folder(Path(arguments.dir))
    try:
        arguments.command(folder, arguments)
    except (LabError, TokenError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lab", description="A token and a local Azure, for demos and tests."
    )
    commands = parser.add_subparsers(required=True)
    for function in (_start, _stop, _status, _env):
        command = commands.add_parser(
            function.__name__[1:], help=function.__doc__, description=function.__doc__
        )
        command.set_defaults(command=function)
        command.add_argument(
            "--dir", default=".lab", help="the lab's folder (default: %(default)s)"
        )
        if function is _start:
            command.add_argument(
                "--port", type=int, default=_PORT, help="0 takes a free one (default: %(default)s)"
            )
            command.add_argument(
                "--tolerate-trailing-zeros",
                action="store_true",
                help="take packages with SoftHSM 2.6.1's zeros",
            )
            command.add_argument("--no-token", action="store_true", help="make no SoftHSM token")
            command.add_argument(
                "--delete-delay",
                type=float,
                default=1.0,
                help="seconds until a vault's deletion shows",
            )
            command.add_argument(
                "--rate-factor",
                type=float,
                default=1.0,
                help="multiplies the documented rate limits",
            )
            command.add_argument(
                "--fresh", action="store_true", help="forget an earlier lab in this folder"
            )
            command.add_argument("--foreground", action="store_true", help="stay, until Ctrl-C")
        if function is _env:
            command.add_argument(
                "--unset", action="store_true", help="the line that leaves the lab"
            )
            command.add_argument(
                "--json",
                action="store_true",
                help="an object, with AZURE_SECRET_FILE for the secret",
            )
    return parser


def _start(folder: Folder, arguments: argparse.Namespace) -> None:
    """Start the lab; an earlier one's CA, token and keys are kept."""
    folder.make()
    lock = folder.lock()
    if lock is None:
        raise LabError(
            f"it runs already in {folder.path}: stop it, or choose another folder with --dir."
        )
    if arguments.fresh:
        _empty(folder)
    token = None if arguments.no_token else open_token(folder)
    listener = _listen(arguments.port)
    authority = Authority(folder)
    tenant = open_tenant(folder, authority)
    issuer = Issuer(folder, tenant)
    issuer.write_tokens()
    options = Options(
        arguments.tolerate_trailing_zeros, arguments.delete_delay, arguments.rate_factor
    )
    state = {
        **_state(listener.getsockname()[1], folder, tenant, issuer, token),
        "tolerates_trailing_zeros": arguments.tolerate_trailing_zeros,
    }
    in_background = not arguments.foreground
    if in_background and os.fork():
        listener.close()
        os.close(lock)
        _await_answer(folder, state)
        print(
            f"The lab runs in {folder.path}, proxy {state['proxy']}.\nTo enter it: {_enter(folder)}"
        )
        return
    if in_background:
        _detach(folder)
    write_private(folder.state, json.dumps(state | {"pid": os.getpid()}, indent=2))
    setup = Setup(folder, authority, tenant, issuer, state["control"]["key"], options)
    try:
        asyncio.run(serve(listener, setup))
    except KeyboardInterrupt:
        pass
    finally:
        folder.state.unlink(missing_ok=True)


def _stop(folder: Folder, arguments: argparse.Namespace) -> None:
    """Stop the lab; its folder is kept."""
    pid = _running(folder)["pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_WITHIN
    while (lock := folder.lock()) is None:
        if time.monotonic() > deadline:
            raise LabError(f"process {pid} does not end: look into {folder.log}.")
        time.sleep(0.02)
    os.close(lock)
    print("The lab has stopped.")


def _status(folder: Folder, arguments: argparse.Namespace) -> None:
    """Tell whether the lab runs, and where."""
    lab = _running(folder)
    print(f"The lab runs in {folder.path} as process {lab['pid']}, proxy {lab['proxy']}.")
    for url in lab["vaults"].values():
        print(f"  {url}")
    print(f"To enter it: {_enter(folder)}")


def _env(folder: Folder, arguments: argparse.Namespace) -> None:
    """Print the shell lines that enter or leave the lab."""
    if arguments.unset:
        print(leave_line())
    elif arguments.json:
        print(json.dumps(variables(_running(folder)), indent=2))
    else:
        print("\n".join(enter_lines(_running(folder))))


def _enter(folder: Folder) -> str:
    return f'eval "$(python -m lab env --dir {folder.path})"'


def _running(folder: Folder) -> dict[str, Any]:
    """Return lab.json of the lab that runs in a folder."""
    if folder.state.exists():
        lock = folder.lock()
        if lock is None:
            lab: dict[str, Any] = json.loads(folder.state.read_text())
            return lab
        os.close(lock)  # that lab was killed
    raise LabError(
        f"no lab runs in {folder.path}: start it with python -m lab start --dir {folder.path}."
    )


def _empty(folder: Folder) -> None:
    """Remove what an earlier lab left, but for the lock that is held."""
    if not folder.ca.exists() and os.listdir(folder.path) != ["lab.lock"]:
        raise LabError(
            f"{folder.path} is no lab's folder: empty it yourself, or choose another with --dir."
        )
    for path in folder.path.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lab.lock":
            path.unlink()


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except (OSError, OverflowError) as error:
        raise LabError(
            f"port {port} cannot be used ({error}): choose another, or --port 0 for any."
        ) from None


def _state(
    port: int, folder: Folder, tenant: Tenant, issuer: Issuer, token: Token | None
) -> dict[str, Any]:
    proxy = f"http://127.0.0.1:{port}"
    return {
        "port": port,
        "proxy": proxy,
        "ca": str(folder.ca),
        "control": {"url": proxy + CONTROL, "key": secrets.token_urlsafe(30)},
        "tenant": tenant.id,
        "clients": {
            client.name: {
                "client_id": client.client_id,
                "secret_file": str(client.secret_file),
                "certificate_file": str(client.certificate_file),
                "federated_token_file": str(client.federated_token_file),
            }
            for client in tenant.clients
        },
        "token": asdict(token) if token else None,
        "vaults": _VAULTS,
    }


def _detach(folder: Folder) -> None:
    """Leave the terminal that started the lab."""
    os.setsid()
    for path, descriptors in {Path(os.devnull): (0,), folder.log: (1, 2)}.items():
        opened = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o600)
        for descriptor in descriptors:
            os.dup2(opened, descriptor)


def _await_answer(folder: Folder, state: dict[str, Any]) -> None:
    """Wait for the first answer: the port listens already, so one request is enough."""
    request = urllib.request.Request(
        f"{state['control']['url']}/requests",
        headers={"Authorization": f"Bearer {state['control']['key']}"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        direct.open(request, timeout=_ANSWER_WITHIN).close()
    except (urllib.error.URLError, OSError) as error:
        raise LabError(f"it does not answer ({error}): look into {folder.log}.") from None


if __name__ == "__main__":
    sys.exit(main())
