"""How good an answer was: densities of y around each expert's answer, all experts at once."""

from metamix.likelihoods.categorical import Categorical
from metamix.likelihoods.gaussian import Gaussian
from metamix.likelihoods.laplace import Laplace
from metamix.likelihoods.outliers import Outliers
from metamix.likelihoods.poisson import Poisson
from metamix.likelihoods.student_t import StudentT

__all__ = ["Categorical", "Gaussian", "Laplace", "Outliers", "Poisson", "StudentT"]
