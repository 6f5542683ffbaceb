"""Readers of published weights that need no other framework."""

from tf_deepinversion.checkpoints.efficientnet_lite import (
    load_efficientnet_lite,
)
from tf_deepinversion.checkpoints.torch_file import read_torch_legacy

__all__ = ["load_efficientnet_lite", "read_torch_legacy"]
