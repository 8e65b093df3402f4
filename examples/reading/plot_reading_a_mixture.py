"""
Reading a mixture
=================

A table of flats, simulated: in two cities the price follows the size, in the other two it follows rooms and fees. We
fit a mixture and read it: the verdict, what one prediction is made of, who leads where, what each regime says, and
whether a choice between the experts was worth it.
"""

from matplotlib import pyplot as plt

from metamix import MixtureRegressor, load_example
from metamix.inspection import (
    CandidatesDisplay,
    ErrorCorrelationDisplay,
    ExpertsDisplay,
    GateDisplay,
    RegionDisplay,
)

X, y = load_example("mixed")
train, test = X.index[:450], X.index[450:]
X.head(3)

# %%
# The columns are mixed and have gaps. Experts by name prepare them themselves.
mixture = MixtureRegressor(["ridge", "boosting"], cv=3, random_state=0)
mixture.fit(X.loc[train], y.loc[train])
print(mixture.verdict_)

# %%
# Is it worth it?
# ---------------
#
# Each point is the difference of a combination to the best one, with two standard errors, on held-out rows. The bars
# are weights in the blend that predicts.
CandidatesDisplay.from_estimator(mixture).plot()
plt.show()

# %%
# One prediction
# --------------
#
# ``explain`` says what predictions are made of. Contributions are weight times prediction, and add up to the
# prediction. For a single row it also says which regime leads, on what conditions, and which smallest change of one
# column would let another regime lead.
explanation = mixture.explain(X.loc[test[:3]], background=X.loc[train])
print(explanation[0])
print()
print(explanation[1])

# %%
# The regimes that it speaks of are those of ``mixture_``, the specialised mixture.
specialised = mixture.mixture_
explanation = specialised.explain(X.loc[test[:12]], background=X.loc[train])
explanation.plot()
plt.show()

# %%
# Who leads where
# ---------------
#
# ``RegionDisplay`` puts the regions into words, by a small decision tree that is judged on held-out rows. Losses are
# those of the rows that a regime leads, and of the rows that it does not.
regions = RegionDisplay.from_estimator(mixture, X.loc[train], y.loc[train])
print(regions)
regions.plot()
plt.show()
regions.frame().round(2)

# %%
# Mean weights along one column:
GateDisplay.from_estimator(specialised, X.loc[train], features="city").plot()
plt.show()

# %%
# What each regime says
# ---------------------
#
# Coefficients of regimes that are linear, in units of y for a unit of the column; for others, how much the loss rises
# when a column is shuffled. With ``n_bootstrap`` coefficients get intervals.
experts = ExpertsDisplay.from_estimator(mixture, X.loc[train], y.loc[train]).plot()
plt.show()
experts.frame().round(2).head(12)

# %%
# Experts that err alike
# ----------------------
#
# Combining helps where experts err in different rows. The display has the correlations of out-of-fold errors of the
# experts as they were before they specialised; the sentence says what an oracle could save, one that knows the best
# expert of each row.
errors = ErrorCorrelationDisplay.from_estimator(mixture)
print(errors)
errors.plot()
plt.show()

# %%
# All of this on one HTML page: ``metamix.report(mixture, X, y, "mixture.html")``.
