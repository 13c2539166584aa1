"""BitNet model"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.install_model("bitnet_summarizer", "1.0.0")


def downgrade() -> None:
    op.revert()
