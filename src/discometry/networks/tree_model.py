"""The boosted trees of a bundle, judged before XGBoost reads them.

XGBoost believes the node numbers that a model file holds: a wrong one makes it read memory that is not its
own, when the file is loaded or when it predicts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from discometry.io.ubjson import read_ubjson

__all__ = ["check_trees"]

_MOST_TREES = 10_000
_FLOATS = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
_WHOLE = ("default_left", "left_children", "parents", "right_children", "split_indices", "split_type")
_EMPTY = ("categories", "categories_nodes", "categories_segments", "categories_sizes")
_ROOT = 2**31 - 1


def check_trees(payload: bytes, *, n_features: int) -> None:
    """Refuse whatever is no binary classifier of regression trees on numbers, as XGBoost stores it.

    Raises
    ------
    ValueError
        Saying in a few words what is wrong.
    """
    model = read_ubjson(payload)
    try:
        _check_model(model, n_features)
    except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise ValueError(f"no model of trees: {type(error).__name__} {error}") from error


def _check_model(model: dict[str, Any], n_features: int) -> None:
    _names(model, {"learner", "version"})
    learner = model["learner"]
    _names(
        learner,
        {
            *("attributes", "feature_names", "feature_types", "gradient_booster"),
            *("learner_model_param", "objective"),
        },
    )
    _check_words(learner["attributes"])
    _require(len(learner["feature_names"]) in (0, n_features), "names of other features")
    _require(set(learner["feature_types"]) <= {"float", "int", "q", "i"}, "features that are no numbers")
    _require(len(learner["feature_types"]) in (0, n_features), "types of other features")
    _check_parameters(learner["learner_model_param"], n_features)
    objective = learner["objective"]
    _names(objective, {"name", "reg_loss_param"})
    _require(objective["name"] == "binary:logistic", f"objective {objective['name']}")
    _check_words(objective["reg_loss_param"])
    _require(math.isfinite(float(objective["reg_loss_param"]["scale_pos_weight"])), "scale_pos_weight")
    booster = learner["gradient_booster"]
    _names(booster, {"model", "name"})
    _require(booster["name"] == "gbtree", f"booster {booster['name']}")
    _check_booster(booster["model"], n_features)


def _check_parameters(parameters: dict[str, str], n_features: int) -> None:
    _names(parameters, {"base_score", "boost_from_average", "num_class", "num_feature", "num_target"})
    score = float(parameters["base_score"].removeprefix("[").removesuffix("]"))
    _require(0 < score < 1, "base_score")
    wanted = {"num_class": "0", "num_target": "1", "num_feature": str(n_features)}
    for name, value in wanted.items():
        _require(parameters[name] == value, f"{name} {parameters[name]} in place of {value}")
    _require(parameters["boost_from_average"] in ("0", "1"), "boost_from_average")


def _check_booster(model: dict[str, Any], n_features: int) -> None:
    _names(model, {"cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"})
    _names(model["cats"], {"enc", "feature_segments", "sorted_idx"})
    _require(all(len(value) == 0 for value in model["cats"].values()), "categories")
    trees = model["trees"]
    count = len(trees)
    _require(isinstance(trees, list) and 1 <= count <= _MOST_TREES, f"{count} trees")
    wanted = {"num_parallel_tree": "1", "num_trees": str(count)}
    _require(model["gbtree_model_param"] == wanted, "another number of trees")
    _require(list(model["iteration_indptr"]) == list(range(count + 1)), "trees in other iterations")
    _require(list(model["tree_info"]) == [0] * count, "trees of several classes")
    for number, tree in enumerate(trees):
        _check_tree(tree, number, n_features)


def _check_tree(tree: dict[str, Any], number: int, n_features: int) -> None:
    _names(tree, {*_FLOATS, *_WHOLE, *_EMPTY, "id", "tree_param"})
    _require(tree["id"] == number and all(len(tree[name]) == 0 for name in _EMPTY), "categories in a tree")
    count = len(tree["left_children"])
    wanted = {
        "num_deleted": "0",
        "num_feature": str(n_features),
        "num_nodes": str(count),
        "size_leaf_vector": "1",
    }
    _require(count >= 1 and tree["tree_param"] == wanted, "a tree of another size than it says")
    for name in _FLOATS:
        _require(_array(tree, name, "f", count).dtype.itemsize == 4, name)
        _require(bool(np.isfinite(tree[name]).all()), f"{name} that are no numbers")
    whole = {name: _array(tree, name, "iu", count).astype(np.int64) for name in _WHOLE}
    left, right, nodes = whole["left_children"], whole["right_children"], np.arange(count)
    leaf = (left == -1) & (right == -1)
    inner = (left > nodes) & (right > nodes) & (left < count) & (right < count)
    _require(bool((leaf | inner).all()), "children that are no nodes")
    split, parents = whole["split_indices"], whole["parents"]
    _require(bool(((split >= 0) & (split < n_features)).all()), "splits of unknown features")
    _require(bool((whole["split_type"] == 0).all()), "splits by category")
    _require(bool(np.isin(whole["default_left"], (0, 1)).all()), "default_left")
    _require(bool(((parents >= 0) & (parents < nodes) | (nodes == 0)).all()), "parents that are no nodes")
    _require(parents[0] == _ROOT, "a root with a parent")


def _array(tree: dict[str, Any], name: str, kinds: str, count: int) -> NDArray[Any]:
    found = tree[name]
    if not isinstance(found, np.ndarray) or found.dtype.kind not in kinds or len(found) != count:
        raise ValueError(f"{name} of another kind or length")
    return found


def _check_words(found: dict[str, str]) -> None:
    _require(all(isinstance(value, str) and len(value) < 1000 for value in found.values()), "attributes")


def _names(found: dict[str, Any], wanted: set[str]) -> None:
    _require(
        isinstance(found, dict) and set(found) == wanted, f"other parts than {', '.join(sorted(wanted))}"
    )


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)
