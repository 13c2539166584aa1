"""Settings in .env"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.merge_env()


def downgrade() -> None:
    op.revert()
