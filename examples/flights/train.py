"""Trains the demo's models on training sets of this program and writes them as a model repository.

    python3 train.py --train train.csv --hourly hourly.csv --models models

train.csv:  the exact training set, `feature-server training-set flight_delay` on `flights labels`;
hourly.csv: the same for the test period with features as of the full hour (`flights labels --hourly`), to see what an hourly
            materialization costs.

Prints what the model card tells. The same files give the same models.
"""

import argparse
import csv
import datetime
import hashlib
import pathlib
import tomllib

import lightgbm
import numpy as np
import onnx
import onnxruntime
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

HERE = pathlib.Path(__file__).parent
# By scheduled departure, local midnight in New York: training up to the first, validation up to the second, then the test.
VALIDATION_STARTS = datetime.datetime(2013, 9, 1, 4, tzinfo=datetime.timezone.utc)
TEST_STARTS = datetime.datetime(2013, 11, 1, 4, tzinfo=datetime.timezone.utc)
AHEAD = datetime.timedelta(hours=1)
PARAMETERS = {
    "objective": "binary",
    "metric": "auc",
    "num_leaves": 31,
    "learning_rate": 0.05,
    "seed": 2013,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 2,
    "verbose": -1,
}
# The fallback is small: more trees learn nothing more from four numbers.
SMALLER = {"flight_delay_request_only": {"num_leaves": 15, "learning_rate": 0.1}}
MOST_TREES = {"flight_delay": 1000, "flight_delay_request_only": 100}
# Twice what a tree ensemble of this size may differ by when sums are single precision.
ONNX_TOLERANCE = 1e-6


def service_inputs(service: str) -> list[str]:
    """The inputs of a feature service by column name, in order."""
    definitions = tomllib.loads((HERE / "features" / "services.toml").read_text())
    (found,) = (s for s in definitions["feature_service"] if s["name"] == service)
    return [column(f if isinstance(f, str) else f["feature"]) for f in found["features"]]


def column(reference: str) -> str:
    view, feature = reference.split(":")
    return feature if view in ("request", "derived") else f"{view}__{feature}"


class Examples:
    """Rows of a training set: `x` float32[n, f] in the order of `inputs`, `late` [n], `departure` [n]."""

    def __init__(self, path: pathlib.Path, inputs: list[str]):
        with open(path, newline="") as file:
            rows = csv.reader(file)
            header = next(rows)
            places = [header.index(name) for name in inputs]
            late, moment = header.index("late15"), header.index("prediction_time")
            x, y, departure = [], [], []
            for row in rows:
                x.append(np.array([row[i] or "nan" for i in places], dtype=np.float32))
                y.append(int(row[late]))
                departure.append(datetime.datetime.fromisoformat(row[moment]) + AHEAD)
        self.inputs = inputs
        self.x, self.late, self.departure = np.array(x), np.array(y), np.array(departure)

    def between(self, start, end):
        """(x, late) of flights that are scheduled to leave in [start, end)."""
        chosen = np.ones(len(self.late), dtype=bool)
        if start is not None:
            chosen &= self.departure >= start
        if end is not None:
            chosen &= self.departure < end
        return self.x[chosen], self.late[chosen]


def auc(late: np.ndarray, score: np.ndarray) -> float:
    """The chance that a late flight scores above one that is not; ties count half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    positives = late.sum()
    return (rank[late == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(late) - positives))


def train(name: str, examples: Examples) -> lightgbm.Booster:
    inputs = service_inputs(name)
    places = [examples.inputs.index(name) for name in inputs]
    x, late = examples.between(None, VALIDATION_STARTS)
    x_validation, late_validation = examples.between(VALIDATION_STARTS, TEST_STARTS)
    data = lightgbm.Dataset(x[:, places], late, feature_name=inputs)
    validation = data.create_valid(x_validation[:, places], late_validation)
    stop_early = lightgbm.early_stopping(50, verbose=False)
    parameters = PARAMETERS | SMALLER.get(name, {})
    return lightgbm.train(parameters, data, MOST_TREES[name], valid_sets=[validation], callbacks=[stop_early])


def to_onnx(model: lightgbm.Booster, name: str) -> bytes:
    """One input `features` float[N, f], one output `probabilities` float[N, 2]."""
    inputs = [("features", FloatTensorType([None, model.num_feature()]))]
    exported = convert_lightgbm(model, name, inputs, zipmap=False, target_opset=9)
    # The label is a threshold nobody asked for, declared with a shape that is wrong.
    graph = exported.graph
    (label,) = (output for output in graph.output if output.name == "label")
    graph.output.remove(label)
    wanted = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if wanted.isdisjoint(node.output):
            graph.node.remove(node)
        wanted.update(node.input)
    onnx.checker.check_model(exported)
    return exported.SerializeToString(deterministic=True)


def run_onnx(model: bytes, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"features": x})
    return probabilities[:, 1]


MODEL_FILES = {
    "flight_delay": """\
# What an operator decides.
serve = "latest"
deadline = "50ms"
cache = { tier = "memory+redis", ttl = "10m", max_bytes = "64MiB" }
fallback = { model = "flight_delay_request_only" }
""",
    "flight_delay_request_only": """\
# What an operator decides. The fallback of flight_delay: it needs nothing from the store.
serve = "latest"
deadline = "50ms"
cache = { tier = "memory", ttl = "10m", max_bytes = "16MiB" }
""",
}
STORE_POLICY = 'when_stale = "default"\nwhen_missing = "default"\nwhen_unavailable = "fallback"\n'


def write(models: pathlib.Path, name: str, model: bytes) -> None:
    version = models / name / "1"
    version.mkdir(parents=True, exist_ok=True)
    (models / name / "model.toml").write_text(MODEL_FILES[name])
    (version / "model.onnx").write_bytes(model)
    (version / "version.toml").write_text(
        "# What belongs to the artifact; written by train.py.\n"
        f'feature_service = "{name}"\n'
        'inputs = { features = "float32" }\n'
        'outputs = { late_probability = { tensor = "probabilities", column = 1 } }\n'
        + (STORE_POLICY if name == "flight_delay" else "")
        + f'sha256 = "{hashlib.sha256(model).hexdigest()}"\n'
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--train", "--hourly", "--models"):
        arguments.add_argument(name, type=pathlib.Path, required=True)
    paths = arguments.parse_args()

    inputs = service_inputs("flight_delay")
    examples, hourly = Examples(paths.train, inputs), Examples(paths.hourly, inputs)
    for what, start, end in [
        ("training", None, VALIDATION_STARTS),
        ("validation", VALIDATION_STARTS, TEST_STARTS),
        ("test", TEST_STARTS, None),
    ]:
        _, late = examples.between(start, end)
        print(f"{what}: {len(late)} flights, {late.mean():.1%} late")

    x_validation, late_validation = examples.between(VALIDATION_STARTS, TEST_STARTS)
    x_test, late_test = examples.between(TEST_STARTS, None)
    x_hourly, late_hourly = hourly.between(TEST_STARTS, None)
    assert len(late_hourly) == len(late_test), "the hourly labels are not of the test period"
    nothing_stored = x_test.copy()
    nothing_stored[:, [i for i, name in enumerate(inputs) if name not in service_inputs("flight_delay_request_only")]] = np.nan
    print(f"test rows with a null: {np.isnan(x_test).any(axis=1).mean():.1%}")

    for name in MODEL_FILES:
        chosen = service_inputs(name)
        places = [inputs.index(i) for i in chosen]
        model = train(name, examples)
        exported = to_onnx(model, name)
        measured = [
            ("validation", late_validation, x_validation),
            ("test", late_test, x_test),
            ("test, features as of the full hour", late_hourly, x_hourly),
            ("test, nothing stored", late_test, nothing_stored),
        ]
        print(f"{name}: {len(chosen)} inputs, {model.best_iteration} trees, {len(exported)} bytes")
        # A model that reads nothing stored doesn't care how fresh it is.
        for what, late, x in measured if set(chosen) - set(service_inputs("flight_delay_request_only")) else measured[:2]:
            scores = run_onnx(exported, x[:, places])
            difference = np.abs(scores - model.predict(x[:, places])).max()
            assert difference < ONNX_TOLERANCE, f"ONNX Runtime and LightGBM differ by {difference}"
            print(f"  AUC {auc(late, scores):.4f} {what} (ONNX and LightGBM within {difference:.1e})")
        write(paths.models, name, exported)


if __name__ == "__main__":
    main()
