"""Experts of a layer: any modules, or a stack of networks of one architecture; evaluation on all or some rows."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import grouped_mm
from torch.nn.parameter import is_lazy

from metamix.nn.routing import at_least_float32, has_autocast, rows_unknown

#: Up to this many rows one batched product per layer is faster than a loop over experts on a CPU.
FEW_ROWS = 256

BATCH_NORMS = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm,
    nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d,
)  # fmt: skip

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "identity": nn.Identity,
}


class MLPExperts(nn.Module):
    """K networks of one architecture with the weights of each layer in one tensor; initialised independently.

    Parameters
    ----------
    n_experts : int
    in_features : int
    hidden : int or sequence of int
        Widths of hidden layers; () gives linear experts.
    out_features : int
    activation : str or torch.nn.Module
        relu, gelu, silu, tanh, identity, or an elementwise module.

    Attributes
    ----------
    weights : ParameterList of Tensor, shape (K, width before, width after)
    biases : ParameterList of Tensor, shape (K, width after)

    Raises
    ------
    ValueError
        If a width or the number of experts is less than 1, or the activation is unknown.

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
            raise ValueError(f"MLPExperts got n_experts={n_experts} and widths {widths}; all must be at least 1.")
        if not isinstance(activation, str | nn.Module):
            raise ValueError(f"activation={activation!r} is unknown; give a module or one of {', '.join(ACTIVATIONS)}.")
        if isinstance(activation, str):
            if activation not in ACTIVATIONS:
                raise ValueError(
                    f"activation={activation!r} is unknown; give a module or one of {', '.join(ACTIVATIONS)}."
                )
            # The input of ReLU is not used elsewhere, so it can be overwritten.
            activation = nn.ReLU(inplace=True) if activation == "relu" else ACTIVATIONS[activation]()
        self.n_experts, self.in_features, self.out_features = n_experts, in_features, out_features
        self.activation = activation
        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(torch.empty(n_experts, before, after) for before, after in pairs)
        self.biases = nn.ParameterList(torch.empty(n_experts, after) for _, after in pairs)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise weights and biases as `torch.nn.Linear` does, uniform in ±1/√(width before)."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n, K, o) of all experts for rows x (n, d), or for separate rows of each expert, x (K, n, d)."""
        n = x.shape[-2]
        if x.is_cpu and not rows_unknown(x) and n > FEW_ROWS:
            return torch.stack(list(self.each([x] * self.n_experts if x.ndim == 2 else x.unbind(0))), 1)
        h = x.expand(self.n_experts, n, x.shape[-1])
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias.unsqueeze(1), h if i == 0 else self.activation(h), weight)
        return h.transpose(0, 1)

    def each(self, pieces: Iterable[Tensor], into: Sequence[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield the output of each expert for its rows (n_e, d); written to `into` if given (without gradients)."""
        # unbind, since indexing W[e] makes autograd allocate a full-size zero gradient per expert.
        layers = [(w.unbind(0), b.unbind(0)) for w, b in zip(self.weights, self.biases, strict=True)]
        for e, h in enumerate(pieces):
            for i, (weights, biases) in enumerate(layers):
                h = h if i == 0 else self.activation(h)
                if into is None:
                    h = torch.addmm(biases[e], h, weights[e])
                else:  # faster than addmm here: the bias is added while the product is in the cache
                    h = torch.mm(h, weights[e], out=into[e] if i == len(layers) - 1 else None).add_(biases[e])
            yield h

    def grouped(self, rows: Tensor, ends: Tensor, owner: Tensor) -> Tensor:
        """Outputs (N, o) for rows (N, d) that are sorted by expert.

        Parameters
        ----------
        rows : Tensor of shape (N, d)
        ends : Tensor of int32, shape (K,)
            End index of each expert's rows.
        owner : Tensor of int64, shape (N,)
            Index of the expert of each row.
        """
        dtype = product_dtype(rows)
        # Biases through a product with one-hot rows: its gradient needs no atomic additions.
        ones = torch.nn.functional.one_hot(owner, self.n_experts).to(dtype)
        h = rows.to(dtype)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = grouped_mm(h if i == 0 else self.activation(h), weight.to(dtype), offs=ends)
            h = torch.addmm(h, ones, bias.to(dtype))
        return h

    def can_group(self, x: Tensor) -> bool:
        """Whether `torch.nn.functional.grouped_mm` supports these widths and dtype."""
        dtype = product_dtype(x)
        widths = [self.in_features, *(weight.shape[-1] for weight in self.weights)]
        fits = all(width * dtype.itemsize % 16 == 0 for width in widths)
        return fits and dtype in (torch.bfloat16, torch.float16, torch.float32)

    def extra_repr(self) -> str:
        """Text inside the parentheses of the repr."""
        widths = " → ".join(str(w) for w in [self.in_features, *(weight.shape[-1] for weight in self.weights)])
        return f"{self.n_experts} × {widths}"


Experts: TypeAlias = "nn.ModuleList | MLPExperts"


def widths_of(hidden: Any, what: str = "hidden") -> list[int]:
    """List of hidden-layer widths from one integer or a sequence of them.

    Raises
    ------
    ValueError
        If one is not an integer of at least 1.

    Examples
    --------
    >>> widths_of(8), widths_of((8, 4)), widths_of(())
    ([8], [8, 4], [])
    """
    given = list(hidden) if isinstance(hidden, Iterable) and not isinstance(hidden, str) else [hidden]
    if not all(isinstance(width, int | np.integer) and not isinstance(width, bool) and width > 0 for width in given):
        raise ValueError(f"{what}={hidden!r} is invalid; give an integer of at least 1, or several such as (64, 32).")
    return [int(width) for width in given]


def product_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of a matrix product with x, autocast included.

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
    """Return the experts as one module: `MLPExperts` unchanged, other modules in a ModuleList.

    Raises
    ------
    ValueError
        If there are no experts, one is not a module, or in_features differ.

    Examples
    --------
    >>> len(make_experts([nn.Linear(3, 1), nn.Linear(3, 1)], 3))
    2
    """
    if isinstance(experts, MLPExperts):
        if experts.in_features != in_features:
            raise ValueError(
                f"The experts have in_features={experts.in_features}, the layer {in_features}; they must be equal."
            )
        return experts
    modules = list(experts)
    for e, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise ValueError(f"Expert {e} is {type(module).__name__} {module!r}; expected a torch.nn.Module.")
    if not modules:
        raise ValueError("experts is empty; give a list of modules or MLPExperts.")
    return nn.ModuleList(modules)


def count_experts(experts: Experts) -> int:
    """Number of experts, K.

    Examples
    --------
    >>> count_experts(MLPExperts(4, 1, (), 1))
    4
    """
    return experts.n_experts if isinstance(experts, MLPExperts) else len(experts)


def check_count(experts: Experts, n_experts: int) -> None:
    """Check that there are still as many experts as the layer was built with.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_count(MLPExperts(4, 1, (), 1), 4)
    """
    now = count_experts(experts)
    if now != n_experts:
        raise ValueError(
            f"The layer was built with {n_experts} experts and now has {now}, but its gate gives {n_experts} weights: "
            "build a new layer with all experts."
        )


def trainable_parameters(experts: Experts, chosen: Sequence[int]) -> list[Tensor]:
    """Trained and initialised parameters of some experts; empty for `MLPExperts`, in which all experts share them.

    Examples
    --------
    >>> [tuple(p.shape) for p in trainable_parameters(nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 2)]), [1])]
    [(2, 3), (2,)]
    """
    if isinstance(experts, MLPExperts):
        return []  # its parameters are those of all experts
    return [p for e in chosen for p in experts[e].parameters() if p.requires_grad and not is_lazy(p)]


def outputs_of_all(experts: Experts, inputs: Tensor | Sequence[Tensor]) -> Tensor:
    """Outputs (n, K, o) of every expert for every row.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    inputs : Tensor of shape (n, d), or a sequence of K of them
        Rows for all experts, or separate rows of each expert.

    Raises
    ------
    ValueError
        If an expert rejects its rows, or output widths differ.

    Examples
    --------
    >>> outputs_of_all(nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)]), torch.zeros(5, 3)).shape
    torch.Size([5, 2, 2])
    """
    if isinstance(experts, MLPExperts):
        return experts(inputs if isinstance(inputs, Tensor) else torch.stack(list(inputs)))
    pieces = [inputs] * len(experts) if isinstance(inputs, Tensor) else list(inputs)
    outputs: list[Tensor] = []
    try:
        for expert, rows in zip(experts, pieces, strict=True):
            outputs.append(_call(expert, rows))
        stacked = torch.stack(outputs, 1)
    except (RuntimeError, TypeError, ValueError) as error:
        _raise_misfit(experts, pieces, outputs, error)
        raise
    if stacked.ndim != 3:
        _raise_misfit(experts, pieces, outputs)
    return stacked


def _call(expert: nn.Module, rows: Tensor) -> Any:
    """Output of an expert; with fewer than two rows batch normalisation uses running statistics, as in evaluation.

    Statistics of one row do not exist, and those of none would be moved towards zero.
    """
    if torch.compiler.is_compiling() or not expert.training or len(rows) > 1:
        return expert(rows)
    norms = [m for m in expert.modules() if isinstance(m, BATCH_NORMS) and m.training and m.track_running_stats]
    # By hooks, because only a norm knows how many values per channel reach it; pixels of one row may be many.
    hooks = [norm.register_forward_pre_hook(_evaluate_without_statistics) for norm in norms]
    try:
        return expert(rows)
    finally:
        for norm, hook in zip(norms, hooks, strict=True):
            hook.remove()
            norm.train()


def _evaluate_without_statistics(norm: nn.Module, inputs: tuple[Tensor]) -> None:
    norm.train(inputs[0].numel() > inputs[0].shape[1])


def outputs_by_expert(experts: Experts, pieces: Iterable[Tensor]) -> Iterator[Tensor | None]:
    """Yield the output of each expert for its own rows (n_e, d); None where it has no rows.

    An expert without rows is not called, because some layers (such as batch normalisation) reject empty batches.

    Raises
    ------
    ValueError
        If an expert rejects its rows, or output widths differ.

    Examples
    --------
    >>> experts = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    >>> outputs = list(outputs_by_expert(experts, [torch.zeros(5, 3), torch.zeros(0, 3)]))
    >>> outputs[0].shape, outputs[1]
    (torch.Size([5, 2]), None)
    """
    if isinstance(experts, MLPExperts):
        yield from experts.each(pieces)
        return
    width: int | None = None
    for e, (expert, rows) in enumerate(zip(experts, pieces, strict=True)):
        if not len(rows):
            yield None
            continue
        try:
            output = _call(expert, rows)
        except (RuntimeError, TypeError, ValueError) as error:
            _raise_rejected_rows(e, expert, rows, error)
            raise
        width = _check_output(e, expert, rows, output, width)
        yield output


def concatenated_outputs(
    experts: Experts, pieces: Iterable[Tensor], counts: Sequence[int], like: Tensor
) -> tuple[Tensor, torch.dtype]:
    """Concatenated outputs (N, o) of the experts for their own rows (n_e, d); without gradients.

    Parameters
    ----------
    experts : ModuleList or MLPExperts
    pieces : iterable of Tensor, shape (n_e, d)
    counts : sequence of int, length K
        n_e, with sum N > 0.
    like : Tensor
        Tensor whose dtype and device `MLPExperts` outputs have.

    Returns
    -------
    (Tensor of shape (N, o), dtype of the experts' outputs)

    Raises
    ------
    ValueError
        As `outputs_by_expert`.

    Examples
    --------
    >>> experts, pieces = MLPExperts(2, 1, (), 3), torch.zeros(5, 1).split([3, 2])
    >>> with torch.no_grad():
    ...     concatenated_outputs(experts, pieces, [3, 2], torch.zeros(1))[0].shape
    torch.Size([5, 3])
    """
    outputs: Tensor | None = None
    if isinstance(experts, MLPExperts):
        outputs = like.new_empty(sum(counts), experts.out_features)
        for _ in experts.each(pieces, torch.split_with_sizes(outputs, list(counts))):
            pass
        return outputs, outputs.dtype
    dtype, end = like.dtype, 0
    for output, count in zip(outputs_by_expert(experts, pieces), counts, strict=True):
        if output is not None:
            if outputs is None:
                dtype = output.dtype
                outputs = at_least_float32(output.new_empty(sum(counts), output.shape[1]))
            outputs[end : end + count] = output
        end += count
    assert outputs is not None
    return outputs, dtype


def _raise_misfit(
    experts: nn.ModuleList, pieces: Sequence[Tensor], outputs: Sequence[Any], error: Exception | None = None
) -> None:
    """Raise a ValueError that names the expert with invalid input or output widths, if there is one."""
    width: int | None = None
    for e, (rows, output) in enumerate(zip(pieces, outputs, strict=False)):
        width = _check_output(e, experts[e], rows, output, width, error)
    e = len(outputs)
    if error is not None and e < len(experts):
        _raise_rejected_rows(e, experts[e], pieces[e], error)


def _check_output(
    e: int, expert: nn.Module, rows: Tensor, output: Any, width: int | None, error: Exception | None = None
) -> int:
    """Width of the output of expert e; must equal that of the experts before it."""
    who = f"Expert {e} ({type(expert).__name__}) got rows of shape {tuple(rows.shape)} and returned"
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[0] != rows.shape[0]:
        what = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"{who} {what}; expected a tensor of shape ({rows.shape[0]}, width).") from error
    if width is not None and output.shape[1] != width:
        raise ValueError(
            f"{who} width {output.shape[1]}, the experts before it {width}: all widths must be equal."
        ) from error
    return output.shape[1]


def _raise_rejected_rows(e: int, expert: nn.Module, rows: Tensor, error: Exception) -> None:
    if isinstance(error, RuntimeError | ValueError) and not isinstance(error, torch.OutOfMemoryError):
        raise ValueError(
            f"Expert {e} ({type(expert).__name__}) failed on rows of shape {tuple(rows.shape)}, {rows.dtype}: {error}"
        ) from error
