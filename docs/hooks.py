"""What MkDocs does to every page beside its own work."""

from __future__ import annotations

import re
from typing import Any

from mkdocs.exceptions import PluginError

_ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>(?:~(?:\w+\.)*)?")
_FOREIGN = re.compile(
    r"""<(?:script|img|iframe)[^>]*\ssrc=["']?(?:https?:)?//|<link[^>]*rel="?(?:stylesheet|preload)[^>]*//"""
)


def on_page_content(html: str, **_: Any) -> str:
    """Show the cross-references of docstrings, such as ``:class:`~package.Name```, as plain code."""
    return _ROLE.sub("<code>", html)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Stop at a page that loads anything from another machine: the site must open offline."""
    found = _FOREIGN.search(output)
    if found:
        raise PluginError(f"{page.file.src_path} loads something from elsewhere: {found.group()}")
    return output
