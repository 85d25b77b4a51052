"""Task ids for the nodes of a batch: readable in the UI, and no two nodes with one id.

Airflow allows letters, digits, ``-``, ``_`` and ``.``, at most 250 characters with the group's prefix
(extract_load.md section 6.2), while object names may hold blanks and any other character.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_LONGEST = 120  # leaves room for the ids of the groups around it


def task_ids(nodes: Iterable[str]) -> dict[str, str]:
    """Return the task id of each node, e.g. ``extract:ProfitAndLoss@daily`` -> ``extract_ProfitAndLoss__daily``.

    Where the readable ids of several nodes would be equal, each of these nodes gets a short hash of its own name. So an
    id does not depend on the order of the nodes.
    """
    slugs = {node: _slug(node) for node in nodes}
    taken = Counter(slugs.values())
    ids = {node: slug if taken[slug] == 1 else f"{slug}-{_mark(node)}" for node, slug in slugs.items()}
    if len(set(ids.values())) != len(ids):  # one readable id equals another's id with its hash
        ids = {node: f"{slug}-{_mark(node)}" for node, slug in slugs.items()}
    return ids


def _slug(node: str) -> str:
    kind, _, name = node.partition(":")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = f"{kind}_" + re.sub(r"[^A-Za-z0-9_-]+", "_", plain.replace("@", "__"))
    lossless = re.search(r"[A-Za-z0-9]", plain) and len(slug) <= _LONGEST
    return slug if lossless else f"{slug[:_LONGEST]}-{_mark(node)}"


def _mark(node: str) -> str:
    return hashlib.sha256(node.encode()).hexdigest()[:8]
