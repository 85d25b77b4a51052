"""Imports run one way, as ARCHITECTURE.md says: dags, operators and sensors, runs, triggers, hooks, the pure rooms.

The tests read source text, so that an import inside a function or under TYPE_CHECKING counts as well; one more
imports the pure rooms in a fresh interpreter, so that what their libraries bring counts, too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from source_files import LINKED, PACKAGE, sources

PURE = {"platforms", "documents", "extract_load"}

# What each room may import of the package, besides itself. A room that is not listed here fails the first test.
_JUDGING = {"judging", "shown"} | PURE
_TRIGGERS = {"triggers", "hooks"} | _JUDGING
_RUNS = {"runs", "arguments", "window"} | _TRIGGERS
_ABOVE = {"operators", "sensors", "links"} | _RUNS
ALLOWED: dict[str, set[str]] = {
    "platforms": set(),
    "documents": set(),
    "extract_load": {"pausing"},
    # How a call waits before it leaves: hooks wait, and who sends several at once may stop them.
    "pausing": set(),
    "judging": PURE,
    # What the page shows of a run: written by triggers and runs, read by the plugin.
    "shown": {"judging", "platforms"},
    # What hooks and triggers log with, since both run on event loops, too.
    "unblocked_log": set(),
    "hooks": {"unblocked_log", "pausing"} | _JUDGING,
    "triggers": {"hooks", "unblocked_log"} | _JUDGING,
    # An operator names its link in a class attribute; a link reads XCom and imports no operator.
    "links": {"hooks"} | _JUDGING,
    # How text from a template becomes a value: operators and sensors read it alike, and neither imports the other.
    "arguments": _JUDGING,
    # Which stretch of time a run stands for: the same for both, too.
    "window": {"arguments"},
    # What a task does over all its tries. Operators and sensors read its arguments and hand over.
    # Airflow calls these while a DAG file is parsed, and OpenLineage at a task's end.
    "assets": {"platforms"},
    "runs": {"assets"} | _RUNS,
    "operators": {"links"} | _RUNS,
    "sensors": {"links"} | _RUNS,
    # A retry policy decides from the errors of a task; DAG files import it.
    "retrying": {"runs", "platforms"},
    # `airflow bulk emulator` starts it, as the pytest plugin does. One file of the plugin knows Airflow's tables.
    "cli": {"emulator", "plugin"} | _ABOVE,
    # A notifier reads what runs have shown; DAG files, and the macro of the plugin, import it.
    "notifications": {"operators", "shown"},
    # The page reads what runs have recorded, and nothing that it reads knows the page.
    "plugin": {"notifications", "runs", "shown", "judging", "platforms"},
    # A mistake shared by the client and its judge would not show, so the emulator knows none of the rooms it tests.
    "emulator": set(),
    "pytest_plugin": {"emulator"},
    "get_provider_info": set(),
    "__init__": set(),
    "example_dags": {"assets", "notifications", "retrying"} | _ABOVE,
}


def imported(path: Path) -> set[str]:
    """The dotted names that a file imports, wherever in it; `from a import b` counts as a and as a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def rooms_of(names: set[str]) -> set[str]:
    """The rooms of the package among dotted names."""
    return {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}


def breaches(room: str, names: set[str]) -> list[str]:
    """What a file of ``room`` imports and must not."""
    found = [f"relative import {name}" for name in names if name.startswith(".")]
    found += [f"bare {name}" for name in names if name.split(".")[0] in LINKED.values()]
    allowed = ALLOWED.get(room, set()) | {room, "__init__"}
    # `from airflow_bulk import __version__` is a name of the package itself, not a room.
    found += [f"{PACKAGE}.{other}" for other in rooms_of(names) & set(ALLOWED) if other not in allowed]
    if room in PURE | {
        "judging",
        "shown",
        "arguments",
        "window",
        "unblocked_log",
        "pausing",
        "emulator",
        "pytest_plugin",
        "get_provider_info",
        "__init__",
    }:
        found += [name for name in names if name.split(".")[0] == "airflow"]
    if room in PURE:
        # A pure room may use what another offers at its door, not what lies inside.
        found += [
            name for name in names if name.startswith(f"{PACKAGE}.") and name.split(".")[1] in PURE - {room}
        ]
    return sorted(found)


def test_every_room_has_its_place_in_the_order(repository: Path) -> None:
    assert {room for room, _ in sources(repository)} <= set(ALLOWED)


def test_imports_run_one_way(repository: Path) -> None:
    wrong = {
        str(path.relative_to(repository)): found
        for room, path in sources(repository)
        if (found := breaches(room, imported(path)))
    }
    assert not wrong


@pytest.mark.parametrize(
    ("room", "text"),
    [
        ("documents", "from airflow.sdk import ObjectStoragePath"),
        ("documents", "def f():\n    import airflow.sdk"),
        ("documents", "from airflow_bulk.platforms import call"),
        ("platforms", "from airflow_bulk.hooks.transport import x"),
        ("judging", "import airflow_bulk.hooks"),
        ("hooks", "from airflow_bulk import triggers"),
        ("hooks", "if TYPE_CHECKING:\n    from airflow_bulk.runs.record import x"),
        ("triggers", "import airflow_bulk.runs.record"),
        ("emulator", "from airflow_bulk.documents import check_line"),
        ("runs", "from airflow_bulk.operators.document_import import x"),
        ("triggers", "from airflow_bulk.runs.record import x"),
        ("operators", "from airflow_bulk.emulator.handle import Emulator"),
        ("operators", "import hooks.transport"),
        ("example_dags", "from dags import store_purchases"),
        ("cli", "from airflow_bulk.example_dags import store_purchases"),
        ("operators", "from . import record"),
        ("links", "from airflow_bulk.operators.document_import import x"),
    ],
)
def test_a_wrong_import_is_seen(tmp_path: Path, room: str, text: str) -> None:
    file = tmp_path / "module.py"
    file.write_text(text)
    assert breaches(room, imported(file))


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of modules that import each other; empty where there is none."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_files_import_each_other_in_a_circle(repository: Path) -> None:
    names: dict[str, set[str]] = {}
    for room, path in sources(repository):
        top = repository / LINKED[room] if room in LINKED else repository / "src" / PACKAGE
        parts = path.relative_to(top).with_suffix("").parts
        parts = (room, *parts) if room in LINKED else parts
        names[".".join((PACKAGE, *parts)).removesuffix(".__init__")] = imported(path)
    # A name of a package that is no module is something that its __init__ defines.
    edges = {module: {name for name in found if name in names} - {module} for module, found in names.items()}
    for module, found in edges.items():
        # `from package import module` is an import of the module, not of what the package's __init__ may load.
        found -= {name for name in found if any(other.startswith(f"{name}.") for other in found | {module})}
    assert circle(edges) == []


def test_a_circle_is_seen() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


def test_init_modules_import_nothing(repository: Path) -> None:
    # A helper process of a task must be able to import what lies below hooks without importing Airflow.
    for init in (repository / "src" / PACKAGE / "__init__.py", repository / "hooks" / "__init__.py"):
        assert imported(init) <= {"__future__", "__future__.annotations"}, init


def fresh(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_pure_rooms_load_no_airflow(repository: Path) -> None:
    modules = [
        ".".join((PACKAGE, *path.relative_to(repository / "src" / PACKAGE).with_suffix("").parts))
        for room, path in sources(repository)
        if room in PURE | {"judging", "arguments", "window"} and path.name != "__main__.py"
    ]
    assert modules
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name.removesuffix('.__init__'))\n"
        "print(*sorted(name for name in sys.modules if name == 'airflow' or name.startswith('airflow.')))"
    )
    assert fresh(code, *modules).split() == []


def test_the_pytest_plugin_loads_nothing_heavy() -> None:
    code = (
        "import sys, airflow_bulk.pytest_plugin\n"
        "print(*({'airflow', 'fastapi', 'msgspec', 'requests', 'uvicorn', 'sqlalchemy'} & set(sys.modules)))"
    )
    assert fresh(code).split() == []


def defines(path: Path, suffixes: tuple[str, ...]) -> bool:
    """Whether a file defines a public class whose name ends in one of ``suffixes``."""
    return any(
        isinstance(node, ast.ClassDef) and node.name.endswith(suffixes) and not node.name.startswith("_")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )


def test_what_dag_files_import_adds_at_most_twenty_modules(repository: Path) -> None:
    # A DAG file is parsed every few seconds; what only a running task needs loads when a task runs.
    names = [
        f"{PACKAGE}.{room}.{path.stem}"
        for room in ("operators", "sensors")
        for path in sorted((repository / room).glob("*.py"))
        if defines(path, ("Operator", "Sensor"))
    ]
    names.append(f"{PACKAGE}.retrying")
    # Each is imported in a process of its own, forked when airflow.sdk is there: that import takes seconds.
    code = (
        "import importlib, os, sys\n"
        "from airflow.sdk import BaseOperator\n"
        "before = set(sys.modules)\n"
        "for name in sys.argv[1:]:\n"
        "    if os.fork() == 0:\n"
        "        importlib.import_module(name)\n"
        "        print(name, *sorted(set(sys.modules) - before), flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    added = {words[0]: words[1:] for line in fresh(code, *names).splitlines() if (words := line.split())}
    assert set(added) == set(names)
    assert {name: modules for name, modules in added.items() if len(modules) > 20} == {}


def test_ruff_bans_the_bare_rooms(repository: Path, tmp_path: Path) -> None:
    for room in LINKED.values():
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "ruff",
                "check",
                "--config",
                str(repository / "pyproject.toml"),
                "--no-cache",
                "-",
            ],
            input=f'"""A module."""\n\nimport {room}\n\nprint({room})\n',
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=60,
        )
        assert "TID251" in done.stdout, done.stdout + done.stderr
