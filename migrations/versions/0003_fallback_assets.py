"""Fallback video and picture"""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.install_assets(
        "fallback",
        "fallback",
        {
            "loop_silencioso.mp4": "1f036b22fca912428c826386750421c39f05a2968ce09d5e9f5d6d8460535648",
            "placeholder.png": "908d93056456332d513cb79e1b08596ab22f3fa96b8f30a63df1c8dc3a986b5b",
        },
    )


def downgrade() -> None:
    op.revert()
