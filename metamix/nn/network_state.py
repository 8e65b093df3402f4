"""What a fitted learner keeps: its network, built anew from numbers when it comes out of a file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from metamix.nn.losses import forget_losses
from metamix.nn.settings import history_frame

if TYPE_CHECKING:
    import pandas as pd


def without_torch(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a fitted estimator with its network, on the CPU, as arrays by name.

    Examples
    --------
    >>> without_torch({"network_": nn.Linear(1, 2, bias=False)})["network_"]["weight"].shape
    (2, 1)
    """
    state = dict(state)
    if "network_" in state:
        state["network_"] = {name: values.numpy() for name, values in state["network_"].state_dict().items()}
    return state


class NetworkLearner(BaseEstimator, ABC):
    """A learner whose network is kept on the CPU, and leaves as arrays: pickles and files of metamix hold no torch.

    `_network` builds the network, untrained, from what fit has learned and from `_recipe`: the parameters as they
    were in fit, since a later `set_params` must not change the shape of what was trained.
    """

    network_: Any

    @abstractmethod
    def _network(self) -> nn.Module:
        """The network, untrained."""

    def _keep(self, network: nn.Module) -> None:
        """Store a trained network, without the graph of its last batch."""
        forget_losses(network)
        self.network_ = network.cpu().eval()

    @property
    def history_(self) -> pd.DataFrame:
        """Losses, seconds and learning rate, a row per epoch."""
        check_is_fitted(self, "network_")
        return history_frame(self._history)

    def __getstate__(self) -> dict[str, Any]:
        return without_torch(super().__getstate__())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(dict(state))
        if "network_" in state:
            with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten at once
                network = self._network()
            network.load_state_dict({name: torch.as_tensor(np.array(v)) for name, v in state["network_"].items()})
            self.network_ = network.eval()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = True
        tags.input_tags.allow_nan = self.missing == "impute"
        tags.target_tags.required = True
        tags.non_deterministic = False
        return tags
