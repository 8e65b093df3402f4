"""Neural mixtures on tables at the edge: constants, few rows, odd scales, text, missing labels, interruptions."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch", reason="the torch room needs torch")
skorch = pytest.importorskip("skorch", reason="learners are trained by skorch")

from torch import nn  # noqa: E402

from metamix.nn import MultiTaskNeuralMixture, NeuralMixtureClassifier, NeuralMixtureRegressor  # noqa: E402
from metamix.nn.embeddings import FARTHEST_PIECE, PiecewiseLinear  # noqa: E402
from metamix.nn.tabular import LEVELS, TableEncoder  # noqa: E402
from metamix.nn.tasks import Task, TaskLoss  # noqa: E402
from metamix.progress import listen  # noqa: E402

SMALL = {"hidden": 8, "max_epochs": 4, "random_state": 0}
MANY = {**SMALL, "expert_width": 4, "tower": 4}


def table(n=90, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1])


# --- numbers -------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1e-150, 1e-6, 1e6, 1e150])
@pytest.mark.parametrize("learner", [NeuralMixtureRegressor(2, **SMALL), MultiTaskNeuralMixture(n_experts=2, **MANY)])
def test_units_of_x_and_y_do_not_matter(learner, factor):
    X, y = table()
    plain = copy.deepcopy(learner).fit(X, y).predict(X)
    scaled = learner.fit(factor * X, factor * y).predict(factor * X)
    np.testing.assert_allclose(scaled / factor, plain, rtol=1e-6)


def test_a_constant_y_is_answered_by_itself():
    X, _ = table()
    y = np.full(len(X), 0.1)  # whose mean, as floats have it, is not 0.1
    mean, std = NeuralMixtureRegressor(2, **SMALL).fit(X, y).predict(X, return_std=True)
    np.testing.assert_allclose(mean, 0.1, rtol=1e-5)
    assert (std < 1e-6).all()
    both = MultiTaskNeuralMixture(n_experts=2, **MANY).fit(X, np.column_stack([y, X[:, 0]]))
    np.testing.assert_allclose(both.predict(X)[:, 0], 0.1, rtol=1e-5)
    assert -1 < both.score(X, np.column_stack([y, X[:, 0]])) <= 1


@pytest.mark.parametrize("numeric", ["standardise", "quantile", "piecewise"])
@pytest.mark.parametrize("n", [1, 2, 19, 20, 41])
def test_few_rows(numeric, n):
    X, y = table(n)
    assert np.isfinite(NeuralMixtureRegressor(numeric=numeric, **SMALL).fit(X, y).predict(X)).all()
    weight = np.eye(n)[0]
    only = NeuralMixtureRegressor(2, numeric=numeric, **SMALL).fit(X, y, weight).predict(X)
    np.testing.assert_allclose(only, y[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_batches_that_do_not_divide_the_rows(batch):
    X, y = table(30)
    model = NeuralMixtureRegressor(2, batch_size=batch, **SMALL).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


def test_a_long_tail_does_not_make_pieces_explode():
    edges = np.array([-1.0, 0.0, 1e-9])  # the last piece is minute: everything beyond it is far
    layer = PiecewiseLinear([edges])
    far = layer.pieces(torch.tensor([[3.0], [1e30], [-1e30]]))[:, 0]
    np.testing.assert_allclose(far[:, 1], [1 + FARTHEST_PIECE, 1 + FARTHEST_PIECE, 0])
    assert far[2, 0] == -FARTHEST_PIECE
    X = -np.exp(5 * table()[0])
    model = NeuralMixtureRegressor(2, numeric="piecewise", **SMALL).fit(X, X[:, 0] > -1)
    inside, outside = model.predict(np.full((1, 3), X.max())), model.predict(np.full((1, 3), 1.0))
    assert abs(outside - inside) < 20, "a little beyond the training rows is not another world"


# --- text and labels -----------------------------------------------------------------


def test_text_in_arrays_and_lists_is_a_column_of_categories():
    X, y = table()
    city = np.where(y > 0, "Rome", "Oslo")
    frame = pd.DataFrame({"city": city})
    expected = NeuralMixtureRegressor(2, **SMALL).fit(frame, y).predict(frame)
    for same in (city[:, None], city[:, None].tolist(), city[:, None].astype(object)):
        model = NeuralMixtureRegressor(2, **SMALL).fit(same, y)
        np.testing.assert_allclose(model.predict(same), expected)
        assert np.isfinite(model.predict([["Bonn"]])).all()
    mixed = [[a, b] for a, b in zip(city.tolist(), X[:, 0].tolist(), strict=True)]
    assert NeuralMixtureRegressor(2, **SMALL).fit(mixed, y).encoder_.n_numbers == 1, "numbers beside text stay numbers"


def test_the_rarest_values_of_text_share_a_code_with_those_never_seen():
    towns = [f"town {i}" for i in range(LEVELS + 50)]
    encoder = TableEncoder().fit(pd.DataFrame({"town": towns[:100] * 8 + towns * 2}))
    codes = encoder.transform(pd.DataFrame({"town": [*towns, "elsewhere"]}))[1][:, 0]
    # The first hundred are there ten times, the others twice.
    assert len(set(codes[:100])) == 100
    assert len(set(codes)) == LEVELS
    assert (codes == codes[-1]).sum() == 51 + 1
    assert codes.max() < encoder.levels[0]
    order = 1 + np.argsort(np.argsort(towns[:60]))
    few = TableEncoder().fit(pd.DataFrame({"town": towns[:60]}))
    assert few.transform(pd.DataFrame({"town": [*towns[:60], "elsewhere"]}))[1][:, 0].tolist() == [*order, 0]


def test_missing_labels_of_pandas_own_kind():
    X, y = table()
    labels = pd.Series(np.where(y > 0, "a", "b"), dtype="string").mask(X[:, 0] > 1)
    with pytest.raises(ValueError, match="y has missing labels"):
        NeuralMixtureClassifier(2, **SMALL).fit(X, labels)


def test_a_class_without_weight_or_with_one_row():
    X, y = table()
    labels = np.where(y > 1, "high", np.where(y < -1, "low", "middle"))
    model = NeuralMixtureClassifier(**{**SMALL, "max_epochs": 30}).fit(X, labels, (labels != "low").astype(float))
    assert model.classes_.tolist() == ["high", "low", "middle"]
    assert model.predict_proba(X)[:, 1].mean() < (labels == "low").mean() / 2, "nothing is learned of it"
    rare = np.where(np.arange(len(X)) == 5, "rare", labels)
    np.testing.assert_allclose(NeuralMixtureClassifier(2, **SMALL).fit(X, rare).predict_proba(X).sum(1), 1)


def test_lists_of_labels_of_several_kinds():
    X, y = table()
    rows = [[a, None if a > 2 else "up" if a > 0 else "down", int(a > 1)] for a in y.tolist()]
    rows[3][1] = float("nan")
    tasks = ["regression", "binary", "binary"]
    model = MultiTaskNeuralMixture(tasks, 2, **MANY).fit(X, rows)
    classes = [None if task.classes is None else task.classes.tolist() for task in model.tasks_]
    assert classes == [None, ["down", "up"], [0, 1]]


def test_columns_of_a_frame_named_by_numbers():
    X, y = table()
    Y = np.column_stack([y, y > 0])
    by_number = MultiTaskNeuralMixture({0: "regression", 1: "binary"}, 2, **MANY).fit(X, pd.DataFrame(Y))
    np.testing.assert_array_equal(
        by_number.predict(X), MultiTaskNeuralMixture(["regression", "binary"], 2, **MANY).fit(X, Y).predict(X)
    )
    assert by_number.predict_proba(X, np.int64(1)).shape == (len(X), 2)


def test_a_task_with_one_label_learns_from_it():
    X, y = table()
    Y = np.column_stack([y, np.where(np.arange(len(y)) == 5, 7.0, np.nan)])
    for seed in range(5):  # some of which would have held it out
        model = MultiTaskNeuralMixture(n_experts=2, **{**MANY, "random_state": seed}).fit(X, Y)
        np.testing.assert_allclose(model.predict(X)[:, 1], 7.0, rtol=1e-4)


def test_light_rows_count_little_in_a_batch_of_their_own():
    tasks = [Task("a", "regression")]
    answers = torch.zeros(4, 1)
    whole = {"y": torch.tensor([[1.0], [1.0], [5.0], [5.0]]), "weight": torch.tensor([[1.99], [1.99], [0.01], [0.01]])}
    loss = TaskLoss(tasks, [1.0])
    nothing = torch.zeros(())
    halves = [
        loss({"answers": [answers[rows]], "auxiliary": nothing}, {k: v[rows] for k, v in whole.items()})
        for rows in (slice(0, 2), slice(2, 4))
    ]
    assert halves[1] < 0.2 * halves[0]
    assert (sum(halves) / 2).item() == pytest.approx(loss({"answers": [answers], "auxiliary": nothing}, whole).item())


def test_score_leaves_out_tasks_without_labels():
    X, y = table()
    Y = np.column_stack([y, y > 0])
    model = MultiTaskNeuralMixture(["regression", "binary"], 2, **MANY).fit(X, Y)
    right = np.mean(model.predict(X)[:, 1] == Y[:, 1])
    assert model.score(X, np.column_stack([np.full(len(y), np.nan), y > 0])) == pytest.approx(right)
    with pytest.raises(ValueError, match="y has no labels to score"):
        model.score(X, np.full(Y.shape, np.nan))
    with pytest.raises(ValueError, match="X has 5 rows, y has 90"):
        model.score(X[:5], Y)


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        (
            {"tasks": "multiclass"},
            np.array(["a", 1] * 45, dtype=object),
            "text and other labels, such as 'a' and 1",
        ),
        ({"tasks": "multiclass"}, np.linspace(0, 1, 90), r"labels such as 0\.0 are no classes"),
        ({"tasks": None}, np.zeros(90), "tasks=None; give a kind for all"),
        ({}, pd.DataFrame(np.zeros((90, 2)), columns=["a", "a"]), "names that differ would do"),
        ({"n_experts": "auto"}, np.zeros(90), "n_experts='auto' is no whole number"),
        ({"task_weights": {"a": 1}}, np.zeros(90), "task_weights=.*1 finite numbers"),
        ({"task_weights": [0]}, np.zeros(90), "not all zero"),
        ({"tower": 0}, np.zeros(90), "tower=0 is no width"),
        ({"hidden": "wide"}, np.zeros(90), "hidden='wide' is no width"),
        ({"learning_rate": "fast"}, np.zeros(90), "learning_rate='fast' is no finite number"),
        ({"weight_decay": -1.0}, np.zeros(90), r"weight_decay=-1\.0 is no finite number"),
    ],
)
def test_what_several_tasks_refuse(parameters, y, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskNeuralMixture(**{"n_experts": 2, **MANY, **parameters}).fit(table()[0], y)


def test_more_labels_to_start_from_than_experts():
    X, y = table()
    with pytest.raises(ValueError, match="start has 3 different labels for n_experts=2"):
        NeuralMixtureRegressor(2, start=np.arange(90) % 3, **SMALL).fit(X, y)


# --- parameters ----------------------------------------------------------------------


def test_numbers_of_numpy_are_numbers():
    X, y = table()
    numpys = {**SMALL, "hidden": np.int64(8), "max_epochs": np.int32(4), "learning_rate": np.float32(3e-3)}
    np.testing.assert_allclose(
        NeuralMixtureRegressor(np.int64(2), **numpys).fit(X, y).predict(X),
        NeuralMixtureRegressor(2, **SMALL).fit(X, y).predict(X),
        rtol=1e-4,
    )


def test_as_many_experts_as_the_gate_keeps():
    X, y = table()
    assert NeuralMixtureRegressor(top_k=4, **SMALL).fit(X, y).n_experts_ >= 4


def test_a_gate_of_the_users_stays_as_it_was():
    X, y = table()
    gate = nn.Sequential(nn.Linear(3, 2), nn.Softmax(-1))
    before = copy.deepcopy(gate.state_dict())
    for learner in (
        NeuralMixtureRegressor(2, gate=gate, **SMALL),
        MultiTaskNeuralMixture(n_experts=2, gate=gate, **MANY),
    ):
        first = learner.fit(X, y).predict(X)
        assert all(torch.equal(values, before[name]) for name, values in gate.state_dict().items())
        np.testing.assert_array_equal(learner.fit(X, y).predict(X), first)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(learner)).predict(X), first)


@pytest.mark.parametrize("gate", ["softmax", "noisy_top_k", "dselect_k", "gumbel", "static"])
def test_copies_answer_alike_whatever_is_set_later(gate):
    X, y = table()
    learners = [NeuralMixtureRegressor(3, gate=gate, **SMALL), NeuralMixtureClassifier(3, gate=gate, **SMALL)]
    for learner, target in zip(learners, (y, y > 0), strict=True):
        expected = learner.fit(X, target).predict(X)
        learner.set_params(hidden=3, gate="softmax", top_k=2)  # for the next fit, not for this one
        torch.manual_seed(3)
        drawn = torch.rand(1)
        torch.manual_seed(3)
        for other in (pickle.loads(pickle.dumps(learner)), copy.deepcopy(learner)):
            np.testing.assert_array_equal(other.predict(X), expected)
        assert torch.equal(torch.rand(1), drawn), "no random number was taken"
    assert b"torch" not in pickle.dumps(learners[0]), "arrays and plain values"


# --- interruptions -------------------------------------------------------------------


def test_an_interruption_reaches_the_caller():
    X, y = table()

    def stop(event):
        if event.kind == "round" and event.done == 2:
            raise KeyboardInterrupt

    with listen(stop), pytest.raises(KeyboardInterrupt):
        NeuralMixtureRegressor(2, **SMALL).fit(X, y)

    class Stroke(skorch.callbacks.Callback):
        def on_batch_end(self, net, **more):
            raise KeyboardInterrupt  # as from the keyboard, in the middle of an epoch

    with pytest.raises(KeyboardInterrupt):
        NeuralMixtureRegressor(2, callbacks=[Stroke()], **SMALL).fit(X, y)


def test_a_callback_may_end_training():
    X, y = table()

    class Enough(skorch.callbacks.Callback):
        def on_epoch_end(self, net, **more):
            if len(net.history) == 2:
                raise KeyboardInterrupt  # how callbacks of skorch end it

    model = NeuralMixtureRegressor(2, callbacks=[Enough()], **SMALL).fit(X, y)
    assert len(model.history_) == 2
    assert np.isfinite(model.predict(X)).all()


def test_a_column_with_many_values_has_a_vector_for_each():
    rng = np.random.default_rng(0)
    level = rng.normal(size=60)
    code = np.repeat(np.arange(60), 10)
    frame = pd.DataFrame({"shop": [f"shop {c}" for c in code]})
    model = NeuralMixtureRegressor(1, **{**SMALL, "hidden": 32, "max_epochs": 60}).fit(frame, level[code])
    assert model.encoder_.levels == (61,), "and one for a value that training had not"
    assert model.score(frame, level[code]) > 0.9, "with twenty vectors less than half could be told apart"
