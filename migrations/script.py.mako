"""${"".join(c if c.isprintable() and c not in '"\\' else " " for c in (message or "no title"))}

Follows ${down_revision or "nothing" | comma,n}.
"""

${imports + "\n" if imports else ""}from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
% if upgrades:
    ${upgrades}
% endif
    op.write_signature()


def downgrade() -> None:
% if downgrades:
    ${downgrades}
% endif
    op.revert()
