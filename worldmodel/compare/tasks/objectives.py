"""Hyperparameters to search: cross-validated models of scikit-learn on the data sets that it brings along."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from worldmodel.cli.compose import UsageError

if TYPE_CHECKING:
    from optuna import Trial

FOLDS = 3
POINT = "point"  # user attribute of a trial: its levels
IMAGES = 600  # of digits, with which an error is a third of a second at most


@dataclass(frozen=True)
class Objective:
    """A model with d parameters, each with its levels: numbers in order, or texts, which have none.

    loss: of the levels by their parameters, lower is better, the same at every call.
    """

    levels: Mapping[str, Sequence[Any]]
    loss: Callable[[Mapping[str, Any]], float]

    def __call__(self, trial: "Trial") -> float:
        """The loss of a trial's point: a number is suggested by its place among the levels, a text by itself."""
        chosen = {}
        for name, levels in self.levels.items():
            if isinstance(levels[0], str):
                chosen[name] = trial.suggest_categorical(name, levels)
            else:
                chosen[name] = levels[trial.suggest_int(name, 0, len(levels) - 1)]
        trial.set_user_attr(POINT, chosen)
        return self.loss(chosen)


def objective(task: str) -> Objective:
    """The objective of a task. Raises UsageError where scikit-learn is not installed."""
    check_installed(task)
    return OBJECTIVES[task]()


def check_installed(task: str) -> None:
    """Raise UsageError where scikit-learn, which the task needs, is not installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UsageError(f'task={task}: needs scikit-learn: pip install "worldmodel[benchmarks]"') from None


def svm_digits() -> Objective:
    """Error of a support vector machine on 600 of the digits."""
    from sklearn.datasets import load_digits
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
    from sklearn.svm import SVC

    data = load_digits()
    scalers = {"range": MinMaxScaler, "standard": StandardScaler, "norm": Normalizer}

    def loss(chosen: Mapping[str, Any]) -> float:
        own = {key: chosen[key] for key in ("kernel", "C", "gamma", "coef0")}
        model = make_pipeline(scalers[chosen["scaling"]](), SVC(**own, degree=3))
        return _loss(model, data.data[:IMAGES], data.target[:IMAGES], "accuracy") + 1.0

    return Objective(
        {
            "C": _powers(-2, 3, 11),
            "gamma": _powers(-4, 1, 11),
            "kernel": ("rbf", "poly", "sigmoid"),
            "scaling": tuple(scalers),
            "coef0": (0.0, 0.5, 1.0),
        },
        loss,
    )


def boosting_cancer() -> Objective:
    """Log loss of gradient boosting on the breast cancer data."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.ensemble import GradientBoostingClassifier

    data = load_breast_cancer()
    features = {"root": "sqrt", "logarithm": "log2", "all": None}

    def loss(chosen: Mapping[str, Any]) -> float:
        own = {**chosen, "max_features": features[chosen["max_features"]]}
        return _loss(GradientBoostingClassifier(**own, random_state=0), data.data, data.target, "neg_log_loss")

    return Objective(
        {
            "learning_rate": _powers(-2, 0, 9),
            "n_estimators": (5, 10, 20, 40, 60),
            "max_depth": (1, 2, 3, 4, 5),
            "subsample": (0.4, 0.6, 0.8, 1.0),
            "max_features": tuple(features),
        },
        loss,
    )


def mlp_wine() -> Objective:
    """Log loss of a small network on the wine data."""
    from sklearn.datasets import load_wine
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    data = load_wine()

    def loss(chosen: Mapping[str, Any]) -> float:
        own = {**chosen, "hidden_layer_sizes": (chosen["hidden_layer_sizes"],)}
        model = make_pipeline(StandardScaler(), MLPClassifier(**own, max_iter=20, random_state=0))
        return _loss(model, data.data, data.target, "neg_log_loss")

    return Objective(
        {
            "learning_rate_init": _powers(-3, -0.5, 11),
            "alpha": _powers(-5, 1, 7),
            "batch_size": (8, 16, 32, 64),
            "hidden_layer_sizes": (2, 4, 8, 16),
            "activation": ("relu", "tanh", "logistic"),
        },
        loss,
    )


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "svm_digits": svm_digits,
    "boosting_cancer": boosting_cancer,
    "mlp_wine": mlp_wine,
}


def _powers(low: float, high: float, count: int) -> tuple[float, ...]:
    """Powers of ten, evenly spread between two exponents."""
    return tuple(float(f"{10**at:.4g}") for at in np.linspace(low, high, count))


def _loss(model: Any, x: Any, y: Any, scoring: str) -> float:
    """The negative mean score over the folds, which are the same for all models."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a network has not converged, which its loss shows
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        return -float(np.mean(cross_val_score(model, x, y, scoring=scoring, cv=folds)))
