# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m lab, and what a lab leaves in its folder."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.keyvault.keys import KeyClient
from conftest import Lab, Vault, run_lab

from lab import token
from lab.environment import enter_lines
from lab.folder import Folder
from lab.material import generate
from lab.store import Name, Properties, Store, Version


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lab folder"
    run_lab("stop", "--dir", str(tmp_path / "lab folder"))


def start(folder: Path, *options: str) -> dict[str, object]:
    started = run_lab("start", "--dir", str(folder), "--port", "0", "--no-token", *options)
    assert started.returncode == 0, started.stderr
    facts: dict[str, object] = json.loads((folder / "lab.json").read_text())
    return facts


def failure(*arguments: str) -> str:
    """Run a command that fails, and return its one sentence."""
    run = run_lab(*arguments)
    assert run.returncode == 1
    assert run.stderr.startswith("lab: ")
    assert run.stderr.count("\n") == 1
    return run.stderr


def test_start_status_stop(folder: Path) -> None:
    facts = start(folder)
    assert str(facts["proxy"]) in run_lab("status", "--dir", str(folder)).stdout
    assert "runs already" in failure("start", "--dir", str(folder), "--port", "0")
    assert run_lab("stop", "--dir", str(folder)).returncode == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(str(facts["port"]))))
    assert not (folder / "lab.json").exists()
    for command in ("stop", "env"):
        assert "no lab runs in" in failure(command, "--dir", str(folder))


def test_restart_keeps_and_fresh_forgets(folder: Path) -> None:
    kept = ("ca.pem", "tenant.json", "entra.pem", "issuer.pem")
    start(folder)
    first = [(folder / name).read_text() for name in kept]
    run_lab("stop", "--dir", str(folder))
    start(folder)
    assert [(folder / name).read_text() for name in kept] == first
    run_lab("stop", "--dir", str(folder))
    start(folder, "--fresh")
    assert not {(folder / name).read_text() for name in kept} & set(first)


def test_keys_survive_a_restart(tmp_path: Path) -> None:
    version = Version(
        "0" * 32, "EC-HSM", generate("EC", 0, "P-256"), ["sign"], True, None, 7, 1, 2, {"a": "b"}
    )
    for number in range(2):
        store = Store(tmp_path / "vaults.sqlite")
        if not number:
            store.set_properties("host", Properties(retention_days=7))
            store.add("host", "Name", version)
            store.change("host", "name", "deleted", 3.5)
        assert store.properties("host") == Properties(retention_days=7)
        assert list(store.versions("host", "NAME")) == [version]
        assert store.names("host") == [Name("Name", "deleted", 3.5)]
        store.close()


def test_fresh_spares_what_is_no_lab(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "no lab's folder" in failure("start", "--dir", str(tmp_path), "--fresh")
    assert (tmp_path / "thesis.txt").exists()


def test_taken_port(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        for bad in (port, "65536"):
            assert f"port {bad} cannot be used" in failure(
                "start", "--dir", str(folder), "--port", bad, "--no-token"
            )


def test_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Not a directory" in failure(
        "start", "--dir", str(tmp_path / "file" / "lab"), "--no-token"
    )


def test_missing_softhsm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token, "_LIBRARIES", ())
    with pytest.raises(token.TokenError, match="apt-get install softhsm2"):
        token.open_token(Folder(tmp_path))


def shell(script: str) -> str:
    clean = {"PATH": os.environ["PATH"]}
    return subprocess.run(
        ["sh", "-ec", script], env=clean, text=True, capture_output=True, check=True
    ).stdout


def test_environment_enters_and_leaves(lab: Lab) -> None:
    enter = run_lab("env", "--dir", str(lab.folder)).stdout
    leave = run_lab("env", "--unset").stdout
    assert enter.splitlines()[0] == '# To leave the lab: eval "$(python -m lab env --unset)"'
    inside = dict(line.split("=", 1) for line in shell(f"{enter}\nenv").splitlines())
    operator = lab.facts["clients"]["operator"]
    assert inside["AZURE_SECRET"] == Path(operator["secret_file"]).read_text()
    assert inside["HTTPS_PROXY"] == inside["https_proxy"] == lab.facts["proxy"]
    assert inside["NO_PROXY"] == inside["no_proxy"] == ""
    assert inside["REQUESTS_CA_BUNDLE"] == lab.facts["ca"]
    assert inside["BYOK_PIN_FILE"] == lab.facts["token"]["pin_file"]
    added = set(inside) - {line.split("=", 1)[0] for line in shell("env").splitlines()}
    for_people = {"ANSIBLE_COLLECTIONS_PATH", "BYOK_ALLOW_TRAILING_ZEROS"}
    assert added | for_people == set(shlex.split(leave)[1:])
    assert shell(f"{enter}\n{leave}\nenv") == shell("env")
    assert json.loads(run_lab("env", "--dir", str(lab.folder), "--json").stdout) == {
        **{
            name: value
            for name, value in inside.items()
            if name in added - for_people - {"AZURE_SECRET"}
        },
        "AZURE_SECRET_FILE": operator["secret_file"],
    }


def test_the_collection_of_the_clone_is_found_from_any_folder(lab: Lab) -> None:
    enter = run_lab("env", "--dir", str(lab.folder)).stdout
    show = 'echo "$ANSIBLE_COLLECTIONS_PATH"'
    first, *others = shell(f"HOME=/h\n{enter}\n{show}").strip().split(":")
    galaxy = Path(first, "ansible_collections/keyferry/azure/galaxy.yml")
    assert "name: azure" in galaxy.read_text()
    assert others == ["/h/.ansible/collections", "/usr/share/ansible/collections"]
    own = shell(f"export ANSIBLE_COLLECTIONS_PATH=/own\n{enter}\n{show}").strip()
    assert own == f"{first}:/own"


@pytest.mark.parametrize("tolerates", [True, False])
def test_a_lab_that_takes_trailing_zeros_has_them_allowed(lab: Lab, tolerates: bool) -> None:
    lines = enter_lines({**lab.facts, "tolerates_trailing_zeros": tolerates})
    assert ("export BYOK_ALLOW_TRAILING_ZEROS=true" in lines) == tolerates


def secrets_of(lab: Lab) -> list[str]:
    of_clients = [
        each[kind]
        for each in lab.facts["clients"].values()
        for kind in ("secret_file", "federated_token_file")
    ]
    files = [lab.facts["token"]["pin_file"], *of_clients]
    return [*(Path(file).read_text() for file in files), lab.facts["control"]["key"]]


def test_everything_is_private(lab: Lab) -> None:
    for path in [lab.folder, *lab.folder.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_secret_is_shown(lab: Lab, vault: Vault) -> None:
    KeyClient(vault.url, lab.credential()).create_ec_key("name")
    token_shown = lab.credential().get_token("https://vault.azure.net/.default").token
    shown = [
        (lab.folder / "lab.log").read_text(),
        run_lab("env", "--dir", str(lab.folder)).stdout,
        run_lab("env", "--dir", str(lab.folder), "--json").stdout,
        run_lab("status", "--dir", str(lab.folder)).stdout,
    ]
    assert f"POST {vault.host}/keys/name/create 200" in shown[0]
    for secret in [*secrets_of(lab), token_shown, "Bearer"]:
        assert not any(secret in text for text in shown)


def test_token_of_the_lab(lab: Lab) -> None:
    facts = lab.facts["token"]
    environment = os.environ | {"SOFTHSM2_CONF": facts["softhsm2_conf"]}
    slots = subprocess.run(
        ["softhsm2-util", "--show-slots"],
        env=environment,
        text=True,
        capture_output=True,
        check=True,
    )
    assert facts["serial"] in slots.stdout
    assert facts["label"] in slots.stdout
