"""BitNet model"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.install_model(
        "bitnet_summarizer",
        "1.0.0",
        sha256={
            "demo": "66baae16c64ac1818870019983277d478d88ff641488634143f5f091f859d44e",
            "full": "4221b252fdd5fd25e15847adfeb5ee88886506ba50b8a34548374492884c2162",
        },
    )


def downgrade() -> None:
    op.revert()
