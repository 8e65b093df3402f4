"""Look-up of experts, gates and likelihoods by name: mappings over the entry points of installed distributions.

What a part is able to do is declared in the brackets of its entry point, so that it is known without an import.
"""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, NamedTuple

__all__ = [
    "CAPABILITIES",
    "Claim",
    "PartError",
    "PartMapping",
    "PartRow",
    "UnknownPartError",
    "classifiers",
    "describe",
    "gates",
    "likelihoods",
    "refresh",
    "regressors",
]

Kind = Literal["regressors", "classifiers", "gates", "likelihoods"]
OWN_DISTRIBUTION = "metamix"
#: In the place of a distribution: parts that were registered in the running session.
SESSION = "session"
#: What a part may be able to do, in the order in which it is listed. An entry point declares it in brackets, which
#: are read without importing the part: ``name = "module:factory [weights,text_columns]"``.
CAPABILITIES = {
    "weights": "fit takes sample_weight",
    "probabilities": "it has predict_proba",
    "standard_deviation": "predict takes return_std; of a likelihood, it has standard_deviation",
    "gradient": "its predictions, or the weights of a gate, have a gradient with respect to x",
    "device": "it has a parameter device",
    "several_targets": "fit takes y of shape (n, T)",
    "missing_values": "missing values in X are accepted",
    "text_columns": "data frames with columns of text are accepted",
}


class PartError(RuntimeError):
    """An installed part cannot be used: its import fails, or two distributions register its name."""


class UnknownPartError(KeyError, ValueError):
    """No distribution registers a part of that name."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which would put the message in quotation marks.
        return str(self.args[0]) if self.args else ""


class PartRow(NamedTuple):
    """One registered part, as `describe` lists it."""

    kind: str
    name: str
    distribution: str
    version: str
    value: str
    capabilities: tuple[str, ...] = ()


class Claim(NamedTuple):
    """An entry point and the distribution (name, version) that registers it; or a part of the running session."""

    name: str
    value: str
    distribution: str
    version: str
    capabilities: tuple[str, ...] = ()
    entry: EntryPoint | None = None
    factory: Callable[..., Any] | None = None


class PartMapping(Mapping[str, Callable[..., Any]]):
    """Read-only mapping from names of parts of one kind to callables that return them unfitted.

    The entry points are read when the mapping is first used; a part is imported only when it is looked up.
    If several distributions register the same name, metamix's own part is returned with a warning; if none of
    them is metamix, the key must name the distribution: ``"distribution:name"``.

    Parameters
    ----------
    kind : {"regressors", "classifiers", "gates", "likelihoods"}
        The mapping lists the entry points of the group ``metamix.<kind>``.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self._claims: dict[str, list[Claim]] | None = None
        self._session: dict[str, Claim] = {}

    @property
    def group(self) -> str:
        """Name of the entry-point group."""
        return f"metamix.{self.kind}"

    def claims(self) -> dict[str, list[Claim]]:
        """Return every name with what is registered for it, without importing any part."""
        if self._claims is None:
            # Metadata is parsed at every access, so it is read once per distribution.
            sources: dict[int, tuple[str, str]] = {}
            found = list(self._session.values())
            for entry in entry_points(group=self.group):
                if id(entry.dist) not in sources:
                    sources[id(entry.dist)] = _source(entry)
                value = f"{entry.module}:{entry.attr}"
                found.append(Claim(entry.name, value, *sources[id(entry.dist)], tuple(entry.extras), entry))
            claims: dict[str, list[Claim]] = {}
            for claim in sorted(found, key=lambda claim: (claim.name, claim.distribution)):
                claims.setdefault(claim.name, []).append(claim)
            self._claims = claims
        return self._claims

    def capabilities(self, name: str) -> frozenset[str]:
        """What a part declares to be able to do, of `CAPABILITIES`; it is not imported.

        Examples
        --------
        >>> from metamix.registry import regressors
        >>> "standard_deviation" in regressors.capabilities("kriging")
        True
        """
        return frozenset(self._choose(name).capabilities)

    def register(self, name: str, factory: Callable[..., Any], capabilities: Iterable[str] = ()) -> None:
        """Register a part under a name until the session ends; registered again, it is replaced.

        Mixtures that name it can be sent to other processes: they are sent with the part itself.

        Parameters
        ----------
        name : str
        factory : callable
            Called with keyword parameters it returns the part, unfitted; a class, for instance.
        capabilities : iterable of str
            Of `CAPABILITIES`.

        Raises
        ------
        ValueError
            If an installed distribution registers the name, or the name, the factory or a capability is not valid.

        Examples
        --------
        >>> from sklearn.linear_model import HuberRegressor
        >>> from metamix.registry import regressors
        >>> regressors.register("huber", HuberRegressor, ["weights"])
        >>> regressors["huber"](epsilon=2.0)
        HuberRegressor(epsilon=2.0)
        >>> regressors.unregister("huber")
        """
        if not isinstance(name, str) or not name or ":" in name or "__" in name:
            raise ValueError(f"a part cannot be called {name!r}; give a text without ':' and '__'.")
        if not callable(factory):
            raise ValueError(f"{factory!r} is no callable that returns a part; give a class or a function.")
        unknown = sorted(set(capabilities := tuple(capabilities)) - set(CAPABILITIES))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no capability; these are: {', '.join(CAPABILITIES)}.")
        others = [claim.distribution for claim in self.claims().get(name, []) if claim.distribution != SESSION]
        if others:
            raise ValueError(f"the {_singular(self.kind)} name {name!r} is taken by {others[0]}; choose another name.")
        value = f"{getattr(factory, '__module__', '?')}:{getattr(factory, '__qualname__', repr(factory))}"
        self._session[name] = Claim(name, value, SESSION, "", capabilities, None, factory)
        self.refresh()

    def unregister(self, name: str) -> None:
        """Remove a part that was registered in this session; KeyError if there is none of that name."""
        del self._session[name]
        self.refresh()

    def in_session(self, name: object) -> bool:
        """Whether a name was registered in this session, so that other processes do not know it."""
        return isinstance(name, str) and name.removeprefix(f"{SESSION}:") in self._session

    def refresh(self) -> None:
        """Clear the cache, so that the next use sees newly installed distributions; parts of the session stay."""
        self._claims = None

    def __getitem__(self, name: str) -> Callable[..., Any]:
        return _load(self._choose(name), self.kind)

    def __iter__(self) -> Iterator[str]:
        return iter(self.claims())

    def __len__(self) -> int:
        return len(self.claims())

    # The versions of the next two methods in Mapping would import parts.
    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self._claimants(name))

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<{self.kind}: {', '.join(self) or 'none'}>"

    def _claimants(self, name: str) -> list[Claim]:
        source, _, plain = name.rpartition(":")
        claimants = self.claims().get(plain, [])
        return [claim for claim in claimants if claim.distribution == _normal(source)] if source else claimants

    def _choose(self, name: str) -> Claim:
        claimants = self._claimants(name) if isinstance(name, str) else []
        if not claimants:
            raise UnknownPartError(_unknown(name, self))
        if len(claimants) == 1:
            return claimants[0]
        sources = [claim.distribution for claim in claimants]
        choices = " or ".join(f"{source}:{name}" for source in sources)
        clash = f"The {_singular(self.kind)} name {name!r} is registered by {' and '.join(sources)}"
        if OWN_DISTRIBUTION not in sources:
            raise PartError(f"{clash}; ask for {choices}, or uninstall one of them.")
        warnings.warn(f"{clash}; metamix's own is used. Ask for {choices} to choose.", UserWarning, stacklevel=3)
        return claimants[sources.index(OWN_DISTRIBUTION)]


regressors = PartMapping("regressors")
classifiers = PartMapping("classifiers")
gates = PartMapping("gates")
likelihoods = PartMapping("likelihoods")
_MAPPINGS = (regressors, classifiers, gates, likelihoods)


def describe() -> list[PartRow]:
    """List every registered part without importing any.

    Returns
    -------
    list of PartRow
        ``(kind, name, distribution, version, value, capabilities)``, one row per entry point.

    Examples
    --------
    >>> from metamix.registry import describe
    >>> [row.value for row in describe() if (row.kind, row.name) == ("regressors", "ridge")]
    ['metamix.experts.regressors:ridge']
    """
    return [
        PartRow(mapping.kind, name, claim.distribution, claim.version, claim.value, claim.capabilities)
        for mapping in _MAPPINGS
        for name, claimants in mapping.claims().items()
        for claim in claimants
    ]


def refresh() -> None:
    """Read the entry points again, after a distribution was installed or removed in a running session.

    Examples
    --------
    >>> from metamix import registry
    >>> registry.refresh()
    >>> "ridge" in registry.regressors
    True
    """
    importlib.invalidate_caches()
    for mapping in _MAPPINGS:
        mapping.refresh()


def _load(claim: Claim, kind: Kind) -> Callable[..., Any]:
    if claim.entry is None:
        assert claim.factory is not None
        return claim.factory
    source = claim.distribution
    what = f"The {_singular(kind)} {claim.name!r} of {source} {claim.version} (entry point {claim.value})"
    try:
        part = claim.entry.load()
    except (Exception, SystemExit) as cause:  # importing a plugin may raise anything
        advice = "" if source == "metamix" else f" Repair or uninstall {source}."
        raise PartError(f"{what} cannot be imported: {type(cause).__name__}: {cause}.{advice}") from cause
    if not callable(part):
        raise PartError(f"{what} is {type(part).__name__}; an entry point must be a callable that returns a part.")
    return part


def _unknown(name: object, mapping: PartMapping) -> str:
    kind = _singular(mapping.kind)
    if not isinstance(name, str):
        return f"The name of a {kind} must be a string; got {type(name).__name__} {name!r}."
    near = difflib.get_close_matches(name, mapping, n=1) or difflib.get_close_matches(name.lower(), mapping, n=1)
    others = [_singular(other.kind) for other in _MAPPINGS if other is not mapping and name in other.claims()]
    hint = f" It is the name of a {' and of a '.join(others)}." if others else ""
    hint = f" Did you mean {near[0]!r}?" if near else hint
    installed = ", ".join(mapping) or "none"
    more = f"other distributions can add parts in the entry-point group {mapping.group!r}"
    return f"There is no {kind} named {name!r}.{hint} Installed: {installed}; {more}."


def _source(entry: EntryPoint) -> tuple[str, str]:
    """Normalised name and version of the distribution; "unknown" if its metadata is damaged."""
    try:
        metadata = entry.dist.metadata if entry.dist is not None else None
    except Exception:  # damaged metadata may raise anything
        metadata = None
    if metadata is None:
        return "unknown", "unknown"
    fields = set(metadata)
    name, version = (metadata[field] if field in fields else "unknown" for field in ("Name", "Version"))
    return _normal(name), version


def _normal(distribution: str) -> str:
    return distribution.lower().replace("_", "-").replace(".", "-")


def _singular(kind: str) -> str:
    return kind.removesuffix("s")
