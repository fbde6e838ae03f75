"""A directed graph in rows: every edge goes up, few edges cross, long ones stay straight.

The steps are those of Sugiyama, Tagawa and Toda (1981): rows by the longest path, places to
pass through for edges longer than a row, an order within each row by the mean place of the
neighbours, then coordinates.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Key: TypeAlias = Any
"""A node of the graph, or a place that an edge passes through."""
Rows: TypeAlias = list[list[Key]]

Ends: TypeAlias = dict[Key, list[tuple[Key, float]]]
"""For each key the other ends of its links, and their ports."""

SWEEPS = 12  # over all rows, down and up
STEPS, RATE = 600, 0.05  # of the search for places


class Route(NamedTuple):
    """The keys that an edge runs through, one a row, and where in the last it ends, -1/2 to 1/2."""

    keys: list[Key]
    port: float


class Link(NamedTuple):
    """A piece of an edge, from one row to the next; the heavier, the straighter it is drawn."""

    low: Key
    high: Key
    port: float
    weight: float


class Plan(NamedTuple):
    """Where everything goes: ``x`` in the unit of the widths, ``row`` counted from below."""

    x: Mapping[Key, float]
    row: Mapping[Key, int]
    routes: Sequence[Route]


def arrange(graph: Any, widths: Mapping[Key, float], gap: float) -> Plan:
    """A plan for a networkx.MultiDiGraph that has the position of the input as key of each edge.

    ``widths`` are those of the nodes, ``gap`` is what stays free between two of a row.
    """
    row = _rows(graph)
    routes = [_route(graph, edge, row) for edge in graph.edges(keys=True)]
    for keys, _ in routes:
        row.update(zip(keys, range(row[keys[0]], row[keys[-1]] + 1), strict=True))
    links = list(dict.fromkeys(link for route in routes for link in _links(graph, route)))
    rows: Rows = [[] for _ in range(max(row.values()) + 1)]
    for key, k in row.items():
        rows[k].append(key)
    return Plan(_placed(_untangled(rows, links), links, widths, gap), row, routes)


def _rows(graph: Any) -> dict[Key, int]:
    """The length of the longest path from below; a leaf stands just under its first use."""
    import networkx

    generations = enumerate(networkx.topological_generations(graph))
    row = {node: k for k, generation in generations for node in generation}
    for node in row:
        if graph.in_degree(node) == 0 and graph.out_degree(node):
            row[node] = min(row[user] for user in graph.successors(node)) - 1
    return row


def _route(graph: Any, edge: tuple[Key, Key, int], row: Mapping[Key, int]) -> Route:
    low, high, position = edge
    between = [(low, k) for k in range(row[low] + 1, row[high])]  # one for all edges from low
    return Route([low, *between, high], (position + 1) / (graph.in_degree(high) + 1) - 0.5)


def _links(graph: Any, route: Route) -> list[Link]:
    pieces = list(zip(route.keys, route.keys[1:], strict=False))
    first = 4.0 if graph.in_degree(route.keys[0]) else 1.0  # the way from op to op is the spine
    weights = [first, *[8.0] * (len(pieces) - 1)]
    ports = [*[0.0] * (len(pieces) - 1), route.port]
    return [Link(*ends, *rest) for ends, *rest in zip(pieces, ports, weights, strict=True)]


# The order within the rows


def _untangled(rows: Rows, links: Sequence[Link]) -> Rows:
    """The rows in the order with the fewest crossings that sweeps down and up come upon."""
    down: Ends = defaultdict(list)
    up: Ends = defaultdict(list)
    for link in links:
        down[link.low].append((link.high, link.port))
        up[link.high].append((link.low, 0.0))
    found = []
    for _ in range(SWEEPS):
        found.append(_swept(rows, down, -1))  # down first: the inputs of an op in their order
        rows = _swept(found[-1], up, 1)
    return min(found, key=lambda rows: _crossings(rows, down))


def _swept(rows: Rows, ends: Ends, way: int) -> Rows:
    """Each row, one after the other, in the order of the mean place of its links' other ends."""
    place = _places(rows)
    swept: Rows = []
    for row in rows[::way]:
        mean = {
            key: sum(place[end] + port for end, port in ends[key]) / len(ends[key])
            if key in ends
            else place[key]
            for key in row
        }
        swept.append(sorted(row, key=mean.__getitem__))
        place |= _places(swept[-1:])
    return swept[::way]


def _places(rows: Rows) -> dict[Key, int]:
    return {key: place for row in rows for place, key in enumerate(row)}


def _crossings(rows: Rows, down: Ends) -> int:
    place = _places(rows)
    count = 0
    for row in rows:
        pieces = [(place[low], place[high] + port) for low in row for high, port in down[low]]
        low, high = np.array(pieces).reshape(-1, 2).T
        turned = np.subtract.outer(low, low) * np.subtract.outer(high, high) < 0
        count += int(np.count_nonzero(turned)) // 2
    return count


# The places along the rows


def _placed(
    rows: Rows, links: Sequence[Link], widths: Mapping[Key, float], gap: float
) -> dict[Key, float]:
    """The places that make links most upright, where each row keeps its order and its gaps."""
    index = {key: k for k, key in enumerate(key for row in rows for key in row)}
    beside = [(index[b], index[a]) for row in rows for a, b in itertools.pairwise(row)]
    across = [(index[link.low], index[link.high]) for link in links]
    wide = np.array([widths.get(key, 0.0) for key in index])
    least = [(wide[a] + wide[b]) / 2 + gap for a, b in beside]
    ports = [port_offset(link.port, wide[index[link.high]]) for link in links]
    pairs = np.array(beside + across, dtype=int).reshape(-1, 2).T
    weights = np.array([link.weight for link in links])
    places = _fitted(pairs, np.array(least), np.array(ports), weights)
    return dict(zip(index, places.tolist(), strict=True))


def _fitted(
    pairs: np.ndarray, least: np.ndarray, aims: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Places with differences (between ``pairs``) of ``least`` or more, then ones near ``aims``.

    It minimises the weighted sum of absolute misses, by the alternating direction method of
    multipliers (Boyd et al., 2011): absolute values leave most links upright and a few to make
    up for it; a little of the squares centres what they leave open.
    """
    one, other = pairs
    count = pairs.max(initial=0) + 1
    normal = 1e-6 * np.eye(count)
    np.add.at(normal, (pairs, pairs), 1)
    np.add.at(normal, (pairs, pairs[::-1]), -1)
    solve = np.linalg.inv(normal)
    price, wanted = RATE * weights, np.concatenate([least, aims])
    x, goal, debt = np.zeros(count), np.zeros(len(wanted)), np.zeros(len(wanted))
    for _ in range(STEPS):
        pull = goal - debt
        x = solve @ (np.bincount(one, pull, count) - np.bincount(other, pull, count))
        reached = x[one] - x[other] + debt
        over, miss = np.split(reached - wanted, [len(least)])
        miss = np.sign(miss) * np.maximum(np.abs(miss) - price, 0) / (1 + 0.1 * price)
        goal = wanted + np.concatenate([np.maximum(over, 0), miss])
        debt = reached - goal
    return x


def port_offset(port: float, width: float) -> float:
    """How far from the middle of a box an edge enters it."""
    return 0.8 * port * width
