# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live with a repository like examples/gitops.

KEKs that wait for approval, pull requests of all kinds, drift, ansible-pull.

argv: lab.json, the example, and a folder for repositories. Only fleet.byok.yml is adapted, as its
readers have to.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from azure.identity import WorkloadIdentityCredential
from azure.keyvault.keys import KeyClient

LAB: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
LISTING = "{label}-{serial}.json".format(**LAB["token"])
EXAMPLE, WORK = Path(sys.argv[2]), Path(sys.argv[3])
ORIGIN, MAIN, RUNNER, PULLED = (WORK / name for name in ("origin.git", "main", "runner", "pulled"))
VAULTS = {name: f"https://keyferry-lab-{name}.vault.azure.net" for name in ("pay-weu", "pay-neu")}

# Out of sight of ansible-test's own settings, as ansible.cfg of the repository has to count
BASE = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("ANSIBLE_", "AZURE_", "BYOK_", "SOFTHSM2_"))
    or name == "ANSIBLE_COLLECTIONS_PATH"
} | {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "GIT_CONFIG_GLOBAL": os.devnull,
    **{
        f"GIT_{who}_{what}": f"{who}@example.com"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    },
    "AZURE_TENANT": LAB["tenant"],
    "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
}


def federated(client: str) -> dict[str, str]:
    """The environment of a job that is a client by its OIDC token: no secret anywhere."""
    who = LAB["clients"][client]
    return BASE | {
        "AZURE_CLIENT_ID": who["client_id"],
        "AZURE_FEDERATED_TOKEN_FILE": who["federated_token_file"],
    }


PLANNER = federated("reader")  # neither token nor PIN
TRUSTED = federated("operator") | {
    "SOFTHSM2_CONF": LAB["token"]["softhsm2_conf"],
    "BYOK_PIN_FILE": LAB["token"]["pin_file"],
}


def run(*command: str | Path, cwd: Path = MAIN, env: dict[str, str] = BASE, code: int = 0) -> str:
    """Run a command and return what it says."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code, (
        f"{command} returned {done.returncode} and not {code}:\n{done.stdout}"
    )
    return done.stdout


def commit(message: str, files: dict[str, str], branch: str = "main") -> None:
    """Commit files to a branch of the origin, and come back to main."""
    run("git", "checkout", "-q", "-B", branch)
    for name, content in files.items():
        (MAIN / name).parent.mkdir(parents=True, exist_ok=True)
        (MAIN / name).write_text(content)
    run("git", "add", "--all")
    run("git", "commit", "-q", "-m", message)
    run("git", "push", "-q", "--force", "origin", branch)
    run("git", "checkout", "-q", "main")


def plan(pull_request: str | None, code: int) -> tuple[str, str]:
    """Plan as a job does.

    What is checked out is main, and of a pull request the commit is known. Returns log and plan.md.
    """
    # As GitLab's runner does with GIT_DEPTH 0 before the job's own lines
    run(
        "git",
        "fetch",
        "-q",
        "origin",
        "+refs/heads/*:refs/remotes/origin/*",
        "+refs/tags/*:refs/tags/*",
        cwd=RUNNER,
    )
    for line in yaml.safe_load((EXAMPLE / ".gitlab-ci.yml").read_text())[".main"]:
        run("sh", "-c", line, cwd=RUNNER, env=BASE | {"CI_DEFAULT_BRANCH": "main"})
    request = (
        [run("git", "rev-parse", f"refs/remotes/origin/{pull_request}", cwd=RUNNER).strip()]
        if pull_request
        else []
    )
    log = run("ci/plan.sh", *request, cwd=RUNNER, env=PLANNER, code=code)
    assert (RUNNER / "plan.json").exists() == (code != 1), log
    assert "##" not in log, log  # nor ::, both could be commands to the service
    assert "::" not in log, log
    text, main = (RUNNER / "plan.md").read_text(), run("git", "rev-parse", "main").strip()
    assert text.startswith(f"For {(request or [main])[0]}, merged into {main}.\n\n"), text
    return log, text


def client(vault: str) -> KeyClient:
    who = LAB["clients"]["operator"]
    credential = WorkloadIdentityCredential(
        tenant_id=LAB["tenant"],
        client_id=who["client_id"],
        token_file_path=who["federated_token_file"],
    )
    return KeyClient(VAULTS[vault], credential)


def names(vault: str) -> set[str]:
    return {key.name for key in client(vault).list_properties_of_keys() if key.name}


def control(method: str, body: dict[str, Any] | None = None) -> None:
    request = urllib.request.Request(
        f"{LAB['control']['url']}/faults",
        json.dumps(body).encode() if body else None,
        {"Authorization": f"Bearer {LAB['control']['key']}", "Content-Type": "application/json"},
        method=method,
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()


def fleet(keks: dict[str, dict[str, Any]]) -> str:
    """fleet.byok.yml for the lab: other vaults, token and KEKs; all else as it is."""
    document = yaml.safe_load((EXAMPLE / "fleet.byok.yml").read_text())
    document["tokens"]["luna"] |= {
        "byok_pkcs11_library": LAB["token"]["library"],
        "byok_token_label": LAB["token"]["label"],
        "byok_lock_directory": str(WORK),
        "byok_state_directory": str(WORK),
        "byok_listing": f"{{{{ inventory_dir }}}}/listings/{LISTING}",
        "byok_allow_trailing_zeros": True,
    }
    for name, vault in document["vaults"].items():
        vault |= {"url": VAULTS[name], "variables": keks.get(name, {})}
    return yaml.safe_dump(document, sort_keys=False)


def approve_keks() -> None:
    """Nothing is wrapped before a KEK is approved, and then everything is."""
    shutil.copytree(EXAMPLE, MAIN, dirs_exist_ok=True)
    commit("The example", {"fleet.byok.yml": fleet({})})

    said = run("ansible-playbook", "kek.yml", env=federated("operator"))
    keks = dict(
        zip(
            re.findall(r'"(pay-\w+)": {', said),
            re.findall(r'"byok_kek_id": "(.*?)"', said),
            strict=True,
        )
    )
    fingerprints = dict(zip(keks, re.findall(r'"([0-9a-f]{64})"', said), strict=True))
    waiting: dict[str, dict[str, Any]] = {
        "pay-weu": {"byok_kek_id": keks["pay-weu"], "byok_approved_keks": ["0" * 64]}
    }
    commit("A KEK that somebody approved wrongly, and none", {"fleet.byok.yml": fleet(waiting)})
    refused = "".join(run("ci/apply.sh", "byok", env=TRUSTED, code=2).split())
    assert f"Itsfingerprintis{fingerprints['pay-weu']}" in refused, refused
    assert "NoKEKisapprovedforhttps://keyferry-lab-pay-neu." in refused, refused
    assert names("pay-weu") == names("pay-neu") == {"keyferry-kek-approved"}
    run("git", "fetch", "-q", "origin", "listings")
    listing = json.loads(run("git", "show", f"FETCH_HEAD:listings/{LISTING}"))
    assert not [key for key in listing["target_keys"] if key["name"].startswith("payments-")], (
        listing
    )

    approved = {
        name: {"byok_kek_id": kek, "byok_approved_keks": [fingerprints[name]]}
        for name, kek in keks.items()
    }
    commit("Approve the KEKs", {"fleet.byok.yml": fleet(approved)})


def bring() -> None:
    """What is merged is brought, what is in place is a clean plan, and drift is none."""
    run("ci/apply.sh", "rotate", env=TRUSTED)
    assert names("pay-weu") == {"keyferry-kek-approved", "payments-signing", "payments-storage"}
    assert names("pay-neu") == {"keyferry-kek-approved", "payments-signing", "web-tokens"}
    log, text = plan(None, 0)
    assert "Verdict: clean" in log, log + text
    assert "### Keys: clean" in text, log + text
    assert "more than keys/" not in text, text

    signing = client("pay-weu").get_key("payments-signing")
    client("pay-weu").update_key_properties(
        "payments-signing", signing.properties.version, tags={"team": "nobody"}
    )
    text = plan(None, 2)[1]
    assert re.search(r"\| pay-weu \| payments-signing \| P-256 \| update \|", text), text

    control(
        "POST",
        {
            "vault": VAULTS["pay-neu"].removeprefix("https://"),
            "operation": "*",
            "kind": "firewall",
            "count": 100,
        },
    )
    log, text = plan(None, 1)
    assert "firewall" in log, log + text
    assert "### Keys: incomplete" in text, log + text
    control("DELETE")


PAYMENTS = (EXAMPLE / "keys/payments.yml").read_text()
EXTRA = "  - {name: payments-extra, vaults: [pay-weu]}\n"
OWNED = WORK / "owned"
COMMANDS = (
    "##vso[task.complete] ###vso[task.complete] ####[add-mask]x ::stop-commands::x :::debug:::y"
)
PIPE = f"{{{{ lookup('pipe', 'touch {OWNED}') }}}}"


def wicked() -> None:
    """A pull request that changes everything.

    Its declarations are planned, as texts, and all else has no effect.
    """
    script = f"#!/bin/sh\ntouch {OWNED}\n"
    planted = (
        f'  - {{name: payments-extra, vaults: [pay-weu], tags: {{note: "{PIPE} {COMMANDS}"}}}}\n'
    )
    files = {
        "keys/payments.yml": PAYMENTS + planted,
        "fleet.byok.yml": (MAIN / "fleet.byok.yml").read_text()
        + f"compose:\n  owned: lookup('pipe', 'touch {OWNED}')\n",
        "ansible.cfg": (
            f"[defaults]\ninventory = {WORK}/nothing\ncallback_plugins = callback_plugins\n"
        ),
        "byok.yml": "[]\n",
        "group_vars/all.yml": f'byok_vault_url: "{PIPE}"\n',
        "callback_plugins/evil.py": f"open({str(OWNED)!r}, 'w')\n",
        "sitecustomize.py": f"open({str(OWNED)!r}, 'w')\n",
        "ci/plan.sh": script,
        "ci/take.sh": script,
        "ci/verdict.py": f"open({str(OWNED)!r}, 'w')\n",
        ".gitattributes": "* filter=evil merge=evil export-subst\n",
    }
    commit("Harmless", files, "wicked")
    # git takes a tag of this name for origin/main
    run("git", "push", "-q", "--force", "origin", "wicked:refs/tags/origin/main")
    # main goes on, and is not undone by what the pull request does not have
    web = (MAIN / "keys/web.yml").read_text().replace("{team: web}", "{team: web, tier: front}")
    commit("Another tag", {"keys/web.yml": web})


def plan_wicked() -> None:
    log, text = plan("wicked", 2)
    assert re.search(r"\| pay-weu \| payments-extra \| P-256 \| transfer \|", text), text
    assert "web-tokens |" not in text, text
    assert json.loads((RUNNER / "plan.json").read_text())["actions"] == {
        "none": 3,
        "update": 1,
        "transfer": 1,
    }
    assert "more than keys/" in text, text
    assert not OWNED.exists(), log


def remove() -> None:
    """A key that is no longer declared: the plan says what it was, and that it stays."""
    lines = PAYMENTS.splitlines(keepends=True)
    kept = [line for line in lines if "payments-storage" not in line]
    commit("Remove", {"keys/payments.yml": "".join(kept)}, "removed")
    text = plan("removed", 2)[1]  # 2 for the tag that somebody else changed
    assert "These keys stay in vault and token" in text, text
    was = (
        r"\| pay-weu \| payments-storage \| type: RSA, size: 3072, .*operations: wrapKey unwrapKey"
    )
    assert re.search(was, text), text
    assert "Not declared: payments-storage (pay-weu)" in text, text
    (gone,) = json.loads((RUNNER / "plan.json").read_text())["removed"]
    assert (gone["host"], gone["name"]) == ("pay-weu", "payments-storage")
    assert json.loads((RUNNER / "plan.json").read_text())["actions"]["update"] == 1
    assert "No longer declared" not in plan(None, 2)[1]


def refuse() -> None:
    """Pull requests that are no plan."""
    commit(
        "Misspelt",
        {"keys/payments.yml": PAYMENTS.replace("rotation: {every", "rotation: {evry")},
        "misspelt",
    )
    log = plan("misspelt", 1)[0]
    told = "".join(log.split())
    assert "keys/payments.yml:10:keys[0](payments-signing):rotation.evryisnotafield" in told, log

    def link(path: str) -> None:
        if (MAIN / path).is_dir():
            shutil.rmtree(MAIN / path)
        (MAIN / path).symlink_to("/etc")

    def file(path: str) -> None:
        (MAIN / path).write_text("keys: []\n")

    names_of_files = (
        "::stop-commands::.yml",
        ":::x.yml",
        "é###vso[task.complete]x.yml",
        "####[x.yml",
        "README.md",
        "web.json",
    )
    for make, path in (
        (link, "keys/link.yml"),
        (link, "keys"),
        *((file, f"keys/{name}") for name in names_of_files),
    ):
        make(path)
        commit("A file that is none of declarations", {}, "refused")
        assert "is refused: keys/ holds plain files" in plan("refused", 1)[0], path

    for field in (f'"{COMMANDS}": 1', f'"{COMMANDS}": 1, "{COMMANDS}": 1'):
        commit(
            "A field",
            {"keys/payments.yml": f"{PAYMENTS}  - {{name: payments-x, {field}}}\n"},
            "refused",
        )
        assert "vso[task.complete]" in plan("refused", 1)[0], field
    assert "cannot be merged" not in run("ci/plan.sh", "1" * 40, cwd=RUNNER, env=PLANNER, code=1)

    run("git", "checkout", "-q", "-B", "refused")
    run(
        "git",
        "update-index",
        "--add",
        "--cacheinfo",
        f"160000,{run('git', 'rev-parse', 'HEAD').strip()},keys/sub.yml",
    )
    run("git", "commit", "-q", "-m", "A submodule")
    run("git", "push", "-q", "--force", "origin", "refused")
    run("git", "checkout", "-q", "--force", "main")
    assert "keys/sub.yml (mode 160000) is refused" in plan("refused", 1)[0]


def pull() -> None:
    """A site without a CI service: ansible-pull beside the HSM."""
    commit("One more key", {"keys/payments.yml": PAYMENTS + EXTRA})
    command: list[str | Path] = [
        "ansible-pull",
        "-U",
        ORIGIN.as_uri(),
        "-C",
        "main",
        "-d",
        PULLED,
        "-i",
        "localhost,",
        "-i",
        "fleet.byok.yml",
    ]
    command += ["-l", "all:!localhost", "byok.yml"]
    checked = run(*command, "--check", "--diff", "-e", "byok_listing=", env=TRUSTED, cwd=WORK)
    assert "payments-extra" in checked, checked
    assert "payments-extra" not in names("pay-weu"), checked
    said = run(*command, env=TRUSTED, cwd=WORK)
    assert "payments-extra" in names("pay-weu"), said
    assert (client("pay-weu").get_key("payments-signing").properties.tags or {})[
        "team"
    ] == "payments", said


def pipelines() -> None:
    """The pipelines say nothing but what was run here, and put no value into a script."""
    ran = {"ci/plan.sh", "ci/apply.sh", "python3 ci/azure_token.py", "python3 ci/comment.py"}
    for name in (
        ".github/workflows/keys.yml",
        ".gitlab-ci.yml",
        "ci/azure.yml",
        "azure-pipelines.yml",
    ):
        text = (EXAMPLE / name).read_text()
        scripts = list(find_scripts(yaml.safe_load(text)))
        called = set(re.findall(r"(?:python3 )?ci/\w+\.(?:sh|py)", "\n".join(scripts)))
        assert called <= ran, (name, called)
        assert bool(called) == (name != "azure-pipelines.yml"), (name, called)
        assert not [script for script in scripts if "${{" in script or "$(" in script], name
        for line in re.findall(
            r"test .*\$code.*", "\n".join(scripts)
        ):  # no verdict, or none that is known, is a failure
            for code, passes in ((0, True), (2, True), (1, False), (127, False), (247, False)):
                run(
                    "sh",
                    "-c",
                    line,
                    cwd=WORK,
                    env=BASE | {"code": str(code)},
                    code=0 if passes else 1,
                )


def find_scripts(node: Any) -> Any:
    """Yield the lines of shell in a pipeline."""
    if isinstance(node, dict):
        for field, value in node.items():
            if field in ("run", "script", "inlineScript"):
                yield from map(str, value if isinstance(value, list) else [value])
            else:
                yield from find_scripts(value)
    elif isinstance(node, list):
        for value in node:
            yield from find_scripts(value)


def main() -> None:
    os.environ.pop("AZURE_SECRET_FILE", None)
    run("git", "init", "-q", "--bare", "-b", "main", ORIGIN, cwd=WORK)
    for clone in (MAIN, RUNNER):
        run("git", "clone", "-q", ORIGIN, clone, cwd=WORK)
    run("git", "checkout", "-q", "-b", "main")
    pipelines()
    approve_keks()
    wicked()
    bring()
    plan_wicked()
    remove()
    refuse()
    pull()


if __name__ == "__main__":
    main()
