# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run every check: ``make test``, and with ``--long`` (``make test-long``) also what is too slow for every commit.

Each step works in its own copy of the files that git tracks or would track: so steps run side by side, leave nothing behind,
prove that a clone is enough, and ansible-test finds the folder ansible_collections/keyferry/azure that it insists on.
"""

from __future__ import annotations

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

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"
HOMES = CACHE / "homes"
VENV = Path(sys.prefix)

# The ansible-core releases of `make test-long`, and the Python to try each with.
CORES = {"2.17.0": "3.10", "2.18.0": "3.11", "2.19.0": "3.11", "2.20.0": "3.12", "2.21.0": "3.12", "2.22.0rc1": "3.13"}
WITHOUT_PYLINT = "2.22.0rc1"  # would install it from GitHub, which not every network reaches

# Targets that run playbooks: about half of the time, so that two processors share the work. Those that make a token by a command
# line stay with the target `secrets`, which looks at all processes.
PLAYBOOKS = "examples lifecycle stand_in ten_days transfer two_hosts"

LAB = f"-r {ROOT}/lab/requirements.txt\n"
# The oldest libraries that we support: what azure.azcollection pins, which share an execution environment with us.
OLDEST = (ROOT / "meta/ee-requirements.txt").read_text().replace(">=", "==") + "azure-core==1.31.0\n"


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


def ansible_test(venv: Path, python: str, suffix: str = "", sanity: str = "") -> Iterator[Step]:
    """What ansible-test checks with the ansible-core of one virtual environment, the slowest first."""
    options = f"--python {python} --color no"
    integration = f"ansible-test integration {options} --continue-on-error"
    yield Step(f"integration of playbooks{suffix}", f"{integration} {PLAYBOOKS}", venv, lab=True)
    others = " ".join(f"--exclude {target}" for target in PLAYBOOKS.split())
    yield Step(f"integration of modules{suffix}", f"{integration} {others}", venv, lab=True)
    yield Step(f"sanity{suffix}", f"ansible-test sanity {options} {sanity}", venv)
    yield Step(f"units{suffix}", f"ansible-test units {options}", venv)


def short_steps(not_run: list[str]) -> Iterator[Step]:
    """The steps for every commit."""
    yield from ansible_test(VENV, f"{sys.version_info.major}.{sys.version_info.minor}")
    yield Step("tests of the lab", "pytest tests/lab")
    yield Step("tests of the token side", "pytest tests/token")
    yield Step("tests of rotation and deletion", "pytest tests/lifecycle")
    if shutil.which("az", path=search_path()):
        yield Step("azure-cli", "bash tests/az/run.sh")
    else:
        not_run.append("azure-cli: not installed")
    yield Step("mypy", "mypy")
    yield Step("ansible-lint", "ansible-lint")
    yield Step("antsibull-docs", "antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self .")
    yield Step("antsibull-changelog", "antsibull-changelog lint")
    yield Step("galaxy build", "ansible-galaxy collection build")
    yield Step("reuse", "reuse lint")
    yield Step("ruff check", "ruff check .")
    yield Step("ruff format", "ruff format --check .")
    # Last, because its environment is made while the others run.
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    oldest = make_venv("oldest Azure libraries", sys.executable, f"ansible-core>=2.17\n{OLDEST}{LAB}")
    command = f"ansible-test integration --python {python} --color no byok_import"
    yield Step("integration of byok_import with the oldest Azure libraries", command, oldest, lab=True)


def long_steps(not_run: list[str]) -> Iterator[Step]:
    """A year of rotations; every ansible-core, the first with our oldest libraries; every Python; Galaxy's own checks."""
    yield Step("a year of daily runs", "pytest tests/lifecycle/year.py")
    libraries = (ROOT / "meta/ee-requirements.txt").read_text()
    others = f"{LAB}-r {ROOT}/tests/unit/requirements.txt\nshellcheck-py\n"
    for core, python in CORES.items():
        name = f"ansible-core {core}"
        if interpreter := shutil.which(f"python{python}", path=search_path()):
            chosen = OLDEST if core == min(CORES) else libraries
            venv = make_venv(name, interpreter, f"ansible-core~={core}\n{chosen}{others}")
            sanity = ""
            if core == WITHOUT_PYLINT:
                sanity = "--skip-test pylint"
                not_run.append(f"sanity on {name}: pylint, which it would install from GitHub")
            yield from ansible_test(venv, python, f" on {name}", sanity)
        else:
            not_run.append(f"{name}: python{python} not found")
    yield Step("sanity on every Python", "ansible-test sanity --color no --test compile --test import")
    importer = make_venv("galaxy-importer", sys.executable, "galaxy-importer\n")
    yield Step("galaxy-importer", "sh -c 'ansible-galaxy collection build && python -m galaxy_importer.main *.tar.gz'", importer)


def search_path() -> str:
    """PATH without pyenv's shims, which may stand for a Python that does not start, but with the Pythons behind them."""
    entries = [entry for entry in os.environ["PATH"].split(os.pathsep) if not entry.endswith("/shims")]
    pyenv = Path(os.environ.get("PYENV_ROOT", CACHE)).glob("versions/*/bin")
    return os.pathsep.join([*entries, *map(str, pyenv)])


def make_venv(name: str, interpreter: str, requirements: str) -> Path:
    """Make a virtual environment, unless it is there with these requirements."""
    venv = CACHE / name.replace(" ", "-")
    stamp = venv / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements:
        print(f"making an environment: {name}", flush=True)
        subprocess.run([interpreter, "-m", "venv", "--clear", venv], check=True)
        wanted = venv / "wanted.txt"
        wanted.write_text(requirements)
        subprocess.run([venv / "bin/pip", "install", "-qq", "-r", wanted], check=True)
        wanted.rename(stamp)
    return venv


def make_home(step: Step) -> Path:
    """Make the home of a step, its own because two ansible-test would make one SSH key at once.

    pip is set up as the user's, and ansible-test need not download its bootstrap of pip.
    """
    home = HOMES / step.name.replace(" ", "-")
    downloads = home / ".ansible/test/cache"
    downloads.mkdir(parents=True, exist_ok=True)
    for version in ("23_1_2", "24_2", "25_2"):  # as ansible-core 2.17, 2.18 to 2.19 and 2.20 to 2.22 name it
        shutil.copy(ROOT / "tests/get_pip.py", downloads / f"get_pip_{version}.py")
    (home / ".config").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (home / ".config/pip").symlink_to(Path.home() / ".config/pip")
    return home


@contextlib.contextmanager
def copied_tree() -> Iterator[Path]:
    """A copy of the collection, as a git repository, because what is ignored must be ignored there too."""
    listed = subprocess.check_output(["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, text=True)
    with tempfile.TemporaryDirectory(prefix="keyferry-") as temporary:
        tree = Path(temporary, "ansible_collections/keyferry/azure")
        for name in listed.split("\0")[:-1]:
            if os.path.lexists(ROOT / name):
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
        subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
        yield tree


@contextlib.contextmanager
def running_lab(tree: Path, python: Path) -> Iterator[None]:
    """A lab of its own for a step; ansible-test strips the environment, so a file tells the targets of it."""
    folder = tree.parent / "lab"

    def lab(*arguments: str) -> str:
        with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open as long as the lab runs
            command = [str(python), "-m", "lab", *arguments, "--dir", str(folder)]
            subprocess.run(command, cwd=tree, stdin=subprocess.DEVNULL, stdout=output, check=True)
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
            "byok_lab_checkout": str(tree),
            "byok_lab_env": variables,
        }
        (tree / "tests/integration/integration_config.yml").write_text(json.dumps(config))
        yield
    finally:
        lab("stop")


def run(step: Step) -> Outcome:
    """Run one step, out of sight of the user's Ansible settings and Azure credentials."""
    start = time.monotonic()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AZURE_", "BYOK_"))}
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
            with running_lab(tree, step.venv / "bin/python") if step.lab else contextlib.nullcontext():
                command = shlex.split(step.command)
                failed = (
                    subprocess.call(command, cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
                    != 0
                )
        except (OSError, subprocess.CalledProcessError) as error:
            print(error, file=output)
            failed = True
    return Outcome(step, failed, log.read_text(errors="replace"), time.monotonic() - start)


def count(outcome: Outcome) -> Counter[str]:
    """How many tests passed, failed and were skipped, by pytest's or ansible-test's own words; any other step is one test."""
    counts: Counter[str] = Counter()
    for summary in re.findall(r"^=* ?(\d+ [a-z].*) in [\d.]+s", outcome.output, re.MULTILINE):
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", summary):
            counts["failed" if word == "error" else word] += int(number)
    counts["passed"] += len(re.findall(r"^Running (?:sanity test|\S+ integration test)", outcome.output, re.MULTILINE))
    for number in re.findall(r"^FATAL: The (\d+) \w+ test\(s\) listed below", outcome.output, re.MULTILINE):
        counts["failed"] += int(number)
        counts["passed"] -= int(number)
    if outcome.failed:
        counts["failed"] = counts["failed"] or 1
    elif not counts.total():
        counts["passed"] = 1
    return counts


def skips(outcome: Outcome) -> list[str]:
    """What pytest and ansible-test left out, and why."""
    reasons = re.findall(r"^(?:SKIPPED |WARNING: (?=Skipping|Required program))(.*)", outcome.output, re.MULTILINE)
    return list(dict.fromkeys(reasons))  # ansible-test says all warnings again at its end


def main() -> int:
    """Run all steps, as many at a time as there are processors, and sum up."""
    not_run: list[str] = []
    steps = short_steps(not_run)
    if "--long" in sys.argv:
        steps = itertools.chain(steps, long_steps(not_run))
    else:
        not_run.append("other releases of ansible-core, other Pythons, galaxy-importer: make test-long")
    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(run, step) for step in steps]):
            outcome = future.result()
            counts += count(outcome)
            not_run += [f"{outcome.step.name}: {reason}" for reason in skips(outcome)]
            print(f"{'FAILED' if outcome.failed else 'ok':6} {outcome.seconds:6.1f} s  {outcome.step.name}", flush=True)
            if outcome.failed:
                print(outcome.output, flush=True)
    for line in not_run:
        print(f"not run: {line}")
    print(", ".join(f"{counts[word]} {word}" for word in ("passed", "failed", "skipped") if word != "skipped" or counts[word]))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
