"""Reading, cleaning and encoding tables; folds; the columns that a gate looks at."""
