"""What follows a fit: the display of its progress, and scikit-learn's callbacks where the release has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from metamix.progress import Event, listen, show_progress

if TYPE_CHECKING:
    from metamix.estimators.mixture import Mixture

__all__ = ["CallbackSupport", "displayed", "follow"]

Method = TypeVar("Method", bound=Callable[..., Any])
Result = TypeVar("Result")

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks
except ImportError:  # scikit-learn 1.8 and older

    class CallbackSupport:  # type: ignore[no-redef]
        """Nothing: there are no callbacks."""

    def with_callbacks(method: Method) -> Method:
        """The method as it is."""
        return method


@contextmanager
def displayed(mixture: Mixture) -> Iterator[None]:
    """Show the progress of the block if `verbose`."""
    if not mixture.verbose:
        yield
        return
    with show_progress(type(mixture).__name__):
        yield


def follow(mixture: Mixture, X: Any, y: Any, train: Callable[[], Result]) -> Result:
    """Call `train`, which makes a fitted mixture of this one, and tell those who want to know how far it is.

    These are people, if `verbose`, and the callbacks of `set_callbacks`. Their tasks are lists of fits that are run
    together, whose tasks are the single fits, and rounds; both are told when they are done, since workers run them.

    Parameters
    ----------
    mixture : Mixture
    X, y : array-like
        As they were given to `fit`.
    train : callable
        Takes nothing.
    """
    with displayed(mixture):
        return with_callbacks(_told)(mixture, X, y, train) if hasattr(mixture, "set_callbacks") else train()


def _told(mixture: Any, X: Any, y: Any, train: Callable[[], Result]) -> Result:
    # scikit-learn documents this method for estimators of other libraries, its underscore notwithstanding.
    whole = mixture._init_callback_context(max_subtasks=None)
    whole.call_on_fit_task_begin(estimator=mixture, X=X, y=y)
    tasks = _Tasks(mixture, whole)
    with listen(tasks.hear):
        found = train()
    tasks.end_list()
    # No attribute need be set for a copy of the mixture to predict.
    whole.call_on_fit_task_end(estimator=mixture, X=X, y=y, reconstruction_attributes=dict)
    return found


class _Tasks:
    """Tasks of a fit for callbacks, made from its events."""

    def __init__(self, mixture: Mixture, whole: Any) -> None:
        self._mixture, self._whole, self._part = mixture, whole, "fits"
        self._list: Any = None

    def hear(self, event: Event) -> None:
        """Pass on an event."""
        if event.kind == "part":
            self.end_list()
            self._part = event.label
        elif event.kind == "round":
            self.end_list()
            self._tell(self._whole.subcontext(event.label))
        elif event.kind in ("task", "failure"):
            if self._list is None:
                self._list = self._begin(self._whole.subcontext(self._part, max_subtasks=event.total or None))
            self._tell(self._list.subcontext(event.label))
            if event.done == event.total:
                self.end_list()

    def _begin(self, context: Any) -> Any:
        return context.call_on_fit_task_begin(estimator=self._mixture)

    def _tell(self, context: Any) -> None:
        self._begin(context).call_on_fit_task_end(estimator=self._mixture)

    def end_list(self) -> None:
        """Nothing more of a list of fits is done."""
        if self._list is not None:
            self._list.call_on_fit_task_end(estimator=self._mixture)
        self._list = None
