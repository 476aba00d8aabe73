"""In which order labels were said: the last word counts, whatever time it speaks of."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Number the labels; those that are there in the order of their times."""
    op.execute("alter table labels add column said bigint")
    op.execute(
        """
        update labels set said = numbered.n
        from (select label_id, row_number() over (order by known_ts, label_id) as n from labels) numbered
        where labels.label_id = numbered.label_id
        """
    )
    op.execute("alter table labels alter column said set not null")
    op.execute("alter table labels alter column said add generated always as identity")
    op.execute(
        "select setval(pg_get_serial_sequence('labels', 'said'), "
        "(select coalesce(max(said), 0) + 1 from labels), false)"
    )


def downgrade() -> None:
    """Without the numbers."""
    op.execute("alter table labels drop column said")
