"""An exact Gaussian process of GPyTorch (Gardner et al. 2018) as an expert of metamix."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

with warnings.catch_warnings():
    # linear_operator, below GPyTorch, scripts a function when it is imported.
    warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", DeprecationWarning)
    import gpytorch

__all__ = ["ExactRegressor", "regressor"]


class _Process(gpytorch.models.ExactGP):
    def __init__(self, X: torch.Tensor, y: torch.Tensor) -> None:
        super().__init__(X, y, gpytorch.likelihoods.GaussianLikelihood())
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=X.shape[1]))

    def forward(self, X: torch.Tensor) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(X), self.covar_module(X))


class ExactRegressor(RegressorMixin, BaseEstimator):
    """Gaussian process with a length scale for each column, for standardised columns and targets.

    Parameters
    ----------
    steps : int, default=100
        Steps of Adam (0.1 each) on the marginal likelihood.
    max_rows : int, default=1000
        Rows drawn at random where there are more: time and memory grow as n³ and n².
    random_state : int or None, default=None
    device : {"cpu", "cuda", "cuda:N"} or None, default=None
        Where it is fitted; predictions are made on the CPU. None is the CPU, or the device of a mixture.
    """

    def __init__(
        self, steps: int = 100, max_rows: int = 1000, random_state: int | None = None, device: str | None = None
    ) -> None:
        self.steps, self.max_rows, self.random_state, self.device = steps, max_rows, random_state, device

    def fit(self, X: Any, y: Any) -> ExactRegressor:
        """Fit to X (n, d) and y (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float64, y_numeric=True)
        rows = check_random_state(self.random_state).permutation(len(X))[: self.max_rows]
        self.X_, self.y_ = X[rows], y[rows]
        process = self._process(self.device or "cpu").train()
        optimizer = torch.optim.Adam(process.parameters(), lr=0.1)
        likelihood = gpytorch.mlls.ExactMarginalLogLikelihood(process.likelihood, process)
        with _exactly():
            for _ in range(self.steps):
                optimizer.zero_grad()
                loss = -likelihood(process(*process.train_inputs), process.train_targets)
                loss.backward()
                optimizer.step()
        self.state_ = {name: value.detach().cpu().numpy() for name, value in process.state_dict().items()}
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictions (n,), and standard deviations (n,) of y, its noise included, where asked."""
        with _exactly(), torch.no_grad():
            process, X = self._fitted(X)
            found = process.likelihood(process(X)) if return_std else process(X)
            return (found.mean.numpy(), found.stddev.numpy()) if return_std else found.mean.numpy()

    def predict_gradient(self, X: Any) -> Any:
        """Gradient of the prediction (n, d)."""
        with _exactly():
            process, X = self._fitted(X)
            return torch.autograd.grad(process(X.requires_grad_()).mean.sum(), X)[0].numpy()

    def _process(self, device: str) -> _Process:
        process = _Process(torch.tensor(self.X_, device=device), torch.tensor(self.y_, device=device))
        return process.to(device=device, dtype=torch.float64)

    def _fitted(self, X: Any) -> tuple[_Process, torch.Tensor]:
        """The process, built from arrays, since files of mixtures cannot store tensors, and the rows of X."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        process = self._process("cpu")
        process.load_state_dict({name: torch.tensor(value) for name, value in self.state_.items()})
        return process.eval(), torch.tensor(X)


def _exactly() -> ExitStack:
    """Cholesky factors whatever the number of rows, and no warning where new rows are those of the fit."""
    stack = ExitStack()
    stack.enter_context(gpytorch.settings.max_cholesky_size(1_000_000))
    stack.enter_context(gpytorch.settings.debug(False))
    return stack


def regressor(**parameters: Any) -> Any:
    """A Gaussian process on prepared columns; parameters are those of `ExactRegressor`.

    Examples
    --------
    >>> regressor(steps=50).named_steps["model"].regressor
    ExactRegressor(steps=50)
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(ExactRegressor(**parameters))
