"""Write what AutoGluon's models predict: the file that `plot_ensemble_of_autogluon.py` reads.

python examples/data/make_autogluon_predictions.py concrete.parquet examples/data/autogluon_concrete.csv

The table is of I-C. Yeh (1998), Modeling of strength of high-performance concrete using artificial neural networks,
Cement and Concrete Research 28, 1797-1808; UCI Machine Learning Repository, https://doi.org/10.24432/C5PK67, CC BY 4.0.
Its last column, "target", is the compressive strength in MPa. The script needs
``pip install "autogluon.tabular[lightgbm,catboost]"``; it was run with version 1.6.3, in an environment of its own.

Written are the columns of the table, `part` ("train" or "test"), and a column for each model: in training rows its
out-of-fold prediction, in test rows its prediction.
"""

import sys
import tempfile

import pandas as pd
from autogluon.tabular import TabularPredictor
from sklearn.model_selection import train_test_split

source, destination = sys.argv[1:]
table = pd.read_parquet(source) if source.endswith(".parquet") else pd.read_csv(source)
train, test = train_test_split(table, test_size=0.3, random_state=0)
with tempfile.TemporaryDirectory() as folder:
    predictor = TabularPredictor("target", path=folder, eval_metric="rmse").fit(
        train,
        time_limit=300,
        num_cpus=1,
        num_bag_folds=5,
        num_stack_levels=0,
        dynamic_stacking=False,
        hyperparameters={
            "GBM": [{}, {"extra_trees": True, "ag_args": {"name_suffix": "XT"}}],
            "CAT": {},
            "RF": {},
            "XT": {},
            "KNN": {},
            "LR": {},
        },
        ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
    )
    print(predictor.leaderboard(test, silent=True).to_string())
    for model in predictor.model_names():
        table.loc[train.index, model] = predictor.predict_oof(model)
        table.loc[test.index, model] = predictor.predict(test, model=model)
table.insert(len(train.columns), "part", pd.Series("train", index=train.index).reindex(table.index, fill_value="test"))
table.to_csv(destination, index=False, float_format="%.7g")
