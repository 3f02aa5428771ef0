# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let comment.py and azure_token.py talk to a stub of GitHub, GitLab and Azure DevOps.

argv: the folder that they are in.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

CI = Path(sys.argv[1])
COMMENTS: list[dict[str, Any]] = []
SEEN: list[tuple[str, str]] = []


class Stub(BaseHTTPRequestHandler):
    """Comments of one pull request, in the words of each service.

    Author 7 is somebody else, author 8 is the job.
    """

    def do_GET(self) -> None:
        SEEN.append(
            (
                self.path,
                self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "",
            )
        )
        if self.path.startswith("/oidc?"):
            return self._answer({"value": f"token for {self.path.partition('&')[2]}"})
        if self.path == "/user":
            return self._answer({"id": 8})
        if self.path == "/_apis/connectionData":
            return self._answer({"authenticatedUser": {"id": 8}})
        rows = [self._comment(number, each) for number, each in enumerate(COMMENTS)]
        if "/threads" not in self.path:
            return self._answer(rows)
        return self._answer(
            {
                "value": [{"id": 70 + row["id"], "comments": [row]} for row in rows]
                + [{"id": 1, "comments": []}]
            }
        )

    def _comment(self, number: int, comment: dict[str, Any]) -> dict[str, Any]:
        ours = comment["author"] == 8
        author = {"id": comment["author"], "login": "github-actions[bot]" if ours else "mallory"}
        return {
            "id": number,
            "user": author,
            "author": author,
            "body": comment["text"],
            "content": comment["text"],
        }

    def _write(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body.get("body") or body.get("content") or body["comments"][0]["content"]
        SEEN.append((f"{self.command} {self.path}", text))
        if self.command == "POST":
            COMMENTS.append({"author": 8, "text": text})
        else:
            COMMENTS[int(self.path.partition("?")[0].rpartition("/")[2])]["text"] = text
        self._answer({})

    do_POST = do_PATCH = do_PUT = _write

    def _answer(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def services(url: str) -> dict[str, tuple[dict[str, str], list[str]]]:
    """The environment of a job of each service, and what it writes where, first and then."""
    threads = "/p/_apis/git/repositories/r/pullRequests/5/threads"
    return {
        "github": (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_TOKEN": "t",
                "GITHUB_API_URL": url,
                "GITHUB_REPOSITORY": "o/r",
                "PULL_REQUEST": "5",
            },
            [
                "POST /repos/o/r/issues/5/comments?per_page=100",
                "PATCH /repos/o/r/issues/comments/1",
            ],
        ),
        "gitlab": (
            {
                "GITLAB_CI": "true",
                "COMMENT_TOKEN": "t",
                "CI_API_V4_URL": url,
                "CI_PROJECT_ID": "3",
                "CI_MERGE_REQUEST_IID": "5",
            },
            [
                "POST /projects/3/merge_requests/5/notes?per_page=100",
                "PUT /projects/3/merge_requests/5/notes/1",
            ],
        ),
        "azure": (
            {
                "SYSTEM_ACCESSTOKEN": "t",
                "SYSTEM_COLLECTIONURI": f"{url}/",
                "SYSTEM_TEAMPROJECTID": "p",
                "BUILD_REPOSITORY_ID": "r",
                "SYSTEM_PULLREQUEST_PULLREQUESTID": "5",
            },
            [
                f"POST {threads}?api-version=7.1",
                f"PATCH {threads}/71/comments/1?api-version=7.1",
            ],
        ),
    }


def main() -> None:
    server = HTTPServer(("127.0.0.1", 0), Stub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url, base = f"http://127.0.0.1:{server.server_port}", {"PATH": os.environ["PATH"]}
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.md"
        for name, (env, written) in services(url).items():
            COMMENTS[:] = [
                {"author": 7, "text": "<!-- keyferry plan -->\nmine, and changed by me later"}
            ]
            SEEN.clear()
            for text in ("first", "x" * 100_000):
                plan.write_text(text)
                subprocess.run(
                    [sys.executable, CI / "comment.py", plan], env=base | env, check=True
                )
            assert [seen[0] for seen in SEEN if seen[0][0] == "P"] == written, (name, SEEN)
            assert len(COMMENTS) == 2, (name, COMMENTS[0])
            assert "changed by me later" in COMMENTS[0]["text"], (name, COMMENTS[0])
            assert COMMENTS[1]["text"].startswith("<!-- keyferry plan -->\nxxx"), name
            assert len(COMMENTS[1]["text"]) < 65_536, name
    SEEN.clear()
    show = (
        'stat -c %a "$AZURE_FEDERATED_TOKEN_FILE"; cat "$AZURE_FEDERATED_TOKEN_FILE"; '
        "echo; env; exit 2"
    )
    github = {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/oidc?a=b",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "bearer-of-the-job",
    }
    for env, token in (
        (github, "token for audience=api://AzureADTokenExchange"),
        ({"AZURE_ID_TOKEN": "of-gitlab"}, "of-gitlab"),
    ):
        command = [sys.executable, str(CI / "azure_token.py"), "sh", "-c", show]
        done = subprocess.run(
            command, env=base | env, stdout=subprocess.PIPE, text=True, check=False
        )
        assert done.returncode == 2, done.stdout
        assert done.stdout.startswith(f"600\n{token}\n"), done.stdout
        assert "bearer-of-the-job" not in done.stdout, done.stdout
        assert done.stdout.count("of-gitlab") == (token == "of-gitlab"), done.stdout
    assert SEEN[0][1] == "Bearer bearer-of-the-job", SEEN
    killed = [sys.executable, str(CI / "azure_token.py"), "sh", "-c", "kill -9 $$"]
    assert (
        subprocess.run(killed, env=base | {"AZURE_ID_TOKEN": "of-gitlab"}, check=False).returncode
        == 1
    )


if __name__ == "__main__":
    main()
