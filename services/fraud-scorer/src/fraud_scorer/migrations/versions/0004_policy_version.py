"""Under which version of the policy a decision was made, and what it lacked."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Two columns that older decisions do not fill."""
    op.execute(
        """
        alter table decisions
          add column policy text not null default '',
          add column degraded jsonb not null default '[]'
        """
    )


def downgrade() -> None:
    """Without them."""
    op.execute("alter table decisions drop column policy, drop column degraded")
