"""The network of families.py: its weights, its graph as a deep-learning library exports one, and its answers without ONNX."""

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

CITIES = ["Berlin", "Lagos", "Lima", "Osaka", "São Paulo"]
WORDS = ["none", "low", "middle", "high"]
IDS = 32


def weights() -> dict[str, np.ndarray]:
    """Of a network that nobody trained. Row 0 of `city_table` is for every city it does not know."""
    rng = np.random.default_rng(9)
    shapes = {
        "city_table": (len(CITIES) + 1, 3),
        "recent_table": (IDS, 4),
        "w1": (5 + 8 + 4 + 3, 24),
        "b1": (24,),
        "w2": (24, 16),
        "b2": (16,),
        "w_score": (16, 1),
        "b_score": (1,),
        "w_class": (16, 4),
        "b_class": (4,),
    }
    return {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}


def by_hand(w: dict[str, np.ndarray], x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the network answers, in doubles."""
    codes = {city: code for code, city in enumerate(CITIES, 1)}
    amount = np.nan_to_num(x["amount"].astype(float), nan=20.0)
    numbers = [
        amount / 20,
        np.nan_to_num(x["ratio"][:, 0]),
        np.tanh(x["count"] / 8),
        x["level"][:, 0] / 4,
        x["flag"].astype(float),
    ]
    joined = np.column_stack(
        [
            *numbers,
            np.nan_to_num(x["embedding"].astype(float)),
            w["recent_table"][x["recent"]].astype(float).mean(axis=1),
            w["city_table"][[codes.get(city, 0) for city in x["city"]]],
        ]
    )
    hidden = np.maximum(joined @ w["w1"] + w["b1"], 0)
    hidden = np.maximum(hidden @ w["w2"] + w["b2"], 0)
    score = 1 / (1 + np.exp(-(hidden @ w["w_score"] + w["b_score"])))
    logits = hidden @ w["w_class"] + w["b_class"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    best = odds.argmax(axis=1)
    return {
        "score": score,
        "class_probabilities": odds / odds.sum(axis=1, keepdims=True),
        "label": np.array(WORDS, object)[best],
        "quantity": x["count"] + best,
        "is_big": amount > 40,
    }


def graph(w: dict[str, np.ndarray], opsets: dict[str, int]) -> onnx.ModelProto:
    """The same network, with a null number as the mean of its kind."""
    n = h.make_node
    codes = range(1, len(CITIES) + 1)
    nodes = [
        n("IsNaN", ["amount"], ["amount_null"]),
        n("Where", ["amount_null", "twenty", "amount"], ["amount_known"]),
        n("Div", ["amount_known", "twenty"], ["amount_flat"]),
        n("Unsqueeze", ["amount_flat", "one"], ["amount_column"]),
        n("IsNaN", ["ratio"], ["ratio_null"]),
        n("Where", ["ratio_null", "zero_double", "ratio"], ["ratio_known"]),
        n("Cast", ["ratio_known"], ["ratio_column"], to=T.FLOAT),
        n("Cast", ["count"], ["count_float"], to=T.FLOAT),
        n("Div", ["count_float", "eight"], ["count_scaled"]),
        n("Tanh", ["count_scaled"], ["count_flat"]),
        n("Unsqueeze", ["count_flat", "one"], ["count_column"]),
        n("Cast", ["level"], ["level_float"], to=T.FLOAT),
        n("Div", ["level_float", "four"], ["level_column"]),
        n("Cast", ["flag"], ["flag_flat"], to=T.FLOAT),
        n("Unsqueeze", ["flag_flat", "one"], ["flag_column"]),
        n("IsNaN", ["embedding"], ["embedding_null"]),
        n("Where", ["embedding_null", "zero", "embedding"], ["embedding_known"]),
        n("Gather", ["recent_table", "recent"], ["recent_rows"]),
        n("ReduceMean", ["recent_rows"], ["recent_mean"], axes=[1], keepdims=0),
        n(
            "LabelEncoder",
            ["city"],
            ["city_code"],
            domain="ai.onnx.ml",
            keys_strings=CITIES,
            values_int64s=list(codes),
            default_int64=0,
        ),
        n("Gather", ["city_table", "city_code"], ["city_row"]),
        n(
            "Concat",
            [f"{name}_column" for name in ("amount", "ratio", "count", "level", "flag")]
            + ["embedding_known", "recent_mean", "city_row"],
            ["joined"],
            axis=1,
        ),
        n("Gemm", ["joined", "w1", "b1"], ["sum1"]),
        n("Relu", ["sum1"], ["hidden1"]),
        n("Gemm", ["hidden1", "w2", "b2"], ["sum2"]),
        n("Relu", ["sum2"], ["hidden2"]),
        n("Gemm", ["hidden2", "w_score", "b_score"], ["score_sum"]),
        n("Sigmoid", ["score_sum"], ["score"]),
        n("Gemm", ["hidden2", "w_class", "b_class"], ["logits"]),
        n("Softmax", ["logits"], ["class_probabilities"], axis=1),
        n("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        n(
            "LabelEncoder",
            ["best"],
            ["label"],
            domain="ai.onnx.ml",
            keys_int64s=list(range(len(WORDS))),
            values_strings=WORDS,
        ),
        n("Add", ["count", "best"], ["quantity"]),
        n("Greater", ["amount_known", "forty"], ["is_big"]),
    ]
    constants = w | {
        "one": np.array([1], np.int64),
        "zero": np.array(0, np.float32),
        "zero_double": np.array(0, np.float64),
        "four": np.array(4, np.float32),
        "eight": np.array(8, np.float32),
        "twenty": np.array(20, np.float32),
        "forty": np.array(40, np.float32),
    }
    value = h.make_tensor_value_info
    inputs = [
        value("amount", T.FLOAT, ["n"]),
        value("ratio", T.DOUBLE, ["n", 1]),
        value("count", T.INT64, ["n"]),
        value("level", T.INT32, ["n", 1]),
        value("flag", T.BOOL, ["n"]),
        value("embedding", T.FLOAT, ["n", 8]),
        value("recent", T.INT64, ["n", 3]),
        value("city", T.STRING, ["n"]),
    ]
    outputs = [
        value("score", T.FLOAT, ["n", 1]),
        value("class_probabilities", T.FLOAT, ["n", 4]),
        value("label", T.STRING, ["n"]),
        value("quantity", T.INT64, ["n"]),
        value("is_big", T.BOOL, ["n"]),
    ]
    made = h.make_graph(
        nodes, "mlp", inputs, outputs, [numpy_helper.from_array(array, name) for name, array in constants.items()]
    )
    imports = [h.make_opsetid(domain, version) for domain, version in opsets.items()]
    return h.make_model(made, opset_imports=imports, ir_version=9, producer_name="larder-tests")
