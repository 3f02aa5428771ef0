# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what docs/performance.md says: ``make bench``, or ``run.py --only b --quick``.

Prints each table, and when it is done writes it into docs/performance.md; with --quick, which takes
small numbers to see that all works, it only prints. Both sides of a pair run in turn against the
same lab.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import document
from guide import Guide, install_az
from measured_process import Run, run
from playbook_run import declare, host, play, url
from running_lab import ROOT, RunningLab, count_operations

sys.path.insert(0, str(ROOT))

from lab.hosts import Kind
from lab.limits import allowance

CREATIONS = ("create", "import")
WINDOW = 10  # seconds, to which the documented rates are related


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    by_hand: int = 50  # keys by the az CLI
    many: tuple[int, int] = (100, 1000)
    rsa: int = 200
    floor: int = 1000
    rounds: int = 3
    throttled: int = 1000
    factor: int = 10  # times the documented rates
    scale: tuple[int, ...] = (100, 500, 1000, 5000)
    memory: tuple[int, int] = (500, 5000)
    vaults: int = 5


QUICK = Sizes(
    by_hand=2,
    many=(5, 10),
    rsa=4,
    floor=20,
    rounds=1,
    throttled=70,
    factor=2,
    scale=(5, 20),
    memory=(5, 20),
)


def main() -> None:
    """Run the benchmarks that were chosen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=",".join(BENCHMARKS), help="which of them (default: %(default)s)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small numbers, and nothing is written"
    )
    arguments = parser.parse_args()
    sizes = QUICK if arguments.quick else Sizes()
    for name in arguments.only.split(","):
        table = []
        for line in itertools.chain(BENCHMARKS[name](sizes), ["", machine(), ""]):
            print(line, flush=True)
            table.append(line)
        if not arguments.quick:
            document.put(name, table)


def machine() -> str:
    """Name the machine, the day and the versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")),
        platform.processor(),
    )
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    python, core = platform.python_version(), version("ansible-core")
    return (
        f"{date.today()}: {model}, {os.cpu_count()} cores, {system}, "
        f"Python {python}, ansible-core {core}."
    )


def against_the_guide(sizes: Sizes) -> Iterator[str]:
    """(a) One key after the other by the az CLI, against a run of the playbook."""
    install_az()
    yield "| what | times faster | goal | Keyferry | by hand | of it per key, median (spread) |"
    yield "| --- | --- | --- | --- | --- | --- |"
    few, many = sizes.many
    with RunningLab() as lab:
        guide = Guide(lab, "hand", "EC")
        setup = guide.make_kek()
        half = sizes.by_hand // 2
        keys = [guide.bring(f"hand-{number}") for number in range(half)]
        quick = [play(lab, declare(lab, few, ["few0"])).seconds]
        keys += [guide.bring(f"hand-{number}") for number in range(half, sizes.by_hand)]
        quick += [play(lab, declare(lab, few, ["few1"])).seconds]
        for count, ours, goal in (
            (few, quick, 10),
            (many, [play(lab, declare(lab, many, ["many"])).seconds], 30),
        ):
            yield _by_hand(f"{count:,} EC keys, made and brought", ours, setup, keys, count, goal)
    with RunningLab() as lab:
        guide = Guide(lab, "hand", "RSA")
        setup = guide.make_kek()
        for number in range(half):
            guide.make_target_key(f"hand-{number}")
        inventory = declare(lab, sizes.rsa, ["rsa"], "RSA")
        play(lab, inventory, "prepare")
        keys = [guide.bring(f"hand-{number}", made=True) for number in range(half)]
        yield _by_hand(
            f"{sizes.rsa} RSA-2048 keys, made before",
            [play(lab, inventory).seconds],
            setup,
            keys,
            sizes.rsa,
            None,
        )


def _by_hand(
    what: str, ours: list[float], setup: float, keys: list[float], count: int, goal: float | None
) -> str:
    theirs = setup + count * statistics.mean(keys)
    ratio = theirs / statistics.median(ours)
    wanted = f"{goal}" if goal else "none"
    return (
        f"| {what} | {_judged([ratio], goal is None or ratio >= goal, '.0f')} | {wanted} "
        f"| {_seconds(ours)} | {theirs:,.0f} s, from {len(keys)} keys | {_seconds(keys, 2)} |"
    )


def against_the_floor(sizes: Sizes) -> Iterator[str]:
    """(b) A bare script with the same libraries, calls, threads and requests, against a run."""
    yield (
        "| what | ratio, median (spread) | goal | Keyferry | bare script "
        "| processor time, both | requests, both |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    pairs: dict[bool, list[tuple[Run, Run]]] = {True: [], False: []}
    requests: dict[bool, tuple[int, int]] = {}
    for number in range(sizes.rounds):
        with RunningLab() as lab:
            inventory = declare(lab, sizes.floor, ["ours"])
            for changed, results in pairs.items():
                with _counted(lab) as tell:
                    if number % 2:
                        floor = _floor(lab, sizes.floor)
                    ours = play(lab, inventory, changed=changed)
                    if not number % 2:
                        floor = _floor(lab, sizes.floor)
                    results.append((ours, floor))
                    requests[changed] = tell()
    for changed, what, goal in (
        (True, f"first transfer of {sizes.floor:,} EC keys", 1.3),
        (False, "a run without changes", 2.0),
    ):
        sides = [[pair[side] for pair in pairs[changed]] for side in (0, 1)]
        seconds = [[each.seconds for each in side] for side in sides]
        ratios = [ours / floor for ours, floor in zip(*seconds, strict=True)]
        met = statistics.median(ratios) <= goal and (changed or statistics.median(seconds[0]) < 10)
        wanted = f"{goal}" if changed else f"{goal}, and less than 10 s"
        cpu = " and ".join(
            f"{statistics.median(each.cpu for each in side):.1f} s" for side in sides
        )
        sent = " and ".join(f"{each:,}" for each in requests[changed])
        shown = " | ".join(map(_seconds, seconds))
        yield f"| {what} | {_judged(ratios, met)} | {wanted} | {shown} | {cpu} | {sent} |"


def _floor(lab: RunningLab, count: int) -> Run:
    command = [
        sys.executable,
        str(Path(__file__).with_name("floor.py")),
        str(count),
        url("floor"),
        "floor-",
    ]
    return run(command, lab.environment, ROOT)


@contextmanager
def _counted(lab: RunningLab) -> Iterator[Callable[[], tuple[int, int]]]:
    """Yield what tells how many requests the two sides sent meanwhile.

    :raises RuntimeError: when they sent others
    """
    before = len(lab.requests())

    def tell() -> tuple[int, int]:
        sent = lab.requests()[before:]
        ours, floor = (count_operations(sent, host(vault)) for vault in ("ours", "floor"))
        if ours != floor:
            print(
                "The two sides sent different requests: "
                f"{ours - floor} by Keyferry alone, {floor - ours} by the script alone"
            )
        return ours.total(), floor.total()

    yield tell


def against_the_buckets(sizes: Sizes) -> Iterator[str]:
    """(c) A vault whose documented rates are multiplied, against the time that they impose."""
    yield (
        "| what | ratio | goal | took | imposed "
        "| from the first to the last import | requests, of them refused |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    with RunningLab(sizes.factor) as lab:
        took = play(lab, declare(lab, sizes.throttled, ["throttled"])).seconds
        requests = [each for each in lab.requests() if each["vault"] == host("throttled")]
        moments = lab.moments("PUT")
    refused = sum(each["status"] == 429 for each in requests)
    imposed = _imposed(requests, sizes.factor)
    ratio = took / imposed
    what = f"{sizes.throttled:,} EC keys, {sizes.factor} times the documented rates"
    importing = max(moments) - min(moments)
    yield (
        f"| {what} | {_judged([ratio], ratio <= 1.2)} | 1.2 | {took:.0f} s | {imposed:.0f} s "
        f"| {importing:.0f} s | {len(requests):,}, {refused:,} |"
    )


def _imposed(requests: list[dict[str, Any]], factor: float) -> float:
    """Return the seconds after which the last of these requests is served at the earliest.

    Each request takes its part of 10 s.
    """
    parts = 0.0
    for each in requests:
        if each["status"] != 429:
            kind = (
                "RSA-HSM" if each["operation"] in CREATIONS else ""
            )  # HSM keys of any type alike; a key that is not there
            parts += 1 / (allowance(Kind.VAULT, each["operation"], kind, 0) * factor)
    return WINDOW * math.floor(parts)


def scale(sizes: Sizes) -> Iterator[str]:
    """(d) From few keys to many, one vault: time and memory."""
    yield (
        "| EC keys, one vault | first transfer | per key | no change | per key "
        "| memory, first transfer | no change |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    runs: dict[int, tuple[Run, Run]] = {}
    fewer, most = sizes.memory
    for count in sizes.scale:
        with RunningLab() as lab:
            runs[count] = _twice(lab, count, "scale")
            if (
                count == most
            ):  # SoftHSM keeps the whole token in each process: the same token for both
                memory = [few.memory for few in _twice(lab, fewer, "fewer")]
        yield _scaled(f"{count:,}", runs[count], count)
    yield ""
    yield "| from fewest to most | first transfer | no change | goal |"
    yield "| --- | --- | --- | --- |"
    least = sizes.scale[0]
    growth = [runs[most][at].seconds / most / (runs[least][at].seconds / least) for at in (0, 1)]
    cells = [_judged([each], each <= 1.2) for each in growth]
    yield f"| cost per key, {least:,} to {most:,} | {' | '.join(cells)} | 1.2 |"
    growth = [each.memory / few for each, few in zip(runs[most], memory, strict=True)]
    cells = [_judged([each], each <= 1.5) for each in growth]
    yield f"| memory, {fewer:,} to {most:,} of the same token | {' | '.join(cells)} | 1.5 |"
    yield ""
    yield "| also | seconds |"
    yield "| --- | --- |"
    with RunningLab() as lab:
        vaults = [f"fleet{number}" for number in range(sizes.vaults)]
        fleet = play(lab, declare(lab, sizes.rsa, vaults)).seconds
        yield f"| {sizes.vaults} vaults, {sizes.rsa} EC keys each | {fleet:.0f} |"
        inventory = declare(lab, sizes.rsa, ["rsa"], "RSA")
        making = play(lab, inventory, "prepare").seconds
        bringing = play(lab, inventory).seconds
        yield (
            f"| {sizes.rsa} RSA-2048 keys "
            f"| {making:.0f} to make them in the token, {bringing:.0f} to bring them |"
        )


def _twice(lab: RunningLab, count: int, vault: str) -> tuple[Run, Run]:
    inventory = declare(lab, count, [vault])
    return play(lab, inventory, memory=True), play(lab, inventory, changed=False, memory=True)


def _scaled(what: str, runs: tuple[Run, Run], count: int) -> str:
    cells = [
        cell
        for each in runs
        for cell in (f"{each.seconds:.1f} s", f"{1000 * each.seconds / count:.1f} ms")
    ]
    return (
        f"| {what} | {' | '.join([*cells, *(f'{each.memory / 2**20:.0f} MiB' for each in runs)])} |"
    )


def _judged(ratios: list[float], met: bool | None, form: str = ".2f") -> str:
    """Show a ratio, with its spread where there are several, and whether its goal was met."""
    shown = f"{statistics.median(ratios):{form}}"
    if len(ratios) > 1:
        shown += f" ({min(ratios):{form}} to {max(ratios):{form}})"
    return shown + ("" if met is None or met else ", **missed**")


def _seconds(values: list[float], digits: int = 1) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f} s"
    median = statistics.median(values)
    return f"{median:.{digits}f} s ({min(values):.{digits}f} to {max(values):.{digits}f})"


BENCHMARKS: dict[str, Callable[[Sizes], Iterator[str]]] = {
    "a": against_the_guide,
    "b": against_the_floor,
    "c": against_the_buckets,
    "d": scale,
}

if __name__ == "__main__":
    main()
