"""A new version takes over while requests are being answered."""

from __future__ import annotations

import threading
import time

import httpx
from fixtures_platform import RunningPlatform, new_transaction, register_model

SWAP_SECONDS = 10.0


def test_a_new_version_is_served_within_seconds_and_no_request_fails(
    platform: RunningPlatform, api: httpx.Client
) -> None:
    before = api.post("/v1/decisions", json=new_transaction()).json()["models"][0]["version"]
    answers: list[tuple[float, int, str]] = []
    finished = threading.Event()
    load = threading.Thread(target=_ask, args=(api, answers, finished), daemon=True)
    load.start()
    try:
        version = register_model(platform, seed=2)
        moved = time.monotonic()
        while time.monotonic() < moved + SWAP_SECONDS and answers[-1][2] != version:
            time.sleep(0.05)
    finally:
        finished.set()
        load.join()
    assert version != before
    assert {status for _, status, _ in answers} == {200}
    versions = [served for _, _, served in answers]
    assert versions == sorted(versions, key=int)
    assert (versions[0], versions[-1]) == (before, version)


def _version(answer: httpx.Response) -> str:
    models = answer.json().get("models")
    return models[0]["version"] if models else ""


def _ask(
    api: httpx.Client,
    answers: list[tuple[float, int, str]],
    finished: threading.Event,
) -> None:
    while not finished.is_set():
        answer = api.post("/v1/decisions", json=new_transaction())
        answers.append((time.monotonic(), answer.status_code, _version(answer)))
