"""`use_engine`, `n_jobs` and the joblib configuration select the engine."""

import joblib
import pytest

from metamix.engines import LocalEngine, ThreadsEngine, current_engine, use_engine


def kind(engine):
    return type(engine).__name__, getattr(engine, "n_jobs", 1), engine.threads_per_task


def test_n_jobs_and_joblib_configuration_select_the_engine():
    assert kind(current_engine()) == ("SerialEngine", 1, 1)
    assert kind(current_engine(1)) == ("SerialEngine", 1, 1)
    assert kind(current_engine(3)) == ("LocalEngine", 3, 1)
    with joblib.parallel_config(n_jobs=3):
        assert kind(current_engine()) == ("LocalEngine", 3, 1)
        assert kind(current_engine(1)) == ("SerialEngine", 1, 1)
    with joblib.parallel_config("threading", n_jobs=3):
        assert kind(current_engine()) == ("ThreadsEngine", 3, 1)
        assert kind(current_engine(2)) == ("ThreadsEngine", 2, 1)
    with joblib.parallel_config("loky", n_jobs=3, inner_max_num_threads=2):
        assert kind(current_engine()) == ("LocalEngine", 3, 2)
    with joblib.parallel_config("sequential"):
        assert kind(current_engine(4)) == ("SerialEngine", 1, 1)


def test_use_engine_takes_precedence_and_ends_with_its_block():
    with joblib.parallel_config("threading", n_jobs=3):
        with use_engine("local"):
            assert kind(current_engine()) == ("LocalEngine", 3, 1)
            assert kind(current_engine(2)) == ("LocalEngine", 2, 1)
            with use_engine("threads", n_jobs=5, threads_per_task=2):
                assert kind(current_engine(2)) == ("ThreadsEngine", 5, 2)
            with use_engine("serial"):
                assert kind(current_engine(2)) == ("SerialEngine", 1, 1)
            assert kind(current_engine(-1)) == ("LocalEngine", joblib.cpu_count(), 1)
        instance = ThreadsEngine(4)
        with use_engine(instance):
            assert current_engine(2) is instance
        assert kind(current_engine()) == ("ThreadsEngine", 3, 1)
    with use_engine("local"):
        assert kind(current_engine()) == ("LocalEngine", joblib.cpu_count(), 1)


@pytest.mark.parametrize(
    ("engine", "error", "message"),
    [
        ("thread", ValueError, "unknown engine 'thread'; did you mean 'threads'?.*: 'serial', 'threads', 'local'"),
        ("zzz", ValueError, "unknown engine 'zzz'; available: 'serial', 'threads', 'local'"),
        ("daks", ValueError, "unknown engine 'daks'; did you mean 'dask'?"),
        (4, TypeError, "use_engine got 4"),
        (LocalEngine, TypeError, r"or an object with open\(shared\)"),
    ],
)
def test_invalid_engines_are_rejected(engine, error, message):
    with pytest.raises(error, match=message), use_engine(engine):
        pass


def test_addresses_and_counts_belong_to_their_engines():
    with pytest.raises(ValueError, match="address and security are for engine 'dask', not 'local'"):
        use_engine("local", address="tcp://127.0.0.1:1").__enter__()
    with pytest.raises(ValueError, match="n_jobs=2 cannot be given with engine 'dask'"):
        use_engine("dask", n_jobs=2).__enter__()


def test_invalid_counts_are_rejected():
    with pytest.raises(ValueError, match="n_jobs=0"):
        LocalEngine(0)
    with pytest.raises(ValueError, match="threads_per_task=0"):
        ThreadsEngine(2, threads_per_task=0)
    assert LocalEngine(-1).n_jobs == joblib.cpu_count()
    assert LocalEngine(-10_000).n_jobs == 1
