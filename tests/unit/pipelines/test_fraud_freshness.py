"""How far features are behind, as the engine tells."""

from __future__ import annotations

import httpx
import pytest

from plinth_pipelines.fraud import freshness
from plinth_pipelines.fraud.freshness import Freshness

PAGE = """# TYPE plinth_features_newest_event_seconds gauge
plinth_features_newest_event_seconds{view="customer_transactions"} 9000.0
plinth_features_newest_event_seconds{view="terminal_labels"} 5000.0
"""


def test_it_asks_now_and_then_and_an_engine_that_is_away_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages: list[str | None] = [PAGE, PAGE.replace("5000", "6000"), None, "", PAGE]
    now = 0.0

    def answer(_: httpx.Request) -> httpx.Response:
        page = pages.pop(0)
        if page is None:
            raise httpx.ConnectError("away")
        return httpx.Response(200, text=page)

    client = httpx.Client(base_url="http://engine", transport=httpx.MockTransport(answer))
    monkeypatch.setattr(freshness.httpx, "Client", lambda **_: client)
    features = Freshness("http://engine", lambda: now)
    assert features.behind(7_000_000) == 2000.0
    assert features.behind(7_500_000) == 2500.0
    assert len(pages) == 4
    found = []
    for _ in range(4):
        now += 1
        found.append(features.behind(7_000_000))
    assert found == [1000.0, 0.0, 0.0, 2000.0]
    assert features.behind(1_000) == 0.0
