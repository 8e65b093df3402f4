"""Forward passes that are computed a second time in backward, as under activation checkpointing."""

from __future__ import annotations

import torch
from torch.utils.module_tracker import ModuleTracker

_TRACKER = ModuleTracker()


def in_backward() -> bool:
    """Whether autograd is computing gradients; a forward pass is then the repetition of an earlier one.

    Not known in compiled code, where it is False.

    Examples
    --------
    >>> in_backward()
    False
    """
    return not torch.compiler.is_compiling() and bool(_TRACKER.is_bw)
