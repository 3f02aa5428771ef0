# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A year of daily runs with mixed policies and 30 kills.

It ends with exactly the versions that the policies ask for.

Too slow for every commit: ``pytest tests/lifecycle/year.py``. KEYFERRY_YEAR_SEED repeats a year;
where it began is printed as well, because months have different lengths.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.chain import judge_chain
from ansible_collections.keyferry.azure.plugins.module_utils._evidence.envelope import (
    Envelope,
    parse_envelope,
)
from ansible_collections.keyferry.azure.tests.lifecycle.conftest import (
    DRIVERS,
    Lab,
    Result,
    Vault,
    generations,
    run,
)
from ansible_collections.keyferry.azure.tests.lifecycle.model import BLUR, Key, Step, read_policy
from ansible_collections.keyferry.azure.tests.lifecycle.reaper import Killed, Moment, Reaper
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

DAYS, KILLS = 365, 30
SLOT = timedelta(minutes=10)
SLOTS = 12

EC: Result = {"type": "EC", "curve": "P-256"}
RSA: Result = {"type": "RSA", "size": 2048}
OCT: Result = {"type": "oct", "size": 256}
SIGNS = {"operations": ["sign", "verify"]}
REENCRYPTED = {"data_reencrypted": True}

#: The vaults that declare a key, in the order in which they are served; its rotation; its other
#: options
KEYS: dict[str, tuple[str, dict[str, str], Result]] = {
    "weekly": ("second", {"every": "P7D"}, EC),
    "weekly-all": ("second first hsm", {"every": "P1W", "retire": "disable", "overlap": "P3D"}, EC),
    "monthly": ("second first", {"every": "P1M", "retire": "disable"}, EC),
    "quarter": ("second first", {"every": "P90D", "valid_for": "P120D"}, EC | {"curve": "P-384"}),
    "expiring": (
        "first",
        {"valid_for": "P45D", "before_expiry": "P10D", "retire": "disable", "overlap": "P5D"},
        EC,
    ),
    "both": (
        "second first",
        {"every": "P1M", "valid_for": "P2M", "before_expiry": "P40D", "retire": "disable"},
        EC,
    ),
    "overdue": (
        "second",
        {"every": "P25D", "valid_for": "P26D", "retire": "disable", "overlap": "P20D"},
        EC,
    ),
    "half-year": ("second first", {"every": "P6M"}, RSA),
    "decrypts": ("second", {"every": "P60D", "retire": "disable"}, RSA),
    "reencrypted": ("first", {"every": "P60D", "retire": "disable"}, RSA | REENCRYPTED),
    "signs": ("second", {"every": "P45D", "retire": "disable", "overlap": "P1W"}, RSA | SIGNS),
    "slow": ("second", {"every": "P10D", "min_interval": "P21D"}, EC),
    "superseded": (
        "second first",
        {"every": "P30D", "on_foreign": "rotate", "retire": "disable"},
        EC,
    ),
    "contested": ("second first", {"every": "P30D", "retire": "disable"}, EC),
    "still": ("second first", {}, EC),
    "locked": ("first", {"every": "P15D", "retire": "disable"}, EC | {"after_transfer": "lock"}),
    "ahead": ("second first", {"every": "P20D"}, EC),
    "secret": (
        "hsm",
        {"every": "P30D", "retire": "disable", "on_foreign": "rotate"},
        OCT | REENCRYPTED,
    ),
    "secret-kept": ("hsm", {"every": "P60D", "retire": "disable"}, OCT),
    "expiring-hsm": ("hsm first", {"valid_for": "P3M", "before_expiry": "P3W"}, RSA),
}

#: When somebody else makes a version, by day: vault and key
FOREIGN = {
    40: ("second", "superseded"),
    95: ("first", "superseded"),
    96: ("second", "superseded"),
    170: ("hsm", "secret"),
    180: ("first", "contested"),
    260: ("second", "superseded"),
}
#: From this day on the first generation of the key that a run makes ahead is withdrawn
WITHDRAWAL = (100, "ahead")
#: While a firewall is in the way of this vault
CLOSED = ("second", range(120, 130))
#: Besides random ones: a key without rotation, one that was made too shortly before
FORCED = {75: "still", 149: "slow", 150: "slow", 210: "locked", 230: "contested"}


#: Kinds of calls at which a run can die, and how many of them it makes with so many keys and so
#: much to do, more or less
DEADLY: dict[tuple[str, ...], Callable[[int, int], int]] = {
    ("GET", "POST", "PUT", "PATCH"): lambda keys, work: 3 * keys + 6 * work,
    ("POST", "PUT", "PATCH", "DELETE"): lambda keys, work: work + 3,
    ("generate_", "C_WrapKey", "C_SetAttributeValue"): lambda keys, work: 3 * work + 2,
    ("C_",): lambda keys, work: 2000,
}


@dataclass
class Year:
    """Twenty keys in three vaults, and what the policies ask of them so far.

    Each run is by the one or the other driver, which go on with each other's work.
    """

    lab: Lab
    vaults: dict[str, Vault]
    reaper: Reaper
    chance: random.Random
    start: datetime
    declared: dict[str, Result] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    slots: Iterator[datetime] = field(default_factory=lambda: iter(()))
    now: datetime = field(init=False)
    count: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        for name, (places, rotation, options) in KEYS.items():
            declared = {
                option: value for option, value in options.items() if option not in REENCRYPTED
            }
            self.declared[name] = {
                "name": name,
                **declared,
                **({"rotation": rotation} if rotation else {}),
            }
            decrypts = options["type"] != "EC" and "operations" not in options
            self.keys[name] = Key(
                read_policy(rotation),
                needed=decrypts and not REENCRYPTED.items() <= options.items(),
                versions={place: [] for place in places.split()},
            )

    def names(self, place: str) -> list[str]:
        """The keys that a vault declares."""
        return [name for name, key in self.keys.items() if place in key.versions]

    def items(self, place: str) -> list[Result]:
        """What is said of them to byok_rotate."""
        return [{**KEYS[name][2], **self.declared[name]} for name in self.names(place)]

    def begin(self, day: int) -> None:
        """Choose this day's times, so that nothing becomes due just when a run looks."""
        moments = [moment for key in self.keys.values() for moment in key.moments()]
        for _attempt in range(1000):
            first = self.start + timedelta(
                days=day, minutes=self.chance.randrange(720) if day else 0
            )
            times = [first + number * SLOT for number in range(SLOTS)]
            near = [moment for moment in moments if times[0] - SLOT < moment < times[-1] + SLOT]
            if all(abs(moment - time) > BLUR for moment in near for time in times):
                self.slots, self.now = iter(times), first
                return
        raise AssertionError(f"day {day} has no time")

    def next(self) -> datetime:
        """Go to the next moment of the day."""
        self.now = next(self.slots)
        self.lab.set_clock((self.now - datetime.now(timezone.utc)).total_seconds())
        return self.now

    def identity(self, name: str, number: int) -> str:
        generation = generations(self.declared[name])[name][number]
        return str(generation["thumbprint"] or generation["generation"])

    def steps(self, place: str, now: datetime, forced: dict[str, int]) -> dict[str, Step]:
        return {
            name: self.keys[name].rotation(place, now, forced.get(name))
            for name in self.names(place)
        }

    def choose_victim(self) -> tuple[str, str] | None:
        """Choose a run of this day that is to die.

        Mostly one that has something to do, as it looks in the morning.
        """
        works = [
            (place, stage)
            for place in self.vaults
            for stage, work in (
                ("rotate", any(step.brings for step in self.steps(place, self.now, {}).values())),
                (
                    "retire",
                    any(self.keys[name].retirement(place, self.now) for name in self.names(place)),
                ),
            )
            if work or self.chance.random() < 0.05
        ]
        return self.chance.choice(works) if works else None

    # What is done

    def act(self, place: str, stage: str, forced: dict[str, int], dies: bool = False) -> bool:
        """Do what is to be done in one vault; returns whether the run lived."""
        return (
            self.retire(place, dies)
            if stage == "retire"
            else self.rotate(place, forced, stage, dies)
        )

    def rotate(
        self, place: str, forced: dict[str, int], stage: str = "rotate", dies: bool = False
    ) -> bool:
        """Rotate in one vault; returns whether the run lived."""
        now = self.next()
        steps = self.steps(place, now, forced)
        force = [
            self.identity(name, number)
            for name, number in forced.items()
            if place in self.keys[name].versions
        ]
        brought = [name for name, step in steps.items() if step.brings]
        result = self._run(place, dies, len(brought), stage=stage, force=force)
        if result is None:
            self._take_over(place, {name: steps[name] for name in brought})
            return False
        # An import that a killed run had sent is in place, and this run verified and recorded it
        done = {
            each["name"]: "none" if each["code"] == "interrupted_import" else each["action"]
            for each in result["rotations"]
        }
        assert done == {name: each.action for name, each in steps.items()}
        assert {each["name"] for each in result["failures"]} == {
            name for name, each in steps.items() if each.action == "conflict"
        }
        for name in brought:
            key = self.keys[name]
            if steps[name].makes:
                key.make(self.now)
            if stage == "rotate":
                key.bring(place, now)
        if stage == "rotate":
            identities = {
                each["identity"] for each in result["rotations"] if each["name"] in brought
            }
            assert identities <= {"public_key", "proved"}
            self.count["versions"] += len(brought)
        return True

    def retire(self, place: str, dies: bool = False) -> bool:
        """Disable in one vault what is over; returns whether the run lived."""
        now = self.next()
        retired = {name: self.keys[name].retirement(place, now) for name in self.names(place)}
        result = self._run(place, dies, sum(map(len, retired.values())), stage="retire")
        if result is None:
            for name in (name for name, versions in retired.items() if versions):
                found = self._listed(place, name)
                assert len(found) == len(self.keys[name].versions[place])
                for version, there in zip(self.keys[name].versions[place], found, strict=True):
                    assert there.enabled == version.enabled or (
                        not there.enabled and version in retired[name]
                    )
                    version.enabled = there.enabled
            return False
        assert result["failures"] == []
        assert {each["name"]: len(each["retired"]) for each in result["rotations"]} == {
            name: len(each) for name, each in retired.items()
        }
        for version in (version for versions in retired.values() for version in versions):
            version.enabled = False
            self.count["disabled"] += 1
        return True

    def plant(self, place: str, name: str) -> None:
        """Let somebody else make a version."""
        now = self.next()
        self.vaults[place].native(self.declared[name])
        self.keys[name].plant(place, now)
        self.count["foreign"] += 1

    def withdraw(self, name: str) -> None:
        """Withdraw the youngest generation, which no vault has."""
        key = self.keys[name]
        number = key.newest
        assert number is not None
        assert all(
            version.generation != number
            for versions in key.versions.values()
            for version in versions
        )
        result = run(
            "byok_target_key",
            target_keys=[self.declared[name]],
            withdraw=[self.identity(name, number)],
        )
        assert len(result["withdrawn"]) == 1
        key.generations[number].withdrawn = True

    def meet_firewall(self, place: str) -> None:
        """Try to rotate in a vault that nobody gets to."""
        self.next()
        result = self.vaults[place].rotate(*self.items(place))
        assert result["rotations"] == []
        assert "firewall" in result["failures"][0]["msg"]

    def _run(self, place: str, dies: bool, work: int, **options: Any) -> Result | None:
        """Rotate or retire; None if it died, which it does not where it ends before."""
        self.count["runs"] += 1
        vault, items, doomed = self.vaults[place], self.items(place), self.reaper
        vault.driver = self.chance.choice(DRIVERS)
        doomed.calls, doomed.moment, doomed.dead = [], None, False
        if dies:
            names = self.chance.choice(list(DEADLY))
            after = self.chance.random() < 0.5
            doomed.moment = Moment(
                self.chance.randrange(DEADLY[names](len(items), work)), after, names
            )
        try:
            return vault.rotate(*items, **options)
        except Killed:
            self.count["kills"] += 1
            when = f"{'after' if after else 'before'} {doomed.calls[-1]}"
            what = f"{options['stage']} by {vault.driver} with {work} to do"
            print(f"{self.now:%F %R} {place}, {what}: {when}")
            return None
        finally:
            doomed.calls, doomed.moment, doomed.dead = [], None, False

    def _take_over(self, place: str, steps: dict[str, Step]) -> None:
        """See how far a run came that died: no further than it should have come."""
        if not steps:
            return
        there = generations(*(self.declared[name] for name in steps))
        for name, step in steps.items():
            key = self.keys[name]
            made = len(there[name]) - len(key.generations)
            assert made in ((0, 1) if step.makes else (0,)), (name, made)
            if made:
                key.make(self.now)
            brought = len(self._listed(place, name)) - len(key.versions[place])
            assert brought in ((0, 1) if made or not step.makes else (0,)), (name, brought)
            if brought:
                key.bring(place, self.now)
                self.count["versions"] += 1

    # What is there

    def _listed(self, place: str, name: str) -> list[Any]:
        """What the SDK lists, oldest first."""
        listed = self.lab.client(self.vaults[place].url).list_properties_of_key_versions(name)
        return sorted(listed, key=lambda properties: properties.created_on)

    def check(self) -> None:
        """See that there is what the policies ask for, and nothing else."""
        in_token = generations(*self.declared.values())
        for name, key in self.keys.items():
            there = in_token[name]
            assert [each["withdrawn"] for each in there] == [
                each.withdrawn for each in key.generations
            ], name
            assert not any(each["half_made"] for each in there), name
            brought = {
                version.generation for versions in key.versions.values() for version in versions
            }
            locks = self.declared[name].get("after_transfer") == "lock"
            locked = [number for number, each in enumerate(there) if not each["CKA_EXTRACTABLE"]]
            assert locked == (
                sorted(number for number in brought if number is not None) if locks else []
            ), name
            for place in key.versions:
                self._check_versions(place, name, there)
        for place, vault in self.vaults.items():
            listed = {each.name for each in self.lab.client(vault.url).list_properties_of_keys()}
            assert {name for name in listed if not name.startswith("keyferry-kek-")} == set(
                self.names(place)
            )

    def _check_versions(self, place: str, name: str, in_token: list[Result]) -> None:
        client, what = self.lab.client(self.vaults[place].url), f"{name} in {place}"
        expected, found = self.keys[name].versions[place], self._listed(place, name)
        assert [each.enabled for each in found] == [each.enabled for each in expected], what
        for version, properties in zip(expected, found, strict=True):
            assert abs(properties.created_on - version.created) < BLUR, what
            assert (properties.expires_on is None) == (version.expires is None), what
            assert version.expires is None or abs(properties.expires_on - version.expires) < BLUR, (
                what
            )
            key = client.get_key(name, properties.version)
            own = [number for number, generation in enumerate(in_token) if is_same(key, generation)]
            assert own == ([] if version.generation is None else [version.generation]), what


def is_same(key: Any, generation: Result) -> bool:
    """Whether a version and a generation are one key; for an oct key its import has proved it."""
    if generation["public_key"] is None:
        return bool(
            (key.properties.tags or {}).get("keyferry-generation") == generation["generation"]
        )
    numbers = load_pem_public_key(generation["public_key"].encode())
    if isinstance(numbers, RSAPublicKey):
        return int.from_bytes(key.key.n, "big") == numbers.public_numbers().n
    point: Any = numbers.public_numbers()  # type: ignore[union-attr]
    return (int.from_bytes(key.key.x, "big"), int.from_bytes(key.key.y, "big")) == (
        point.x,
        point.y,
    )


def keep_evidence(folder: Path, vaults: Iterable[Vault]) -> Path:
    """Let the runs of vaults sign their evidence, and keep it here."""
    run("byok_evidence_key", evidence_key="year")
    for vault in vaults:
        vault.options.update(receipt_directory=str(folder), evidence_key="year")
    return folder


def chain_of(folder: Path, vault: Vault) -> list[Envelope]:
    """The manifests of a vault, which are a whole chain and name each receipt there is."""
    lines = (folder / vault.host / "runs.intoto.jsonl").read_text().splitlines()
    chain = [parse_envelope(line, "a manifest") for line in lines]
    assert judge_chain(chain, []).verdict == f"whole up to {len(chain)}"
    named = {
        receipt["sha256"]
        for manifest in chain
        for receipt in manifest.statement()["predicate"]["receipts"]
    }
    kept = {
        parse_envelope(line, path.name).digest
        for path in (folder / vault.host / "keys").iterdir()
        for line in path.read_text().splitlines()
    }
    assert kept == named
    return chain


def test_a_year_of_daily_runs_ends_with_what_the_policies_ask_for(
    lab: Lab,
    new_vault: Callable[..., Vault],
    reaper: Reaper,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    vaults = {"second": new_vault(), "first": new_vault(), "hsm": new_vault("managedhsm.azure.net")}
    evidence = keep_evidence(tmp_path, vaults.values())
    seed = int(os.environ.get("KEYFERRY_YEAR_SEED") or random.randrange(10**6))
    year = Year(lab, vaults, reaper, random.Random(seed), lab.now)
    with capsys.disabled():
        print(f"\na year from {year.start:%F %R}, KEYFERRY_YEAR_SEED={seed}", flush=True)
    chance = year.chance
    deaths, early = (
        set(chance.sample(range(1, DAYS - 30), KILLS)),
        set(chance.sample(range(1, DAYS), 12)),
    )
    forced_on = {
        **{day: chance.choice(list(KEYS)) for day in chance.sample(range(1, DAYS), 8)},
        **FORCED,
    }
    closed, closed_days = CLOSED
    withdrawal, withdrawn = WITHDRAWAL
    pending = 0
    for day in range(DAYS):
        year.begin(day)
        if day in FOREIGN:
            year.plant(*FOREIGN[day])
        forced = {
            name: number
            for name in [forced_on.get(day)]
            if name and (number := year.keys[name].newest) is not None
        }
        if withdrawal <= day and year.keys[withdrawn].rotation("second", year.now).makes:
            year.rotate("second", {}, "prepare")
            year.withdraw(withdrawn)
            withdrawal = DAYS
        elif day in early:
            year.rotate("first", {}, "prepare")
        pending += day in deaths
        victim = year.choose_victim() if pending else None
        if day in (closed_days.start, closed_days.stop):
            lab.control("PUT", f"/vaults/{vaults[closed].host}", {"firewall": day in closed_days})
        for place in vaults:
            if place == closed and day in closed_days:
                year.meet_firewall(place)
                continue
            for stage in ("rotate", "retire"):
                if not year.act(place, stage, forced, dies=(place, stage) == victim):
                    pending -= 1
                    if chance.random() < 0.4:
                        break  # tomorrow's run goes on
                    assert year.act(place, stage, forced)
        if day % 60 == 59:
            year.check()
    year.check()
    manifests = sum(len(chain_of(evidence, vault)) for vault in vaults.values())
    assert [vault.keks() for vault in vaults.values()] == [[], [], []]
    assert (withdrawal, year.count["kills"]) == (DAYS, KILLS)
    counted = ", ".join(f"{number} {what}" for what, number in year.count.items())
    with capsys.disabled():
        print(f"{DAYS} days, {len(KEYS)} keys, {manifests} manifests, {counted}")
