"""Settings in .env"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.merge_env(
        {
            "VIDEO_STORAGE_ROOT": "e3b0c442-85bd12d0",
            "VV_MODEL_VARIANT": "e3b0c442-1a3f9d30",
            "DVR_IP": "e3b0c442-8ec3eb47",
            "ORCHESTRATOR_INTERVAL": "983bd614-1752fef9",
            "LOG_LEVEL": "cda14d0b-763248e5",
            "FRAME_CAPTURE_INTERVAL_SECONDS": "d4735e3a-6c83c7c1",
            "YOLO_MODEL_VERSION": "2c2fb19c-1a3f9d30",
            "FACE_RECOGNITION_THRESHOLD": "b4af4e0d-f1e2a83a",
            "BITNET_MODEL_PATH": "17ae3711-1a3f9d30",
            "PROMPT_FILE_PATH": "f75ba3c3-1a3f9d30",
            "MAX_TOKENS_SUMMARY": "51e8ea28-1752fef9",
            "HMAC_SECRET_KEY": "e3b0c442-41806a79",
            "KEY_ID": "be297454-1a3f9d30",
            "SLACK_WEBHOOK_URL": "e3b0c442-a177a265",
            "TELEGRAM_BOT_TOKEN": "e3b0c442-361d8e9a",
            "TELEGRAM_CHAT_ID": "e3b0c442-361d8e9a",
            "PROMETHEUS_ENABLED": "fcbcf165-9bb2e48d",
            "PROMETHEUS_PORT": "fdbd3ed4-7a066280",
            "GRAFANA_ENABLED": "fcbcf165-9bb2e48d",
            "GRAFANA_PORT": "a176eeb3-7a066280",
        },
    )


def downgrade() -> None:
    op.revert()
