"""What a revision may say; importing this package registers every operation with Alembic.

Adding a kind is one file here and one line below.
"""

from vvmigrate.operations.assets import InstallAssets
from vvmigrate.operations.base import Operation, Situation
from vvmigrate.operations.directories import MakeDirectories
from vvmigrate.operations.env_file import MERGERS, MergeEnv
from vvmigrate.operations.model import InstallModel
from vvmigrate.operations.revert import Revert
from vvmigrate.operations.signature import WriteSignature
from vvmigrate.operations.videos import ImportProcessedVideos

__all__ = [
    "MERGERS",
    "ImportProcessedVideos",
    "InstallAssets",
    "InstallModel",
    "MakeDirectories",
    "MergeEnv",
    "Operation",
    "Revert",
    "Situation",
    "WriteSignature",
]
