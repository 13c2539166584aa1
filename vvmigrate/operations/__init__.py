"""What a revision may say; importing this package registers every operation with Alembic.

Adding a kind is one file here and one line below.
"""

from vvmigrate.operations.assets import InstallAssets
from vvmigrate.operations.base import Fact, Operation, Situation
from vvmigrate.operations.directories import MakeDirectories
from vvmigrate.operations.env_file import MERGERS, MergeEnv
from vvmigrate.operations.model import InstallModel
from vvmigrate.operations.remove_assets import RemoveAssets
from vvmigrate.operations.rendering import render_operation
from vvmigrate.operations.revert import Revert
from vvmigrate.operations.shown import difference
from vvmigrate.operations.signature import WriteSignature
from vvmigrate.operations.videos import ImportProcessedVideos

__all__ = [
    "MERGERS",
    "Fact",
    "ImportProcessedVideos",
    "InstallAssets",
    "InstallModel",
    "MakeDirectories",
    "MergeEnv",
    "Operation",
    "RemoveAssets",
    "Revert",
    "Situation",
    "WriteSignature",
    "difference",
    "render_operation",
]
