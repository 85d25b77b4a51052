"""All simple cycles of a small directed graph, each once, without recursion.

Johnson's algorithm ("Finding all the elementary circuits of a directed graph", 1975): time grows with the number
of cycles found, so a caller who stops early spends no time on the cycles that follow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence


def simple_cycles(graph: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Yield each cycle as its nodes in order, beginning with the smallest name.

    :param graph: node -> the nodes that its edges lead to; no edges to itself.
    """
    left = _trimmed(graph)
    while left:
        start = min(left)
        component = _reachable(left, start) & _reachable(_reversed(left), start)
        if len(component) > 1:
            inside = {node: [next_ for next_ in left[node] if next_ in component] for node in component}
            yield from _cycles_through(inside, start)
        del left[start]
        left = _trimmed(left)


def _trimmed(graph: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return the graph without the nodes that no edge leads to, or none leaves: they are on no cycle."""
    left = {node: [next_ for next_ in after if next_ in graph] for node, after in graph.items()}
    for _ in range(2):  # once for edges that leave, once for edges that arrive
        before = _reversed(left)
        bare = [node for node, after in left.items() if not after]
        while bare:
            gone = bare.pop()
            del left[gone]
            for node in before[gone]:
                if node in left:
                    left[node].remove(gone)
                    if not left[node]:
                        bare.append(node)
        left = _reversed(left)
    return left


def _reversed(graph: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    backward: dict[str, list[str]] = {node: [] for node in graph}
    for node, after in graph.items():
        for next_ in after:
            backward[next_].append(node)
    return backward


def _reachable(graph: Mapping[str, Sequence[str]], start: str) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        for node in graph[todo.pop()]:
            if node not in seen:
                seen.add(node)
                todo.append(node)
    return seen


def _cycles_through(graph: Mapping[str, Sequence[str]], start: str) -> Iterator[tuple[str, ...]]:
    path, blocked = [start], {start}
    waiting: dict[str, set[str]] = defaultdict(set)  # nodes to open again once this one is open
    walks, closed = [iter(graph[start])], [False]
    while walks:
        for node in walks[-1]:
            if node == start:
                yield tuple(path)
                closed[-1] = True
            elif node not in blocked:
                path.append(node)
                blocked.add(node)
                walks.append(iter(graph[node]))
                closed.append(False)
                break
        else:
            walks.pop()
            node = path.pop()
            if not closed.pop():
                for later in graph[node]:
                    waiting[later].add(node)
                continue
            if closed:
                closed[-1] = True
            _open(node, blocked, waiting)


def _open(node: str, blocked: set[str], waiting: dict[str, set[str]]) -> None:
    todo = {node}
    while todo:
        open_ = todo.pop()
        if open_ in blocked:
            blocked.remove(open_)
            todo |= waiting.pop(open_, set())
