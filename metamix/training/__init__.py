"""Training: the way through a fit, the mixture with specialised experts, candidates, their blend and the verdict."""
