"""Experts of a layer: modules of any kind, or a fused stack of like networks; who answers which rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grouped_mm

from metamix.nn.losses import forget_losses
from metamix.nn.routing import at_least_float32, has_autocast

#: Rows below which one batched product per layer beats a loop over experts on a CPU.
FEW_ROWS = 256

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


class MLPExperts(nn.Module):
    """A stack of K like networks whose weights lie in one tensor per layer; each is drawn independently.

    Parameters
    ----------
    n_experts : int
    in_features : int
    hidden : int or sequence of int
        Widths of hidden layers; () makes linear experts.
    out_features : int
    activation : str or torch.nn.Module
        relu, gelu, silu, tanh, identity, or a module that works element by element.

    Attributes
    ----------
    weights : ParameterList of Tensor, shape (K, width before, width after)
    biases : ParameterList of Tensor, shape (K, width after)

    Raises
    ------
    ValueError
        If a width or the number of experts is less than 1, or the activation has no such name.

    Examples
    --------
    >>> MLPExperts(4, in_features=3, hidden=8, out_features=2)(torch.zeros(5, 3)).shape
    torch.Size([5, 4, 2])
    """

    def __init__(
        self,
        n_experts: int,
        in_features: int,
        hidden: int | Sequence[int],
        out_features: int,
        activation: str | nn.Module = "relu",
    ) -> None:
        super().__init__()
        widths = [in_features, *widths_of(hidden), out_features]
        if n_experts < 1 or min(widths) < 1:
            raise ValueError(f"MLPExperts of {n_experts} experts with widths {widths}: all must be 1 or more.")
        if isinstance(activation, str):
            if activation not in ACTIVATIONS:
                raise ValueError(
                    f"There is no activation {activation!r}: give a module or one of {', '.join(ACTIVATIONS)}."
                )
            # What goes into ReLU is needed by nobody else, so it can be overwritten.
            activation = nn.ReLU(inplace=True) if activation == "relu" else ACTIVATIONS[activation]()
        self.n_experts, self.in_features, self.out_features = n_experts, in_features, out_features
        self.activation = activation
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(torch.empty(n_experts, before, after) for before, after in pairs)
        self.biases = nn.ParameterList(torch.empty(n_experts, after) for _, after in pairs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and biases as `torch.nn.Linear` does, uniform within 1/√(width before)."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Answers (n, K, o) of all experts to rows x (n, d), or to x (K, n, d), rows of its own for each."""
        n = x.shape[-2]
        if x.is_cpu and n > FEW_ROWS:
            return torch.stack(list(self.each([x] * self.n_experts if x.ndim == 2 else x.unbind(0))), 1)
        h = x.expand(self.n_experts, n, x.shape[-1])
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias.unsqueeze(1), h if i == 0 else self.activation(h), weight)
        return h.transpose(0, 1)

    def each(self, pieces: Iterable[Tensor], into: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        """Answers of each expert to its own piece (n_e, d), one after the other; without gradients, written `into`."""
        # unbind, not indexing: W[e] would make autograd build a zero gradient of full size per expert.
        layers = [(w.unbind(0), b.unbind(0)) for w, b in zip(self.weights, self.biases, strict=True)]
        for e, h in enumerate(pieces):
            for i, (weights, biases) in enumerate(layers):
                h = h if i == 0 else self.activation(h)
                if into is None:
                    h = torch.addmm(biases[e], h, weights[e])
                else:  # a bias added while the product is in the cache costs less than one laid out before
                    h = torch.mm(h, weights[e], out=into[e] if i == len(layers) - 1 else None).add_(biases[e])
            yield h

    def grouped(self, rows: Tensor, ends: Tensor, owner: Tensor) -> Tensor:
        """Answers (N, o) to rows (N, d) that are sorted by expert.

        Parameters
        ----------
        rows : Tensor of shape (N, d)
        ends : Tensor of int32, shape (K,)
            Where each expert's rows end.
        owner : Tensor of int64, shape (N,)
            Expert of each row.
        """
        dtype = product_dtype(rows)
        # Biases through a product with ones and zeros: its gradient needs no atomic additions.
        ones = torch.nn.functional.one_hot(owner, self.n_experts).to(dtype)
        h = rows.to(dtype)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = grouped_mm(h if i == 0 else self.activation(h), weight.to(dtype), offs=ends)
            h = torch.addmm(h, ones, bias.to(dtype))
        return h

    def can_group(self, x: Tensor) -> bool:
        """Whether `torch.nn.functional.grouped_mm` takes these experts and rows: its widths and number type."""
        dtype = product_dtype(x)
        widths = [self.in_features, *(weight.shape[-1] for weight in self.weights)]
        fits = all(width * dtype.itemsize % 16 == 0 for width in widths)
        return fits and dtype in (torch.bfloat16, torch.float16, torch.float32)

    def extra_repr(self) -> str:
        """What is printed between the brackets."""
        widths = " → ".join(str(w) for w in [self.in_features, *(weight.shape[-1] for weight in self.weights)])
        return f"{self.n_experts} × {widths}"


Experts: TypeAlias = "nn.ModuleList | MLPExperts"


def widths_of(hidden: Any, what: str = "hidden") -> list[int]:
    """Widths of hidden layers, from one or several whole numbers, numpy's too.

    Raises
    ------
    ValueError
        If one is no whole number from 1.

    Examples
    --------
    >>> widths_of(8), widths_of((8, 4)), widths_of(())
    ([8], [8, 4], [])
    """
    given = list(hidden) if isinstance(hidden, Iterable) and not isinstance(hidden, str) else [hidden]
    if not all(isinstance(width, int | np.integer) and not isinstance(width, bool) and width > 0 for width in given):
        raise ValueError(f"{what}={hidden!r} is no width; give a whole number from 1, or several, as (64, 32).")
    return [int(width) for width in given]


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the number type in which a product with x is made, under autocast too.

    Examples
    --------
    >>> product_dtype(torch.zeros(1))
    torch.float32
    """
    kind = x.device.type
    if has_autocast(kind) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(kind)
    return x.dtype


def make_experts(experts: Iterable[nn.Module] | MLPExperts, in_features: int) -> Experts:
    """Return experts as a module: a fused stack as it is, others in a ModuleList.

    Raises
    ------
    ValueError
        If there is none, one is no module, or the stack takes rows of another width.

    Examples
    --------
    >>> len(make_experts([nn.Linear(3, 1), nn.Linear(3, 1)], 3))
    2
    """
    if isinstance(experts, MLPExperts):
        if experts.in_features != in_features:
            raise ValueError(f"The experts take rows of {experts.in_features} numbers, the layer of {in_features}.")
        return experts
    modules = list(experts)
    for e, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise ValueError(f"Expert {e} is {type(module).__name__} {module!r}; a torch.nn.Module would do.")
    if not modules:
        raise ValueError("There are no experts: give a list of modules or MLPExperts.")
    return nn.ModuleList(modules)


def count_experts(experts: Experts) -> int:
    """Number of experts, K.

    Examples
    --------
    >>> count_experts(MLPExperts(4, 1, (), 1))
    4
    """
    return experts.n_experts if isinstance(experts, MLPExperts) else len(experts)


def answers_to_all(experts: Experts, inputs: Tensor | Sequence[Tensor]) -> Tensor:
    """Answers (n, K, o) of every expert to every row.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    inputs : Tensor of shape (n, d), or a sequence of K of them
        Rows for all, or those that each expert reads.

    Raises
    ------
    ValueError
        If an expert cannot take the rows, or gives another width than the first.

    Examples
    --------
    >>> answers_to_all(nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)]), torch.zeros(5, 3)).shape
    torch.Size([5, 2, 2])
    """
    if isinstance(experts, MLPExperts):
        return experts(inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs)))
    pieces = [inputs] * len(experts) if isinstance(inputs, Tensor) else list(inputs)
    answers: list[Tensor] = []
    try:
        for expert, rows in zip(experts, pieces, strict=True):
            answers.append(expert(rows))
        stacked = torch.stack(answers, 1)
    except (RuntimeError, TypeError) as error:
        _explain(experts, pieces, answers, error)
        raise
    if stacked.ndim != 3:
        _explain(experts, pieces, answers)
    return stacked


def answers_to_pieces(experts: Experts, pieces: Iterable[Tensor]) -> Iterator[Tensor | None]:
    """Answers of each expert to its own rows (n_e, d), one after the other; None where it has none.

    An expert without rows is not called: a layer of normalisation in it, say, may not like an empty batch.
    What an earlier batch left in it as an auxiliary loss is dropped.

    Raises
    ------
    ValueError
        If an expert cannot take its rows, or gives another width than those before it.

    Examples
    --------
    >>> experts = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    >>> answers = list(answers_to_pieces(experts, [torch.zeros(5, 3), torch.zeros(0, 3)]))
    >>> answers[0].shape, answers[1]
    (torch.Size([5, 2]), None)
    """
    if isinstance(experts, MLPExperts):
        yield from experts.each(pieces)
        return
    width: int | None = None
    for e, (expert, rows) in enumerate(zip(experts, pieces, strict=True)):
        if not len(rows):
            forget_losses(expert)
            yield None
            continue
        try:
            answer = expert(rows)
        except (RuntimeError, TypeError) as error:
            _refuse_rows(e, expert, rows, error)
            raise
        width = _check_answer(e, expert, rows, answer, width)
        yield answer


def answers_in_one(
    experts: Experts, pieces: Iterable[Tensor], counts: Sequence[int], like: Tensor
) -> tuple[Tensor, torch.dtype]:
    """Answers (N, o) of the experts to their own rows (n_e, d), one below the other; without gradients.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    pieces : iterable of Tensor, shape (n_e, d)
    counts : sequence of int, length K
        n_e, which sum to N > 0.
    like : Tensor
        What a stack answers in.

    Returns
    -------
    (Tensor of shape (N, o), number type in which they were given)

    Raises
    ------
    ValueError
        As `answers_to_pieces`.

    Examples
    --------
    >>> experts, pieces = MLPExperts(2, 1, (), 3), torch.zeros(5, 1).split([3, 2])
    >>> with torch.no_grad():
    ...     answers_in_one(experts, pieces, [3, 2], torch.zeros(1))[0].shape
    torch.Size([5, 3])
    """
    answers: Tensor | None = None
    if isinstance(experts, MLPExperts):
        answers = like.new_empty(sum(counts), experts.out_features)
        for _ in experts.each(pieces, torch.split_with_sizes(answers, list(counts))):
            pass
        return answers, answers.dtype
    dtype, end = like.dtype, 0
    for answer, count in zip(answers_to_pieces(experts, pieces), counts, strict=True):
        if answer is not None:
            if answers is None:
                dtype = answer.dtype
                answers = at_least_float32(answer.new_empty(sum(counts), answer.shape[1]))
            answers[end : end + count] = answer
        end += count
    assert answers is not None
    return answers, dtype


def _explain(
    experts: nn.ModuleList, pieces: Sequence[Tensor], answers: Sequence[Any], error: Exception | None = None
) -> None:
    """Raise a ValueError that names the expert whose widths do not fit, if that is what is wrong."""
    width: int | None = None
    for e, (rows, answer) in enumerate(zip(pieces, answers, strict=False)):
        width = _check_answer(e, experts[e], rows, answer, width, error)
    e = len(answers)
    if error is not None and e < len(experts):
        _refuse_rows(e, experts[e], pieces[e], error)


def _check_answer(
    e: int, expert: nn.Module, rows: Tensor, answer: Any, width: int | None, error: Exception | None = None
) -> int:
    """Width of the answer of expert e, which must be that of the experts before it."""
    who = f"Expert {e} ({type(expert).__name__}) got rows of shape {tuple(rows.shape)} and gave"
    if not isinstance(answer, Tensor) or answer.ndim != 2 or answer.shape[0] != rows.shape[0]:
        what = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ValueError(f"{who} {what}; a tensor of shape ({rows.shape[0]}, width) would do.") from error
    if width is not None and answer.shape[1] != width:
        raise ValueError(
            f"{who} width {answer.shape[1]}, where the experts before it gave {width}: all must give the same."
        ) from error
    return answer.shape[1]


def _refuse_rows(e: int, expert: nn.Module, rows: Tensor, error: Exception) -> None:
    if isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError):
        raise ValueError(
            f"Expert {e} ({type(expert).__name__}) could not take rows of shape {tuple(rows.shape)}, "
            f"{rows.dtype}: {error}"
        ) from error
