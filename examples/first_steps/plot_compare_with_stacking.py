"""
Compare with stacking
=====================

Is a mixture worth it on this table? ``compare`` fits every expert once per fold and scores every combination on the
same held-out rows, scikit-learn's ``StackingRegressor`` among them, so that differences are paired and come with a
standard error.
"""

from matplotlib import pyplot as plt

from metamix import compare, load_example, make_regimes

# %%
# A table without regimes
# -----------------------
#
# The diabetes table of scikit-learn is small and noisy, and its columns act in much the same way everywhere.
X, y = load_example("diabetes")
plain = compare(X, y, ["ridge", "neighbours", "svm"], cv=3, random_state=0)
print(plain.verdict)

# %%
# In the frame, ``difference`` is the loss minus that of stacking on the same rows. Most combinations are within two
# standard errors of it: here it hardly matters how the experts are combined, and a single one does as well.
plain.frame().round(3)

# %%
# The picture shows the differences with two standard errors. ``oracle`` knows the best expert of each row. It is no
# method but a bound: how much a perfect choice between these experts would save. The mean of y is
# far off, and only its number is shown.
plain.plot()
plt.show()

# %%
# A table with regimes
# --------------------
#
# In this simulated table a different function holds on each side of a line through the plane of the first two
# columns. No single expert of the list, and no combination of them with constant weights, can represent both.
X, y = make_regimes(500, random_state=0)
split = compare(X, y, ["ridge", "neighbours", "svm"], cv=3, random_state=0)
print(split.verdict)

# %%
split.plot()
plt.show()

# %%
# The mixture loses far less than stacking, and less even than the oracle: that one chooses among experts that were
# fitted to all rows, while the mixture fits its experts again to the rows of each regime.
loss = split.frame().set_index("name")["loss"]
loss[["stacking", "gated", "mixture", "blend", "oracle"]].round(2)

# %%
# On the command line the same comparison is ``metamix compare table.csv --target column``.
