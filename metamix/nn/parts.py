"""Torch parts for the generic mixture, and a fitted scikit-learn expert as a frozen one in a torch mixture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

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
from metamix.nn.checks import check_weights
from metamix.nn.classification import NeuralMixtureClassifier
from metamix.nn.dispatch import untraced
from metamix.nn.network_state import without_torch
from metamix.nn.regression import NeuralMixtureRegressor
from metamix.protocols import FloatArray, Objective

#: No expert starts with less than this share of an even weight: at zero it could never come back.
_LEAST_START = 0.02
#: Weights below this have no logarithm that a gradient should follow.
_LEAST_WEIGHT = 1e-300
#: Standard deviations beyond which a column says no more.
_FARTHEST = 1e6


class NeuralGate(BaseEstimator):
    """Weights from a small network: softmax(b + S z + V tanh(U z + c)), z the columns standardised.

    What is minimised is ``mean loss + penalty / 2 · ‖θ − θ₀‖²``, where θ₀ is a network of constant weights (S and V
    zero, U drawn by the seed) and b is free: a strong penalty is constant weights, and no fit ends with a higher
    loss than it began. In `fit_objective` the loss is measured in units of its mean absolute deviation over
    rows under constant weights.

    Parameters
    ----------
    hidden : int
        Width of the hidden layer; 0 leaves the linear part alone.
    penalty : float or "path"
        Infinity is constant weights. "path" leaves the choice to training, which compares a path of penalties
        out of fold; a gate fitted on its own then uses 0.003.
    max_iter : int
        Most steps of the solver.
    device : {"auto", "cpu", "cuda"} or "cuda:N"
    random_state : int, RandomState or None

    Attributes
    ----------
    network_ : torch.nn.Module
        From standardised columns (n, q) to logits (n, K); on the CPU.
    n_experts_, n_iter_ : int
    device_ : str
    penalties_ : tuple of float
        Penalties worth trying; known before fitting.

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

    penalties_: ClassVar[tuple[float, ...]] = (np.inf, 1.0, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)

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
            If X has missing values, shapes do not match, or the penalty or device is not understood.
        """
        labels = np.asarray(responsibilities, dtype=np.float64)
        return self._learn(X, labels, [self._penalty()], None, sample_weight, [self])[0]

    def fit_objective(
        self, X: Any, objective: Objective, start: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Minimise the mean of an objective of the weights, from constant weights.

        Parameters
        ----------
        X : array-like of shape (n, q)
        objective : callable
            weights (n, K) -> (loss (n,), gradient (n, K)).
        start : array-like of shape (K,)
            Constant weights to begin with.
        sample_weight : array-like of shape (n,) or None

        Raises
        ------
        ValueError
            As `fit`, and if `start` is missing, which says how many experts there are.
        """
        return self._learn(X, objective, [self._penalty()], start, sample_weight, [self])[0]

    def fit_path(
        self,
        X: Any,
        target: Objective | ArrayLike,
        penalties: Sequence[float] | None = None,
        start: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> list[Self]:
        """One fitted gate per penalty, in their order, each descended from the solution of the next larger one.

        Parameters
        ----------
        target : callable or array-like of shape (n, K)
            An objective, or responsibilities.
        penalties : sequence of float, or None for `penalties_`
        X, start, sample_weight
            As of `fit_objective`.
        """
        asked = [_checked(penalty) for penalty in (self.penalties_ if penalties is None else penalties)]
        gates = [clone(self).set_params(penalty=penalty) for penalty in asked]
        labels = target if callable(target) else np.asarray(target, dtype=np.float64)
        return self._learn(X, labels, asked, start, sample_weight, gates) if gates else []

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K); finite and summing to one however far X (n, q) lies from the training rows."""
        check_is_fitted(self, "network_")
        X = validate_data(self, X, reset=False, ensure_min_features=0, dtype=np.float64)
        with torch.no_grad():
            return torch.softmax(self.network_(torch.as_tensor(self._standard(X))), 1).numpy()

    def _learn(
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
        level = _level(target, start, weight)
        mean, away = weight @ Z, np.sqrt(weight @ np.square(Z - weight @ Z))
        device, seed = resolve_device(self.device), int(check_random_state(self.random_state).randint(2**31 - 1))
        scale = np.where(away > 1e-13 * np.abs(mean), away, np.inf)
        network = _network(Z.shape[1], len(level), self.hidden, level, seed).to(device)
        for gate in gates:
            gate._mean, gate._scale, gate.n_experts_, gate.device_ = mean, scale, len(level), device
        rows = torch.as_tensor(gates[0]._standard(Z), device=device)
        loss = _loss(target, level, torch.as_tensor(weight, device=device))
        origin = parameters_to_vector(network.parameters()).detach().clone()
        for i in sorted(range(len(penalties)), key=lambda i: -penalties[i]):
            steps = 0
            if np.isfinite(penalties[i]) and len(level) > 1 and rows.shape[1]:
                steps = _descend(network, origin, rows, loss, penalties[i], self.max_iter)
            gates[i].network_, gates[i].n_iter_ = _copy(network), steps
        return gates

    def _standard(self, X: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.clip((X - self._mean) / self._scale, -_FARTHEST, _FARTHEST)

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
    """A linear map beside a hidden layer; the biases of the logits are the only parameters called free."""

    def __init__(self, q: int, K: int, hidden: int) -> None:
        super().__init__()
        self.free = nn.Parameter(torch.zeros(K))
        self.slopes = nn.Parameter(torch.zeros(q, K))
        self.inner = nn.Parameter(torch.zeros(q, hidden))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.outer = nn.Parameter(torch.zeros(hidden, K))

    def forward(self, z: Tensor) -> Tensor:
        bent = torch.tanh(z @ self.inner + self.shift)
        return self.free + z @ self.slopes + bent @ self.outer


def _network(q: int, K: int, hidden: int, level: FloatArray, seed: int) -> _Logits:
    """A network of constant weights `level` (K,), in float64: solvers stop early in fewer digits."""
    network = _Logits(q, K, hidden).double()
    rng = np.random.default_rng(seed)
    begin = np.maximum(level, _LEAST_START / K)
    with torch.no_grad():
        network.free.copy_(torch.as_tensor(np.log(begin / begin.sum())))
        network.inner.copy_(torch.as_tensor(rng.normal(scale=1.5 / math.sqrt(max(q, 1)), size=(q, hidden))))
        network.shift.copy_(torch.as_tensor(rng.normal(size=hidden)))
    return network


def _copy(network: _Logits) -> _Logits:
    return _from_arrays({name: values.cpu().numpy() for name, values in network.state_dict().items()})


def _from_arrays(arrays: Mapping[str, FloatArray]) -> _Logits:
    """A network of its own on the CPU, from the arrays of its state."""
    (q, K), hidden = arrays["slopes"].shape, len(arrays["shift"])
    network = _Logits(q, K, hidden).double()
    network.load_state_dict({name: torch.tensor(values) for name, values in arrays.items()})
    return network.eval()


class _FromOutside(torch.autograd.Function):
    """A loss (n,) whose gradient in the weights (n, K) comes with it, from numpy."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, objective: Objective) -> Tensor:
        """Ask the objective; it sees float64 on the CPU."""
        loss, gradient = objective(weights.detach().cpu().numpy())
        ctx.save_for_backward(torch.as_tensor(gradient).to(weights))
        return torch.as_tensor(loss).to(weights)

    @staticmethod
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, None]:
        """Chain rule, row by row."""
        (gradient,) = ctx.saved_tensors
        return above[0].unsqueeze(1) * gradient, None


Loss = Callable[[Tensor], Tensor]


def _loss(target: Objective | FloatArray, level: FloatArray, weight: Tensor) -> Loss:
    """Mean loss as a function of logits (n, K)."""
    if not callable(target):
        labels = torch.tensor(target, device=weight.device)
        return lambda logits: -(weight @ (labels * torch.log_softmax(logits, 1)).sum(1))
    rows = weight.cpu().numpy()
    idle, asked = rows == 0, target

    def objective(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        loss, gradient = asked(weights)  # NaN where a row has no answer: times a weight of zero it would be NaN
        return np.where(idle, 0.0, loss), np.where(idle[:, None], 0.0, gradient)

    at_start = objective(np.tile(level, (len(rows), 1)))[0]
    origin = float(rows @ at_start)
    unit = float(rows @ np.abs(at_start - origin)) or abs(origin) or 1.0

    def mean(logits: Tensor) -> Tensor:
        each: Tensor = _FromOutside.apply(torch.softmax(logits, 1), objective)  # type: ignore[no-untyped-call]
        return (weight @ each - origin) / unit

    return mean


def _descend(network: _Logits, origin: Tensor, rows: Tensor, loss: Loss, penalty: float, max_iter: int) -> int:
    """Minimise by L-BFGS (Liu & Nocedal 1989); rows stay on their device, only parameters travel."""
    held = torch.cat([torch.full_like(p, name != "free").flatten() for name, p in network.named_parameters()])

    def penalised(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        vector_to_parameters(torch.as_tensor(point).to(rows), network.parameters())
        network.zero_grad()
        value = loss(network(rows))
        value.backward()  # type: ignore[no-untyped-call]
        slope = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        away = held * (torch.as_tensor(point).to(rows) - origin)
        total = value.item() + penalty / 2 * away.square().sum().item()
        return total, (slope + penalty * away).cpu().numpy()

    begin = parameters_to_vector(network.parameters()).detach().cpu().numpy()
    options = {"maxiter": max_iter, "gtol": 1e-6, "ftol": 1e-9}
    found = minimize(penalised, begin, jac=True, method="L-BFGS-B", options=options)
    vector_to_parameters(torch.as_tensor(found.x).to(rows), network.parameters())
    return int(found.nit)


def _level(target: Objective | FloatArray, start: ArrayLike | None, weight: FloatArray) -> FloatArray:
    """Constant weights (K,) to begin with."""
    if callable(target):
        if start is None:
            raise ValueError(
                "fit_objective needs start, constant weights (K,) to begin with; np.full(K, 1 / K) will do."
            )
        return np.asarray(start, dtype=np.float64)
    if target.ndim != 2 or len(target) != len(weight) or not np.isfinite(target).all() or (target < 0).any():
        raise ValueError(
            f"responsibilities of shape {target.shape} for {len(weight)} rows; ({len(weight)}, K) finite numbers, "
            "none negative, would do."
        )
    share = weight @ target
    return share / share.sum() if share.sum() > 0 else np.full(len(share), 1 / len(share))


def _checked(penalty: Any) -> float:
    if isinstance(penalty, bool) or not isinstance(penalty, int | float | np.number) or not penalty >= 0:
        raise ValueError(f"penalty={penalty!r} is not a number from 0 to infinity, nor 'path'.")
    return float(penalty)


class FrozenExpert(nn.Module):
    """A fitted scikit-learn expert as an expert of a torch mixture: it answers, and learns nothing.

    Parameters
    ----------
    estimator : fitted estimator
        A regressor answers (n, 1) or (n, T); a classifier the logarithms of its probabilities (n, C).
    least : float
        Probabilities are cut there before the logarithm.

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
        """Answers to rows x (n, d), in the number type of x and on its device."""
        return untraced(self._ask, x) if torch.compiler.is_compiling() else self._ask(x)

    def _ask(self, x: Tensor) -> Tensor:
        rows = x.detach().cpu().double().numpy()
        if hasattr(self.estimator, "predict_proba"):
            answers = np.log(np.clip(self.estimator.predict_proba(rows), self.least, 1.0))
        else:
            answers = np.asarray(self.estimator.predict(rows), dtype=np.float64).reshape(len(rows), -1)
        return torch.as_tensor(answers).to(x)

    def extra_repr(self) -> str:
        """What is printed between the brackets."""
        return repr(self.estimator)


def torch_mlp_regressor(**parameters: Any) -> NeuralMixtureRegressor:
    """One network: a neural mixture of one expert, trained on squared error; its parameters may be given.

    Examples
    --------
    >>> torch_mlp_regressor(hidden=32).hidden
    32
    """
    # One expert has no gate that could choose by a missing value, and an expert by name takes tables as they come.
    settings = {"objective": "cooperative", "start": "random", "missing": "impute"} | parameters
    return NeuralMixtureRegressor(1, **settings)


def torch_mlp_classifier(**parameters: Any) -> NeuralMixtureClassifier:
    """One network: a neural mixture of one expert, trained on log-loss; its parameters may be given.

    Examples
    --------
    >>> torch_mlp_classifier(hidden=32).hidden
    32
    """
    settings = {"start": "random", "missing": "impute"} | parameters
    return NeuralMixtureClassifier(1, **settings)
