# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import csv
import json
import typing as t
from datetime import date

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.keyferry.azure.plugins.filter.byok_log import FilterModule

byok_log = FilterModule().filters()["byok_log"]


def line(second: int, **members: t.Any) -> str:
    return json.dumps(
        {
            "time": f"2026-11-22T16:00:{second:02}.500Z",
            "level": "INFO",
            "job": "j",
            "message": str(second),
            **members,
        }
    )


LOG = [
    "\n".join([line(3, key="a", level="ERROR"), line(5, key="b", host="h"), ""]),
    "\n".join(
        [
            line(1, job="k", awx_job="42"),
            line(2, vault="https://contoso.vault.azure.net", level="WARNING"),
        ]
    ),
]


def seconds(**options: t.Any) -> list[int]:
    return [
        int(json.loads(each)["message"]) for each in byok_log(LOG, **options)["text"].splitlines()
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 5]),
        ({"start": "2026-11-22T16:00:03Z"}, [3, 5]),
        ({"end": "2026-11-22T17:00:03+01:00"}, [1, 2]),
        ({"level": "WARNING"}, [2, 3]),
        ({"level": "WARN"}, [2, 3]),
        ({"level": "ERROR"}, [3]),
        (
            {
                "level": None,
                "start": "",
                "end": None,
                "key": "",
                "host": None,
                "vault": "",
                "job": "",
            },
            [1, 2, 3, 5],
        ),
        ({"key": "a"}, [3]),
        ({"host": "h"}, [5]),
        ({"job": "k"}, [1]),
        ({"job": 42}, [1]),
        ({"vault": "contoso"}, [2]),
        ({"vault": "contoso.vault.azure.net"}, [2]),
        ({"vault": "https://Contoso.vault.azure.net/"}, [2]),
        ({"vault": "other"}, []),
        ({"key": "a", "host": "h"}, []),
    ],
)
def test_events_are_chosen_and_sorted(options: dict[str, t.Any], expected: list[int]) -> None:
    assert seconds(**options) == expected


def test_lines_stay_as_they_are_and_broken_ones_are_counted() -> None:
    odd = '{"level":"INFO",  "time":"2026-11-22T16:00:00Z", "new": 1}'
    junk = [
        "junk",
        '{"time": "2026',
        "[]",
        "{}",
        '{"time": "2026-11-22T16:00:00Z"}',
        '{"time": 1, "level": "INFO"}',
        "null",
        "\udc00",
    ]
    without_zone = '{"time": "2026-11-22T16:00:00", "level": "INFO"}'
    unknown_level = '{"time": "2026-11-22T16:00:00Z", "level": ["INFO"]}'
    assert byok_log(["\n".join([odd, "", *junk, without_zone, unknown_level])]) == {
        "text": f"{odd}\n",
        "events": 1,
        "broken": 10,
    }
    assert byok_log([]) == {"text": "", "events": 0, "broken": 0}


def test_a_csv_holds_no_formula() -> None:
    event = {
        "check": True,
        "request_ids": ["r", "s"],
        "duration": 1.5,
        "thumbprint": "-abc",
        "key": "=cmd|' /C calc'!A0",
    }
    log = line(1, **event, message='quoted "text",\nnext')
    text = byok_log([log], format="csv")["text"]
    [row] = csv.DictReader(text.splitlines(keepends=True))
    assert {name: value for name, value in row.items() if value} == {
        "time": "2026-11-22T16:00:01.500Z",
        "level": "INFO",
        "job": "j",
        "check": "true",
        "key": "'=cmd|' /C calc'!A0",
        "thumbprint": "'-abc",
        "request_ids": "r s",
        "duration": "1.5",
        "message": 'quoted "text",\nnext',
    }
    assert byok_log([], format="csv")["text"].startswith("time,level,job,awx_job,")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"texts": "text"}, "a list of texts"),
        ({"format": "xml"}, "no format xml. Give one of jsonl, csv"),
        ({"level": "DEBUG"}, "no level DEBUG. Give one of INFO, WARNING, ERROR"),
        ({"start": "yesterday"}, "'yesterday' is not a moment"),
        ({"end": "2026-11-22T16:00:00"}, "no|not a moment with a time zone"),
        ({"end": date(2026, 11, 22)}, r"end \(byok_log_to\) holds the date 2026-11-22, .* quotes"),
        ({"key": 83}, r"key \(byok_log_key\) holds the number 83, .* quotes"),
    ],
)
def test_what_cannot_be_looked_for_is_an_error_of_ansible(
    options: dict[str, t.Any], says: str
) -> None:
    with pytest.raises(AnsibleFilterError, match=says):
        byok_log(**{"texts": LOG, **options})
