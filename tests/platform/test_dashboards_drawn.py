"""Dashboards on a real Prometheus that scrapes every metric that the services declare.

PromQL that fails, or finds nothing as it matches series of different labels, shows here.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import exposed  # type: ignore[import-not-found]
import httpx
import pytest
import yaml
from test_dashboards import FILES, checker  # type: ignore[import-not-found]

PROMETHEUS = shutil.which("prometheus")
SECONDS = 60

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="prometheus is missing (Debian package prometheus)"
)


@pytest.fixture
def target() -> Iterator[str]:
    """Address of a process with every metric."""
    steps = count()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = "\n".join([*exposed.exposition(next(steps)), ""]).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def prometheus(target: str, tmp_path: Path) -> Iterator[str]:
    """URL of a Prometheus with our rules, whose jobs all are the target."""
    assert PROMETHEUS is not None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in exposed.RULES],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job in sorted(exposed.jobs())
        ],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        PROMETHEUS,
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_every_panel_has_numbers(prometheus: str) -> None:
    with httpx.Client(base_url=prometheus, timeout=10) as client:

        def ask(query: object) -> str | None:
            try:
                wrong: str | None = checker.problem(client, query)
            except (httpx.TransportError, ValueError):  # it is starting
                wrong = "no answer"
            return wrong

        clock = checker.time.monotonic
        bad = checker.check(checker.queries(FILES), ask, clock() + SECONDS, clock)
        assert bad == {}
        answer = client.get("/api/v1/rules").json()["data"]["groups"]
    failed = {rule["name"]: rule.get("lastError") for group in answer for rule in group["rules"]}
    assert {name: error for name, error in failed.items() if error} == {}
