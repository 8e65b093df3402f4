"""TaskLoss against its formula."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")

from metamix.nn.tasks import Task, TaskLoss  # noqa: E402


def test_uncertainty_is_the_formula():
    tasks = [Task("a", "regression"), Task("b", "binary", np.array([0, 1]))]
    loss = TaskLoss(tasks, "uncertainty")
    with torch.no_grad():
        loss.log_variance.copy_(torch.tensor([0.3, -0.7]))
    y, weight = torch.tensor([[2.0, 1.0], [0.0, 0.0]]), torch.tensor([[0.5, 1.0], [1.5, 0.0]])
    a, b = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.4], [9.0]])
    total = loss({"outputs": [a, b], "auxiliary": torch.zeros(())}, {"y": y, "weight": weight})
    squared, entropy = (0.5 * 1 + 1.5 * 1) / 2, np.log1p(np.exp(-0.4))
    assert total.item() == pytest.approx(np.exp(-0.3) * squared / 2 + 0.15 + np.exp(0.7) * entropy - 0.35, rel=1e-5)


@pytest.mark.parametrize("weights", [[1.0, 2.0], "uncertainty"])
def test_a_task_without_labels_in_a_batch_has_a_zero_gradient(weights):
    loss = TaskLoss([Task("a", "regression"), Task("b", "regression")], weights)
    outputs = [torch.ones(3, 1, requires_grad=True), torch.ones(3, 1, requires_grad=True)]
    given = {"y": torch.zeros(3, 2), "weight": torch.tensor([[1.0, 0.0]] * 3)}
    total = loss({"outputs": outputs, "auxiliary": torch.zeros(())}, given)
    total.backward()
    assert torch.equal(outputs[1].grad, torch.zeros(3, 1)), "a zero, not None and not NaN"
    assert outputs[0].grad.abs().sum() > 0
    if loss.log_variance is not None:
        assert loss.log_variance.grad[1] == 0, "no gradient for a task without labels"
    empty = loss({"outputs": outputs, "auxiliary": torch.zeros(())}, given | {"weight": torch.zeros(3, 2)})
    assert empty.item() == 0
    assert empty.requires_grad


def test_batches_with_small_weights_have_a_small_loss():
    tasks = [Task("a", "regression")]
    outputs = torch.zeros(4, 1)
    whole = {"y": torch.tensor([[1.0], [1.0], [5.0], [5.0]]), "weight": torch.tensor([[1.99], [1.99], [0.01], [0.01]])}
    loss = TaskLoss(tasks, [1.0])
    zero = torch.zeros(())
    halves = [
        loss({"outputs": [outputs[rows]], "auxiliary": zero}, {k: v[rows] for k, v in whole.items()})
        for rows in (slice(0, 2), slice(2, 4))
    ]
    assert halves[1] < 0.2 * halves[0]
    assert (sum(halves) / 2).item() == pytest.approx(loss({"outputs": [outputs], "auxiliary": zero}, whole).item())
