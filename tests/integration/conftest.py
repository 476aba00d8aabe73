"""What the integration tests of the fraud scorer share: a ledger in a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sql

from fraud_scorer.ledger import Ledger


@pytest.fixture
def empty_postgres(postgres_url: str) -> str:
    """The address of a database without tables."""
    engine = sql.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sql.text("drop schema public cascade"))
        connection.execute(sql.text("create schema public"))
    engine.dispose()
    return postgres_url


@pytest.fixture
def ledger(empty_postgres: str) -> Iterator[Ledger]:
    """A ledger with its schema and nothing else."""
    ledger = Ledger(empty_postgres)
    ledger.migrate()
    yield ledger
    ledger.close()
