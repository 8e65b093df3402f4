"""Torch models for `MixtureRegressor` and `MixtureClassifier`, and fitted scikit-learn estimators as torch experts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from metamix.devices import resolve_device
from metamix.nn.classification import NeuralMixtureClassifier
from metamix.nn.dispatch import call_untraced
from metamix.nn.exporting import GateWeights, to_model
from metamix.nn.network_state import without_torch
from metamix.nn.regression import NeuralMixtureRegressor
from metamix.nn.validation import check_weights
from metamix.protocols import FloatArray, Objective

#: Lower bound of the initial weight of an expert, as a multiple of 1/K; at zero its gradient would vanish.
_SMALLEST_INITIAL_WEIGHT = 0.02
#: Standardised columns are clipped at plus and minus this value.
_LARGEST_Z = 1e6


class NeuralGate(BaseEstimator):
    """Gate of one hidden layer: softmax(b + S z + V tanh(U z + c)), with z the standardised columns.

    Minimises ``mean loss + penalty / 2 · ‖θ − θ₀‖²``, where θ₀ is the initial network of constant weights (S and V
    zero, U drawn at random) and b is not penalised. In the limit of a large penalty the weights are constant. In
    `fit_objective` the loss is divided by its mean absolute deviation over rows under constant weights.

    Parameters
    ----------
    hidden : int
        Width of the hidden layer; 0 is a linear gate.
    penalty : float or "path"
        Infinity gives constant weights. With "path" the mixture selects the penalty out of fold; a gate fitted alone
        then uses 0.003.
    max_iter : int
        Maximum number of iterations of the solver.
    device : {"auto", "cpu", "cuda"} or "cuda:N"
    random_state : int, RandomState or None

    Attributes
    ----------
    network_ : torch.nn.Module
        Maps standardised columns (n, q) to logits (n, K); on the CPU.
    n_experts_, n_iter_ : int
    device_ : str

    References
    ----------
    Jordan & Jacobs (1994), Hierarchical mixtures of experts and the EM algorithm.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 40)[:, None]
    >>> middle = (np.abs(X) < 0.5).astype(float)
    >>> gate = NeuralGate(penalty=1e-4).fit(X, np.hstack([middle, 1 - middle]))
    >>> gate.predict_proba([[0.0], [0.9]]).round(1).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        hidden: int = 16,
        penalty: float | str = "path",
        max_iter: int = 200,
        device: str = "auto",
        random_state: Any = 0,
    ) -> None:
        self.hidden = hidden
        self.penalty = penalty
        self.max_iter = max_iter
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Minimise the cross-entropy between responsibilities (n, K) and the weights of rows X (n, q).

        Raises
        ------
        ValueError
            If X has missing values, shapes do not match, or the penalty or device is invalid.
        """
        labels = np.asarray(responsibilities, dtype=np.float64)
        return self._fit_penalties(X, labels, [self._penalty()], None, sample_weight, [self])[0]

    def fit_objective(
        self, X: Any, objective: Objective, start: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Minimise the mean of an objective of the weights, starting at constant weights.

        Parameters
        ----------
        X : array-like of shape (n, q)
        objective : callable
            weights (n, K) -> (loss (n,), gradient (n, K)).
        start : array-like of shape (K,)
            Initial constant weights.
        sample_weight : array-like of shape (n,) or None

        Raises
        ------
        ValueError
            As `fit`, and if `start` is missing (it defines K).
        """
        return self._fit_penalties(X, objective, [self._penalty()], start, sample_weight, [self])[0]

    def fit_path(
        self,
        X: Any,
        target: Objective | ArrayLike,
        penalties: Sequence[float],
        start: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> list[Self]:
        """Fit one gate per penalty, each warm-started at the solution of the next larger penalty.

        Parameters
        ----------
        target : callable or array-like of shape (n, K)
            An objective, or responsibilities.
        penalties : sequence of float
        X, start, sample_weight
            As in `fit_objective`.

        Returns
        -------
        list of NeuralGate, in the order of the penalties
        """
        asked = [_checked(penalty) for penalty in penalties]
        gates = [clone(self).set_params(penalty=penalty) for penalty in asked]
        labels = target if callable(target) else np.asarray(target, dtype=np.float64)
        return self._fit_penalties(X, labels, asked, start, sample_weight, gates) if gates else []

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K), rows sum to one; finite also for X (n, q) far from the training rows."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, ensure_min_features=0, dtype=np.float64)
        with torch.no_grad():
            return torch.softmax(self.network_(torch.as_tensor(self._standardise(X))), 1).numpy()

    def _fit_penalties(
        self,
        X: Any,
        target: Objective | FloatArray,
        penalties: Sequence[float],
        start: ArrayLike | None,
        sample_weight: ArrayLike | None,
        gates: list[Self],
    ) -> list[Self]:
        for gate in gates:
            Z = validate_data(gate, X, ensure_min_features=0, dtype=np.float64)
        n = len(Z)
        weight = check_weights(sample_weight, (n,))
        weight = weight / weight.sum()
        initial = _initial_weights(target, start, weight)
        mean, away = weight @ Z, np.sqrt(weight @ np.square(Z - weight @ Z))
        device, seed = resolve_device(self.device), int(check_random_state(self.random_state).randint(2**31 - 1))
        scale = np.where(away > 1e-13 * np.abs(mean), away, np.inf)
        network = _network(Z.shape[1], len(initial), self.hidden, initial, seed).to(device)
        for gate in gates:
            gate._mean, gate._scale, gate.n_experts_, gate.device_ = mean, scale, len(initial), device
        rows = torch.as_tensor(gates[0]._standardise(Z), device=device)
        loss = _loss(target, initial, torch.as_tensor(weight, device=device))
        origin = parameters_to_vector(network.parameters()).detach().clone()
        for i in sorted(range(len(penalties)), key=lambda i: -penalties[i]):
            steps = 0
            if np.isfinite(penalties[i]) and len(initial) > 1 and rows.shape[1]:
                steps = _minimise(network, origin, rows, loss, penalties[i], self.max_iter)
            gates[i].network_, gates[i].n_iter_ = _copy(network), steps
        return gates

    def __metamix_onnx__(self) -> Any:
        return to_model(GateWeights(self.network_, self._mean, self._scale, _LARGEST_Z), len(self._mean))

    def _standardise(self, X: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.clip((X - self._mean) / self._scale, -_LARGEST_Z, _LARGEST_Z)

    def _penalty(self) -> float:
        return 0.003 if self.penalty == "path" else _checked(self.penalty)

    def __getstate__(self) -> dict[str, Any]:
        return without_torch(super().__getstate__())

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(dict(state))
        if "network_" in state:
            self.network_ = _from_arrays(state["network_"])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags


class _Logits(nn.Module):
    """Sum of a linear map and a network of one hidden layer; only ``bias`` is not penalised."""

    def __init__(self, q: int, K: int, hidden: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(K))
        self.linear = nn.Parameter(torch.zeros(q, K))
        self.hidden_weight = nn.Parameter(torch.zeros(q, hidden))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden))
        self.output_weight = nn.Parameter(torch.zeros(hidden, K))

    def forward(self, z: Tensor) -> Tensor:
        hidden = torch.tanh(z @ self.hidden_weight + self.hidden_bias)
        return self.bias + z @ self.linear + hidden @ self.output_weight


def _network(q: int, K: int, hidden: int, initial: FloatArray, seed: int) -> _Logits:
    """Network whose weights are the constants `initial` (K,); float64, in which L-BFGS converges further."""
    network = _Logits(q, K, hidden).double()
    rng = np.random.default_rng(seed)
    initial = np.maximum(initial, _SMALLEST_INITIAL_WEIGHT / K)
    with torch.no_grad():
        network.bias.copy_(torch.as_tensor(np.log(initial / initial.sum())))
        network.hidden_weight.copy_(torch.as_tensor(rng.normal(scale=1.5 / math.sqrt(max(q, 1)), size=(q, hidden))))
        network.hidden_bias.copy_(torch.as_tensor(rng.normal(size=hidden)))
    return network


def _copy(network: _Logits) -> _Logits:
    return _from_arrays({name: values.cpu().numpy() for name, values in network.state_dict().items()})


def _from_arrays(arrays: Mapping[str, FloatArray]) -> _Logits:
    """Network on the CPU from the arrays of a state_dict."""
    (q, K), hidden = arrays["linear"].shape, len(arrays["hidden_bias"])
    network = _Logits(q, K, hidden).double()
    network.load_state_dict({name: torch.tensor(values) for name, values in arrays.items()})
    return network.eval()


class _ObjectiveLoss(torch.autograd.Function):
    """Loss (n,) of weights (n, K) by a numpy objective that also returns the gradient."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, objective: Objective) -> Tensor:
        """Evaluate the objective on float64 arrays on the CPU."""
        loss, gradient = objective(weights.detach().cpu().numpy())
        ctx.save_for_backward(torch.as_tensor(gradient).to(weights))
        return torch.as_tensor(loss).to(weights)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        """Multiply by the gradient of each row."""
        (gradient,) = ctx.saved_tensors
        return above[0].unsqueeze(1) * gradient, None


Loss = Callable[[Tensor], Tensor]


def _loss(target: Objective | FloatArray, initial: FloatArray, weight: Tensor) -> Loss:
    """Mean loss as a function of logits (n, K)."""
    if not callable(target):
        labels = torch.tensor(target, device=weight.device)
        return lambda logits: -(weight @ (labels * torch.log_softmax(logits, 1)).sum(1))
    rows = weight.cpu().numpy()
    zero_weight, evaluate = rows == 0, target

    def objective(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        loss, gradient = evaluate(weights)  # may be NaN for rows of weight zero, and 0 · NaN is NaN
        return np.where(zero_weight, 0.0, loss), np.where(zero_weight[:, None], 0.0, gradient)

    at_start = objective(np.tile(initial, (len(rows), 1)))[0]
    origin = float(rows @ at_start)
    unit = float(rows @ np.abs(at_start - origin)) or abs(origin) or 1.0

    def mean(logits: Tensor) -> Tensor:
        each: Tensor = _ObjectiveLoss.apply(torch.softmax(logits, 1), objective)  # type: ignore[no-untyped-call]
        return (weight @ each - origin) / unit

    return mean


def _minimise(network: _Logits, origin: Tensor, rows: Tensor, loss: Loss, penalty: float, max_iter: int) -> int:
    """Minimise by L-BFGS (Liu & Nocedal 1989); rows stay on their device, parameters are copied per step."""
    is_penalised = torch.cat([torch.full_like(p, name != "bias").flatten() for name, p in network.named_parameters()])

    def penalised(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        vector_to_parameters(torch.as_tensor(point).to(rows), network.parameters())
        network.zero_grad()
        value = loss(network(rows))
        value.backward()  # type: ignore[no-untyped-call]
        slope = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        away = is_penalised * (torch.as_tensor(point).to(rows) - origin)
        total = value.item() + penalty / 2 * away.square().sum().item()
        return total, (slope + penalty * away).cpu().numpy()

    initial = parameters_to_vector(network.parameters()).detach().cpu().numpy()
    options = {"maxiter": max_iter, "gtol": 1e-6, "ftol": 1e-9}
    found = minimize(penalised, initial, jac=True, method="L-BFGS-B", options=options)
    vector_to_parameters(torch.as_tensor(found.x).to(rows), network.parameters())
    return int(found.nit)


def _initial_weights(target: Objective | FloatArray, start: ArrayLike | None, weight: FloatArray) -> FloatArray:
    """Initial constant weights (K,)."""
    if callable(target):
        if start is None:
            raise ValueError(
                "fit_objective needs start, the initial constant weights (K,), for example np.full(K, 1 / K)."
            )
        return np.asarray(start, dtype=np.float64)
    if target.ndim != 2 or len(target) != len(weight) or not np.isfinite(target).all() or (target < 0).any():
        raise ValueError(
            f"responsibilities of shape {target.shape} for {len(weight)} rows; expected ({len(weight)}, K) finite "
            "nonnegative numbers."
        )
    share = weight @ target
    return share / share.sum() if share.sum() > 0 else np.full(len(share), 1 / len(share))


def _checked(penalty: Any) -> float:
    if isinstance(penalty, bool) or not isinstance(penalty, int | float | np.number) or not penalty >= 0:
        raise ValueError(f"penalty={penalty!r} is invalid; give a number from 0 to infinity, or 'path'.")
    return float(penalty)


class FrozenExpert(nn.Module):
    """A fitted scikit-learn estimator as an expert of a torch mixture; it is not trained further.

    Parameters
    ----------
    estimator : fitted estimator
        The output is (n, 1) or (n, T) for a regressor, log probabilities (n, C) for a classifier.
    least : float
        Lower bound of the probabilities, applied before the logarithm.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from metamix.nn import MoE
    >>> line = LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])
    >>> layer = MoE(1, [FrozenExpert(line), nn.Linear(1, 1)])
    >>> layer.experts[0](torch.tensor([[2.0]]))
    tensor([[5.]])
    """

    def __init__(self, estimator: Any, least: float = 1e-6) -> None:
        super().__init__()
        check_is_fitted(estimator)
        self.estimator, self.least = estimator, least

    def forward(self, x: Tensor) -> Tensor:
        """Predictions for rows x (n, d), in the dtype of x and on its device."""
        return call_untraced(self._predict, x) if torch.compiler.is_compiling() else self._predict(x)

    def _predict(self, x: Tensor) -> Tensor:
        rows = x.detach().cpu().double().numpy()
        if hasattr(self.estimator, "predict_proba"):
            outputs = np.log(np.clip(self.estimator.predict_proba(rows), self.least, 1.0))
        else:
            outputs = np.asarray(self.estimator.predict(rows), dtype=np.float64).reshape(len(rows), -1)
        return torch.as_tensor(outputs).to(x)

    def extra_repr(self) -> str:
        """Text inside the parentheses of the repr."""
        return repr(self.estimator)


def torch_mlp_regressor(**parameters: Any) -> NeuralMixtureRegressor:
    """A single network, as `NeuralMixtureRegressor` with one expert, trained on squared error.

    Parameters
    ----------
    **parameters
        Of `NeuralMixtureRegressor`.

    Examples
    --------
    >>> torch_mlp_regressor(hidden=32).hidden
    32
    """
    # Missing values are imputed, as for all experts given by name; with one expert no gate depends on them.
    settings = {"objective": "cooperative", "start": "random", "missing": "impute"} | parameters
    return NeuralMixtureRegressor(1, **settings)


def torch_mlp_classifier(**parameters: Any) -> NeuralMixtureClassifier:
    """A single network, as `NeuralMixtureClassifier` with one expert, trained on log loss.

    Parameters
    ----------
    **parameters
        Of `NeuralMixtureClassifier`.

    Examples
    --------
    >>> torch_mlp_classifier(hidden=32).hidden
    32
    """
    settings = {"start": "random", "missing": "impute"} | parameters
    return NeuralMixtureClassifier(1, **settings)
