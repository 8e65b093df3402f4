"""Reading, cleaning and encoding tables; folds; the features of gates."""
