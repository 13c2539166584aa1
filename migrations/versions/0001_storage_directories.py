"""Storage directories"""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.make_directories(
        [
            "input",
            "raw",
            "processed",
            "tv_curado",
            "analytic",
            "summaries",
            "loglines",
            "playlists",
            "fallback",
            "corrupted",
            "orchestrator_data",
            "models",
        ]
    )


def downgrade() -> None:
    op.revert()
