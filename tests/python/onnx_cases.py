"""ONNX's own test cases, as requests and answers of the Open Inference Protocol, with a model repository that serves them.

`onnx_cases.py DATA_DIR OUT_DIR`: DATA_DIR is `onnx/backend/test/data` of the package `onnx`. OUT_DIR gets
`models/NAME/` of each case that is kept, and `cases.json`: a list of

    {"name": NAME, "sets": [{"inputs": [TENSOR, ...], "outputs": [TENSOR, ...]}, ...]}

where a TENSOR is {"name", "datatype", "shape", "data"}, its data a flat list, NaN and infinities in it the texts "NaN",
"Infinity" and "-Infinity". Kept is what the protocol can carry and Python's ONNX Runtime, set as the predictor sets it, answers
as stored: what it does not compute, or computes otherwise, is no fault of the predictor. Standard output says what was dropped,
and why.
"""

import argparse
import collections
import json
import pathlib
import re

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

# The protocol's name of each type that it can carry, by ONNX Runtime's name.
DATATYPES = {
    "float16": "FP16",
    "float": "FP32",
    "double": "FP64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "bool": "BOOL",
    "string": "BYTES",
}
# The tolerances of ONNX's own runner (onnx/backend/test/loader), for floats; all else is equal or wrong.
RTOL = 1e-3
ATOL = 1e-7
# A set with more elements than these is left out.
MOST_ELEMENTS = 200_000
# So are these, which take 250 MB of memory and more for each session.
HEAVY = ["light_bvlc_alexnet", "light_resnet50", "light_vgg19", "light_zfnet512"]
# A deadline that a busy machine can keep: what these are about is not time.
MODEL = '# A case of ONNX\'s own tests.\ndeadline = "60s"\ncache = { tier = "off" }\n'
VERSION = "# The tensors are the model's own.\n"


class Dropped(Exception):
    """Why a case is not kept."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=pathlib.Path, metavar="DATA_DIR")
    parser.add_argument("out", type=pathlib.Path, metavar="OUT_DIR")
    parser.add_argument("--dropped", action="store_true", help="name each case that is dropped")
    args = parser.parse_args()
    onnxruntime.set_default_logger_severity(4)
    args.out.mkdir(parents=True, exist_ok=True)
    kept, dropped = [], collections.defaultdict(list)
    for kind, path in found(args.data):
        name = model_name(kind, path)
        try:
            if name in HEAVY:
                raise Dropped("takes much memory")
            model, sets = read(path)
            session = open_session(model)
            case = {"name": name, "sets": [check(session, *one) for one in sets]}
            if any(size(one) > MOST_ELEMENTS for one in case["sets"]):
                raise Dropped(f"over {MOST_ELEMENTS} elements")
        except Dropped as why:
            dropped[str(why)].append(name)
            continue
        kept.append(case)
        write_model(args.out / "models" / name, model)
    with open(args.out / "cases.json", "w", encoding="utf-8") as file:
        json.dump(kept, file, separators=(",", ":"), allow_nan=False)
    summarize(kept, dropped, args.dropped)


def found(data):
    """The kind and the folder of every case; of `light`, whose cases have no folder, the model."""
    for kind in sorted(path for path in data.iterdir() if path.is_dir()):
        for path in sorted(kind.iterdir()):
            if path.is_dir() or path.suffix == ".onnx":
                yield kind.name, path


def model_name(kind, path):
    """A name that a model can have: letters, digits and single underscores."""
    stem = path.stem if path.suffix == ".onnx" else path.name
    own = stem.removeprefix("test_").removeprefix(f"{kind}_")
    return re.sub("[^A-Za-z0-9]+", "_", f"{kind}_{own}").strip("_")


def read(path):
    """The model's bytes and its sets: a list of pairs, inputs and outputs."""
    if path.is_file():
        return read_light(path)
    if not (path / "model.onnx").exists():
        raise Dropped("its model is not in the package")
    model = (path / "model.onnx").read_bytes()
    types = kinds_of(model)
    if types != {"tensor_type"}:
        raise Dropped("has " + " and ".join(sorted(types - {"tensor_type"})).replace("_type", "s"))
    folders = sorted(path.glob("test_data_set_*"))
    if not folders:
        raise Dropped("has no data")
    return model, [(tensors(folder, "input"), tensors(folder, "output")) for folder in folders]


def read_light(path):
    """What ONNX's runner asks these models, which come with their answers alone."""
    model = path.read_bytes()
    graph = onnx.load_from_string(model).graph
    weights = {weight.name for weight in graph.initializer}
    inputs = []
    for declared in graph.input:
        if declared.name not in weights:
            shape = [dim.dim_value or 1 for dim in declared.type.tensor_type.shape.dim]
            count = numpy.prod(shape)
            inputs.append((numpy.arange(count).reshape(shape) / count).astype(numpy.float32))
    outputs = [read_tensor(path.with_name(f"{path.stem}_output_{i}.pb")) for i in range(len(graph.output))]
    return model, [(inputs, outputs)]


def kinds_of(model):
    graph = onnx.load_from_string(model).graph
    return {value.type.WhichOneof("value") for value in [*graph.input, *graph.output]}


def tensors(folder, what):
    count = len(list(folder.glob(f"{what}_*.pb")))
    return [read_tensor(folder / f"{what}_{i}.pb") for i in range(count)]


def read_tensor(path):
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def open_session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise Dropped("ONNX Runtime refuses the model") from error
    for declared in [*session.get_inputs(), *session.get_outputs()]:
        if element(declared) not in DATATYPES:
            raise Dropped(f"has {element(declared)}")
    return session


def element(declared):
    return declared.type.removeprefix("tensor(").removesuffix(")")


def check(session, inputs, outputs):
    """The set as tensors of the protocol, if the session answers it as stored, and again."""
    asked, answered = session.get_inputs(), session.get_outputs()
    if len(asked) != len(inputs) or len(answered) != len(outputs):
        raise Dropped("has other tensors than the model")
    feed = {declared.name: value for declared, value in zip(asked, inputs)}
    for _ in range(2):
        try:
            answers = session.run(None, feed)
        except Exception as error:
            raise Dropped("ONNX Runtime fails") from error
        if not all(map(same, answers, outputs)):
            raise Dropped("ONNX Runtime answers otherwise")
    return {
        "inputs": [tensor(declared, value) for declared, value in zip(asked, inputs)],
        "outputs": [tensor(declared, value) for declared, value in zip(answered, outputs)],
    }


def same(answer, stored):
    if answer.shape != stored.shape or answer.dtype != stored.dtype:
        return False
    if stored.dtype.kind != "f":
        return bool((answer == stored).all())
    return bool(numpy.isclose(answer, stored, rtol=RTOL, atol=ATOL, equal_nan=True).all())


def tensor(declared, value):
    return {
        "name": declared.name,
        "datatype": DATATYPES[element(declared)],
        "shape": list(value.shape),
        "data": flat(value),
    }


def flat(value):
    data = value.ravel()
    # A single's own shortest digits: those of the double that it widens to are twice as many.
    data = [float(str(x)) for x in data] if value.dtype == numpy.float32 else data.tolist()
    if value.dtype.kind != "f" or numpy.isfinite(value).all():
        return data
    texts = {numpy.inf: "Infinity", -numpy.inf: "-Infinity"}
    return ["NaN" if x != x else texts.get(x, x) for x in data]


def size(one):
    return sum(len(tensor["data"]) for tensor in [*one["inputs"], *one["outputs"]])


def write_model(folder, model):
    (folder / "1").mkdir(parents=True)
    (folder / "model.toml").write_text(MODEL)
    (folder / "1/version.toml").write_text(VERSION)
    (folder / "1/model.onnx").write_bytes(model)


def summarize(kept, dropped, named):
    count = sum(map(len, dropped.values()))
    sets = sum(len(case["sets"]) for case in kept)
    print(f"{len(kept) + count} cases: {len(kept)} kept ({sets} sets), {count} dropped")
    for why, names in sorted(dropped.items(), key=lambda one: -len(one[1])):
        print(f"{len(names):6} {why}" + (": " + ", ".join(names) if named else ""))


if __name__ == "__main__":
    main()
