"""Decisions, one per transaction, and the labels that judge them."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.execute(
        """
        create table decisions (
          decision_id text primary key,
          transaction_id text not null unique,
          customer_id text not null,
          terminal_id text not null,
          amount_minor bigint not null,
          event_ts timestamptz not null,
          outcome text not null,
          score double precision not null
        )
        """
    )
    op.execute(
        """
        create table labels (
          label_id text primary key,
          transaction_id text not null,
          label double precision not null,
          previous_label double precision,
          source text not null,
          event_ts timestamptz not null,
          known_ts timestamptz not null
        )
        """
    )
    op.execute("create index labels_by_transaction on labels (transaction_id)")


def downgrade() -> None:
    """Drop both tables."""
    op.execute("drop table labels")
    op.execute("drop table decisions")
