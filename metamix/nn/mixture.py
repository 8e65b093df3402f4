"""A mixture as one network: columns, experts, gate, and how good an answer was; its loss and its first lesson."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from metamix.nn.experts import answers_to_all
from metamix.nn.gates import route
from metamix.nn.layers import MoE
from metamix.nn.losses import auxiliary_loss
from metamix.nn.routing import at_least_float32

LIKELIHOODS = ("gaussian", "laplace", "student_t")
OBJECTIVES = ("likelihood", "cooperative")
#: Degrees of freedom of Student's t: heavy tails that still have a variance.
FREEDOM = 4.0
#: No expert is surer of a number than this part of the standard deviation of y.
LEAST_SCALE = 1e-3
#: Weights below this have no logarithm that a gradient should follow.
LEAST_WEIGHT = 1e-30


class NumberLikelihood(nn.Module):
    """Density of a number around each expert's answer, with one learned scale per expert.

    Parameters
    ----------
    n_experts : int
    family : {"gaussian", "laplace", "student_t"}
        Student's t has 4 degrees of freedom.

    Raises
    ------
    ValueError
        If there is no such family.

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
        # y is standardised, so experts begin with an error a little below its whole spread.
        self.log_scale = nn.Parameter(torch.full((n_experts,), -0.5))

    def density(self, answers: Tensor) -> torch.distributions.Distribution:
        """Distribution (n, K) around answers (n, K)."""
        scale = self.log_scale.clamp(min=math.log(LEAST_SCALE)).exp().expand_as(answers)
        if self.family == "gaussian":
            return torch.distributions.Normal(answers, scale, validate_args=False)
        if self.family == "laplace":
            return torch.distributions.Laplace(answers, scale, validate_args=False)
        return torch.distributions.StudentT(FREEDOM, answers, scale, validate_args=False)

    def forward(self, answers: Tensor, y: Tensor) -> Tensor:
        """Log density (n, K) of y (n,) given answers (n, K, 1)."""
        return self.density(answers[..., 0]).log_prob(y.unsqueeze(1))

    def cooperative(self, mixed: Tensor, y: Tensor) -> Tensor:
        """Squared error (n,) of mixed answers (n, 1)."""
        return (mixed[:, 0] - y).square()


class ClassLikelihood(nn.Module):
    """Probability of a class, from each expert's logits.

    Examples
    --------
    >>> ClassLikelihood()(torch.zeros(5, 2, 4), torch.zeros(5, dtype=torch.int64)).exp()[0]
    tensor([0.2500, 0.2500])
    """

    def forward(self, answers: Tensor, y: Tensor) -> Tensor:
        """Log probability (n, K) of classes y (n,) given logits (n, K, C)."""
        at = y.view(-1, 1, 1).expand(-1, answers.shape[1], 1)
        return torch.log_softmax(answers, -1).gather(-1, at).squeeze(-1)

    def cooperative(self, mixed: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy (n,) of mixed logits (n, C)."""
        return nn.functional.cross_entropy(mixed, y, reduction="none")


class MixtureNetwork(nn.Module):
    """Columns → experts and gate → what the loss needs, all experts asked.

    Parameters
    ----------
    embedding : torch.nn.Module
        Takes numbers (n, q) and codes (n, c) to features.
    mixture : MoE
    likelihood : NumberLikelihood or ClassLikelihood

    Examples
    --------
    >>> from metamix.nn import MLPExperts
    >>> from metamix.nn.embeddings import ColumnEmbedding
    >>> network = MixtureNetwork(ColumnEmbedding(3, []), MoE(3, MLPExperts(2, 3, 4, 1)), NumberLikelihood(2))
    >>> said = network(torch.zeros(5, 3), torch.zeros(5, 0, dtype=torch.int64))
    >>> said["weights"].shape, said["answers"].shape
    (torch.Size([5, 2]), torch.Size([5, 2, 1]))
    """

    def __init__(self, embedding: nn.Module, mixture: MoE, likelihood: nn.Module) -> None:
        super().__init__()
        self.embedding, self.mixture, self.likelihood = embedding, mixture, likelihood

    def forward(self, numbers: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weights, full probabilities (n, K), answers (n, K, o) and the auxiliary loss."""
        rows = self.embedding(numbers, codes)
        layer = self.mixture
        routing = route(layer.gate, rows, layer.n_experts, layer.top_k)
        if self.training:
            layer.losses([routing])
        return {
            "weights": routing.weights,
            "probabilities": routing.probabilities,
            "answers": at_least_float32(answers_to_all(layer.experts, rows)),
            "auxiliary": auxiliary_loss(layer),
        }

    def gate_probabilities(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Full probabilities (n, K) of the gate alone."""
        rows = self.embedding(numbers, codes)
        return route(self.mixture.gate, rows, self.mixture.n_experts, self.mixture.top_k).probabilities


class MixtureLoss(nn.Module):
    """The mean over rows of what a mixture network is taught.

    While ``warming`` and where the rows carry responsibilities r, it is −Σ r_e log(g_e p_e), the M-step of
    classical EM; after that and in evaluation the objective.

    Parameters
    ----------
    objective : {"likelihood", "cooperative"}
        −log Σ_e g_e p_e(y | x), or the loss of the mixed answer, from which scales learn nothing: they are
        fitted beside it, with answers and weights held still.

    Raises
    ------
    ValueError
        If there is no such objective.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991), Adaptive mixtures of local experts.
    """

    def __init__(self, likelihood: nn.Module, objective: str = "likelihood") -> None:
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective={objective!r} is unknown; give one of {', '.join(map(repr, OBJECTIVES))}.")
        self.likelihood, self.objective, self.warming = likelihood, objective, False

    def forward(self, said: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Tensor:
        """Scalar loss; `given` has y (n,), weight (n,) of mean one, and perhaps start (n, K)."""
        y, answers = given["y"], said["answers"]
        if self.training and self.warming and "start" in given:
            joint = _log(said["probabilities"]) + self.likelihood(answers, y)
            rows = -(given["start"] * joint).sum(1)
        elif self.objective == "likelihood":
            rows = -torch.logsumexp(_log(said["probabilities"]) + self.likelihood(answers, y), 1)
        else:
            mixed = torch.einsum("nk,nko->no", said["weights"], answers)
            rows = self.likelihood.cooperative(mixed, y)  # type: ignore[operator]
            if self.training and isinstance(self.likelihood, NumberLikelihood):
                still = _log(said["weights"].detach()) + self.likelihood(answers.detach(), y)
                rows = rows - torch.logsumexp(still, 1)
        loss = (given["weight"] * rows).mean()
        return loss + said["auxiliary"] if self.training else loss


def _log(weights: Tensor) -> Tensor:
    return weights.clamp(min=LEAST_WEIGHT).log()


def teach_gate(
    network: MixtureNetwork, inputs: Mapping[str, Tensor], start: Tensor, weight: Tensor, penalty: float = 1e-6
) -> None:
    """Fit the gate alone to responsibilities, on all rows at once, before anything else is learned.

    A gate that is taught in batches beside the experts takes far longer to become sharp than they take to
    fit; until then every row near a border is answered by a blend of two laws.

    Parameters
    ----------
    network : MixtureNetwork
    inputs : mapping of str to Tensor, shape (n, ...)
    start : Tensor of shape (n, K)
        Responsibilities.
    weight : Tensor of shape (n,)
        Row weights of mean one.
    penalty : float
        Half of it multiplies the squared slopes.

    Examples
    --------
    >>> from metamix.nn import MLPExperts
    >>> from metamix.nn.embeddings import ColumnEmbedding
    >>> network = MixtureNetwork(ColumnEmbedding(1, []), MoE(1, MLPExperts(2, 1, 4, 1)), NumberLikelihood(2))
    >>> x = torch.linspace(-1, 1, 20)[:, None]
    >>> inputs = {"numbers": x, "codes": torch.zeros(20, 0, dtype=torch.int64)}
    >>> teach_gate(network, inputs, torch.cat([x < 0, x >= 0], 1).float(), torch.ones(20))
    >>> network.gate_probabilities(**inputs)[[0, -1]].round().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    gate = network.mixture.gate
    slopes = [p for name, p in gate.named_parameters() if p.requires_grad and "bias" not in name]
    free = [p for p in gate.parameters() if p.requires_grad]
    if not free:
        return
    was = gate.training
    gate.eval()  # noise and dropout would make the loss jump under the solver
    solver = torch.optim.LBFGS(free, max_iter=300, line_search_fn="strong_wolfe")
    with torch.no_grad():
        rows = network.embedding(inputs["numbers"], inputs["codes"])

    def loss() -> Tensor:
        solver.zero_grad()
        routing = route(gate, rows, network.mixture.n_experts, network.mixture.top_k)
        value = -(weight * (start * _log(routing.probabilities)).sum(1)).mean()
        for slope in slopes:
            value = value + penalty / 2 * slope.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(loss)  # type: ignore[no-untyped-call]
    solver.zero_grad()
    gate.train(was)


def network_answers(network: nn.Module, inputs: Mapping[str, Tensor], most: int = 8192) -> Any:
    """What a network says in evaluation, block by block: its dict of tensors, on the CPU.

    Examples
    --------
    >>> class Double(nn.Module):
    ...     def forward(self, numbers):
    ...         return {"twice": 2 * numbers}
    >>> network_answers(Double(), {"numbers": torch.ones(3, 1)}, most=2)["twice"].shape
    torch.Size([3, 1])
    """
    n = next(iter(inputs.values())).shape[0]
    network.eval()
    with torch.no_grad():
        said = [network(**{k: v[at : at + most] for k, v in inputs.items()}) for at in range(0, max(n, 1), most)]
    return {name: torch.cat([block[name].cpu() for block in said]) for name in said[0] if said[0][name].ndim}
