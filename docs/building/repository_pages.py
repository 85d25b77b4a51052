"""What the site needs beside docs/: the pages at the root of the repository, and the files that pages link to.

On GitHub a link such as ``../ARCHITECTURE.md`` or ``../dags/store_purchases.py`` works as it is written. Here the first
becomes a page of the site, and the second a page that shows the file. A link that leads nowhere stays as it is, so that
mkdocs warns of it and ``--strict`` ends the build.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
#: Files at the root of the repository, and the page of the site that each is.
ROOT_PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
}
#: Those of them that docs/ has no page of its own for.
GENERATED = ("ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md")
#: Those that the site's search leaves out: they are long, and name every word that a reader looks for elsewhere.
NOT_SEARCHED = ("architecture.md", "changelog.md")
#: Folders that have a page.
FOLDER_PAGES = {"docs": "index.md", "docs/facts": "facts.md", "docs/recipes": "recipes/index.md"}
#: Where the pages stand that show a file.
SHOWN = "files"

_LINK = re.compile(r"(\]\()([^()\s]+)(\))")
_FENCE = re.compile(r"^(`{3,}|~{3,})")
_INCLUDE = re.compile(r"^<!-- include: ([\w./-]+) -->$", re.MULTILINE)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}
_OTHER_HOST = re.compile(
    r"<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\bsrc=[\"']?(?:https?:)?//"
    r"|<link\b(?![^>]*\brel=[\"']?(?:canonical|prev|next)\b)[^>]*\bhref=[\"']?(?:https?:)?//"
    r"|@import\s+[\"']?(?:url\()?[\"']?(?:https?:)?//|\burl\([\"']?(?:https?:)?//"
)


def outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change every line of a page that stands in no block of code."""
    lines, fence = [], ""
    for line in text.splitlines(keepends=True):
        found = _FENCE.match(line.lstrip())
        if fence:
            fence = "" if found and found[1].startswith(fence) else fence
        elif found:
            fence = found[1]
        else:
            line = change(line)
        lines.append(line)
    return "".join(lines)


def place_of(target: str, written_in: str) -> tuple[str, str] | None:
    """Return where in the repository a link leads, and its anchor; None for another host or the page itself.

    :param written_in: the file that has the link, from the root of the repository.
    """
    path, mark, anchor = target.partition("#")
    if not path or ":" in path or path.startswith("/"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(written_in), path)), mark + anchor


def page_of(place: str) -> str | None:
    """Return the page or file of the site, from its root, that a place in the repository is; None: there is none."""
    if place in ROOT_PAGES:
        return ROOT_PAGES[place]
    if place in FOLDER_PAGES:
        return FOLDER_PAGES[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    return f"{SHOWN}/{place}.md" if (ROOT / place).is_file() else None


def links(text: str, written_in: str) -> Iterator[str]:
    """Yield the places in the repository that a page links to."""
    found: list[str] = []

    def note(line: str) -> str:
        found.extend(match[2] for match in _LINK.finditer(line))
        return line

    outside_code(text, note)
    for target in found:
        if place := place_of(target, written_in):
            yield place[0]


def as_site_links(text: str, written_in: str, page: str) -> str:
    """Rewrite the links of a page so that they lead to pages of the site.

    :param written_in: the file that has the text, from the root of the repository.
    :param page: the page of the site that shows it, from the root of the site.
    """

    def rewrite(match: re.Match[str]) -> str:
        found = place_of(match[2], written_in)
        target = page_of(found[0]) if found else None
        if found is None or target is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(target, posixpath.dirname(page) or '.')}{found[1]}{match[3]}"

    return outside_code(text, lambda line: _LINK.sub(rewrite, line))


def shown(place: str) -> str:
    """Return a page that shows a file of the repository."""
    text = (ROOT / place).read_text(encoding="utf-8")
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`{3,}", text))])
    language = _LANGUAGES.get(Path(place).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n\n# {place}\n\n{fence}{language}\n{text.rstrip()}\n{fence}\n"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages at the root of the repository, and one for each file that a page links to."""
    texts = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    texts |= {
        name: (ROOT / name).read_text(encoding="utf-8") for name in ROOT_PAGES if (ROOT / name).exists()
    }
    for name in GENERATED:
        page = ROOT_PAGES[name]
        files.append(File.generated(config, page, content=as_site_links(texts[name], name, page)))
    places = {place for written_in, text in texts.items() for place in links(text, written_in)}
    for place in sorted(places):
        page = page_of(place)
        if page and page.startswith(f"{SHOWN}/"):
            files.append(File.generated(config, page, content=shown(place)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Bring in the files that a page includes, and rewrite its links."""
    if page.file.src_uri in NOT_SEARCHED:
        page.meta["search"] = {"exclude": True}
    if page.file.generated_by:
        return markdown

    def include(match: re.Match[str]) -> str:
        if not (ROOT / match[1]).exists():
            return match[0]
        # The page has a title of its own.
        text = re.sub(r"\A# .*\n", "", (ROOT / match[1]).read_text(encoding="utf-8"))
        return as_site_links(text, match[1], page.file.src_uri)

    own = as_site_links(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)
    return _INCLUDE.sub(include, own)


def on_post_build(config: MkDocsConfig) -> None:
    """End the build where a page would load something from another host.

    :raises PluginError: naming the files.
    """
    files = [path for path in Path(config.site_dir).rglob("*") if path.suffix in (".html", ".css")]
    found = [
        str(path.relative_to(config.site_dir))
        for path in files
        if _OTHER_HOST.search(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise PluginError(f"These pages load something from another host: {', '.join(found)}")
