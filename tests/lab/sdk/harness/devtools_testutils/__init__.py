# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of Microsoft's SDKs want of their own harness, for a run against the lab.

The tests are told that they are live: nothing is recorded, and nothing is played back.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def is_live() -> bool:
    return True


def recorded_by_proxy(test: Function) -> Function:
    return test


def _nothing(*_arguments: Any, **_options: Any) -> None:
    """Take the place of what sets up a recorder."""


add_general_string_sanitizer = add_oauth_response_sanitizer = _nothing
remove_batch_sanitizers = set_bodiless_matcher = set_custom_default_matcher = _nothing


class AzureRecordedTestCase:
    """The base class of the tests, with the lab's operator as the identity of all clients."""

    is_live = True
    in_recording = False

    def get_resource_name(self, name: str) -> str:
        """Return a name that no other test uses."""
        return f"{name}{uuid.uuid4().hex[:8]}"

    def get_credential(self, _client: type, is_async: bool = False, **options: Any) -> Any:
        if is_async:
            from azure.identity.aio import ClientSecretCredential
        else:
            from azure.identity import ClientSecretCredential  # type: ignore[assignment]
        names = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
        return ClientSecretCredential(*(os.environ[name] for name in names), **options)

    def create_client_from_credential(self, client: type, credential: Any, **options: Any) -> Any:
        return client(credential=credential, **{"logging_enable": True, **options})
