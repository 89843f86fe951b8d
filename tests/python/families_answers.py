"""What Python's ONNX Runtime answers, for any model: a question as JSON on standard input, the answer on standard output.

{"model": path, "inputs": {name: {"type": "float32", "shape": [2, 1], "data": [0.5, null]}}}
                    -> {output: {"shape": [2], "data": [0.25, 0.75]}}

Types are float32, float64, int64, int32, bool and string; data are flat; null is NaN. Numbers are written so that they are read
as the same again: a float32 as the double that it is.
"""

import json
import sys

import numpy
import onnxruntime

TYPES = {
    "float32": numpy.float32,
    "float64": numpy.float64,
    "int64": numpy.int64,
    "int32": numpy.int32,
    "bool": numpy.bool_,
    "string": numpy.object_,
}


def tensor(described):
    kind = TYPES[described["type"]]
    data = described["data"]
    if issubclass(kind, numpy.floating):
        data = [numpy.nan if x is None else x for x in data]
    return numpy.array(data, dtype=kind).reshape(described["shape"])


def plain(answer):
    data = answer.ravel().tolist()
    return {"shape": list(answer.shape), "data": [None if x != x else x for x in data]}


question = json.load(sys.stdin)
options = onnxruntime.SessionOptions()
# Errors only: a shape that a model declares and does not keep is a warning.
options.log_severity_level = 3
session = onnxruntime.InferenceSession(question["model"], options, providers=["CPUExecutionProvider"])
inputs = {name: tensor(described) for name, described in question["inputs"].items()}
names = [output.name for output in session.get_outputs()]
answers = dict(zip(names, session.run(names, inputs)))
json.dump({name: plain(answer) for name, answer in answers.items()}, sys.stdout, allow_nan=False)
