"""Student-t, Laplace, Poisson and noise: against scipy, closed forms and planted truth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from sklearn.base import clone

from metamix.likelihoods import Gaussian, Laplace, Outliers, Poisson, StudentT
from metamix.protocols import Likelihood
from metamix.testing import check_likelihood

ALL = [
    Gaussian(heteroscedastic=True), StudentT(), StudentT(df=3), StudentT(df=1.5), Laplace(), Poisson(), Outliers(),
    Outliers(Laplace(), share=0.1), Outliers(Poisson()),
]  # fmt: skip


def ones(n, K=1):
    return np.zeros((n, K)), np.ones((n, K))


@pytest.mark.parametrize("likelihood", ALL, ids=repr)
def test_all_keep_the_contract(likelihood):
    assert isinstance(likelihood, Likelihood)
    assert clone(likelihood).get_params(deep=False).keys() == likelihood.get_params(deep=False).keys()
    for _, check in check_likelihood(likelihood):
        check()


@pytest.mark.parametrize("likelihood", [Gaussian(), *ALL], ids=repr)
def test_log_prob_is_that_of_its_distribution(likelihood):
    rng = np.random.default_rng(0)
    answers = rng.uniform(2.0, 9.0, (300, 2))
    y = rng.poisson(answers[:, 0]).astype(float)
    scale = np.c_[rng.uniform(1.0, 2.0, 300), np.full(300, np.nan)]
    fitted = likelihood.fit(y, answers, np.full((300, 2), 0.5), scale)
    assert np.isfinite(fitted.standard_deviation(answers, scale)).all()
    components = fitted.distribution(answers, scale)
    if isinstance(likelihood, Outliers):
        own, noise = components.clean, components.noise
        density = (own.pmf if components.discrete else own.pdf)(y[:, None]) * (1 - components.share)
        density += (noise.pmf if components.discrete else noise.pdf)(y[:, None]) * components.share
    else:
        density = getattr(components, "pmf", None) or components.pdf
        density = density(y[:, None])
    assert np.exp(fitted.log_prob(y, answers, scale)) == pytest.approx(density, rel=1e-9)


@pytest.mark.parametrize("likelihood", [StudentT(df=3), StudentT(), Laplace(), Poisson()], ids=repr)
def test_standard_deviations_are_those_of_scipy(likelihood):
    rng = np.random.default_rng(1)
    answers = rng.uniform(2.0, 9.0, (500, 2))
    fitted = likelihood.fit(rng.poisson(answers[:, 0]).astype(float), answers, np.full((500, 2), 0.5))
    assert np.allclose(fitted.standard_deviation(answers), fitted.distribution(answers).std())


# Laplace


def test_laplace_has_the_weighted_mean_absolute_error():
    rng = np.random.default_rng(2)
    y, answers, shares = rng.standard_normal(80), rng.standard_normal((80, 3)), rng.dirichlet(np.ones(3), 80)
    answers[:9, 1] = np.nan
    fitted = Laplace().fit(y, answers, shares)
    for k in range(3):
        rows = np.isfinite(answers[:, k])
        errors = np.abs(y - answers[:, k])[rows]
        assert fitted.scale_[k] == pytest.approx(np.average(errors, weights=shares[rows, k]))
    assert Laplace(floor=0.1).fit(y, y[:, None], shares[:, :1]).scale_[0] == pytest.approx(0.1 * np.sqrt(
        np.cov(y, aweights=shares[:, 0], ddof=0)))  # fmt: skip


# Student-t


@pytest.mark.parametrize("df", [1.5, 3.0, 8.0])
@pytest.mark.parametrize("n", [150, 3000])
def test_scale_and_degrees_of_freedom_are_those_of_scipy(df, n):
    y = 3.0 * np.random.default_rng(int(n + df)).standard_t(df, n)
    fitted = StudentT().fit(y, *ones(n))
    expected, _, scale = stats.t.fit(y, floc=0)
    assert fitted.df_[0] == pytest.approx(expected, rel=1e-3)
    assert fitted.scale_[0] == pytest.approx(scale, rel=1e-3)


def test_a_scale_at_given_degrees_of_freedom_maximises_the_weighted_likelihood():
    rng = np.random.default_rng(3)
    y, shares = rng.standard_t(4, 400), rng.uniform(0, 1, (400, 1))
    fitted = StudentT(df=4).fit(y, np.zeros((400, 1)), shares)
    best = minimize_scalar(lambda s: -shares[:, 0] @ stats.t.logpdf(y, 4, 0, np.exp(s)), bounds=(-3, 3),
                           method="bounded", options={"xatol": 1e-10})  # fmt: skip
    assert fitted.df_[0] == 4
    assert fitted.scale_[0] == pytest.approx(np.exp(best.x), rel=1e-5)
    # the same weights that `trust` gives make the scale a weighted root mean square
    trust = fitted.trust(y, np.zeros((400, 1)))
    assert fitted.scale_[0] ** 2 == pytest.approx((shares * trust * y[:, None] ** 2).sum() / shares.sum(), rel=1e-5)
    assert trust == pytest.approx(5 / (4 + (y[:, None] / fitted.scale_) ** 2))


def test_many_rows_are_summed_up_without_loss():
    y = np.random.default_rng(4).standard_t(3, 40_000)
    fitted = StudentT(df=3).fit(y, *ones(40_000))
    best = minimize_scalar(lambda s: -stats.t.logpdf(y, 3, 0, np.exp(s)).sum(), bounds=(-1, 1), method="bounded",
                           options={"xatol": 1e-9})  # fmt: skip
    assert fitted.scale_[0] == pytest.approx(np.exp(best.x), rel=1e-4)


def test_outliers_widen_a_normal_scale_and_not_that_of_student():
    rng = np.random.default_rng(5)
    y = np.r_[rng.standard_normal(480), 100 * rng.standard_normal(20)]
    assert StudentT().fit(y, *ones(500)).scale_[0] < 1.2
    assert Gaussian().fit(y, *ones(500)).scale_[0] > 10


def test_an_infinite_variance_has_a_finite_stand_in():
    y = np.random.default_rng(6).standard_cauchy(400)
    fitted = StudentT(df=1).fit(y, *ones(400))
    assert fitted.standard_deviation(np.zeros((1, 1)))[0, 0] == pytest.approx(np.sqrt(5) * fitted.scale_[0])


def test_normal_errors_have_many_degrees_of_freedom_and_an_expert_without_rows_too():
    y = np.random.default_rng(7).standard_normal(5000)
    shares = np.column_stack([np.ones(5000), np.zeros(5000)])
    fitted = StudentT().fit(y, np.zeros((5000, 2)), shares)
    assert (fitted.df_ > 20).all()
    assert fitted.scale_ == pytest.approx([y.std(), y.std()], rel=0.05)


@given(st.sampled_from([StudentT(), StudentT(df=2), Laplace(), Gaussian(heteroscedastic=True), Outliers()]),
       st.sampled_from([1e-6, 1e6]), st.floats(-10, 10))  # fmt: skip
def test_the_unit_of_y_shifts_the_log_density_by_a_constant(likelihood, factor, shift):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((60, 1))
    y = x[:, 0] + rng.standard_t(3, 60)
    answers, shares = np.c_[x, 0.5 * x], rng.dirichlet(np.ones(2), 60)
    plain = clone(likelihood).fit(y, answers, shares, X=x).log_prob(y, answers, X=x)
    moved, answers = factor * (y + shift), factor * (answers + shift)
    other = clone(likelihood).fit(moved, answers, shares, X=x).log_prob(moved, answers, X=x)
    assert np.allclose(other, plain - np.log(factor), atol=2e-3)


@pytest.mark.parametrize("likelihood", [StudentT(), Laplace(), Outliers(), Outliers(StudentT())], ids=repr)
@pytest.mark.parametrize("level", [0.0, 3.0, 1e9])
def test_an_expert_that_hits_everything_is_finite(likelihood, level):
    y = np.full(20, level)
    answers = np.column_stack([y, y])
    fitted = likelihood.fit(y, answers, np.full((20, 2), 0.5))
    assert np.isfinite(fitted.log_prob(y, answers)).all()
    varied = level + np.arange(20.0)
    fitted = likelihood.fit(varied, np.column_stack([varied, varied + 1]), np.full((20, 2), 0.5))
    assert np.isfinite(fitted.log_prob(varied, np.column_stack([varied, varied + 1]))).all()


@pytest.mark.parametrize("likelihood", [StudentT(df=5), Laplace()], ids=repr)
def test_an_expert_s_own_deviation_is_taken_up_to_a_factor(likelihood):
    rng = np.random.default_rng(9)
    own = np.exp(rng.standard_normal(20_000))
    noise = rng.laplace(size=20_000) if isinstance(likelihood, Laplace) else rng.standard_t(5, 20_000)
    scale = np.c_[own, np.full_like(own, np.nan)]
    answers, shares = np.zeros((20_000, 2)), np.full((20_000, 2), 0.5)
    fitted = likelihood.fit(2.5 * own * noise, answers, shares, scale)
    assert fitted.factor_[0] == pytest.approx(2.5, rel=0.02)
    assert fitted.factor_[1] == 1.0
    own_unit = fitted.standard_deviation(answers, scale)[:, 0] / own
    assert own_unit == pytest.approx(own_unit[0])


def test_impossible_parameters_are_told():
    y, (answers, shares) = np.arange(5.0), ones(5)
    for wrong in (StudentT(df="few"), StudentT(df=0), Outliers(share=1.0), Outliers(share="some")):
        with pytest.raises(ValueError, match="would do"):
            wrong.fit(y, answers, shares)
    with pytest.raises(ValueError, match="it is for numbers"):
        Outliers().fit(y, np.ones((5, 2, 3)), np.ones((5, 2)))


# Poisson


def test_poisson_wants_counts():
    answers, shares = ones(3)
    for wrong in ([1.0, -2.0, 0.0], [0.5, 1.0, 2.0], [1.0, np.nan, 2.0], [1.0, np.inf, 2.0]):
        with pytest.raises(ValueError, match="whole numbers of at least 0"):
            Poisson().fit(wrong, answers + 1, shares)
    with pytest.raises(ValueError, match=r"0\.25 for one"):
        Poisson().fit([1.0, 2.0, 3.0], answers + 1, shares).log_prob([0.25, 1.0, 2.0], answers)


def test_rates_below_the_smallest_count_as_that():
    y, rates = np.array([0.0, 4.0, 8.0]), np.array([[-3.0], [0.0], [np.nan]])
    fitted = Poisson(floor=0.01).fit(y, rates, np.ones((3, 1)))
    assert fitted.smallest_ == pytest.approx(0.04)
    assert fitted.log_prob(y, rates)[:2, 0] == pytest.approx(stats.poisson.logpmf([0, 4], 0.04))
    assert np.isnan(fitted.log_prob(y, rates)[2, 0])
    assert np.isfinite(Poisson().fit([0.0], [[0.0]], np.ones((1, 1))).log_prob([7.0], np.zeros((1, 1)))).all()


# Noise


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("reach", [20.0, 1e4])
def test_a_planted_share_of_noise_is_recovered(share, reach):
    rng = np.random.default_rng(10)
    n, noisy = 4000, int(4000 * share)
    y = rng.standard_normal(n) * 2
    y[:noisy] = rng.uniform(-reach, reach, noisy)
    fitted = Outliers().fit(y, *ones(n))
    assert fitted.share_ == pytest.approx(share, abs=0.02)
    assert fitted.likelihood_.scale_[0] == pytest.approx(2.0, rel=0.08)
    trust = fitted.trust(y, np.zeros((n, 1)))[:, 0]
    assert trust[noisy:].mean() > 0.97 - 0.15 * share  # much noise, some of it in the middle
    assert (trust[:noisy][np.abs(y[:noisy]) > 12] < 0.05).all()


def test_the_share_of_noise_maximises_the_likelihood():
    rng = np.random.default_rng(11)
    y = np.r_[rng.standard_normal(900), rng.uniform(-9, 9, 100)]
    shares = rng.uniform(0.2, 1.0, (1000, 1))
    fitted = Outliers().fit(y, np.zeros((1000, 1)), shares)
    best = shares[:, 0] @ fitted.log_prob(y, np.zeros((1000, 1)))[:, 0]
    width = fitted.high_ - fitted.low_
    for e in np.linspace(0.0, 0.4, 21):
        for scale in np.linspace(0.5, 1.5, 21):
            density = (1 - e) * stats.norm.pdf(y, 0, scale) + e / width
            assert shares[:, 0] @ np.log(density) < best + 0.05


def test_noise_beyond_the_range_is_not_trusted_either():
    rng = np.random.default_rng(12)
    y = np.r_[rng.standard_normal(900), rng.uniform(-9, 9, 100)]
    fitted = Outliers(StudentT(df=4)).fit(y, *ones(1000))
    assert fitted.trust([1e3], np.zeros((1, 1)))[0, 0] < 1e-3
    assert fitted.trust([0.0], np.full((1, 1), np.nan))[0, 0] == 1.0
    assert fitted.trust([0.0], np.zeros((1, 1)))[0, 0] == pytest.approx(5 / 4, rel=0.03)


def test_the_deviation_of_contaminated_errors_is_that_of_draws():
    rng = np.random.default_rng(13)
    y = np.r_[rng.standard_normal(900), rng.uniform(-10, 30, 100)]
    fitted = Outliers().fit(y, *ones(1000))
    answers = np.tile([[0.0, 5.0]], (200_000, 1))
    draws = fitted.distribution(answers).rvs(size=answers.shape, random_state=np.random.RandomState(0))
    expected = np.sqrt(np.mean((draws - answers) ** 2, axis=0))
    assert fitted.standard_deviation(answers)[0] == pytest.approx(expected, rel=0.01)


# A scale that depends on x


def planted(n, seed=14, columns=2):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, columns))
    scale = np.exp(0.8 * x[:, 0] - 0.4 * x[:, 1] ** 2)
    return rng, x, scale, scale * rng.standard_normal(n)


def test_a_planted_scale_is_recovered():
    _, x, _, y = planted(6000)
    shares = np.full((6000, 2), 0.5)
    fitted = Gaussian(heteroscedastic=True).fit(y, np.zeros((6000, 2)), shares, X=x)
    _, test, truth, z = planted(2000, seed=15)
    found = fitted.standard_deviation(np.zeros((2000, 2)), X=test)
    assert np.abs(np.log(found / truth[:, None])).mean() < 0.05
    density = fitted.log_prob(z, np.zeros((2000, 2)), X=test)
    assert density[:, 0] == pytest.approx(stats.norm.logpdf(z, 0, found[:, 0]))
    assert density.mean() > Gaussian().fit(y, np.zeros((6000, 2)), shares).log_prob(z, np.zeros((2000, 2))).mean() + 0.2


def test_each_expert_learns_from_the_rows_it_explains():
    rng, x, scale, _ = planted(8000)
    first = rng.random(8000) < 0.5
    y = np.where(first, scale, 3.0) * rng.standard_normal(8000)
    fitted = Gaussian(heteroscedastic=True).fit(y, np.zeros((8000, 2)), np.c_[first, ~first].astype(float), X=x)
    found = fitted.standard_deviation(np.zeros((8000, 2)), X=x)
    assert np.abs(np.log(found[:, 0] / scale)).mean() < 0.06
    assert found[:, 1] == pytest.approx(3.0, rel=0.15)


def test_a_scale_far_away_stays_within_what_was_seen():
    _, x, _, y = planted(1000)
    fitted = Gaussian(heteroscedastic=True).fit(y, *ones(1000), X=x)
    seen = fitted.standard_deviation(np.zeros((1000, 1)), X=x)
    far = fitted.standard_deviation(np.zeros((4, 1)), X=np.array([[1e9, 0], [-1e9, 0], [0, 1e9], [-1e9, 1e9]]))
    assert ((far >= seen.min() * (1 - 1e-9)) & (far <= seen.max() * (1 + 1e-9))).all()


def test_where_no_column_tells_the_scale_is_constant():
    rng = np.random.default_rng(16)
    constant = 0
    for _ in range(20):
        x, y = rng.standard_normal((100, 10)), rng.standard_normal(100)
        fitted = Gaussian(heteroscedastic=True).fit(y, *ones(100), X=x)
        found = fitted.standard_deviation(np.zeros((100, 1)), X=x)
        assert found.max() / found.min() < 4
        constant += np.ptp(found) < 1e-9
    assert constant >= 12


def test_without_x_and_with_an_expert_s_own_scale_it_is_as_before():
    _, x, scale, y = planted(500)
    plain, varying = Gaussian(), Gaussian(heteroscedastic=True)
    assert np.array_equal(
        varying.fit(y, *ones(500)).log_prob(y, np.zeros((500, 1)), X=x),
        plain.fit(y, *ones(500)).log_prob(y, np.zeros((500, 1))),
    )
    assert np.array_equal(
        varying.fit(y, *ones(500), X=x).standard_deviation(np.zeros((3, 1))), np.full((3, 1), plain.scale_[0])
    )
    own = scale[:, None]
    assert np.array_equal(
        varying.fit(y, *ones(500), scale=own, X=x).standard_deviation(np.zeros((500, 1)), own, X=x),
        plain.fit(y, *ones(500), scale=own).standard_deviation(np.zeros((500, 1)), own),
    )


@pytest.mark.parametrize("kind", ["frame", "sparse", "many", "constant", "few"])
def test_columns_of_any_kind_will_do(kind):
    pandas = pytest.importorskip("pandas")
    from scipy import sparse

    rng, x, _, y = planted(600)
    group = rng.integers(0, 2, 600)
    tables = {
        "frame": pandas.DataFrame({"x": x[:, 0], "side": np.where(group, "a", "b"), "none": np.nan}),
        "sparse": sparse.random(600, 400, 0.05, random_state=0, format="csr"),
        "many": rng.standard_normal((600, 80)),
        "constant": np.ones((600, 3)),
        "few": x[:6],
    }
    X = tables[kind]
    y = np.where(group, 5.0, 1.0) * rng.standard_normal(600) if kind == "frame" else y
    n = X.shape[0]
    fitted = Gaussian(heteroscedastic=True).fit(y[:n], *ones(n), X=X)
    found = fitted.standard_deviation(np.zeros((n, 1)), X=X)[:, 0]
    assert np.isfinite(found).all()
    if kind == "frame":
        assert found[group == 1].mean() / found[group == 0].mean() == pytest.approx(5.0, rel=0.2)
    if kind in ("constant", "few"):
        assert np.ptp(found) == 0.0
