"""Installation signature"""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.write_signature()


def downgrade() -> None:
    op.revert()
