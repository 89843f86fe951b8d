"""The late probabilities that Python's ONNX Runtime gives: vectors as JSON on standard input, answers on standard output."""

import json
import sys

import numpy
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
rows = json.load(sys.stdin)
features = numpy.array([[numpy.nan if x is None else x for x in row] for row in rows], dtype=numpy.float32)
# A row at a time, as an application would ask; a batch must not change an answer.
answers = [session.run(["probabilities"], {"features": row[numpy.newaxis]})[0][0][1] for row in features]
json.dump([float(answer) for answer in answers], sys.stdout)
