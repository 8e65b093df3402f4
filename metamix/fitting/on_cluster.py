"""Boosted trees of XGBoost and LightGBM fitted to all chunks at once, by the workers of a cluster."""

from __future__ import annotations

import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from metamix.data.frames import append_rows, take_rows
from metamix.engines import DaskEngine, current_engine
from metamix.engines.dask import IN_PROCESS, Cluster
from metamix.engines.together import Place, Shares, run_together
from metamix.fitting.early_stopping import library_of
from metamix.fitting.fitted import FittedExpert
from metamix.fitting.in_chunks import (
    CONTINUED_FROM,
    TINY,
    ChunkwiseFit,
    last_learner,
    learns_in_chunks,
    reaching,
    with_last,
)

__all__ = ["ClusterFit", "chunkwise_fit", "cluster_engine", "cluster_part"]

Array = NDArray[np.float64]

#: Rows that a worker gets at least: fewer are fitted sooner than sent.
ROWS_OF_WORKER = 1_000
#: Minutes without a word from another worker after which a library gives up: loading and binning the shares may differ
#: by so much.
SILENT_MINUTES = 10
#: How often workers of XGBoost try to reach the first, which may begin later, with a second more of a break each time.
TRIES = 30


def cluster_part(model: Any) -> Any:
    """The part of an expert, itself or the end of pipelines, that asks for a cluster (`OnCluster`); None without."""
    while not getattr(model, "learns_on_cluster", False):
        if not isinstance(model, Pipeline):
            return None
        model = model.steps[-1][1]
    return model


def cluster_engine(name: str) -> DaskEngine:
    """The engine of the cluster in use: that of `use_engine`, or one of the current client.

    Parameters
    ----------
    name : str
        Of an expert, for the error.

    Raises
    ------
    ValueError
        If there is neither, or its workers are no processes.
    ConnectionError
        If the scheduler does not answer.
    """
    engine = current_engine()
    if not isinstance(engine, DaskEngine):
        try:
            engine = DaskEngine()
        except (ValueError, ImportError) as error:
            raise type(error)(
                f"expert {name} is trained by the workers of a cluster on a table of metamix.scan: {error}. Without a "
                "cluster, take 'lightgbm' or 'xgboost', which learn chunk by chunk"
            ) from None
    if any(one.startswith(IN_PROCESS) for one in Cluster(engine.client, engine.wait_seconds).slots()):
        raise ValueError(
            f"expert {name} is trained by workers that are processes of their own, and those of this client are "
            "threads of this process: start it with distributed.Client(processes=True)"
        )
    return engine


def chunkwise_fit(expert: FittedExpert, n_rows: int, folder: Path) -> ChunkwiseFit | None:
    """How a fitted expert learns from the rows of all chunks; None where it cannot.

    Parameters
    ----------
    expert : FittedExpert
    n_rows : int
        Of all chunks.
    folder : path
        Where rows may be kept as long as the fit takes.
    """
    if not learns_in_chunks(expert):
        return None
    one = ChunkwiseFit(expert, n_rows)
    if cluster_part(expert.model) is not None and one.begins_anew:
        return ClusterFit(expert, n_rows, folder=Path(tempfile.mkdtemp(dir=folder)))
    return one


@dataclass
class ClusterFit(ChunkwiseFit):
    """A booster that is fitted to all rows at the end, by all workers of a cluster.

    Each worker holds a part of the rows, and every tree is grown on all of them: workers add up their histograms. The
    rows of each chunk are kept as the booster sees them in a file here, and sent to the workers in the end, again
    where one was lost.

    Parameters
    ----------
    expert : FittedExpert
        Its model has a `cluster_part`.
    n_rows : int
    folder : path
        Exists.

    References
    ----------
    Chen & Guestrin (2016), XGBoost; Ke et al. (2017), LightGBM.
    """

    folder: Path = Path()
    _files: list[Path] = field(default_factory=list)
    _n_bytes: int = 0
    _weight: float = 0.0

    def end(self) -> None:
        """Fit the booster to the rows of all chunks."""
        if not self._files:
            return
        model = self.expert.model
        part = cluster_part(model)
        learner = clone(last_learner(model))
        shares = Shares(self._divide, self._n_bytes, self.n_learned // ROWS_OF_WORKER)
        try:
            found = run_together(
                cluster_engine(self.expert.name), partial(_fit_share, learner=learner), shares, self.expert.name,
                part.time_limit, part.n_restarts,
            )  # fmt: skip
        finally:
            for file in self._files:
                file.unlink()
        self.expert = replace(self.expert, model=with_last(model, found))

    def _trees(self, n: int) -> int:
        return 1  # none are grown now: all that counts is that rows are wanted

    def _continue(self, last: Any, X: Any, y: NDArray[Any], weight: Array | None, trees: int | None) -> Any:
        self._files.append(self.folder / str(len(self._files)))
        joblib.dump((X, y, weight), self._files[-1])
        self._n_bytes += self._files[-1].stat().st_size
        self._weight += len(y) if weight is None else float(weight.sum())
        return last

    def _divide(self, n_workers: int) -> Iterator[Sequence[Any]]:
        """Pieces of X, y and weights for each worker: rows in turn, since each sees part of the columns' quantiles."""
        for file in self._files:
            X, y, weight = joblib.load(file)
            rows = [np.arange(rank, len(y), n_workers) for rank in range(n_workers)]
            yield [(take_rows(X, one), y[one], None if weight is None else weight[one]) for one in rows]
        # Boosters refuse rows that lack a class.
        tiny = np.full(1, TINY * self._weight / self.n_learned)
        for label, row in self._of_class.items():
            yield [(*reaching(self.expert.model, row, np.asarray([label])), tiny)] * n_workers


def _fit_share(pieces: list[Any], place: Place, *, learner: Any) -> Any:
    """Fit a booster together with the other workers, in one of them; the first returns it, the others None."""
    n_jobs = learner.get_params(deep=False)["n_jobs"]
    learner.set_params(n_jobs=place.threads)
    with _NETWORKS[str(library_of(learner, CONTINUED_FROM))](learner, place):
        parts = [part for part in pieces if len(part[1])]
        X = append_rows(*(part[0] for part in parts))
        y, weight = np.concatenate([part[1] for part in parts]), None
        if any(part[2] is not None for part in parts):
            weight = np.concatenate([np.ones(len(part[1])) if part[2] is None else part[2] for part in parts])
        learner.fit(X, y, sample_weight=weight)
    return None if place.rank else learner.set_params(n_jobs=n_jobs)


@contextmanager
def _network_of_lightgbm(learner: Any, place: Place) -> Iterator[None]:
    """LightGBM connects where its parameters say so. Set by `set_params`, they would stay in the fitted learner."""
    given = learner.get_params(deep=False)
    connected = {
        "machines": ",".join(f"{host}:{port}" for host, port in place.addresses),
        "num_machines": len(place.addresses),
        "local_listen_port": place.addresses[place.rank][1],
        "time_out": SILENT_MINUTES,
        "tree_learner": "data",
        "pre_partition": True,
    }
    if len(place.addresses) > 1:
        learner.get_params = lambda deep=True: given | connected
    try:
        yield
    except BaseException as error:
        # A booster that was not finished lives on in the frames, and would end the network of the next attempt.
        traceback.clear_frames(error.__traceback__)
        raise
    finally:
        vars(learner).pop("get_params", None)
        if hasattr(learner, "booster_"):
            learner.booster_.free_network()


@contextmanager
def _network_of_xgboost(learner: Any, place: Place) -> Iterator[None]:
    """XGBoost connects inside a context, by a tracker that the first worker runs."""
    if len(place.addresses) == 1:
        yield
        return
    from xgboost.collective import CommunicatorContext
    from xgboost.tracker import RabitTracker

    (host, port), tracker, seconds = place.addresses[0], None, 60 * SILENT_MINUTES
    if place.rank == 0:
        tracker = RabitTracker(len(place.addresses), host, port, sortby="task", timeout=seconds)
        tracker.start()
    with ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of attempts to connect before the tracker is there
            stack.enter_context(
                CommunicatorContext(
                    dmlc_tracker_uri=host, dmlc_tracker_port=port, dmlc_task_id=f"{place.rank:09d}", dmlc_retry=TRIES,
                    dmlc_timeout=seconds,
                )
            )  # fmt: skip
        yield
    if tracker is not None:
        tracker.wait_for(seconds)


_NETWORKS = {"lightgbm": _network_of_lightgbm, "xgboost": _network_of_xgboost}
