"""What the policy said of a decision: rule score, reasons, and whether chance let it through."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; decisions made before had no rules and no let-through."""
    op.execute(
        """
        alter table decisions
          add column rule_score double precision not null default 0,
          add column reasons jsonb not null default '[]',
          add column let_through boolean not null default false,
          add column propensity double precision not null default 1
        """
    )


def downgrade() -> None:
    """Drop them again."""
    op.execute(
        """
        alter table decisions
          drop column rule_score, drop column reasons, drop column let_through, drop column propensity
        """
    )
