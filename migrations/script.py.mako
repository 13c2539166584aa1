"""${"".join(c if c.isprintable() and c not in '"\\' else " " for c in (message or "no title"))}

Follows ${down_revision | comma,n}.
"""

from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else ""}
    op.write_signature()


def downgrade() -> None:
    op.revert()
