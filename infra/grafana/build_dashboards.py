"""Build Grafana's dashboards from their descriptions.

    python infra/grafana/build_dashboards.py

Reads `dashboards/*.yaml` and writes `helm/plinth/files/dashboards/*.json`. A description says what a panel
shows; place, style and colours are decided here, so that all panels look alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "dashboards"
TARGET = HERE.parents[1] / "helm/plinth/files/dashboards"
RUNBOOK = "infra/prometheus/README.md"

WIDTH = 24
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
SIZES = {"stat": (4, 4), "lines": (8, 8), "stack": (8, 8), "heatmap": (8, 8), "buckets": (8, 8)}
"""Width and height of a panel by its kind, in the cells of Grafana's grid."""
COLOURS = {
    "{{outcome}}": {"approve": "green", "monitor": "yellow", "step_up": "orange", "block": "red"},
    "tier {{tier}}": {"1": "blue", "2": "orange", "3": "red"},
}
"""Colours of values of labels by how a legend names them, the same in every panel."""

Kind = Literal["stat", "lines", "stack", "heatmap", "buckets"]


class Panel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One panel. `queries` are PromQL by legend, which may name labels as in `{{path}}`; one needs none.

    kind: a number, lines, a stack of areas, a heatmap over time, or bars of a histogram's buckets.
    steps: colours by the value from which on they hold, above `base`; graphs draw them as lines.
    instant: ask for the end of the time range alone, which a query over `$__range` covers.
    empty: why there may be no number yet; shown in its place.
    alerts: names of the rules that watch this; the description leads to their runbook.
    """

    title: str
    kind: Kind
    unit: str
    description: str
    queries: str | Mapping[str, str]
    width: int = 0
    decimals: int | None = None
    min: float | None = 0.0
    max: float | None = None
    base: str = "green"
    steps: Mapping[str, float] = {}
    instant: bool = False
    empty: str | None = None
    alerts: tuple[str, ...] = ()


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """Panels under a title."""

    title: str
    panels: tuple[Panel, ...]


class Dashboard(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One dashboard; `since` is the beginning of its time range, as in `now-1h`."""

    uid: str
    title: str
    description: str
    since: str
    refresh: str
    rows: tuple[Row, ...]


def load(path: Path) -> Dashboard:
    """A description. Raises msgspec.ValidationError that names the wrong field."""
    return msgspec.convert(yaml.safe_load(path.read_text()), Dashboard)


def build(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["plinth"],
        "links": [{"type": "dashboards", "tags": ["plinth"], "title": "Plinth", "keepTime": True}],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": dashboard.refresh,
        "time": {"from": dashboard.since, "to": "now"},
        "timezone": "browser",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [{"id": number, **panel} for number, panel in enumerate(_placed(dashboard.rows), 1)],
    }


def text(dashboard: Dashboard) -> str:
    """The dashboard as a file."""
    return msgspec.json.format(msgspec.json.encode(build(dashboard)), indent=1).decode() + "\n"


def _placed(rows: tuple[Row, ...]) -> Iterator[dict[str, Any]]:
    """Panels from left to right in lines as high as their highest, each row below the one before."""
    y = 0
    for row in rows:
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        yield {"type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        y, x, highest = y + 1, 0, 0
        for panel in row.panels:
            width, height = SIZES[panel.kind]
            width = panel.width or width
            if x + width > WIDTH:
                y, x, highest = y + highest, 0, 0
            yield _panel(panel, {"h": height, "w": width, "x": x, "y": y})
            x, highest = x + width, max(highest, height)
        y += highest


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    kind = {"lines": "timeseries", "stack": "timeseries", "buckets": "bargauge"}.get(panel.kind, panel.kind)
    return {
        "type": kind,
        "title": panel.title,
        "description": _description(panel),
        "datasource": PROMETHEUS,
        "gridPos": place,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": list(_overrides(panel))},
        "options": _options(panel),
        "targets": list(_targets(panel)),
    }


def _queries(panel: Panel) -> Mapping[str, str]:
    return {panel.title: panel.queries} if isinstance(panel.queries, str) else panel.queries


def _description(panel: Panel) -> str:
    said = panel.description.strip()
    if panel.alerts:
        said += f"\n\nAlert: {', '.join(panel.alerts)}. What to do: `{RUNBOOK}`."
    return said


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = {"unit": panel.unit}
    optional = {"min": panel.min, "max": panel.max, "decimals": panel.decimals, "noValue": panel.empty}
    if panel.kind == "stat":
        del optional["min"]
    found |= {name: value for name, value in optional.items() if value is not None}
    if panel.steps:
        steps = sorted(panel.steps.items(), key=lambda step: step[1])
        found["thresholds"] = {
            "mode": "absolute",
            "steps": [{"color": panel.base, "value": None}]
            + [{"color": colour, "value": value} for colour, value in steps],
        }
    if panel.kind in {"lines", "stack"}:
        found["custom"] = _drawing(panel)
    return found


def _drawing(panel: Panel) -> dict[str, Any]:
    drawing: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never", "spanNulls": False}
    if panel.kind == "stack":
        drawing |= {"fillOpacity": 40, "stacking": {"mode": "normal", "group": "A"}}
    if panel.steps:
        drawing["thresholdsStyle"] = {"mode": "dashed"}
    return drawing


def _overrides(panel: Panel) -> Iterator[dict[str, Any]]:
    """Fixed colours of the series that a panel names, where one query alone names them."""
    for label, colours in COLOURS.items():
        if [label in legend for legend in _queries(panel)].count(True) == 1:
            for value, colour in colours.items():
                series = label.replace(label[label.index("{{") :], value)
                yield {
                    "matcher": {"id": "byRegexp", "options": f"/\\b{series}\\b/"},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
                }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        graph = "none" if panel.instant else "area"
        return {"colorMode": "value", "graphMode": graph, "reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "heatmap":
        return {
            "calculate": False,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Blues", "reverse": False, "steps": 64},
            "yAxis": {"unit": panel.unit, "axisPlacement": "left"},
            "rowsFrame": {"layout": "le"},
            "filterValues": {"le": 1e-9},
            "tooltip": {"mode": "single", "yHistogram": True},
            "legend": {"show": True},
        }
    if panel.kind == "buckets":
        return {
            "displayMode": "basic",
            "orientation": "vertical",
            "showUnfilled": False,
            "valueMode": "text",
            "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
        }
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "calcs": ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _targets(panel: Panel) -> Iterator[dict[str, Any]]:
    for number, (legend, expression) in enumerate(_queries(panel).items()):
        target = {
            "refId": chr(ord("A") + number),
            "expr": " ".join(expression.split()),
            "legendFormat": legend,
            "datasource": PROMETHEUS,
        }
        if panel.kind in {"heatmap", "buckets"}:
            target["format"] = "heatmap"
        if panel.instant or panel.kind == "buckets":
            target |= {"instant": True, "range": False}
        yield target


def main() -> None:
    """Write every dashboard."""
    for source in sorted(SOURCES.glob("*.yaml")):
        (TARGET / f"{source.stem}.json").write_text(text(load(source)))


if __name__ == "__main__":
    main()
