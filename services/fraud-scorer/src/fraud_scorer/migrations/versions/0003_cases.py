"""Investigation cases, the decisions in them, and what was done with them."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the three tables. Decisions recorded before get no case."""
    op.execute(
        """
        create table cases (
          case_id text primary key,
          customer_id text not null,
          status text not null check (status in ('open', 'investigating', 'resolved')),
          tier integer not null check (tier between 1 and 3),
          alerted_tier integer not null,
          assignee text,
          opened_ts timestamptz not null,
          updated_ts timestamptz not null,
          due_ts timestamptz not null,
          resolved_ts timestamptz,
          resolution text check (resolution in ('fraud', 'genuine', 'mixed')),
          max_score double precision not null,
          amount_minor bigint not null,
          decisions integer not null,
          blocks integer not null,
          version integer not null,
          check ((status = 'resolved') = (resolution is not null and resolved_ts is not null))
        )
        """
    )
    op.execute("create unique index one_open_case_a_card on cases (customer_id) where status <> 'resolved'")
    op.execute("create index cases_by_card on cases (customer_id)")
    op.execute("create index cases_to_tell on cases (case_id) where alerted_tier < tier")
    op.execute("create index case_queue on cases ((-tier), due_ts, case_id) where status <> 'resolved'")
    op.execute("create index case_archive on cases ((-tier), due_ts, case_id)")
    op.execute(
        """
        create table case_decisions (
          transaction_id text primary key references decisions (transaction_id),
          case_id text not null references cases,
          joined_ts timestamptz not null,
          fraud boolean
        )
        """
    )
    op.execute("create index case_decisions_by_case on case_decisions (case_id)")
    op.execute(
        """
        create table case_events (
          event_id bigint generated always as identity primary key,
          case_id text not null references cases,
          ts timestamptz not null,
          who text not null,
          what text not null,
          details jsonb not null
        )
        """
    )
    op.execute("create index case_events_by_case on case_events (case_id, event_id)")


def downgrade() -> None:
    """Drop them again."""
    op.execute("drop table case_events")
    op.execute("drop table case_decisions")
    op.execute("drop table cases")
