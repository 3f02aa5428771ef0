# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs as AWX runs them: the project of the example, ansible-runner as the engine.

Credentials are injected, surveys answered and extra variables written as AWX does.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml
from ansible_collections.keyferry.azure.tests.awx.conftest import ROOT, Lab, program
from jinja2.sandbox import ImmutableSandboxedEnvironment

Inventory = dict[str, dict[str, Any]]
#: Credentials of a job, by the folder that their files have for it
Credentials = Callable[[Path], "Injection"]


class _Data(yaml.SafeLoader):
    """Reads the data of playbooks/awx.yml without Ansible."""


_Data.add_constructor(
    "!unsafe", lambda loader, node: str(loader.construct_scalar(cast("yaml.ScalarNode", node)))
)


def _data(name: str) -> list[dict[str, Any]]:
    """A list of playbooks/vars/awx, which is in the file of its name."""
    data = yaml.load((ROOT / f"playbooks/vars/awx/{name}.yml").read_text(), _Data)
    (items,) = (data[variable] for variable in data if variable.startswith("controller_"))
    return list(items)


def credential_types() -> dict[str, dict[str, Any]]:
    """The credential types that playbooks/awx.yml makes, by name."""
    return {kind["name"]: kind for kind in _data("credential_types")}


def templates() -> dict[str, dict[str, Any]]:
    """The job templates that playbooks/awx.yml makes, by their playbooks."""
    return {template["playbook"]: template for template in _data("job_templates")}


def survey_defaults(template: dict[str, Any]) -> dict[str, Any]:
    """What AWX answers for a person who answers nothing.

    An empty text is an answer. The default of a question with choices is one if it is a choice.
    """
    return {
        question["variable"]: question["default"]
        for question in template.get("survey_spec", {}).get("spec", [])
        if question["default"] in question.get("choices", [question["default"]])
    }


class _SafeStringDumper(yaml.SafeDumper):
    """As AWX marks texts of people: each of them ``!unsafe``, also the names of variables."""

    def represent_data(self, data: Any) -> yaml.Node:
        if isinstance(data, str):
            return self.represent_scalar("!unsafe", data)
        return super().represent_data(data)


def extra_variables(given: dict[str, Any], trusted: dict[str, Any]) -> str:
    """The file of extra variables, as AWX writes it.

    :param given: by whoever starts a job
    :param trusted: those of the template, which are code
    """
    texts = [yaml.dump({name: value}, Dumper=_SafeStringDumper) for name, value in given.items()]
    return "".join([*texts, yaml.safe_dump(trusted) if trusted else ""])


@dataclass
class Injection:
    """What credentials put into a job: environment variables, and files by their names in env/."""

    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: Injection) -> Injection:
        return Injection(self.env | other.env, self.files | other.files)


def injected(name: str, folder: Path, **inputs: str) -> Injection:
    """What AWX makes of a custom credential: sandboxed templates, files in ``folder``.

    What was not filled in has its default.
    """
    kind = credential_types()[name]
    defaults = {each["id"]: each.get("default", "") for each in kind["inputs"]["fields"]}
    assert set(kind["inputs"]["required"]) <= set(inputs) <= set(defaults)
    jinja, values = ImmutableSandboxedEnvironment(), {**defaults, **inputs}
    templates = {
        each.removeprefix("template."): text
        for each, text in kind["injectors"].get("file", {}).items()
    }
    files = {
        f"tmp_{each}": jinja.from_string(text).render(values) for each, text in templates.items()
    }
    tower = {"filename": {each: str(folder / f"tmp_{each}") for each in templates}}
    env = {
        each: jinja.from_string(text).render(values, tower=tower)
        for each, text in kind["injectors"]["env"].items()
    }
    return Injection(env, files)


def azure(lab: Lab) -> dict[str, Credentials]:
    """Each way in which AWX can give a job its Azure credential."""
    client, tenant = lab.operator["client_id"], lab.facts["tenant"]
    secret = Path(lab.operator["secret_file"]).read_text()
    built_in = {
        "AZURE_CLIENT_ID": client,
        "AZURE_TENANT": tenant,
        "AZURE_SECRET": secret,
        "AZURE_SUBSCRIPTION_ID": "00000000-0000-0000-0000-000000000000",
        "AZURE_CLOUD_ENVIRONMENT": "AzureCloud",
    }

    def custom(kind: str, **inputs: str) -> Credentials:
        return lambda folder: injected(
            f"Keyferry Azure {kind}", folder, client=client, tenant=tenant, **inputs
        )

    return {
        "built in": lambda folder: Injection(built_in),
        "secret": custom("secret", secret=secret),
        "certificate": custom(
            "certificate", certificate=Path(lab.operator["certificate_file"]).read_text()
        ),
        "workload identity": custom(
            "workload identity", token_file=lab.operator["federated_token_file"]
        ),
    }


def credentials(lab: Lab, azure_credential: Credentials) -> Credentials:
    """The credential of the lab's token, one for Azure, and what node and image bring."""
    token = lab.facts["token"]
    inputs = {
        "pin": Path(token["pin_file"]).read_text(),
        "pkcs11_library": token["library"],
        "token_label": token["label"],
    }
    node = Injection({**lab.environment, "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")})
    return lambda folder: (
        node | injected("Keyferry HSM", folder, **inputs) | azure_credential(folder)
    )


def vault(name: str, keys: list[dict[str, Any]]) -> dict[str, Any]:
    """The variables of a host."""
    return {
        "byok_vault_url": f"https://keyferry-lab-{name}.vault.azure.net",
        "byok_keys": keys,
        "byok_kek_size": 2048,
        "byok_allow_trailing_zeros": True,
    }


@dataclass
class Outcome:
    """What AWX knows of a job that has ended."""

    events: list[dict[str, Any]]
    status: str
    stdout: str

    @property
    def artifacts(self) -> dict[str, Any]:
        (stats,) = (
            event["event_data"] for event in self.events if event["event"] == "playbook_on_stats"
        )
        return dict(stats["artifact_data"])

    @property
    def changed(self) -> dict[str, int]:
        (stats,) = (
            event["event_data"] for event in self.events if event["event"] == "playbook_on_stats"
        )
        return dict(stats["changed"])


class Job:
    """A job of AWX on an execution node: transmitted, worked on in a folder of its own, processed.

    The folder is /runner in a container. What ``extra`` does not answer has its default.
    """

    def __init__(
        self,
        base: Path,
        number: int,
        playbook: str,
        hosts: Inventory,
        credentials: Credentials,
        **extra: object,
    ) -> None:
        self.base, self.number, self.playbook = base / str(number), number, playbook
        data, self.runner = self.base / "transmitted", self.base / "runner"
        injection = credentials(self.runner / "env")
        shutil.copytree(ROOT / "examples/awx/project", data / "project")
        (data / "env").mkdir()
        (data / "inventory").mkdir()
        inventory = json.dumps({"all": {"hosts": list(hosts)}, "_meta": {"hostvars": hosts}})
        script = data / "inventory/hosts"
        script.write_text(f"#!/bin/sh\ncat << 'END'\n{inventory}\nEND\n")
        script.chmod(0o700)
        template = templates()[playbook]
        answers = {**survey_defaults(template), **extra}
        (data / "env/extravars").write_text(
            extra_variables({"awx_job_id": number, **answers}, template.get("extra_vars", {}))
        )
        (data / "env/envvars").write_text(json.dumps(injection.env))
        for name, content in injection.files.items():
            (data / "env" / name).write_text(content)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker; of this process's environment it knows where programs and homes are."""
        sent = self.base / "sent"
        with sent.open("wb") as stream:
            command = [
                program("ansible-runner"),
                "transmit",
                str(self.base / "transmitted"),
                "--playbook",
                self.playbook,
            ]
            subprocess.run(
                [*command, "--ident", str(self.number), *options], stdout=stream, check=True
            )
        environment = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HOME": os.environ["HOME"],
            "LC_ALL": "C.UTF-8",
        }
        with sent.open("rb") as stream, (self.base / "received").open("wb") as received:
            command = [program("ansible-runner"), "worker", "--private-data-dir", str(self.runner)]
            return subprocess.Popen(command, stdin=stream, stdout=received, env=environment)

    def process(self) -> Outcome:
        """Process what the worker sent."""
        folder = self.base / "processed"
        with (self.base / "received").open("rb") as stream:
            subprocess.run(
                [program("ansible-runner"), "process", str(folder)],
                stdin=stream,
                capture_output=True,
                check=False,
            )
        artifacts = folder / "artifacts"
        events = sorted(
            (artifacts / "job_events").glob("*.json"), key=lambda path: int(path.name.split("-")[0])
        )
        return Outcome(
            [json.loads(event.read_text()) for event in events],
            (artifacts / "status").read_text(),
            (artifacts / "stdout").read_text(),
        )

    def run(self, *options: str) -> Outcome:
        """Run it to its end."""
        self.start(*options).wait(300)
        return self.process()


def imported(config: Path) -> Inventory:
    """What AWX imports of an inventory: what ansible-inventory exports."""
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections"),
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    }
    command = [program("ansible-inventory"), "--inventory", str(config), "--list", "--export"]
    return dict(
        json.loads(subprocess.check_output(command, env=environment, text=True))["_meta"][
            "hostvars"
        ]
    )


def slices(hosts: Inventory, count: int) -> list[Inventory]:
    """The hosts of each slice, as AWX deals them out."""
    names = sorted(hosts)
    return [{name: hosts[name] for name in names[first::count]} for first in range(count)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with all that it started, as a node that dies does.

    First they are stopped, so that none starts another.
    """
    dying: set[int] = set()
    while starting := _family(process.pid) - dying:
        for each in starting:
            os.kill(each, signal.SIGSTOP)
        dying |= starting
    for each in dying:
        os.kill(each, signal.SIGKILL)
    process.wait(30)


def _family(ancestor: int) -> set[int]:
    """A process and its descendants, whatever their sessions."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            number, rest = status.read_text().split(" ", 1)
            parents[int(number)] = int(rest.rpartition(")")[2].split()[1])
    family = {ancestor}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    return family
