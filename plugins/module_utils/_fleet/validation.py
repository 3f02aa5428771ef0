# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""Fields checked against an argument spec, each problem told with the path of its field; pure."""

from __future__ import annotations

import re
import typing as t
from datetime import date
from difflib import get_close_matches

from ansible.module_utils.common.validation import check_type_bool, check_type_int
from ansible_collections.keyferry.azure.plugins.module_utils._ansible.arguments import Spec
from ansible_collections.keyferry.azure.plugins.module_utils._core.curves import CURVES
from ansible_collections.keyferry.azure.plugins.module_utils._core.errors import ByokError

Fields = t.Mapping[str, t.Any]

#: For values that have a form of their own, by their path: what raises ByokError where they have
#: another one
Forms = t.Mapping[str, t.Callable[[t.Any], t.Any]]

#: No more problems are told than somebody reads, because telling them takes time
MOST_PROBLEMS = 1000

#: Of a list of texts, such as names of vaults, each of which is compared with what there is
MOST_TEXTS = 1000

#: Fields and words of az, of Azure's REST API, of Terraform's azurerm and of OpenSSL, each for ours
_FIELDS_OF_OTHERS = {
    **dict.fromkeys(("kty", "keytype"), "type"),
    **dict.fromkeys(("keysize", "bits"), "size"),
    **dict.fromkeys(("crv", "curvename"), "curve"),
    **dict.fromkeys(("keyops", "keyopts", "ops"), "operations"),
    **dict.fromkeys(("exp", "expireson", "expirationdate"), "expires"),
    **dict.fromkeys(("nbf", "notbeforedate"), "not_before"),
}
_WORDS_OF_OTHERS = {
    **dict.fromkeys(("rsahsm", "ckkrsa"), "RSA"),
    **dict.fromkeys(("echsm", "ckkec"), "EC"),
    **dict.fromkeys(("octhsm", "ckkaes", "aes"), "oct"),
    **{
        name.lower().replace("-", ""): curve.name
        for curve in CURVES.values()
        for name in (
            curve.sec_name,
            curve.jwk_name,
            curve.former_name,
            curve.thales_name.replace("_", ""),
            curve.thales_name.rpartition("_")[2],
            f"nist{curve.name}",
        )
        if name
    },
    "wrap": "wrapKey",
    "unwrap": "unwrapKey",
}

_KINDS: dict[str, tuple[t.Any, str]] = {
    "str": (str, "a text"),
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "list": (list, "a list"),
    "dict": (t.Mapping, "a mapping"),
    "raw": (object, "anything"),
}

#: What a template of ansible-core before 2.19 makes a text of, and modules read
_FROM_TEXT = {"int": check_type_int, "bool": check_type_bool}

_PLAIN = re.compile(r"[\w.-]{1,127}")
_MOST_SHOWN = 60


class FieldCheck:
    """The check of one mapping of fields.

    :ivar unfit: its fields that have a problem
    """

    def __init__(self, place: str, forms: Forms, problems: list[str], exact: bool) -> None:
        """Begin.

        :param place: names the mapping in messages
        :param problems: gets a sentence for each problem
        :param exact: take no text for a number or a boolean, as modules do
        """
        self.place = place
        self.unfit: set[str] = set()
        self._forms = forms
        self._problems = problems
        self._exact = exact

    def refuse(self, path: str, what: str) -> None:
        """Tell a problem of the field with this path."""
        self.unfit.add(re.split(r"[.:\[]", path, maxsplit=1)[0])
        self.tell(f"{path} {what}")

    def tell(self, what: str) -> None:
        """Tell a problem."""
        ending = "" if what.endswith((".", "?")) else "."
        self._problems.append(f"{self.place}: {what}{ending}")

    def typed(self, options: Spec, fields: Fields, path: str = "") -> dict[str, t.Any]:
        """Return the fields that are fit, as a module would take them."""
        typed = {}
        for field, value in fields.items():
            if len(self._problems) >= MOST_PROBLEMS:
                break
            if field not in options:
                meant = _meant(field, _FIELDS_OF_OTHERS, options) or suggestion(field, options)
                self.refuse(f"{path}{shown(field)}", f"is not a field{meant}")
            elif value is not None:
                typed[field] = self._typed(options[field], value, f"{path}{field}")
            elif self._exact:
                self.refuse(f"{path}{field}", "has no value")
        return {field: value for field, value in typed.items() if path or field not in self.unfit}

    def _typed(self, option: dict[str, t.Any], value: t.Any, path: str) -> t.Any:
        """Return a value as a module would take it; None for one of another type, which is told.

        :param option: of an argument spec: ``type``, and where it has them ``options``,
            ``elements`` and ``choices``
        """
        kind = option["type"]
        python_type, name = _KINDS[kind]
        if not isinstance(value, python_type) or (kind == "int" and isinstance(value, bool)):
            try:
                if self._exact or not isinstance(value, str):
                    raise TypeError
                value = _FROM_TEXT[kind](value)
            except (KeyError, TypeError):
                what = f"is {kind_of(value)}, but must be {name}"
                if kind == "str" and not isinstance(value, (list, t.Mapping)):
                    what += ": put it into quotes"
                self.refuse(path, what)
                return None
        if "options" in option:
            return self.typed(option["options"], value, f"{path}.")
        if kind == "list":
            return self._elements(option, value, path)
        if option.get("choices") and value not in option["choices"]:
            choices = ", ".join(option["choices"])
            meant = _meant(value, _WORDS_OF_OTHERS, option["choices"])
            self.refuse(path, f"is {kind_of(value)}, but must be one of {choices}{meant}")
        elif path in self._forms:
            try:
                self._forms[path](value)
            except ByokError as error:
                self.refuse(f"{path}:", str(error))
        return value

    def _elements(self, option: dict[str, t.Any], values: t.Sequence[t.Any], path: str) -> t.Any:
        """Return the elements of a list as a module would take them; None for too many."""
        element = {"type": option["elements"], "choices": option.get("choices")}
        if element["type"] == "str" and len(values) > MOST_TEXTS:
            self.refuse(path, f"has {len(values)} elements, but must have at most {MOST_TEXTS}")
            return None
        typed = []
        for number, value in enumerate(values):
            if len(self._problems) >= MOST_PROBLEMS:
                break
            typed.append(self._typed(element, value, f"{path}[{number}]"))
        return typed


def kind_of(value: t.Any) -> str:
    """Describe a value, for a message."""
    if value is None:
        return "empty"
    if isinstance(value, str):
        return f"the text {_quoted(value)}"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {_quoted(str(value))[1:-1]}"
    if isinstance(value, date):
        return f"the date {value.isoformat()}"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, t.Mapping):
        return "a mapping"
    return f"a {type(value).__name__}"


def shown(name: t.Any) -> str:
    """Return a name for a message, in quotes where it is none."""
    if not isinstance(name, str):
        return kind_of(name)
    return str(name) if _PLAIN.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    # Without control characters, and not longer than somebody reads
    more = "..." if len(text) > _MOST_SHOWN else ""
    return repr(str(text[:_MOST_SHOWN])) + more


def suggestion(name: t.Any, names: t.Iterable[str]) -> str:
    """Return the question whether the nearest of the names is meant, to follow a statement."""
    if not isinstance(name, str) or len(name) > _MOST_SHOWN:
        return ""
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _meant(word: t.Any, known: t.Mapping[str, str], names: t.Iterable[str]) -> str:
    """Return the question whether one of the names is meant by a word of another tool.

    :param known: the names by words in lower case, without underscores and hyphens
    """

    def plain(text: str) -> str:
        return re.sub("[_-]", "", text.lower())

    if not isinstance(word, str) or len(word) > _MOST_SHOWN:
        return ""
    same = {plain(name): name for name in names}
    name = same.get(plain(word)) or known.get(plain(word))
    return f"; did you mean {name}?" if name in same.values() else ""


def check_texts(values: Fields) -> None:
    """Check that tags are texts.

    :raises ByokError: otherwise, because true would become True, 1.10 become 1.1, and 00412 be 266
    """
    for name, value in values.items():
        if not isinstance(name, str):
            raise ByokError(f"{kind_of(name)} is no name of a tag", "Put it into quotes")
        if not isinstance(value, str):
            raise ByokError(
                f"{shown(name)} is {kind_of(value)}, but must be a text", "Put it into quotes"
            )
