# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two controllers, or two runs of one, that rotate the same key at the same time."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError
from ansible_collections.keyferry.azure.plugins.module_utils._token.cryptoki import (
    CryptokiError,
    Session,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    BOTH,
    BY_ROLE,
    LAB_OPTIONS,
    ROOT,
    Declare,
    Lab,
    Result,
    Vault,
    generations,
    only,
    run,
)


class Controller:
    """Another process, with a lock of its own for the vault: a second host.

    The locks of the token are those of all: processes that make keys in one SoftHSM 2.6.1 at the
    same time now and then get an EC key without its point, or see no token at all. What hosts do to
    each other there, test_generations.py shows.
    """

    def __init__(self, locks: Path, token_locks: list[Path]) -> None:
        for lock in token_locks:
            os.link(lock, locks / lock.name)
        command = [sys.executable, str(Path(__file__).with_name("controller.py"))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / ".collections")}
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.options = {"lock_directory": str(locks)}
        assert self.process.stdout
        assert self.process.stdout.readline() == "ready\n"

    def begin(self, vault: Vault, *keys: Result, **options: Any) -> None:
        """Let it rotate by the vault's driver."""
        assert self.process.stdin
        options = {"vault_url": vault.url, **LAB_OPTIONS, **self.options, **options}
        order = [vault.driver, options, keys, vault.lab.offset]
        print(json.dumps(order), file=self.process.stdin, flush=True)

    def end(self) -> Result:
        """Wait for its result."""
        assert self.process.stdout
        answer: Result = json.loads(self.process.stdout.readline())
        return answer

    def rotate(self, vault: Vault, *keys: Result, **options: Any) -> Result:
        self.begin(vault, *keys, **options)
        return self.end()


@pytest.fixture(scope="module")
def _processes(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Controller]]:
    folders = [tmp_path_factory.mktemp("locks") for _number in range(3)]
    run("byok_target_key", name="any", type="EC", curve="P-256", lock_directory=str(folders[0]))
    controllers = [Controller(folder, list(folders[0].iterdir())) for folder in folders[1:]]
    yield controllers
    for controller in controllers:
        assert controller.process.stdin
        controller.process.stdin.close()
        controller.process.wait(timeout=30)


@pytest.fixture
def controllers(_processes: list[Controller]) -> list[Controller]:
    return _processes


def complaints(result: Result) -> list[str]:
    """What a run says that a person has to hear."""
    if "msg" in result:  # it failed as a whole
        return [result["msg"]]
    return [*result["warnings"], *(each["msg"] for each in result["failures"])]


def see_that_nothing_is_lost(
    vault: Vault, keys: list[Result], before: int, said: dict[str, list[str]]
) -> None:
    """See that each key has one new version, or somebody said why it has more; and that it settles.

    :param before: how many versions and generations there were
    """
    versions, made = vault.inventory(*keys), generations(*keys)
    for declared in keys:
        name = declared["name"]
        there = versions[name]
        assert len(there) > before, (name, said[name])
        assert all(version["ours"] for version in there), name
        assert len(there) == len(made[name]) == before + 1 or said[name], name
    again = vault.rotate(*keys)
    assert (again["failures"], again["changed"]) == ([], False), said
    newest = {name: found[-1]["generation"] for name, found in made.items()}
    assert {
        name: there[0]["generation"] for name, there in vault.inventory(*keys).items()
    } == newest, said


@BOTH
def test_two_controllers_that_rotate_at_the_same_moment(
    lab: Lab, vault: Vault, key: Declare, controllers: list[Controller]
) -> None:
    for _round in range(2):
        # Others than in the round before, in which one may have got a version too many
        keys = [key(every="P30D") for _number in range(2)]
        assert vault.rotate(*keys)["failures"] == []
        lab.forward(days=31)
        before = len(vault.versions(keys[0]))
        for controller in controllers:
            controller.begin(vault, *keys)
        results = [controller.end() for controller in controllers]
        said = {
            declared["name"]: [each for result in results for each in complaints(result)]
            for declared in keys
        }
        see_that_nothing_is_lost(vault, keys, before, said)


#: Where another host does a whole run: before or after which request or call of this one, and which
#: of them in turn
MOMENTS = {
    "before the versions are listed": ("GET {url}/keys/{name}/versions", 0, False),
    "before the generation is made": ("make {name}", 0, False),
    "when it is made": ("make {name}", 0, True),
    "before the KEK is made": ("POST {url}/keys/keyferry-kek-", 0, False),
    "before a last look at the key": ("GET {url}/keys/{name}/", 2, False),
    "before the import": ("PUT {url}/keys/{name}", 0, False),
    "after the import": ("PUT {url}/keys/{name}", 0, True),
}


@BOTH
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_whole_run_of_another_host_in_the_midst_of_one(
    lab: Lab,
    vault: Vault,
    key: Declare,
    controllers: list[Controller],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    from azure.core.pipeline.transport import RequestsTransport

    declared = key(every="P30D")
    only(vault.rotate(declared))
    lab.forward(days=31)
    begins, number, after = MOMENTS[moment]
    begins, seen, results = begins.format(url=vault.url, name=declared["name"]), [], []

    def call(what: str, send: Callable[[], Any]) -> Any:
        if what.startswith(begins):
            seen.append(what)
        now = what.startswith(begins) and len(seen) == number + 1
        if now and not after:
            results.append(controllers[0].rotate(vault, declared))
        answer = send()
        if now and after:
            results.append(controllers[0].rotate(vault, declared))
        return answer

    send, make = RequestsTransport.send, Session.generate_pair

    def send_request(self: Any, request: Any, **options: Any) -> Any:
        return call(f"{request.method} {request.url}", lambda: send(self, request, **options))

    def make_pair(self: Session, mechanism: int, public: Any, *rest: Any) -> Any:
        def make_now() -> Any:
            # SoftHSM 2.6.1 that makes a key misses for good what another process made since its
            # last search.
            self.find("SECRET_KEY", LABEL="none")
            return make(self, mechanism, public, *rest)

        return call(f"make {public.get('LABEL')}", make_now)

    with monkeypatch.context() as patch:
        patch.setattr(RequestsTransport, "send", send_request)
        patch.setattr(Session, "generate_pair", make_pair)
        mine = vault.rotate(declared)
    (theirs,) = results
    versions, made = vault.versions(declared), vault.generations(declared)
    assert [version["ours"] for version in versions] == [True] * len(versions)
    assert versions[0]["generation"] == made[-1]["generation"]
    if len(versions) > 2 or len(made) > 2:
        assert complaints(mine) + complaints(theirs)
    assert len(versions) == (3 if moment == "before the import" else 2)
    assert len(made) <= (3 if moment == "before the generation is made" else 2)
    # What a run says of the key is so.
    for result in (mine, theirs):
        for rotation in result["rotations"]:
            assert rotation["generation"] == versions[0]["generation"]
            assert rotation["thumbprint"] == versions[0]["thumbprint"]
    assert only(vault.rotate(declared))["changed"] is False


def lock_of(vault: Vault, folder: Path) -> Path:
    """The lock file of a vault."""
    (path,) = folder.glob(f"keyferry-byok-vault-https-{vault.host.replace('.', '-')}*.lock")
    return path


def test_a_second_run_on_one_host_waits_for_the_first_and_says_so(
    vault: Vault, key: Declare, tmp_path: Path
) -> None:
    vault.options["lock_directory"] = str(tmp_path)
    declared = key()
    only(vault.rotate(declared))
    with lock_of(vault, tmp_path).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(
            ByokError,
            match=r"Another run holds the lock .*keyferry-byok-vault.*lock_timeout",
        ):
            vault.rotate(declared, lock_timeout=0)
        with pytest.raises(ByokError, match=r"Another run holds the lock .*keyferry-byok-vault"):
            vault.run(
                "byok_import",
                name=declared["name"],
                type="EC",
                curve="P-256",
                state="absent",
                lock_timeout=0,
            )
        only(vault.rotate(declared, check=True, lock_timeout=0))  # which only looks
        end = threading.Timer(1.2, lambda: fcntl.flock(held, fcntl.LOCK_UN))
        end.start()
        result = vault.rotate(declared)
        end.join()
    (warning,) = result["warnings"]
    assert re.fullmatch(
        rf"Another run was at work in the vault {vault.host.partition('.')[0]}; "
        r"this one waited \d seconds for it",
        warning,
    )
    assert vault.rotate(declared)["warnings"] == []


@BY_ROLE
def test_the_role_imports_only_while_no_other_run_holds_the_lock_of_the_vault(
    vault: Vault, key: Declare, tmp_path: Path
) -> None:
    vault.options["lock_directory"] = str(tmp_path)
    only(vault.rotate(key()))
    declared = key()
    with lock_of(vault, tmp_path).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ByokError, match=r"Another run holds the lock .*keyferry-byok-vault"):
            vault.rotate(declared, lock_timeout=0)
    assert (vault.versions(declared), vault.keks()) == ([], [])
    assert only(vault.rotate(declared))["action"] == "transfer"
    assert len(vault.generations(declared)) == 1


@BOTH
def test_a_key_that_another_host_destroys_after_it_was_found_stops_no_listing(
    vault: Vault, key: Declare, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = key()
    only(vault.rotate(declared))
    gone, read = [0x82], Session.read  # CKR_OBJECT_HANDLE_INVALID

    def read_but_once(self: Session, handle: int, *names: str) -> dict[str, Any]:
        if gone:
            raise CryptokiError("C_GetAttributeValue", gone.pop())
        return read(self, handle, *names)

    monkeypatch.setattr(Session, "read", read_but_once)
    assert only(vault.rotate(declared))["changed"] is False
    gone = [0x82] * 100
    with pytest.raises(ByokError, match="CKR_OBJECT_HANDLE_INVALID"):
        vault.rotate(declared)
    assert gone
