"""Every link of a page leads somewhere, as GitHub shows it; every page is in the site's menu. ``make docs`` asks the site."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
#: Menu entries that docs/building/repository_pages.py makes of files at the root.
FROM_THE_ROOT = {"architecture.md", "changelog.md", "security.md"}
#: What a reader of the start page looks for.
SOUGHT = (
    "command_line.md",
    "max_failures.md",
    "page.md",
    "recipes/celery_kubernetes.md",
    "resend.md",
    "retry_or_clear.md",
    "troubleshooting.md",
)

_FENCED = re.compile(r"^(`{3,}).*?^\1`*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return _FENCED.sub("", page.read_text(encoding="utf-8"))


def links(text: str) -> list[str]:
    return [target for target in _LINK.findall(text) if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in _HEADING.findall(text):
        said = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", said).strip().replace(" ", "-"))
    return found


def dead(page: Path, text: str) -> Iterator[str]:
    """Yield the links of a page that lead nowhere."""
    for target in links(text):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and there.suffix == ".md" and anchor not in anchors(prose(there))):
            yield target


def menu(entry: Any) -> Iterator[str]:
    """The pages of a menu, or of an entry of it."""
    if isinstance(entry, str):
        yield entry
    else:
        for one in entry.values() if isinstance(entry, dict) else entry:
            yield from menu(one)


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_link_is_dead(page: Path) -> None:
    assert list(dead(page, prose(page))) == []


@pytest.mark.parametrize(
    "text", ["[a](gone.md)", "[a](waiting.md#gone)", "[a](#gone)", "[a](../dags/gone.py)"]
)
def test_a_dead_link_is_seen(text: str) -> None:
    assert len(list(dead(DOCS / "retries.md", text))) == 1


def test_every_page_is_in_the_menu(site: dict[str, Any]) -> None:
    there = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    listed = list(menu(site["nav"]))
    assert len(listed) == len(set(listed))
    assert set(listed) == there | FROM_THE_ROOT


def test_what_everybody_looks_for_is_one_click_away() -> None:
    assert set(SOUGHT) - set(links(prose(DOCS / "index.md"))) == set()


def test_nothing_comes_from_another_host(site: dict[str, Any]) -> None:
    assert site["theme"]["font"] is False
    assert {"analytics", "consent"}.isdisjoint(site["extra"])
    assert [
        url for key in ("extra_css", "extra_javascript") for url in site.get(key, []) if "//" in url
    ] == []


def test_code_is_brought_in_from_files_that_exist() -> None:
    shown = []
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"--8 ?< |8< --", text), f"{page}: a formatter has changed the mark"
        for block in re.findall(r"^``` \{ \.python \}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            (file,) = re.findall(r'^--8<-- "([\w./]+)"$', block, re.MULTILINE)
            assert (ROOT / file).is_file()
            shown.append(file)
    recipes = {
        file.relative_to(ROOT).as_posix()
        for file in (DOCS / "recipes").rglob("*.py")
        if "__pycache__" not in file.parts
    }
    examples = {file.relative_to(ROOT).as_posix() for file in (ROOT / "dags").glob("*.py")}
    assert set(shown) - examples == recipes


def test_the_readme_shows_the_ten_lines() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block == (DOCS / "recipes" / "ten_lines.py").read_text(encoding="utf-8")
