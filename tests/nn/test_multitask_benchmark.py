"""benchmarks/multitask.py: the synthetic tasks of Ma et al. (2018)."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="metamix.nn needs torch")


def load_benchmark():
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("multitask", Path(__file__).resolve().parents[2] / "benchmarks" / "multitask.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_synthetic_tasks_are_the_published_ones():
    module = load_benchmark()
    for p in module.COSINES:
        u, v = module.directions(p, np.random.default_rng(0)).numpy().T
        assert u @ u == pytest.approx(1, abs=1e-5)
        assert u @ v == pytest.approx(p, abs=1e-5)
    x = torch.zeros(1, module.D)
    x[0, 0] = 1.0
    w = torch.zeros(module.D, 2)
    w[0] = torch.tensor([0.3, -2.0])
    for found, along in zip(module.targets(x, w, noise=0.0)[0].tolist(), (0.3, -2.0), strict=True):
        assert found == pytest.approx(along + sum(np.sin(i * along + (i - 1) ** 2) for i in range(1, 11)), abs=1e-4)
    sizes = [sum(p.numel() for p in module.build(model).parameters()) for model in module.MODELS]
    assert max(sizes) < 1.15 * min(sizes)


def test_stacked_networks_equal_single_networks():
    module = load_benchmark()
    torch.manual_seed(0)
    models = [module.build("MMoE") for _ in range(2)]
    ensemble = module.Ensemble(models)
    x, y = torch.randn(2, 16, module.D), torch.randn(2, 16, 2)
    optimizers = [torch.optim.Adam(model.parameters(), module.RATE) for model in models]
    for _ in range(3):
        for s, model in enumerate(models):
            loss = (torch.cat(model(x[s]), 1) - y[s]).square().mean()
            optimizers[s].zero_grad()
            loss.backward()
            optimizers[s].step()
        ensemble.learn(x, y)
    alone = torch.stack([torch.cat(model(x[s]), 1) for s, model in enumerate(models)])
    torch.testing.assert_close(ensemble(x), alone, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_one_gate_per_task_is_better_than_one_gate():
    """With ten columns instead of a hundred, which need fewer steps."""
    module = load_benchmark()
    module.D, module.MODELS = 10, ("one gate", "MMoE")
    one, own = module.condition(0.5, seeds=4, steps=700).mean(1)
    assert own < 0.9 * one
