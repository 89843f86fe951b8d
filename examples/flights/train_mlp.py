"""Trains the demo's network on the training set of train.py, quantizes it, and writes both as versions of one model.

    python3 train_mlp.py --train train.csv --models models

train.csv: as in train.py, whose model of flight_delay is expected in `models`, to compare with.

Version 1 is the network in single precision, version 2 the same one with 8-bit weights and activations: to see what quantization
gains and costs. Both take what `flight_delay` takes, nulls included. Prints what the model card tells. The same files give the
same models on the same kind of processor: sums are made in the order that suits its registers.
"""

import os

# Before numpy is loaded: the order of sums depends on the number of threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import collections
import hashlib
import pathlib
import statistics
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

from train import TEST_STARTS, VALIDATION_STARTS, Examples, auc, run_onnx, service_inputs

NAME = "flight_delay_mlp"
SERVICE = "flight_delay"
SEED = 2013
# Wide enough that a run is mostly multiplication, which is what 8 bits make faster.
HIDDEN = [512, 512, 512]
# Standard deviations: what is further out, is as far.
FURTHEST = 5.0
BATCH = 512
MOST_EPOCHS = 6
# Epochs without a better validation AUC before training ends.
PATIENCE = 3
LEARNING_RATE = 5e-4
WEIGHT_DECAY = 0.02
DROPOUT = 0.4
# Training rows that activations' ranges are read from.
CALIBRATION_ROWS = 4096
ONNX_TOLERANCE = 1e-5
# Rows of a run, and rounds, when latency is measured.
RUNS = [1, 16, 64, 256]
ROUNDS = 400

Layer = collections.namedtuple("Layer", "weight bias")


class Inputs:
    """How raw features become the network's inputs: standardized, a missing one as the mean, and told that it is missing."""

    def __init__(self, x: np.ndarray):
        self.mean = np.nanmean(x, axis=0, dtype=np.float64).astype(np.float32)
        self.scale = (1 / np.nanstd(x, axis=0, dtype=np.float64)).astype(np.float32)
        # Columns that can be missing; those that never are have no indicator to learn from.
        (self.missing,) = np.nonzero(np.isnan(x).any(axis=0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        absent = np.isnan(x)
        values = (np.where(absent, self.mean, x) - self.mean) * self.scale
        return np.concatenate([values.clip(-FURTHEST, FURTHEST), absent[:, self.missing].astype(np.float32)], axis=1)


class Network:
    """Layers of ReLU and one output, the logit of being late; trained with Adam, decoupled weight decay and dropout."""

    def __init__(self, inputs: int, random: np.random.Generator):
        sizes = [inputs, *HIDDEN, 1]
        self.random = random
        self.layers = [
            Layer((random.standard_normal((n, m)) * np.sqrt(2 / n)).astype(np.float32), np.zeros(m, dtype=np.float32))
            for n, m in zip(sizes, sizes[1:])
        ]
        self.moments = [[(np.zeros_like(p), np.zeros_like(p)) for p in layer] for layer in self.layers]
        self.steps = 0

    def logit(self, x: np.ndarray) -> np.ndarray:
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
        return (x @ self.layers[-1].weight + self.layers[-1].bias)[:, 0]

    def score(self, x: np.ndarray) -> np.ndarray:
        return np.concatenate([sigmoid(self.logit(part)) for part in np.array_split(x, len(x) // 4096 + 1)])

    def learn(self, x: np.ndarray, late: np.ndarray, rate: float) -> None:
        """One step on the rows of a batch."""
        entered, kept = [x], []
        for weight, bias in self.layers[:-1]:
            x = np.maximum(x @ weight + bias, 0)
            keep = (self.random.random(x.shape, dtype=np.float32) >= DROPOUT) * np.float32(1 / (1 - DROPOUT))
            kept.append(keep)
            x = x * keep
            entered.append(x)
        output = self.layers[-1]
        error = (sigmoid(x @ output.weight + output.bias) - late[:, None]) / np.float32(len(late))
        self.steps += 1
        for i in reversed(range(len(self.layers))):
            weight = self.layers[i].weight
            gradients = entered[i].T @ error, error.sum(axis=0)
            if i > 0:
                # The rectifier let through what is above zero.
                error = (error @ weight.T) * kept[i - 1] * (entered[i] > 0)
            weight *= np.float32(1 - rate * WEIGHT_DECAY)
            for parameter, gradient, moments in zip(self.layers[i], gradients, self.moments[i]):
                self.adam(parameter, gradient, moments, rate)

    def adam(self, parameter, gradient, moments, rate: float) -> None:
        first, second = moments
        first += np.float32(0.1) * (gradient - first)
        second += np.float32(0.001) * (gradient * gradient - second)
        rate = np.float32(rate * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps))
        parameter -= rate * first / (np.sqrt(second) + np.float32(1e-8))


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logit))


def log_loss(late: np.ndarray, score: np.ndarray) -> float:
    score = score.astype(np.float64).clip(1e-7, 1 - 1e-7)
    return -np.where(late == 1, np.log(score), np.log(1 - score)).mean()


def train(x, late, x_validation, late_validation) -> Network:
    """The network of the epoch that told validation's late flights best."""
    random = np.random.default_rng(SEED)
    network = Network(x.shape[1], random)
    late = late.astype(np.float32)
    batches = len(x) // BATCH
    best, best_auc, best_epoch = network.layers, 0.0, 0
    for epoch in range(1, MOST_EPOCHS + 1):
        order = random.permutation(len(x))
        for i in range(batches):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            done = (epoch - 1 + i / batches) / MOST_EPOCHS
            network.learn(x[chosen], late[chosen], LEARNING_RATE * (1 + np.cos(np.pi * done)) / 2)
        score = network.score(x_validation)
        reached = auc(late_validation, score)
        print(f"  epoch {epoch}: validation AUC {reached:.4f}, log loss {log_loss(late_validation, score):.4f}", flush=True)
        if reached > best_auc:
            best, best_auc, best_epoch = [Layer(*(p.copy() for p in layer)) for layer in network.layers], reached, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    network.layers = best
    return network


def to_onnx(inputs: Inputs, network: Network) -> bytes:
    """One input `features` float[N, f], nulls as NaN; one output `probabilities` float[N, 2]."""
    constants, nodes = [], []

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, takes: list[str], gives: str, **attributes) -> str:
        nodes.append(helper.make_node(kind, takes, [gives], name=gives, **attributes))
        return gives

    absent = node("IsNaN", ["features"], "absent")
    mean = constant("mean", inputs.mean)
    values = node("Where", [absent, mean, "features"], "values")
    values = node("Sub", [values, mean], "centred")
    values = node("Mul", [values, constant("scale", inputs.scale)], "standardized")
    limits = [constant("lowest", np.float32(-FURTHEST)), constant("highest", np.float32(FURTHEST))]
    values = node("Clip", [values, *limits], "clipped")
    absent = node("Gather", [absent, constant("can_be_missing", inputs.missing)], "absent_ones", axis=1)
    absent = node("Cast", [absent], "indicators", to=TensorProto.FLOAT)
    x = node("Concat", [values, absent], "inputs", axis=1)
    for i, (weight, bias) in enumerate(network.layers, start=1):
        x = node("Gemm", [x, constant(f"weight_{i}", weight), constant(f"bias_{i}", bias)], f"layer_{i}")
        if i < len(network.layers):
            x = node("Relu", [x], f"rectified_{i}")
    late = node("Sigmoid", [x], "late")
    on_time = node("Sub", [constant("one", np.float32(1)), late], "on_time")
    node("Concat", [on_time, late], "probabilities", axis=1)

    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", len(inputs.mean)])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2])
    graph = helper.make_graph(nodes, NAME, [features], [probabilities], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class Calibration(quantization.CalibrationDataReader):
    """Rows of training, to see what range each activation has."""

    def __init__(self, x: np.ndarray):
        self.parts = iter(np.array_split(x, len(x) // 256))

    def get_next(self):
        part = next(self.parts, None)
        return None if part is None else {"features": part}


def quantize(model: bytes, x: np.ndarray) -> bytes:
    """The model with 8-bit multiplications; what is before them, and the output layer's one column, stay as they are."""
    output_layer = f"layer_{len(HIDDEN) + 1}"
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "quantized.onnx")
        quantization.quantize_static(
            onnx.load_from_string(model),
            path,
            Calibration(x),
            op_types_to_quantize=["Gemm", "Relu"],
            nodes_to_exclude=[output_layer],
            # Unsigned activations times signed weights is what processors are quickest at.
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
            # Weights of 7 bits: two products of 8 overflow the 16 bits that processors without VNNI add them in.
            reduce_range=True,
        )
        quantized = onnx.load(path)
    onnx.checker.check_model(quantized, full_check=True)
    return quantized.SerializeToString(deterministic=True)


def latencies(models: dict[str, bytes], x: np.ndarray) -> dict[int, dict[str, float]]:
    """Median microseconds of a run on one thread, by rows of the run and model. All rows are distinct; models take turns.

    They are of processor time: what else the machine does lengthens it less.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {name: onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"]) for name, model in models.items()}
    found = {}
    for rows in RUNS:
        took = {name: [] for name in models}
        for start in range(0, rows * ROUNDS, rows):
            features = {"features": x.take(range(start, start + rows), axis=0, mode="wrap")}
            for name, session in sessions.items():
                started = time.thread_time()
                session.run(["probabilities"], features)
                took[name].append(time.thread_time() - started)
        found[rows] = {name: 1e6 * statistics.median(times) for name, times in took.items()}
    return found


MODEL_FILE = """\
# What an operator decides.
serve = "1"
# The same network in 8 bits, to compare with.
load = ["2"]
deadline = "50ms"
# A kept answer would hide what a version takes.
cache = { tier = "off" }
"""


def write(models: pathlib.Path, version: str, what: str, model: bytes) -> None:
    folder = models / NAME / version
    folder.mkdir(parents=True, exist_ok=True)
    (models / NAME / "model.toml").write_text(MODEL_FILE)
    (folder / "model.onnx").write_bytes(model)
    (folder / "version.toml").write_text(
        f"# {what} What belongs to the artifact; written by train_mlp.py.\n"
        f'feature_service = "{SERVICE}"\n'
        'inputs = { features = "float32" }\n'
        'outputs = { late_probability = { tensor = "probabilities", column = 1 } }\n'
        f'sha256 = "{hashlib.sha256(model).hexdigest()}"\n'
    )


def report(models: dict[str, bytes], x: np.ndarray, late: np.ndarray) -> None:
    scores = {name: run_onnx(model, x) for name, model in models.items()}
    for name, score in scores.items():
        print(f"{name}: {len(models[name])} bytes, test AUC {auc(late, score):.4f}, log loss {log_loss(late, score):.4f}")
    full, short = scores["1"], scores["2"]
    difference = np.abs(full - short)
    same = np.mean((full >= 0.5) == (short >= 0.5))
    print(f"1 and 2 differ by {difference.mean():.4f} on average, {difference.max():.4f} at most; {same:.2%} agree at 0.5")
    for rows, medians in latencies(models, x).items():
        print(f"{rows} rows: " + ", ".join(f"{name} {median:.0f} us" for name, median in medians.items()))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--train", "--models"):
        arguments.add_argument(name, type=pathlib.Path, required=True)
    paths = arguments.parse_args()

    examples = Examples(paths.train, service_inputs(SERVICE))
    x, late = examples.between(None, VALIDATION_STARTS)
    x_validation, late_validation = examples.between(VALIDATION_STARTS, TEST_STARTS)
    x_test, late_test = examples.between(TEST_STARTS, None)

    inputs = Inputs(x)
    print(f"{NAME}: {len(inputs.mean)} features, {len(inputs.missing)} of them can be missing")
    network = train(inputs(x), late, inputs(x_validation), late_validation)
    full = to_onnx(inputs, network)
    difference = np.abs(run_onnx(full, x_test) - network.score(inputs(x_test))).max()
    assert difference < ONNX_TOLERANCE, f"ONNX Runtime and numpy differ by {difference}"
    chosen = np.random.default_rng(SEED).choice(len(x), CALIBRATION_ROWS, replace=False)
    short = quantize(full, x[np.sort(chosen)])

    write(paths.models, "1", "A network in single precision.", full)
    write(paths.models, "2", "Version 1 in 8 bits.", short)
    trees = paths.models / SERVICE / "1" / "model.onnx"
    report({SERVICE: trees.read_bytes(), "1": full, "2": short}, x_test, late_test)


if __name__ == "__main__":
    main()
