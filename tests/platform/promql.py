"""Which names and labels a PromQL expression uses, and which of them nothing exposes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\s*\{([^}]*)\}")
_MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_BY = re.compile(r"\bby\s*\(([^)]*)\)\s*\(")
_DURATION = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
_NAME = re.compile(r"(?<![\w.:])[a-zA-Z_:][\w:]*(?![\w:]*\s*\()")
_WORDS = {"and", "or", "unless", "bool", "inf", "nan"}


class Series(NamedTuple):
    """Labels of the time series of one name; values by label where these can be listed, else None."""

    labels: Mapping[str, frozenset[str] | None]


Known = Mapping[str, Series]


def names(expression: str) -> set[str]:
    """Metric names in a PromQL expression."""
    text = _SELECTOR.sub(lambda match: f"{match[1]} ", _TEXT.sub('""', expression))
    text = _DURATION.sub(" ", _GROUPING.sub(" ", text))
    return {name for name in _NAME.findall(text) if name.lower() not in _WORDS}


def grouped(expression: str) -> set[str]:
    """Labels that an expression aggregates by or matches on."""
    text = _TEXT.sub('""', expression)
    return {name.strip() for inside in _GROUPING.findall(text) for name in inside.split(",")} - {""}


def recorded(rule: Mapping[str, Any]) -> Series:
    """Labels of what a recording rule writes: those that it sets, and those that it aggregates by."""
    return Series(dict.fromkeys({*rule.get("labels", {}), *grouped(rule["expr"])}))


def problems(expression: str, known: Known) -> Iterable[str]:
    """What an expression names that nothing exposes: metrics, their labels, values of these."""
    used = names(expression)
    if not used:
        yield "no metric"
    for name in sorted(used - known.keys()):
        yield f"metric {name}"
    for name, inside in _SELECTOR.findall(expression):
        for label, operator, value in _MATCHER.findall(inside):
            yield from _wrong_matcher(name, label, operator, value, known)
    for labels, inside in _aggregations(expression):
        offered = {label for name in names(inside) if name in known for label in known[name].labels}
        yield from [
            f"label {label} by which {inside.strip()} is grouped" for label in sorted(labels - offered)
        ]
    everything = {label for name in used if name in known for label in known[name].labels}
    yield from [f"label {label}" for label in sorted(grouped(expression) - everything)]


def _wrong_matcher(name: str, label: str, operator: str, value: str, known: Known) -> Iterator[str]:
    if name not in known:
        return
    if label not in known[name].labels:
        yield f"label {label} of {name}"
        return
    values = known[name].labels[label]
    if values is None:
        return
    wanted = value.split("|") if "~" in operator and "(" not in value else [value]
    for one in wanted:
        if not any(re.fullmatch(one, each) if "~" in operator else one == each for each in values):
            yield f'value {label}="{one}" of {name}'


def _aggregations(expression: str) -> Iterator[tuple[set[str], str]]:
    """Labels and argument of each `by (labels) (argument)`."""
    for match in _BY.finditer(expression):
        depth, at = 1, match.end()
        while depth and at < len(expression):
            depth += {"(": 1, ")": -1}.get(expression[at], 0)
            at += 1
        yield {label.strip() for label in match[1].split(",")}, expression[match.end() : at - 1]
