"""Serialisation of fitted networks as arrays, without torch objects."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import nn

from metamix.nn.settings import history_frame

if TYPE_CHECKING:
    import pandas as pd


def without_torch(state: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the network in an estimator's state by the arrays of its state_dict.

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
    """Estimator with a network on the CPU that is pickled as arrays, without torch objects.

    `_network` builds the untrained network from fitted attributes and `_network_parameters`, a copy of the
    parameters made in fit, so that a later `set_params` does not change the architecture.
    """

    network_: Any

    @abstractmethod
    def _network(self) -> nn.Module:
        """Build the untrained network."""

    def _store_network(self, network: nn.Module) -> None:
        """Store a trained network on the CPU."""
        self.network_ = network.cpu().eval()

    @property
    def history_(self) -> pd.DataFrame:
        """Losses, seconds and learning rate, one row per epoch."""
        check_is_fitted(self, "network_")
        return history_frame(self._history)

    def __getstate__(self) -> dict[str, Any]:
        return without_torch(super().__getstate__())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(dict(state))
        if "network_" in state:
            # Without memory until the arrays are there: the sizes of the network may come from a damaged file.
            with torch.device("meta"):
                network = self._network()
            arrays = {name: torch.as_tensor(np.array(values)) for name, values in state["network_"].items()}
            network.load_state_dict(arrays, assign=True)
            self.network_ = network.eval()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = True
        tags.input_tags.allow_nan = self.missing == "impute"
        tags.target_tags.required = True
        tags.non_deterministic = False
        return tags
