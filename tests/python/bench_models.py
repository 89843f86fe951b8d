"""Writes the models that `cargo xtask bench` runs: 30 float32 features in, one number out.

Usage: bench_models.py FOLDER PRODUCTS. Writes gbdt.onnx (100 trees of 31 leaves), gbdt_of_50.onnx (the same trees; takes 50 features and
looks at 30), mlp.onnx (30-128-64-1), sum.onnx (of the features: as good as nothing) and slow.onnx (that many products of matrices a row).
"""

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

FEATURES = 30
RANDOM = np.random.default_rng(42)


def save(path, nodes, initializers=(), width=FEATURES):
    inputs = [h.make_tensor_value_info("features", T.FLOAT, ["n", width])]
    outputs = [h.make_tensor_value_info("prediction", T.FLOAT, ["n", 1])]
    graph = h.make_graph(nodes, path.stem, inputs, outputs, [numpy_helper.from_array(a, n) for n, a in initializers])
    opsets = [h.make_opsetid("", 17), h.make_opsetid("ai.onnx.ml", 3)]
    model = h.make_model(graph, opset_imports=opsets, ir_version=9, producer_name="larder-bench")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def gbdt(trees=100, leaves=31):
    """Trees that are grown leaf by leaf at random, as boosting grows them: of uneven depth."""
    columns = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    targets = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree in range(trees):
        nodes, open_leaves = [None], [0]
        for _ in range(leaves - 1):
            split = open_leaves.pop(RANDOM.integers(len(open_leaves)))
            low, high = len(nodes), len(nodes) + 1
            nodes[split] = (low, high)
            nodes += [None, None]
            open_leaves += [low, high]
        for node, children in enumerate(nodes):
            columns["treeids"].append(tree)
            columns["nodeids"].append(node)
            columns["featureids"].append(int(RANDOM.integers(FEATURES)) if children else 0)
            columns["values"].append(float(RANDOM.random()) if children else 0.0)
            columns["modes"].append("BRANCH_LEQ" if children else "LEAF")
            columns["truenodeids"].append(children[0] if children else 0)
            columns["falsenodeids"].append(children[1] if children else 0)
            if not children:
                targets["treeids"].append(tree)
                targets["nodeids"].append(node)
                targets["ids"].append(0)
                targets["weights"].append(float(RANDOM.normal()))
    return h.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["prediction"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **{f"nodes_{name}": values for name, values in columns.items()},
        **{f"target_{name}": values for name, values in targets.items()},
    )


def mlp(path, widths=(FEATURES, 128, 64, 1)):
    nodes, initializers, before = [], [], "features"
    for i, (wide, narrow) in enumerate(zip(widths, widths[1:])):
        last = i == len(widths) - 2
        initializers.append((f"w{i}", (RANDOM.normal(size=(wide, narrow)) / np.sqrt(wide)).astype(np.float32)))
        initializers.append((f"b{i}", RANDOM.normal(size=narrow).astype(np.float32)))
        nodes.append(h.make_node("Gemm", [before, f"w{i}", f"b{i}"], ["prediction" if last else f"h{i}"]))
        if not last:
            nodes.append(h.make_node("Relu", [f"h{i}"], [f"r{i}"]))
            before = f"r{i}"
    save(path, nodes, initializers)


def slow(path, products, width=128):
    """The sum of a row's features, after that many products of matrices that nobody can leave out, for each row its own."""
    seed = (RANDOM.normal(size=(width, width)) / np.sqrt(width)).astype(np.float32)
    nodes = [h.make_node("ReduceSum", ["features", "axis"], ["sum"], keepdims=1)]
    # They depend on the row, so that they are not computed once when the model is loaded.
    nodes += [h.make_node("Reshape", ["sum", "cube"], ["sums"]), h.make_node("Add", ["seed", "sums"], ["m0"])]
    for i in range(products):
        nodes += [h.make_node("MatMul", [f"m{i}", "seed"], [f"p{i}"]), h.make_node("Tanh", [f"p{i}"], [f"m{i + 1}"])]
    nodes += [
        h.make_node("ReduceMax", [f"m{products}"], ["highs"], axes=[1, 2], keepdims=0),
        h.make_node("Mul", ["highs", "nothing"], ["zeros"]),
        h.make_node("Reshape", ["zeros", "column"], ["zero"]),
        h.make_node("Add", ["sum", "zero"], ["prediction"]),
    ]
    shapes = [("cube", [-1, 1, 1]), ("column", [-1, 1])]
    shapes = [(name, np.array(shape, np.int64)) for name, shape in shapes]
    save(path, nodes, [("axis", np.array([1], np.int64)), ("seed", seed), ("nothing", np.array(0, np.float32)), *shapes])


folder = Path(sys.argv[1])
ensemble = gbdt()
save(folder / "gbdt.onnx", [ensemble])
save(folder / "gbdt_of_50.onnx", [ensemble], width=50)
mlp(folder / "mlp.onnx")
added = h.make_node("ReduceSum", ["features", "axis"], ["prediction"], keepdims=1)
save(folder / "sum.onnx", [added], [("axis", np.array([1], np.int64))])
slow(folder / "slow.onnx", int(sys.argv[2]))
