# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""comment.py plan.md: put a plan under the pull request of this job.

If an earlier run left a comment there, the plan replaces its text. A comment is taken for ours if
we wrote it; anybody could begin theirs as ours does, and change it later.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "<!-- keyferry plan -->"
LONGEST = 60_000  # characters; GitHub takes 65,536


@dataclass(frozen=True)
class Service:
    """What is asked of a CI service.

    :ivar myself: who we are
    :ivar comments: the URL of all comments, to which a new one is posted
    :ivar found: the author, the text and the URL of each comment
    :ivar method: by which a comment is changed
    :ivar body: of a comment that is changed
    :ivar new: of a new one
    """

    headers: dict[str, str]
    myself: Callable[[], Any]
    comments: str
    found: Callable[[Any], list[tuple[Any, str, str]]]
    method: str
    body: Callable[[str], dict[str, Any]]
    new: Callable[[str], dict[str, Any]]


def ask(
    headers: dict[str, str], url: str, method: str = "GET", body: dict[str, Any] | None = None
) -> Any:
    """Send a request and return the answer's JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"Content-Type": "application/json", **headers}, method=method
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def github(env: dict[str, str]) -> Service:
    """GitHub: the job's token, with pull-requests: write."""
    headers = {"Authorization": f"Bearer {env['GITHUB_TOKEN']}"}
    issues = f"{env['GITHUB_API_URL']}/repos/{env['GITHUB_REPOSITORY']}/issues"
    return Service(
        headers,
        lambda: "github-actions[bot]",
        f"{issues}/{env['PULL_REQUEST']}/comments?per_page=100",
        lambda answer: [
            (each["user"]["login"], each["body"], f"{issues}/comments/{each['id']}")
            for each in answer
        ],
        "PATCH",
        lambda text: {"body": text},
        lambda text: {"body": text},
    )


def gitlab(env: dict[str, str]) -> Service:
    """GitLab: a project access token, because a job's own token may not comment."""
    headers, api = {"PRIVATE-TOKEN": env["COMMENT_TOKEN"]}, env["CI_API_V4_URL"]
    notes = (
        f"{api}/projects/{env['CI_PROJECT_ID']}/merge_requests/{env['CI_MERGE_REQUEST_IID']}/notes"
    )
    return Service(
        headers,
        lambda: ask(headers, f"{api}/user")["id"],
        f"{notes}?per_page=100",
        lambda answer: [
            (each["author"]["id"], each["body"], f"{notes}/{each['id']}") for each in answer
        ],
        "PUT",
        lambda text: {"body": text},
        lambda text: {"body": text},
    )


def azure(env: dict[str, str]) -> Service:
    """Azure Repos: the job's token, of a build service that may contribute to pull requests."""
    headers, collection = (
        {"Authorization": f"Bearer {env['SYSTEM_ACCESSTOKEN']}"},
        env["SYSTEM_COLLECTIONURI"].rstrip("/"),
    )
    project, name = env["SYSTEM_TEAMPROJECTID"], env["BUILD_REPOSITORY_ID"]
    repository = f"{collection}/{project}/_apis/git/repositories/{name}"
    threads = f"{repository}/pullRequests/{env['SYSTEM_PULLREQUEST_PULLREQUESTID']}/threads"

    def found(answer: Any) -> list[tuple[Any, str, str]]:
        first = [
            (thread["id"], thread["comments"][0])
            for thread in answer["value"]
            if thread.get("comments")
        ]
        return [
            (
                each["author"]["id"],
                each.get("content") or "",
                f"{threads}/{thread}/comments/{each['id']}?api-version=7.1",
            )
            for thread, each in first
        ]

    return Service(
        headers,
        lambda: ask(headers, f"{collection}/_apis/connectionData")["authenticatedUser"]["id"],
        f"{threads}?api-version=7.1",
        found,
        "PATCH",
        lambda text: {"content": text},
        lambda text: {
            "comments": [{"parentCommentId": 0, "content": text, "commentType": 1}],
            "status": 4,
        },
    )


def main(path: str) -> None:
    """Write the comment."""
    env = dict(os.environ)
    service = (github if "GITHUB_ACTIONS" in env else gitlab if "GITLAB_CI" in env else azure)(env)
    plan = Path(path).read_text(encoding="utf-8")
    if len(plan) > LONGEST:
        plan = plan[:LONGEST] + "\n\nThe rest is in plan.json.\n"
    text, myself = f"{MARK}\n{plan}", service.myself()
    for author, earlier, url in service.found(ask(service.headers, service.comments)):
        if author == myself and earlier.startswith(MARK):
            ask(service.headers, url, service.method, service.body(text))
            return
    ask(service.headers, service.comments, "POST", service.new(text))


if __name__ == "__main__":
    main(*sys.argv[1:])
