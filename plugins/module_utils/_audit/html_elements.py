# Copyright (c) 2026 Keyferry contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module util is **PRIVATE** to the collection: it can change at any time.

"""HTML made of elements, in which no text can become an element or an attribute; pure.

Only what :func:`element` and :func:`trusted` return is taken as HTML. Any other text is made
printable and escaped, so a name, a tag or a label of others stays what it is: text.
"""

from __future__ import annotations

import html
import typing as t

from ansible_collections.keyferry.azure.plugins.module_utils._core.printable import printable

#: Elements without content, which have no end tag (HTML, 13.1.2)
_VOID = frozenset({"br", "meta"})


class Markup(str):
    """HTML that this file made. Joined with another text it is a plain str, and escaped again."""

    __slots__ = ()


Child: t.TypeAlias = "str | int | None"


def element(tag: str, *children: Child, **attributes: str | None) -> Markup:
    """Return an element.

    :param tag: a name from our own code, never a text of others
    :param children: elements, and texts, which are escaped; None is nothing
    :param attributes: by their names, ``cls`` for ``class``; one that is None is left out
    """
    named = "".join(
        f' {"class" if name == "cls" else name}="{escaped(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    start = f"<{tag}{named}>"
    return Markup(start if tag in _VOID else f"{start}{joined(children)}</{tag}>")


def joined(children: t.Iterable[Child]) -> Markup:
    """Return elements and texts one after the other."""
    return Markup(
        "".join(
            child if isinstance(child, Markup) else escaped(child)
            for child in children
            if child is not None
        )
    )


def escaped(text: object) -> str:
    """Return a text as HTML shows it, in an element or in quotes."""
    return html.escape(printable(text), quote=True)


def trusted(text: str) -> Markup:
    """Return a text of our own code, such as the style sheet, as HTML."""
    return Markup(text)
