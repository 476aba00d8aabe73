"""Run the query of every panel against a Prometheus.

    python infra/grafana/check_dashboards.py URL [DASHBOARD...]

Exits with 1 and names the panels whose query fails, or stays empty until the deadline. A panel that tells why
it may be empty (its `noValue`) may stay so; it is listed, and its query must not fail.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec

DASHBOARDS = Path(__file__).resolve().parents[2] / "helm/plinth/files/dashboards"
NO_SERIES, NO_NUMBER = "no series", "no number, only NaN"
VARIABLES = {"$__rate_interval": "5m", "$__interval": "15s", "$__range": "15m"}


class Query(NamedTuple):
    """One query of a panel; `empty` is the panel's reason why it may have no value."""

    dashboard: str
    panel: str
    expression: str
    empty: str | None


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel that shows data, those inside collapsed rows included."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel
        yield from panel.get("panels", [])


def queries(files: Sequence[Path]) -> list[Query]:
    """Every query of the dashboards, with Grafana's variables filled in."""
    found = []
    for file in files:
        dashboard = msgspec.json.decode(file.read_bytes())
        for panel in panels(dashboard):
            for target in panel["targets"]:
                expression = target["expr"]
                for name, value in VARIABLES.items():
                    expression = expression.replace(name, value)
                empty = panel["fieldConfig"]["defaults"].get("noValue")
                found.append(Query(dashboard["title"], panel["title"], expression, empty))
    return found


def problem(client: httpx.Client, query: Query) -> str | None:
    """What is wrong with a query's answer; None when it has a value that is a number."""
    answer = client.get("/api/v1/query", params={"query": query.expression})
    if answer.status_code != httpx.codes.OK:
        return str(answer.json().get("error", answer.status_code))
    series = answer.json()["data"]["result"]
    if not series:
        return NO_SERIES
    if all(one["value"][1] == "NaN" for one in series):
        return NO_NUMBER
    return None


def check(
    wanted: Sequence[Query], ask: Callable[[Query], str | None], deadline: float, clock: Callable[[], float]
) -> dict[Query, str]:
    """The queries that still have a problem at the deadline (of `clock`, seconds), with that problem."""
    bad = dict.fromkeys(wanted, "not asked")
    while bad:
        bad = {query: wrong for query in bad if (wrong := ask(query)) is not None}
        if not bad or clock() > deadline:
            break
        time.sleep(1)
    return bad


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the dashboards; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="Prometheus, e.g. http://127.0.0.1:9090")
    parser.add_argument("dashboards", nargs="*", type=Path, default=sorted(DASHBOARDS.glob("*.json")))
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds until a query must have a value")
    options = parser.parse_args(arguments)
    wanted = queries(options.dashboards)
    with httpx.Client(base_url=options.url, timeout=10) as client:
        deadline = time.monotonic() + options.timeout
        bad = check(wanted, lambda query: problem(client, query), deadline, time.monotonic)
    failed = {query for query, wrong in bad.items() if not query.empty or wrong not in {NO_SERIES, NO_NUMBER}}
    for query, wrong in bad.items():
        allowed = "" if query in failed else f" ({query.empty})"
        sys.stderr.write(f"{query.dashboard} / {query.panel}: {wrong}{allowed}: {query.expression}\n")
    values = len(wanted) - len(bad)
    sys.stdout.write(
        f"{values} of {len(wanted)} queries have values, {len(bad) - len(failed)} need none yet\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
