"""Makes the models that the predictor's answers are compared with Python's ONNX Runtime on: a family of libraries each.

    pip install -r tests/python/families.txt
    python tests/python/families.py

Trains on made-up data and writes, below tests/models/families:

    <family>/model.onnx      the exported model
    <family>/version.toml    what the predictor is told of it
    features/all.toml        a feature service of request features for each; `PROJECT` is the test's to replace

Before a model is written, ONNX Runtime has answered 2,000 rows as the library that trained it does: with nulls as NaN, where
the library takes them, and with categories that were never seen. (The network, families_mlp.py, is compared with NumPy.) The
same packages on the same machine write the same bytes.
"""

import json
import pathlib
import warnings

import families_mlp
import lightgbm
import numpy as np
import onnx
import onnxruntime
import pandas
import xgboost
from onnx import TensorProto as T
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from skl2onnx.common import data_types as skl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

OUT = pathlib.Path(__file__).parents[1] / "models" / "families"
TRAINING_ROWS, CHECKED_ROWS = 3_000, 2_000
TOLERANCE = 1e-5
LARGEST_BYTES = 200_000
OPSETS = {"": 17, "ai.onnx.ml": 3}
# The newest that onnxmltools writes.
BOOSTED_OPSET = 15
CLASSES = ["bronze", "gold", "silver"]

# What each service takes, in the order of the model's inputs: a name, a type, and a default where the tensor has no null.
SERVICES: dict[str, list[tuple]] = {}


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_nulls(rng: np.random.Generator, x: np.ndarray, share: float = 0.1) -> np.ndarray:
    return np.where(rng.random(x.shape) < share, np.nan, x).astype(x.dtype)


def run(model: bytes, inputs: dict[str, np.ndarray]) -> dict:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return dict(zip((output.name for output in session.get_outputs()), session.run(None, inputs)))


def write(name: str, exported: onnx.ModelProto, inputs: dict[str, np.ndarray], expected: dict, version: str) -> None:
    """Writes what is exported, once it answers `inputs` as `expected`."""
    onnx.checker.check_model(exported)
    model = exported.SerializeToString(deterministic=True)
    assert len(model) < LARGEST_BYTES, f"{name} has {len(model)} bytes"
    answers = run(model, inputs)
    assert set(answers) == set(expected), f"{name} gives {set(answers)}"
    worst = 0.0
    for output, answer in answers.items():
        wanted = expected[output]
        if isinstance(answer, list):
            answer, wanted = [pandas.DataFrame(maps)[CLASSES].to_numpy() for maps in (answer, wanted)]
        assert answer.shape == wanted.shape, f"{name}: {output} has shape {answer.shape}, not {wanted.shape}"
        if answer.dtype.kind == "f":
            difference = np.abs(answer - wanted).max()
            assert difference < TOLERANCE, f"{name}: {output} is off by {difference}"
            worst = max(worst, difference)
        else:
            differ = np.flatnonzero(answer != wanted)
            assert not differ.size, f"{name}: {output} differs in rows {differ}"
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    (folder / "version.toml").write_text(
        f'# Written by tests/python/families.py.\nfeature_service = "{name}"\n{version}'
    )
    print(f"{name}: {len(model)} bytes, {CHECKED_ROWS} rows within {worst:.1e}")
    for kind, values in (("in ", exported.graph.input), ("out", exported.graph.output)):
        for value in values:
            print(f"  {kind} {value.name}: {describe(value.type)}")


def describe(type_: onnx.TypeProto) -> str:
    if not type_.HasField("tensor_type"):
        return type_.WhichOneof("value")
    shape = [d.dim_value if d.HasField("dim_value") else "open" for d in type_.tensor_type.shape.dim]
    return f"{T.DataType.Name(type_.tensor_type.elem_type).lower()} {shape}"


def sklearn_pipeline() -> None:
    """Named columns of floats, integers and strings, as a pipeline takes them from a data frame; classes that are words."""
    cities, plans = ["Berlin", "Lagos", "Lima", "Osaka", "São Paulo"], ["free", "team", "company"]

    def rows(rng, n, unseen):
        return pandas.DataFrame(
            {
                "amount": with_nulls(rng, rng.lognormal(3, 1, n).astype(np.float32)),
                "balance": with_nulls(rng, rng.normal(0, 500, n).astype(np.float32)),
                "tenure": rng.integers(0, 120, n),
                "city": pandas.Series(rng.choice(cities + unseen, n), dtype=object),
                "plan": pandas.Series(rng.choice(plans + unseen, n), dtype=object),
            }
        )

    rng = random(1)
    frame = rows(rng, TRAINING_ROWS, [])
    weight = frame.amount.fillna(30) / 30 + frame.balance.fillna(0) / 400 + (frame.city == "Lima") * 2 - (frame.plan == "free")
    rank = np.digitize(weight + rng.normal(0, 0.7, len(frame)), [0.5, 2])
    columns = ColumnTransformer(
        [
            ("floats", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), ["amount", "balance"]),
            ("integers", StandardScaler(), ["tenure"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city", "plan"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(frame, np.array(["bronze", "silver", "gold"])[rank])

    # Doubles do not export: what converts them to the classifier's input declares its output as doubles, which it is not.
    tensors = {"f": skl.FloatTensorType, "i": skl.Int64TensorType, "O": skl.StringTensorType}
    exported = to_onnx(
        model,
        initial_types=[(name, tensors[kind.kind]([None, 1])) for name, kind in frame.dtypes.items()],
        name="sklearn_pipeline",
        options={"zipmap": False},
        target_opset=OPSETS,
    )
    SERVICES["sklearn_pipeline"] = [
        ("amount", "float32"),
        ("balance", "float64"),
        ("tenure", "int64", 60),
        ("city", "string", ""),
        ("plan", "string", ""),
    ]
    asked = rows(random(2), CHECKED_ROWS, ["", "Atlantis"])
    write(
        "sklearn_pipeline",
        exported,
        {name: asked[[name]].to_numpy() for name in asked.columns},
        {"label": model.predict(asked), "probabilities": model.predict_proba(asked)},
        f"""\
inputs = "each"
classes = {json.dumps(list(model.classes_))}

[outputs]
rank = {{ tensor = "label" }}
p_bronze = {{ tensor = "probabilities", class = "bronze" }}
p_gold = {{ tensor = "probabilities", class = "gold" }}
p_silver = {{ tensor = "probabilities", class = "silver" }}
""",
    )


def sklearn_multi() -> None:
    """Two numbers at once from one matrix. Its trees know no null, so that the service has defaults."""

    def rows(rng, n):
        return np.column_stack([rng.normal(0, 1, (n, 3)), rng.integers(0, 2, n), rng.integers(0, 24, n)]).astype(np.float32)

    rng = random(3)
    x = rows(rng, TRAINING_ROWS)
    y = np.column_stack([np.sin(x[:, 0]) * 3 + x[:, 3], x[:, 1] * x[:, 2] + x[:, 4] / 6]) + rng.normal(0, 0.1, (len(x), 2))
    model = ExtraTreesRegressor(20, max_depth=6, random_state=3).fit(x, y)
    exported = to_onnx(
        model,
        initial_types=[("features", skl.FloatTensorType([None, 5]))],
        name="sklearn_multi",
        target_opset=OPSETS,
    )
    SERVICES["sklearn_multi"] = [
        ("wind", "float64", 0.0),
        ("slope", "float32", 0.0),
        ("load", "float64", 0.0),
        ("is_weekend", "bool", False),
        ("hour", "int64", 12),
    ]
    asked = rows(random(4), CHECKED_ROWS)
    write(
        "sklearn_multi",
        exported,
        {"features": asked},
        {"variable": model.predict(asked)},
        """\
inputs = { features = "float32" }

[outputs]
speed = { tensor = "variable", column = 0 }
consumption = { tensor = "variable", column = 1 }
""",
    )


def with_categories(rng: np.random.Generator, n: int, categories: int) -> np.ndarray:
    """float32[n, 5], nulls in every column: two of any size, a count, a truth, the code of a category."""
    x = np.column_stack(
        [
            rng.lognormal(3, 1, n),
            rng.normal(0, 1, n),
            rng.poisson(3, n),
            rng.integers(0, 2, n),
            rng.integers(0, categories, n),
        ]
    )
    return with_nulls(rng, x.astype(np.float32))


def boosted_service() -> list[tuple]:
    return [("amount", "float64"), ("drift", "float32"), ("visits", "int64"), ("is_member", "bool"), ("channel", "int64")]


def boosted_weight(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    amount, drift, visits, member, channel = x.T
    weight = np.log(np.nan_to_num(amount, nan=5)) - 3 + np.nan_to_num(drift, nan=-1) + np.nan_to_num(visits, nan=6) / 4
    return weight + np.nan_to_num(member) + np.isin(channel, [1, 4, 5]) * 1.5 + rng.normal(0, 0.5, len(x))


def lightgbm_classes() -> None:
    """Nulls and categories in a matrix. Declares a `label` of one row, however many it gives."""
    rng = random(5)
    x = with_categories(rng, TRAINING_ROWS, 8)
    rank = np.digitize(boosted_weight(rng, x), [1.5, 3])
    model = lightgbm.LGBMClassifier(
        n_estimators=12, num_leaves=12, random_state=5, deterministic=True, force_row_wise=True, n_jobs=1, verbose=-1
    )
    model.fit(x, np.array(["bronze", "silver", "gold"])[rank], categorical_feature=[4])
    exported = convert_lightgbm(
        model,
        "lightgbm",
        [("features", FloatTensorType([None, 5]))],
        zipmap=False,
        target_opset=BOOSTED_OPSET,
    )
    SERVICES["lightgbm"] = boosted_service()
    asked = with_categories(random(6), CHECKED_ROWS, 12)
    write(
        "lightgbm",
        exported,
        {"features": asked},
        {"label": model.predict(asked), "probabilities": model.predict_proba(asked)},
        f"""\
inputs = {{ features = "float32" }}
classes = {json.dumps(list(model.classes_))}

[outputs]
rank = {{ tensor = "label" }}
p_gold = {{ tensor = "probabilities", class = "gold" }}
p_bronze = {{ tensor = "probabilities", column = 0 }}
""",
    )


def xgboost_binary() -> None:
    """Nulls in a matrix, a yes or no."""
    rng = random(7)
    x = with_categories(rng, TRAINING_ROWS, 8)
    late = boosted_weight(rng, x) > 2.5
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=4, learning_rate=0.2, random_state=7, n_jobs=1)
    model.fit(x, late.astype(int))
    exported = convert_xgboost(
        model,
        "xgboost",
        [("features", FloatTensorType([None, 5]))],
        target_opset=BOOSTED_OPSET,
    )
    SERVICES["xgboost"] = boosted_service()
    asked = with_categories(random(8), CHECKED_ROWS, 12)
    write(
        "xgboost",
        exported,
        {"features": asked},
        {"label": model.predict(asked), "probabilities": model.predict_proba(asked)},
        """\
inputs = { features = "float32" }

[outputs]
late = { tensor = "label" }
late_probability = { tensor = "probabilities", column = 1 }
""",
    )


def mlp() -> None:
    """Every type and shape of a named tensor: flat, a column, a list; and outputs of every type. `recent` is of 0 to 31."""
    w = families_mlp.weights()
    SERVICES["mlp"] = [
        ("amount", "float32"),
        ("ratio", "float64"),
        ("count", "int64", 0),
        ("level", "int64", 0),
        ("flag", "bool", False),
        ("embedding", "float32_list"),
        ("recent", "int64_list", [0, 0, 0]),
        ("city", "string", ""),
    ]
    rng, n = random(10), CHECKED_ROWS
    count = rng.integers(0, 40, n)
    # Integers that no double holds stay what they are.
    count[::50] = 2**53 + 1
    asked = {
        "amount": with_nulls(rng, rng.lognormal(3, 1, n).astype(np.float32)),
        "ratio": with_nulls(rng, rng.random((n, 1))),
        "count": count,
        "level": rng.integers(0, 5, (n, 1), dtype=np.int32),
        "flag": rng.random(n) < 0.5,
        "embedding": with_nulls(rng, rng.normal(0, 1, (n, 8)).astype(np.float32)),
        "recent": rng.integers(0, families_mlp.IDS, (n, 3)),
        "city": rng.choice(families_mlp.CITIES + ["", "Atlantis"], n).astype(object),
    }
    write(
        "mlp",
        families_mlp.graph(w, OPSETS),
        asked,
        families_mlp.by_hand(w, asked),
        f"""\
inputs = "each"
classes = {json.dumps(families_mlp.WORDS)}

[outputs]
score = {{ tensor = "score" }}
p_none = {{ tensor = "class_probabilities", class = "none" }}
p_middle = {{ tensor = "class_probabilities", class = "middle" }}
p_high = {{ tensor = "class_probabilities", column = 3 }}
label = {{ tensor = "label" }}
quantity = {{ tensor = "quantity" }}
is_big = {{ tensor = "is_big" }}
""",
    )


def sklearn_zipmap() -> None:
    """As scikit-learn's classifiers are exported unless told otherwise: a map a row, which no output can be."""
    rng = random(11)
    x = rng.normal(0, 1, (TRAINING_ROWS, 2)).astype(np.float32)
    rank = np.digitize(x[:, 0] + 2 * x[:, 1] + rng.normal(0, 0.5, len(x)), [-1, 1])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x, np.array(["bronze", "silver", "gold"])[rank])
    exported = to_onnx(
        model,
        initial_types=[("features", skl.FloatTensorType([None, 2]))],
        name="sklearn_zipmap",
        target_opset=OPSETS,
    )
    SERVICES["sklearn_zipmap"] = [("amount", "float64"), ("tenure", "float64")]
    asked = random(12).normal(0, 1, (CHECKED_ROWS, 2)).astype(np.float32)
    maps = [dict(zip(model.classes_, row)) for row in model.predict_proba(asked)]
    write(
        "sklearn_zipmap",
        exported,
        {"features": asked},
        {"output_label": model.predict(asked), "output_probability": maps},
        f"""\
inputs = {{ features = "float32" }}
classes = {json.dumps(list(model.classes_))}

[outputs]
p_gold = {{ tensor = "output_probability", class = "gold" }}
""",
    )


def definitions() -> str:
    """The feature services of all families. What JSON says of a string, a number or a list, TOML says too."""
    text = [
        "# Written by tests/python/families.py. The entity is there because a project has one: no service joins anything.",
        'format = 1\nproject = "PROJECT"\n',
        '[[entity]]\nname = "customer"\njoin_keys = [{ name = "customer", type = "string" }]',
    ]
    for service, inputs in SERVICES.items():
        text += ["", "[[feature_service]]", f'name = "{service}"', "request = ["]
        text += [f'  {{ name = "{name}", type = "{type_}" }},' for name, type_, *_ in inputs]
        text += ["]", "features = ["]
        for name, _, *default in inputs:
            reference = f'"request:{name}"'
            text.append(f"  {{ feature = {reference}, default = {json.dumps(default[0])} }}," if default else f"  {reference},")
        text.append("]")
    return "\n".join(text) + "\n"


def main() -> None:
    warnings.filterwarnings("ignore", "X does not have valid feature names", UserWarning)
    for make in (sklearn_pipeline, sklearn_multi, lightgbm_classes, xgboost_binary, mlp, sklearn_zipmap):
        # The order of sums is that of the threads.
        with threadpool_limits(1):
            make()
    (OUT / "features").mkdir(exist_ok=True)
    (OUT / "features" / "all.toml").write_text(definitions())


if __name__ == "__main__":
    main()
