"""Orchestrator's tables"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "processed_videos",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("file_name", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.Integer),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("first_seen", sa.Text, nullable=False),
        sa.Column("finished", sa.Text),
        sa.Column("error", sa.Text),
    )
    op.create_index("ix_processed_videos_status", "processed_videos", ["status"])
    op.create_table(
        "stage_runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("video_sha256", sa.String(64), sa.ForeignKey("processed_videos.sha256"), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("started", sa.Text, nullable=False),
        sa.Column("finished", sa.Text),
        sa.Column("result", sa.String(16)),
        sa.Column("error", sa.Text),
    )
    op.create_index("ix_stage_runs_video", "stage_runs", ["video_sha256", "stage"])
    op.import_processed_videos()


def downgrade() -> None:
    op.drop_index("ix_stage_runs_video", "stage_runs")
    op.drop_table("stage_runs")
    op.drop_index("ix_processed_videos_status", "processed_videos")
    op.drop_table("processed_videos")
