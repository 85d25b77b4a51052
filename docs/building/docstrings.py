"""What the reference needs of docstrings and signatures as this package writes them.

* ``:class:`~airflow_bulk.arguments.SendingOptions``` becomes a link; a name that is on no page is shown as code.
* An operator takes most of its arguments in ``**kwargs`` and hands them on to its base. What its docstring names gets the
  type and the default that the base has, in the table as in the signature.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, Function, Module, Object, Parameter, ParameterKind, Parameters

#: Defaults whose names say nothing to a reader; Python still, since the signature is formatted as such.
DEFAULTS = {
    "read.LINE_BY_DEFAULT": '"line"',
    "read.NOTHING_EXPECTED": "NOTHING_EXPECTED",
    "conf.getboolean('operators', 'default_deferrable', fallback=False)": "DEFAULT_DEFERRABLE",
}

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data|exc|obj):`(~?)([\w.]+)`")
_NAMED = re.compile(r"^\s*:param (\w+):", re.MULTILINE)


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


def own_init(cls: Class) -> Function | None:
    """The constructor that a class defines itself."""
    found = cls.members.get("__init__")
    return found if isinstance(found, Function) else None


def add_inherited(cls: Class) -> None:
    """Give the constructor of a class the parameters that its docstring names and its bases take.

    :raises ValueError: nobody takes such a parameter.
    """
    init = own_init(cls)
    named = _NAMED.findall(cls.docstring.value) if cls.docstring else []
    bases = [base for one in cls.mro() if (base := own_init(one))]
    if init is None:
        if not bases or all(name in cls.parameters for name in named):
            return
        # It has the constructor of its bases, of which Python asks one after the other.
        init = Function("__init__", parameters=Parameters(bases[0].parameters["self"], *_rest(bases[0])))
        cls.set_member("__init__", init)
    if not (rest := _rest(init)):
        return
    missing = [name for name in named if name not in init.parameters and name != rest[0].name]
    del init.parameters[rest[0].name]
    for name in missing:
        found = next((base.parameters[name] for base in bases if name in base.parameters), None)
        if found is None:
            raise ValueError(
                f"{cls.path} names the parameter {name}, and neither it nor a base of it takes one."
            )
        init.parameters.add(
            Parameter(
                name, annotation=found.annotation, kind=ParameterKind.keyword_only, default=found.default
            )
        )
    init.parameters.add(rest[0])


def _rest(init: Function) -> list[Parameter]:
    """The ``**kwargs`` of a constructor, if it has them."""
    return [one for one in init.parameters if one.kind is ParameterKind.var_keyword]


def classes(module: Module) -> list[Class]:
    """The classes that a package defines."""
    found: list[Class] = []
    for member in module.members.values():
        if isinstance(member, Module):
            found += classes(member)
        elif isinstance(member, Class):
            found.append(member)
    return found


class Docstrings(Extension):
    """Rewrites docstrings as they are read, and signatures once the whole package is."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Rewrite the docstring of an object, if it has one."""
        if obj.docstring is not None:
            obj.docstring.value = with_links(obj.docstring.value, obj.module.path)

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        """Complete the signatures of all classes."""
        for cls in classes(pkg):
            for one in init.parameters if (init := own_init(cls)) else ():
                one.default = DEFAULTS.get(str(one.default), one.default)
        for cls in classes(pkg):
            add_inherited(cls)
