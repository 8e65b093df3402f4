"""MixtureRegressor: numbers."""

from __future__ import annotations

from typing import Any, Self

from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import check_random_state

from metamix import registry
from metamix.data.scalars import check_seed
from metamix.estimators.mixture import Array, Mixture
from metamix.estimators.online import if_experts_have_partial_fit, learn_batch
from metamix.estimators.resolution import resolve_likelihood, try_likelihood
from metamix.estimators.validation import check_numbers
from metamix.training.stacking import FeatureWeightedStack, LinearStack


class MixtureRegressor(RegressorMixin, Mixture):
    """Mixture of experts for regression.

    Parameters
    ----------
    experts : {"fast", "auto", "best"} or list of names, estimators or (name, estimator[, columns]), optional
        A pool by name, "auto" by default: ridge, splines, kriging, extra_trees, and boosted trees of LightGBM and
        XGBoost where these are installed, else of scikit-learn. "fast" is ridge, splines and boosted trees; "best"
        adds rbf, svm and mlp to "auto". Experts by name prepare mixed columns, missing values and scales for
        themselves; an estimator gets X as it came. One in whose place is "drop" is left out. A third entry says which
        columns this expert sees, as scikit-learn's ColumnTransformer takes them: names, positions, a boolean mask, a
        slice or a callable. They refer to the X given; a callable gets X as the experts see it.
    n_experts : int, "auto" or None
        Components of the mixture. With a number the list is a pool, and each of so many regimes takes the expert that
        fits it best out of fold; "auto" counts the regimes too. None is one component per expert with
        ``specialize=True``, and "auto" with ``specialize="auto"``.
    gate : "auto", str, gate, classifier, or list of these, default "auto"
        A gate by name is "constant", "softmax", "gmm", "neighbours", "tree", "forest", "boosting", "neural" or
        "online", whose weights follow time (with ``cv=TimeSeriesSplit(...)``); others are those of `metamix.gates` or
        any classifier. A list are candidates, the simplest first, of which the first within 1.75 standard errors of the
        best is taken; "auto" is constant weights, softmax, softmax of degree two, a Gaussian gate and a forest (with
        more than 12 columns fewer). A gate that is given alone is that gate.
    gate_features : {"x", "predictions", "both"}, list of columns, or transformer
        What the gate looks at.
    likelihood : str or likelihood, default "gaussian"
        Distribution of y around an expert's prediction: "gaussian", "student_t", "laplace", "poisson", or one of
        `metamix.likelihoods`: ``Gaussian(heteroscedastic=True)`` has scales that depend on x, ``Outliers()`` a
        uniform component for outliers.
    objective : {"prediction", "likelihood"}
        What the gate is finally judged by: the error of the combined prediction, or the likelihood.
    final : {"blend", "best", "simplest"}
        What `predict` answers: a convex combination of the candidates, the candidate with the smallest out-of-fold
        loss, or the simplest within 1.75 standard errors of it.
    final_estimator : estimator, optional
        Second level of the stack; a ridge regression by default.
    specialize : {"auto", True, False}
        True refits the experts by responsibility (the mixture alone); False fits them to all rows; "auto" makes
        candidates of both.
    start : str, labels (n,) or weights (n, K), default "auto"
        Initial responsibilities: "uniform", "kmeans", "gmm", "joint_gmm", "random", or "proxy": mixtures of ridge
        experts look for the regimes first.
    max_regimes : int, default 8
        How far "auto" counts.
    max_rounds : int or "auto"
        Rounds of the alternation at most: 10 with cv; without, until the likelihood stands still.
    cv : int, splitter, list of (train, test), or None
        Folds, the same in every round. With ``TimeSeriesSplit(...)`` each fold is predicted from the rows before it,
        and the verdict says where the last one is predicted worse. None is classical EM in sample, with a softmax gate
        unless one is given.
    refit : bool
        Fit experts to all rows at the end, or keep the fold models and average them.
    top_k : int or None
        Weights kept per row by the gate of the mixture and the gate over experts and stacks; 1 is a hard choice.
    on_error : {"drop", "raise"}
        Whether a failing expert is dropped and recorded, or ends the fit.
    device : {"auto", "cpu", "cuda"} or "cuda:N"
        Passed on to every expert and gate with a parameter of that name that is None or "auto", inside pipelines too;
        "auto" leaves on the CPU what cannot use a GPU; a GPU asked for by name is refused instead. Fits on a GPU come
        one at a time, and what was fitted is kept on the CPU.
    scoring : None, str or callable
        What candidates are compared by; squared error by default.
    columns : mapping of str to str, cleaner or None
        How the columns of a frame are read: kinds by name, or a cleaner such as `metamix.TableCleaner`. By default the
        values of each column decide; what is converted or left out is a `TableWarning`.
    time_limit : float, optional
        Seconds after which nothing is begun that a fit can do without: experts that take the least time come first,
        then the specialised mixture, gates, and nested cross-validation, each only if it is expected to be done in
        time. What was left out is a `TimeLimitWarning`, in `left_out_` and in the verdict. What has begun is finished,
        and the cheapest expert is always fitted; but in a worker process a task that takes longer than the whole limit,
        and ten seconds at least, is stopped as one that hangs, and fails. With a limit results depend on the clock.
    expert_time_limit : float, optional
        Seconds that one fit of an expert, with the predictions of the rows it holds out, may take. A fit that takes
        longer fails (see `on_error`), and those of the same expert that have not begun are left out. A fit in a worker
        process (`n_jobs` above 1, or a cluster) is stopped at the limit. One in this process, where fits on a GPU run
        too, cannot be interrupted: it is finished, and then counts as failed.
    checkpoint : str or path, optional
        A folder that keeps each finished fit, so that the same call, after it was interrupted, continues and gives the
        same bits. Another table, parameter or version is refused; `n_jobs`, `verbose` and the limits may differ. With
        ``random_state=None`` the seed that was drawn is kept in the folder. Of a table of `metamix.scan` the fit of the
        sample is kept, with the rows that are in it. Reading it runs code that it contains: give a folder of your own.
    n_jobs, random_state, verbose
        As in scikit-learn; the same seed gives the same result, whatever n_jobs; of a table of `metamix.scan` with the
        same `memory` and n_jobs, which decide the size of the sample.

    Attributes
    ----------
    experts_ : list of K fitted experts
        In the order of the columns of `gate_weights`; `named_experts_` has them by name.
    gate_, likelihood_ : fitted parts
    oof_predictions_ : ndarray of shape (n, K) or (n, K, T)
        NaN in rows that were never held out; averaged over repeats.
    responsibilities_ : ndarray of shape (n, K) or (n, K, T)
    fold_of_row_ : ndarray of shape (n,), or (n, R) with repeats
    n_experts_ : int
        Number of components of the mixture; without one, of columns.
    devices_ : dict from column to str
        Where each was fitted.
    mixture_ : MixtureRegressor
        The mixture alone, with ``specialize="auto"``.
    target_names_ : list of T str or None
        The columns of y, where it was a frame of several targets.
    history_, failures_, starts_ : data frames
    prequential_ : data frame
        A row for each batch of `partial_fit`: mean losses, before it was learned from, of each column, of the
        prediction, and of constant weights learned from the batches before.
    left_out_ : list of str
        Experts of a pool for which there was not enough memory, and what there was no time for, with `time_limit`.
    candidates_ : data frame
        A row for each candidate, the simplest first, and one for the blend: out-of-fold loss, difference to the best
        candidate, its standard error, weight in the blend.
    verdict_ : Verdict
        The simplest candidate that does as well as the best, and what `predict` gains over it.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991); Jordan & Jacobs (1994); Wolpert (1992) for the stack.

    Examples
    --------
    >>> from metamix import MixtureRegressor, make_regimes
    >>> X, y = make_regimes(200, random_state=0)
    >>> mixture = MixtureRegressor(["ridge", "boosting"], specialize=False, random_state=0).fit(X, y)
    >>> mixture.predict(X).shape, mixture.gate_weights(X).shape
    ((200,), (200, 5))
    """

    def __init__(
        self,
        experts: Any = None,
        *,
        n_experts: int | str | None = None,
        gate: Any = "auto",
        gate_features: Any = "x",
        likelihood: Any = "gaussian",
        objective: str = "prediction",
        final: str = "blend",
        final_estimator: Any = None,
        specialize: bool | str = "auto",
        start: Any = "auto",
        max_regimes: int = 8,
        max_rounds: int | str = "auto",
        cv: Any = 5,
        refit: bool = True,
        top_k: int | None = None,
        on_error: str = "drop",
        device: str = "auto",
        scoring: Any = None,
        columns: Any = None,
        time_limit: float | None = None,
        expert_time_limit: float | None = None,
        checkpoint: Any = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            experts, n_experts=n_experts, gate=gate, gate_features=gate_features, objective=objective, final=final,
            final_estimator=final_estimator, specialize=specialize, start=start, max_regimes=max_regimes,
            max_rounds=max_rounds, cv=cv, refit=refit, top_k=top_k, on_error=on_error, device=device, scoring=scoring,
            columns=columns, time_limit=time_limit, expert_time_limit=expert_time_limit, checkpoint=checkpoint,
            n_jobs=n_jobs, random_state=random_state, verbose=verbose,
        )  # fmt: skip
        self.likelihood = likelihood

    @property
    def _registry(self) -> registry.PartMapping:
        return registry.regressors

    def _likelihood_and_stacks(self) -> tuple[Any, Any, Any]:
        return resolve_likelihood(self.likelihood), LinearStack(), FeatureWeightedStack()

    def _check_target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        target = check_numbers(self, y)
        names = [str(name) for name in getattr(y, "columns", [])] if target.ndim == 2 else []
        self.target_names_ = names if names and len(set(names)) == len(names) else None
        try_likelihood(resolve_likelihood(self.likelihood), target)
        return target, None

    def _check_known_target(self, y: Any) -> NDArray[Any]:
        return check_numbers(self, y, self._fitted.n_targets)

    @if_experts_have_partial_fit
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Continue training with one batch of rows (incremental, or online, learning), in the order of time.

        The method is there if every expert has `partial_fit`.

        The batch is predicted first, and its losses are kept in `prequential_`. Then the experts learn all rows, and
        the weights of the columns follow the losses from row to row, as in `metamix.gates.OnlineGate`. The regimes of
        the mixture follow by stochastic EM: its components learn the rows by their responsibilities under what was
        known before; gate and scales move towards the statistics of the batch, row t by the power -0.7 of t.

        After `fit` columns and stacks stay, and the weights of the blend are what the columns begin with. The gates
        "softmax", "gmm", "forest", "neighbours", "constant" and "online" follow, and a classifier whose `partial_fit`
        takes weights; others stay as they were fitted. The weights follow the losses alone, so
        that after ``final="simplest"`` or "best" other columns come to have some, too. `candidates_`, `verdict_`,
        `history_`, `starts_`, `failures_`, `fold_of_row_`, `oof_predictions_` and `responsibilities_` stay those of
        `fit`.

        Without `fit` the columns are the experts, the mixture and the mean of y; attributes of rows are empty, and have
        the columns of the first batch. The mixture is the average of the experts until 200 rows have come; then, and
        whenever the rows have doubled, regimes are looked for, last with at most 3,200 rows. Where none were found by
        then it stays that average. With ``specialize=True`` the components take the place of the experts once
        regimes are found, with names of their own; with ``specialize=False`` none are looked for. The first batch sets
        the columns and their kinds, and should show the scale of y.

        A batch that is refused, or at which an expert fails, changes nothing: copies of the experts learn. A model
        with an attribute ``learns_in_place = True`` is not copied, and learns after the others; it should check a batch
        before it learns from it, and keeps what it learned where a further one of this kind fails.

        Weights of rows count relative to their mean, where an expert is given rows as often as their weights say, and
        everywhere without `fit`. Without `fit`, ``top_k`` and ``final`` are refused, and ``final_estimator``,
        ``objective``, ``cv``, ``max_rounds``, ``refit``, ``scoring``, ``on_error``, ``time_limit``, ``checkpoint`` and
        ``n_jobs`` have no meaning: nothing is held out, and an expert that fails is an error.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For parameters or data that cannot be used; the message says what can.

        References
        ----------
        Cappé & Moulines (2009), On-line expectation-maximization algorithm for latent data models; Dawid (1984) for
        losses of predictions in sequence.

        Examples
        --------
        >>> from sklearn.linear_model import SGDRegressor
        >>> from metamix import MixtureRegressor, make_regimes
        >>> X, y = make_regimes(600, random_state=0)
        >>> mixture = MixtureRegressor([SGDRegressor(), SGDRegressor(alpha=0.1)], random_state=0)
        >>> for begin in range(0, 600, 100):
        ...     mixture = mixture.partial_fit(X[begin : begin + 100], y[begin : begin + 100])
        >>> mixture.prequential_.shape, mixture.predict(X).shape
        ((6, 8), (600,))
        """
        if not hasattr(self, "_fitted"):
            target, _ = self._check_target(y)
            learn_batch(self, X, target, sample_weight, first=True)
        else:
            learn_batch(self, X, self._check_known_target(y), sample_weight, first=False)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """The combined prediction.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        return_std : bool
            Also the standard deviation of y, by the law of total variance: within experts and between them, in the
            units of y.

        Returns
        -------
        ndarray of shape (n,) or (n, T), or a pair of them
        """
        X = self._check_new(X)
        return self._fitted.predict(X, return_std=return_std)

    def predict_variance(self, X: Any) -> tuple[Array, Array]:
        """The variance of y, split: scatter within experts, and disagreement between them.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)

        Returns
        -------
        within, between : ndarrays of shape (n,) or (n, T)
            In squared units of y; they add up to the square of what ``predict(X, return_std=True)`` says.
        """
        found = self._predictions(X, scaled=True)
        parts = [one.variance_parts() for one in found]
        return self._fitted.stack_targets([within for within, _ in parts]), self._fitted.stack_targets(
            [between for _, between in parts]
        )

    def predict_quantile(self, X: Any, q: Any) -> Array:
        """Quantiles of y, from the distribution function of the mixture.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        q : float or array-like of shape (m,)
            Probabilities between 0 and 1.

        Returns
        -------
        ndarray of shape (n,) or (n, m), with a last axis for targets where there are several

        Raises
        ------
        ValueError
            If a probability lies outside 0 and 1.

        Examples
        --------
        >>> from metamix import make_regimes
        >>> X, y = make_regimes(200, random_state=0)
        >>> mixture = MixtureRegressor(["ridge", "boosting"], specialize=False, random_state=0).fit(X, y)
        >>> bool((mixture.predict_quantile(X, 0.1) < mixture.predict_quantile(X, 0.9)).all())
        True
        """
        found = self._predictions(X, scaled=True)
        return self._fitted.stack_targets([one.quantile(q) for one in found])

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """Interval that holds y with probability `coverage`, with equal tails: (n, 2) or (n, 2, T).

        Raises
        ------
        ValueError
            If coverage does not lie between 0 and 1.
        """
        found = self._predictions(X, scaled=True)
        return self._fitted.stack_targets([one.interval(coverage) for one in found])

    def sample(self, X: Any, random_state: Any = None) -> Array:
        """Draws of y, (n,) or (n, T), targets drawn independently given X."""
        check_seed(random_state)
        rng = check_random_state(random_state)
        found = self._predictions(X, scaled=True)
        return self._fitted.stack_targets([one.sample(rng) for one in found])

    def predict_gradient(self, X: Any) -> Array:
        """Gradient of the prediction in x, by the chain rule through experts, gate and stacks.

        Parameters
        ----------
        X : array or data frame of numbers of shape (n, d)

        Returns
        -------
        ndarray of shape (n, d)
            In units of y per unit of x.

        Raises
        ------
        metamix.derivatives.NoGradientError
            If an expert that has weight, the gate or its features have no gradient, or y had several targets.

        Examples
        --------
        >>> import numpy as np
        >>> from metamix import MixtureRegressor
        >>> x = np.linspace(-1, 1, 60)[:, None]
        >>> bend = MixtureRegressor(["linear", "quadratic"], specialize=False, random_state=0).fit(x, x[:, 0] ** 2)
        >>> bend.predict_gradient(np.array([[0.5]])).round(2)
        array([[1.]])
        """
        X = self._check_new(X)
        return self._fitted.predict_gradient(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
