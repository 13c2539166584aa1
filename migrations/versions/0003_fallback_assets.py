"""Fallback video and picture"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.install_assets("fallback", "fallback", ["loop_silencioso.mp4", "placeholder.png"])


def downgrade() -> None:
    op.revert()
