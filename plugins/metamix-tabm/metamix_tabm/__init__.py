"""TabM, an ensemble of networks that share most weights (Gorishniy et al. 2025), as an expert of metamix."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from tabm import TabM

__all__ = ["TabMRegressor", "regressor"]

#: Share of the rows that decides when training ends, and epochs without progress until then.
HELD_OUT, PATIENCE = 0.2, 16


class TabMRegressor(RegressorMixin, BaseEstimator):
    """`tabm.TabM` trained by AdamW with early stopping, for standardised columns and targets.

    Parameters
    ----------
    k, n_blocks, d_block : int
        Networks of the ensemble, and their layers and width.
    max_epochs, batch_size, learning_rate : number
    random_state : int or None, default=None
    device : {"cpu", "cuda", "cuda:N"} or None, default=None
        Where it is trained; predictions are made on the CPU. None is the CPU, or the device of a mixture.
    """

    def __init__(
        self,
        k: int = 8,
        n_blocks: int = 2,
        d_block: int = 64,
        max_epochs: int = 200,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        random_state: int | None = None,
        device: str | None = None,
    ) -> None:
        self.k, self.n_blocks, self.d_block = k, n_blocks, d_block
        self.max_epochs, self.batch_size, self.learning_rate = max_epochs, batch_size, learning_rate
        self.random_state, self.device = random_state, device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> TabMRegressor:
        """Fit to X (n, d), y (n,) and weights (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float32, y_numeric=True)
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight) / np.mean(sample_weight)
        random = check_random_state(self.random_state)
        rows = torch.tensor(random.permutation(len(X)))
        device = self.device or "cpu"
        data = [torch.tensor(one, dtype=torch.float32, device=device) for one in (X, y, weight)]
        n_held_out = max(1, round(HELD_OUT * len(X)))
        with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
            torch.manual_seed(int(random.randint(2**31 - 1)))
            network = self._network().to(device)
            _train(network, [one[rows[n_held_out:]] for one in data], [one[rows[:n_held_out]] for one in data], self)
        self.state_ = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
        return self

    def predict(self, X: Any) -> Any:
        """Mean prediction (n,) of the networks."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float32)
        network = self._network()  # built from arrays, since files of mixtures cannot store tensors
        network.load_state_dict({name: torch.tensor(value) for name, value in self.state_.items()})
        with torch.no_grad():
            return network.eval()(torch.tensor(X)).mean(dim=1)[:, 0].numpy().astype(np.float64)

    def _network(self) -> TabM:
        shape = {"k": self.k, "n_blocks": self.n_blocks, "d_block": self.d_block}
        return TabM.make(n_num_features=self.n_features_in_, d_out=1, **shape)


def _train(network: TabM, train: list[Any], held_out: list[Any], settings: TabMRegressor) -> None:
    """Train until the weighted loss of held-out rows falls no more; each network has a loss of its own."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=3e-4)
    best, state, waited = np.inf, copy.deepcopy(network.state_dict()), 0
    for _ in range(settings.max_epochs):
        network.train()
        for batch in torch.randperm(len(train[0])).split(settings.batch_size):
            optimizer.zero_grad()
            _loss(network, *(one[batch] for one in train)).backward()
            optimizer.step()
        with torch.no_grad():
            network.eval()
            loss = float(_loss(network, *held_out))
        waited += 1
        if loss < best:
            best, state, waited = loss, copy.deepcopy(network.state_dict()), 0
        if waited > PATIENCE:
            break
    network.load_state_dict(state)


def _loss(network: TabM, X: torch.Tensor, y: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (weight[:, None] * (network(X)[:, :, 0] - y[:, None]) ** 2).mean()


def regressor(**parameters: Any) -> Any:
    """TabM on prepared columns; parameters are those of `TabMRegressor`.

    Examples
    --------
    >>> regressor(k=32).named_steps["model"].regressor
    TabMRegressor(k=32)
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(TabMRegressor(**parameters))
