"""Docstrings say ``:class:`~airflow_bulk.arguments.SendingOptions```, as Airflow's do; the site shows a link.

A name that is on no page of the reference is shown as code.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data|exc|obj):`(~?)([\w.]+)`")


def with_links(text: str, module: str) -> str:
    """Replace the roles of a docstring by links.

    :param module: the module that the docstring stands in; a name without a dot is looked for there.
    """

    def link(match: re.Match[str]) -> str:
        short, name = match.groups()
        said = name.rpartition(".")[2] if short else name
        target = name if "." in name else f"{module}.{name}"
        return f'<autoref optional identifier="{target}"><code>{said}</code></autoref>'

    return _ROLE.sub(link, text)


class DocstringRoles(Extension):
    """Rewrites every docstring as it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = with_links(obj.docstring.value, obj.module.path)
