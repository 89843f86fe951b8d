"""Makes the small ONNX models that the predictor's tests run. Needs the Python package `onnx` (1.17 or later).

    python predictor/tests/models/make.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

HERE = Path(__file__).parent


def save(name, nodes, inputs, outputs, initializers=()):
    graph = h.make_graph(nodes, name, inputs, outputs, [numpy_helper.from_array(a, n) for n, a in initializers])
    opsets = [h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)]
    model = h.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="larder-tests")
    onnx.checker.check_model(model)
    onnx.save(model, HERE / f"{name}.onnx")


def linear():
    """scores[:, 0] = 1, scores[:, 1] = a + 10 b + 100 c with NaN as -1. `total` declares a shape that is not true."""
    save(
        "linear",
        [
            h.make_node("IsNaN", ["features"], ["nan"]),
            h.make_node("Where", ["nan", "minus_one", "features"], ["filled"]),
            h.make_node("MatMul", ["filled", "weights"], ["weighted"]),
            h.make_node("Add", ["weighted", "bias"], ["scores"]),
            h.make_node("ReduceSum", ["filled", "axes"], ["total"], keepdims=0),
        ],
        [h.make_tensor_value_info("features", T.FLOAT, ["n", 3])],
        [h.make_tensor_value_info("scores", T.FLOAT, ["n", 2]), h.make_tensor_value_info("total", T.FLOAT, [1])],
        [
            ("minus_one", np.array(-1, np.float32)),
            ("weights", np.array([[0, 1], [0, 10], [0, 100]], np.float32)),
            ("bias", np.array([1, 0], np.float32)),
            ("axes", np.array([1], np.int64)),
        ],
    )


def request_only():
    """y = -minute."""
    save(
        "request_only",
        [h.make_node("Neg", ["x"], ["y"])],
        [h.make_tensor_value_info("x", T.DOUBLE, ["n", 1])],
        [h.make_tensor_value_info("y", T.DOUBLE, ["n", 1])],
    )


def each():
    """y = minute + 1000 * (1 for UA, 2 for DL, else 0) + distance; `name` is the carrier again, `known` whether it is."""
    encoder = dict(domain="ai.onnx.ml", keys_strings=["UA", "DL"], values_int64s=[1, 2], default_int64=0)
    save(
        "each",
        [
            h.make_node("LabelEncoder", ["carrier"], ["code"], **encoder),
            h.make_node("Greater", ["code", "zero"], ["known"]),
            h.make_node("Mul", ["code", "thousand"], ["coded"]),
            h.make_node("Squeeze", ["minute", "axes"], ["flat"]),
            h.make_node("Add", ["coded", "flat"], ["whole"]),
            h.make_node("Cast", ["whole"], ["whole_float"], to=T.FLOAT),
            h.make_node("Add", ["whole_float", "distance"], ["y"]),
            h.make_node("Identity", ["carrier"], ["name"]),
        ],
        [
            h.make_tensor_value_info("carrier", T.STRING, ["n"]),
            h.make_tensor_value_info("minute", T.INT64, ["n", 1]),
            h.make_tensor_value_info("distance", T.FLOAT, ["n"]),
        ],
        [
            h.make_tensor_value_info("y", T.FLOAT, ["n"]),
            h.make_tensor_value_info("name", T.STRING, ["n"]),
            h.make_tensor_value_info("known", T.BOOL, ["n"]),
        ],
        [
            ("zero", np.array(0, np.int64)),
            ("thousand", np.array(1000, np.int64)),
            ("axes", np.array([1], np.int64)),
        ],
    )


def picky():
    """y = [0.5, 1.5, 2.5][x]: fails on a batch that holds any other x."""
    save(
        "picky",
        [
            h.make_node("Cast", ["x"], ["index"], to=T.INT64),
            h.make_node("Gather", ["table", "index"], ["y"]),
        ],
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 1])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 1])],
        [("table", np.array([0.5, 1.5, 2.5], np.float32))],
    )


def slow():
    """y = x, after 400 products of matrices."""
    body = h.make_graph(
        [
            h.make_node("MatMul", ["state", "matrix"], ["next"]),
            h.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            h.make_tensor_value_info("i", T.INT64, []),
            h.make_tensor_value_info("go", T.BOOL, []),
            h.make_tensor_value_info("state", T.FLOAT, [256, 256]),
        ],
        [
            h.make_tensor_value_info("go_on", T.BOOL, []),
            h.make_tensor_value_info("next", T.FLOAT, [256, 256]),
        ],
    )
    save(
        "slow",
        [
            h.make_node("ConstantOfShape", ["shape"], ["start"]),
            h.make_node("EyeLike", ["start"], ["matrix"]),
            h.make_node("Loop", ["times", "yes", "start"], ["end"], body=body),
            h.make_node("ReduceMax", ["end"], ["zero"], keepdims=0),
            h.make_node("Add", ["x", "zero"], ["y"]),
        ],
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 1])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 1])],
        [
            ("shape", np.array([256, 256], np.int64)),
            ("times", np.array(400, np.int64)),
            ("yes", np.array(True)),
        ],
    )


def plus_one():
    """y = x + 1."""
    save(
        "plus_one",
        [h.make_node("Add", ["x", "one"], ["y"])],
        [h.make_tensor_value_info("x", T.DOUBLE, ["n", 1])],
        [h.make_tensor_value_info("y", T.DOUBLE, ["n", 1])],
        [("one", np.array(1, np.float64))],
    )


def crooked():
    """One number for the whole batch."""
    save(
        "crooked",
        [h.make_node("ReduceMax", ["x"], ["y"], keepdims=1)],
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 1])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 1])],
    )


def echo():
    """Each input again, as the output of its name with an `_out`: one of every type but FP16, all of any length."""
    types = dict(
        FP32=T.FLOAT, FP64=T.DOUBLE, INT8=T.INT8, INT16=T.INT16, INT32=T.INT32, INT64=T.INT64, UINT8=T.UINT8, UINT16=T.UINT16,
        UINT32=T.UINT32, UINT64=T.UINT64, BOOL=T.BOOL, BYTES=T.STRING,
    )  # fmt: skip
    save(
        "echo",
        [h.make_node("Identity", [name], [f"{name}_out"]) for name in types],
        [h.make_tensor_value_info(name, t, [f"n_{name}"]) for name, t in types.items()],
        [h.make_tensor_value_info(f"{name}_out", t, [f"n_{name}"]) for name, t in types.items()],
    )


def half():
    """twice = 2 x, both FP16 and without dimensions."""
    save(
        "half",
        [h.make_node("Add", ["x", "x"], ["twice"])],
        [h.make_tensor_value_info("x", T.FLOAT16, [])],
        [h.make_tensor_value_info("twice", T.FLOAT16, [])],
    )


def variants():
    """`same` = x, `off` = 1 - x; `high` and `higher` are "high" where x is above 0.5 and 0.7, else "low"; `tenths` = 10 x."""
    names = dict(domain="ai.onnx.ml", keys_int64s=[0, 1], values_strings=["low", "high"], default_string="")

    def label(name, bound):
        return [
            h.make_node("Greater", ["x", bound], [f"is_{name}"]),
            h.make_node("Cast", [f"is_{name}"], [f"{name}_code"], to=T.INT64),
            h.make_node("LabelEncoder", [f"{name}_code"], [name], **names),
        ]

    save(
        "variants",
        [
            h.make_node("Identity", ["x"], ["same"]),
            h.make_node("Sub", ["one", "x"], ["off"]),
            *label("high", "half"),
            *label("higher", "more"),
            h.make_node("Mul", ["x", "ten"], ["tens"]),
            h.make_node("Round", ["tens"], ["rounded"]),
            h.make_node("Cast", ["rounded"], ["tenths"], to=T.INT64),
        ],
        [h.make_tensor_value_info("x", T.FLOAT, ["n", 1])],
        [
            h.make_tensor_value_info("same", T.FLOAT, ["n", 1]),
            h.make_tensor_value_info("off", T.FLOAT, ["n", 1]),
            h.make_tensor_value_info("high", T.STRING, ["n", 1]),
            h.make_tensor_value_info("higher", T.STRING, ["n", 1]),
            h.make_tensor_value_info("tenths", T.INT64, ["n", 1]),
        ],
        [
            ("one", np.array(1, np.float32)),
            ("half", np.array(0.5, np.float32)),
            ("more", np.array(0.7, np.float32)),
            ("ten", np.array(10, np.float32)),
        ],
    )


for make in (linear, request_only, each, picky, slow, plus_one, crooked, echo, half, variants):
    make()
