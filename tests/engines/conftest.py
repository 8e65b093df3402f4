"""Fixtures that run a list of tasks on an engine."""

import pytest


def _run(engine, function, tasks, shared=None, names=None):
    with engine.open(shared) as session:
        outcomes = sorted(session.run(function, tasks, names), key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in outcomes] == list(range(len(tasks)))
    return outcomes


@pytest.fixture(scope="session")
def run():
    """All outcomes in the order of their tasks; each task must have exactly one."""
    return _run


@pytest.fixture(scope="session")
def values():
    """Values of all tasks; no task may fail."""

    def values(engine, function, tasks, shared=None):
        outcomes = _run(engine, function, tasks, shared)
        assert [outcome.error for outcome in outcomes] == [None] * len(tasks)
        return [outcome.value for outcome in outcomes]

    return values
