"""Network of a mixture on table columns: likelihoods, loss, and the initial fit of the gate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metamix.nn.collection import collect_losses
from metamix.nn.experts import outputs_of_all
from metamix.nn.gates import route
from metamix.nn.layers import MoE
from metamix.nn.routing import at_least_float32

LIKELIHOODS = ("gaussian", "laplace", "student_t")
OBJECTIVES = ("likelihood", "cooperative")
#: Degrees of freedom of Student's t: heavy tails with finite variance.
DEGREES_OF_FREEDOM = 4.0
#: Lower bound of an expert's scale, in standard deviations of y.
SMALLEST_SCALE = 1e-3
#: Lower bound of weights before the logarithm, which keeps its gradient finite.
SMALLEST_WEIGHT = 1e-30


class NumberLikelihood(nn.Module):
    """Density of a number given each expert's output, with one learned scale per expert.

    Parameters
    ----------
    n_experts : int
    family : {"gaussian", "laplace", "student_t"}
        Student's t has 4 degrees of freedom.

    Raises
    ------
    ValueError
        If the family is unknown.

    Examples
    --------
    >>> likelihood = NumberLikelihood(2)
    >>> likelihood(torch.zeros(5, 2, 1), torch.zeros(5)).shape
    torch.Size([5, 2])
    """

    def __init__(self, n_experts: int, family: str = "gaussian") -> None:
        super().__init__()
        if family not in LIKELIHOODS:
            raise ValueError(f"likelihood={family!r} is unknown; give one of {', '.join(map(repr, LIKELIHOODS))}.")
        self.family = family
        # y is standardised, so this is a little below its standard deviation.
        self.log_scale = nn.Parameter(torch.full((n_experts,), -0.5))

    def density(self, outputs: Tensor) -> torch.distributions.Distribution:
        """Distributions (n, K) centred at outputs (n, K)."""
        scale = self.log_scale.clamp(min=math.log(SMALLEST_SCALE)).exp().expand_as(outputs)
        if self.family == "gaussian":
            return torch.distributions.Normal(outputs, scale, validate_args=False)
        if self.family == "laplace":
            return torch.distributions.Laplace(outputs, scale, validate_args=False)
        return torch.distributions.StudentT(DEGREES_OF_FREEDOM, outputs, scale, validate_args=False)

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Log density (n, K) of y (n,) given outputs (n, K, 1)."""
        return self.density(outputs[..., 0]).log_prob(y.unsqueeze(1))

    def cooperative(self, mixed: Tensor, y: Tensor) -> Tensor:
        """Squared error (n,) of mixed outputs (n, 1)."""
        return (mixed[:, 0] - y).square()


class ClassLikelihood(nn.Module):
    """Probability of a class, from each expert's logits.

    Examples
    --------
    >>> ClassLikelihood()(torch.zeros(5, 2, 4), torch.zeros(5, dtype=torch.int64)).exp()[0]
    tensor([0.2500, 0.2500])
    """

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Log probability (n, K) of classes y (n,) given logits (n, K, C)."""
        at = y.view(-1, 1, 1).expand(-1, outputs.shape[1], 1)
        return torch.log_softmax(outputs, -1).gather(-1, at).squeeze(-1)

    def cooperative(self, mixed: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy (n,) of mixed logits (n, C)."""
        return nn.functional.cross_entropy(mixed, y, reduction="none")


class MixtureNetwork(nn.Module):
    """Embedding, experts and gate; all experts are evaluated on all rows.

    Parameters
    ----------
    embedding : torch.nn.Module
        Maps numbers (n, q) and codes (n, c) to features.
    mixture : MoE
    likelihood : NumberLikelihood or ClassLikelihood

    Examples
    --------
    >>> from metamix.nn import MLPExperts
    >>> from metamix.nn.embeddings import ColumnEmbedding
    >>> network = MixtureNetwork(ColumnEmbedding(3, []), MoE(3, MLPExperts(2, 3, 4, 1)), NumberLikelihood(2))
    >>> output = network(torch.zeros(5, 3), torch.zeros(5, 0, dtype=torch.int64))
    >>> output["weights"].shape, output["outputs"].shape
    (torch.Size([5, 2]), torch.Size([5, 2, 1]))
    """

    def __init__(self, embedding: nn.Module, mixture: MoE, likelihood: nn.Module) -> None:
        super().__init__()
        self.embedding, self.mixture, self.likelihood = embedding, mixture, likelihood

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weights and full probabilities (n, K), outputs (n, K, o) and the auxiliary loss."""
        rows = self.embedding(numbers, codes)
        layer = self.mixture
        with collect_losses(layer) as losses:
            routing = route(layer.gate, rows, layer.n_experts, layer.top_k)
            outputs = at_least_float32(outputs_of_all(layer.experts, rows))
            if self.training:
                _, outputs = layer.losses(routing, outputs)
        return {
            "weights": routing.weights,
            "probabilities": routing.probabilities,
            "outputs": outputs,
            "auxiliary": losses.total(),
        }

    def gate_probabilities(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Full probabilities (n, K) of the gate."""
        rows = self.embedding(numbers, codes)
        return route(self.mixture.gate, rows, self.mixture.n_experts, self.mixture.top_k).probabilities


class MixtureLoss(nn.Module):
    """Loss of a mixture network, a mean over rows.

    While ``warming_up`` is true and rows have responsibilities r, the loss is −Σ_e r_e log(g_e p_e), that of the
    M-step of EM; otherwise it is the objective.

    Parameters
    ----------
    objective : {"likelihood", "cooperative"}
        "likelihood": −log Σ_e g_e p_e(y | x). "cooperative": the loss of the mixed output; the scales have no
        gradient from it and are fitted by the likelihood with outputs and weights detached.

    Raises
    ------
    ValueError
        If the objective is unknown.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts.
    """

    def __init__(self, likelihood: nn.Module, objective: str = "likelihood") -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective={objective!r} is unknown; give one of {', '.join(map(repr, OBJECTIVES))}.")
        self.likelihood, self.objective, self.warming_up = likelihood, objective, False

    def forward(self, output: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss; `targets` has y (n,), weight (n,) of mean one, and optionally responsibilities (n, K)."""
        y, outputs = targets["y"], output["outputs"]
        if self.training and self.warming_up and "responsibilities" in targets:
            joint = _log(output["probabilities"]) + self.likelihood(outputs, y)
            rows = -(targets["responsibilities"] * joint).sum(1)
        elif self.objective == "likelihood":
            rows = -torch.logsumexp(_log(output["probabilities"]) + self.likelihood(outputs, y), 1)
        else:
            mixed = torch.einsum("nk,nko->no", output["weights"], outputs)
            rows = self.likelihood.cooperative(mixed, y)  # type: ignore[operator]
            if self.training and isinstance(self.likelihood, NumberLikelihood):
                log_joint = _log(output["weights"].detach()) + self.likelihood(outputs.detach(), y)
                rows = rows - torch.logsumexp(log_joint, 1)
        loss = (targets["weight"] * rows).mean()
        return loss + output["auxiliary"] if self.training else loss


def _log(weights: Tensor) -> Tensor:
    return weights.clamp(min=SMALLEST_WEIGHT).log()


def fit_gate(
    network: MixtureNetwork,
    inputs: Mapping[str, Tensor],
    responsibilities: Tensor,
    weight: Tensor,
    penalty: float = 1e-6,
) -> None:
    """Fit the gate to responsibilities by L-BFGS on all rows, before the experts are trained.

    Trained in batches together with the experts, the gate converges much more slowly than they do, and rows near the
    boundary between regimes are predicted by a blend of two experts.

    Parameters
    ----------
    network : MixtureNetwork
    inputs : mapping of str to Tensor, shape (n, ...)
    responsibilities : Tensor of shape (n, K)
    weight : Tensor of shape (n,)
        Row weights of mean one.
    penalty : float
        Ridge penalty: half of it times the squared weights (not biases) is added to the loss.

    Examples
    --------
    >>> from metamix.nn import MLPExperts
    >>> from metamix.nn.embeddings import ColumnEmbedding
    >>> network = MixtureNetwork(ColumnEmbedding(1, []), MoE(1, MLPExperts(2, 1, 4, 1)), NumberLikelihood(2))
    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> inputs = {"numbers": x, "codes": torch.zeros(20, 0, dtype=torch.int64)}
    >>> fit_gate(network, inputs, torch.cat([x < 0, x >= 0], 1).float(), torch.ones(20))
    >>> network.gate_probabilities(**inputs)[[0, -1]].round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    gate = network.mixture.gate
    penalised = [p for name, p in gate.named_parameters() if p.requires_grad and "bias" not in name]
    trainable = [p for p in gate.parameters() if p.requires_grad]
    if not trainable:
        return
    was_training = gate.training
    gate.eval()  # without noise and dropout the loss is deterministic, as L-BFGS requires
    solver = torch.optim.LBFGS(trainable, max_iter=300, line_search_fn="strong_wolfe")
    with torch.no_grad():
        rows = network.embedding(inputs["numbers"], inputs["codes"])

    def loss() -> Tensor:
        solver.zero_grad()
        routing = route(gate, rows, network.mixture.n_experts, network.mixture.top_k)
        value = -(weight * (responsibilities * _log(routing.probabilities)).sum(1)).mean()
        for parameter in penalised:
            value = value + penalty / 2 * parameter.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    solver.zero_grad()
    gate.train(was_training)


def network_outputs(network: nn.Module, inputs: Mapping[str, Tensor], block_size: int = 8192) -> Any:
    """Outputs of a network in evaluation mode, computed in blocks of rows: a dict of tensors on the CPU.

    Examples
    --------
    >>> class Double(nn.Module):
    ...     def forward(self, numbers):
    ...         return {"twice": 2 * numbers}
    >>> network_outputs(Double(), {"numbers": torch.ones(3, 1)}, block_size=2)["twice"].shape
    torch.Size([3, 1])
    """
    n = next(iter(inputs.values())).shape[0]
    network.eval()
    with torch.no_grad():
        blocks = [
            network(**{k: v[at : at + block_size] for k, v in inputs.items()}) for at in range(0, max(n, 1), block_size)
        ]
    return {name: torch.cat([block[name].cpu() for block in blocks]) for name in blocks[0] if blocks[0][name].ndim}
