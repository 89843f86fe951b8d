"""MLServer as a peer in benchmarks: a folder that it serves an ONNX model from.

Usage:
    bench_mlserver.py write --folder DIR --model MODEL.onnx --port PORT [--grpc-port PORT] [--workers 0|1]

It prints a line of JSON. Then, in an environment with MLServer and ONNX Runtime:

    mlserver start DIR

MLServer has no runtime of its own for ONNX: DIR gets the custom one that its documentation says to write. The model takes the
float32 tensor `features` of shape [n, 30] and gives `prediction`, [n, 1]. A request is `POST /v2/models/bench/infer` with
`{"inputs": [{"name": "features", "shape": [1, 30], "datatype": "FP32", "data": [0.1, ...]}]}`. A process for inference costs a
small model more than it gives, hence none by default; with one, stop MLServer by a signal to its first process alone.
"""

import argparse
import json
import shutil
from pathlib import Path

RUNTIME = '''"""An ONNX model in MLServer, on one thread."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        path = await get_model_uri(self.settings)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        inputs = {tensor.name: self.decode(tensor, default_codec=NumpyCodec) for tensor in payload.inputs}
        (prediction,) = self.session.run(["prediction"], inputs)
        output = NumpyCodec.encode_output("prediction", prediction)
        return InferenceResponse(model_name=self.name, outputs=[output])
'''


def write(folder, model, port, grpc_port, workers):
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        # This turns access logs off, too.
        "debug": False,
        "host": "127.0.0.1",
        "http_port": port,
        # Its gRPC server can't be turned off.
        "grpc_port": grpc_port,
        "parallel_workers": workers,
        "metrics_endpoint": None,
        "gzip_enabled": False,
    }
    model_settings = {
        "name": "bench",
        "implementation": "bench_runtime.OnnxModel",
        "parameters": {"uri": f"./{model.name}"},
    }
    shutil.copyfile(model, folder / model.name)
    (folder / "bench_runtime.py").write_text(RUNTIME)
    (folder / "settings.json").write_text(json.dumps(settings, indent=4) + "\n")
    (folder / "model-settings.json").write_text(json.dumps(model_settings, indent=4) + "\n")
    return {"url": f"http://127.0.0.1:{port}/v2/models/bench/infer"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("write", help="write a folder to start MLServer with")
    command.add_argument("--folder", required=True, type=Path, help="where it is written")
    command.add_argument("--model", required=True, type=Path, help="the ONNX model")
    command.add_argument("--port", required=True, type=int, help="where it listens for HTTP")
    command.add_argument("--grpc-port", type=int, default=0, help="where it listens for gRPC; 0, the default: at any free port")
    command.add_argument("--workers", type=int, default=0, help="processes for inference; 0, the default: in the server's own")
    asked = vars(parser.parse_args())
    del asked["command"]
    print(json.dumps(write(**asked)))


if __name__ == "__main__":
    main()
