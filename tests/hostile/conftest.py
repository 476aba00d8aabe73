"""The service that is attacked in this process, and how much of it there is to be."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hostile_service import Failures, Service, build
from sqlalchemy import create_engine, text

from fraud_scorer.ledger import Ledger


@pytest.fixture(scope="session")
def how_many() -> int:
    """Requests and messages together, from PLINTH_HOSTILE."""
    return int(os.environ.get("PLINTH_HOSTILE", "20000"))


@pytest.fixture(scope="session")
def service(redis_url: str, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The fraud scorer over an empty Redis and an empty Postgres."""
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    engine.dispose()
    client = redis.Redis.from_url(redis_url)
    client.flushall()
    ledger = Ledger(postgres_url)
    ledger.migrate()
    yield build(client, ledger, Path(tmp_path_factory.mktemp("outbox")))
    ledger.close()
    client.close()


@pytest.fixture
def failures() -> Iterator[Failures]:
    """What is logged as an error during a test."""
    handler = Failures()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
