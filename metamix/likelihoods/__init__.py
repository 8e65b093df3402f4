"""Likelihoods: the density of y given each expert's prediction, vectorised over experts."""

from metamix.likelihoods.categorical import Categorical
from metamix.likelihoods.gaussian import Gaussian
from metamix.likelihoods.laplace import Laplace
from metamix.likelihoods.outliers import Outliers
from metamix.likelihoods.poisson import Poisson
from metamix.likelihoods.student_t import StudentT

__all__ = ["Categorical", "Gaussian", "Laplace", "Outliers", "Poisson", "StudentT"]
