"""Triton's client, unmodified, as a puppet: a call a line of JSON comes in, what the client says goes out, a line each.

Usage: triton_client.py HTTP GRPC, both HOST:PORT.
"""

import json
import queue
import sys
import time

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import triton_to_np_dtype

MODULES = {"http": tritonclient.http, "grpc": tritonclient.grpc}


def tensor(module, name, datatype, shape, data, binary):
    """An input as users of the client make one; without `binary`, they left it at its default."""
    given = module.InferInput(name, shape, datatype)
    values = np.array(data, dtype=triton_to_np_dtype(datatype)).reshape(shape)
    given.set_data_from_numpy(values, **({} if binary is None else {"binary_data": binary}))
    return given


def infer(clients, over, model, inputs, outputs=None, binary=None, binary_out=None, wait=None, **options):
    """`wait` is how many seconds to wait for an asynchronous answer. The other options are the client's own."""
    module, client = MODULES[over], clients[over]
    inputs = [tensor(module, *given, binary) for given in inputs]
    how = {} if binary_out is None else {"binary_data": binary_out}
    wanted = outputs and [module.InferRequestedOutput(name, **how) for name in outputs]
    if wait is None:
        result = client.infer(model, inputs, outputs=wanted, **options)
    elif over == "http":
        result = client.async_infer(model, inputs, outputs=wanted, **options).get_result(timeout=wait)
    else:
        answers = queue.Queue()
        callback = lambda result, error: answers.put((result, error))
        client.async_infer(model, inputs, callback, outputs=wanted, **options)
        result, error = answers.get(timeout=wait)
        if error is not None:
            raise error
    response = result.get_response() if over == "http" else result.get_response(as_json=True)
    arrays = {output["name"]: result.as_numpy(output["name"]) for output in response["outputs"]}
    return {
        "outputs": {name: array.tolist() for name, array in arrays.items()},
        "types": {name: str(array.dtype) for name, array in arrays.items()},
        "model": [response["model_name"], response["model_version"]],
        "id": response.get("id"),
        "parameters": sorted(response["parameters"]),
    }


def ask(clients, over, method, arguments=(), **options):
    """Any other call of the client."""
    if over == "grpc" and method.startswith("get_"):
        options["as_json"] = True
    return getattr(clients[over], method)(*arguments, **options)


CALLS = {f.__name__: f for f in (infer, ask)}


def plain(value):
    """Texts come as bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)


def main():
    clients = {over: MODULES[over].InferenceServerClient(url) for over, url in zip(MODULES, sys.argv[1:], strict=True)}
    print(json.dumps({"said": "ready"}), flush=True)
    for line in sys.stdin:
        call = json.loads(line)
        started = time.monotonic()
        try:
            answer = {"said": CALLS[call.pop("call")](clients, **call)}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        answer["seconds"] = time.monotonic() - started
        print(json.dumps(answer, default=plain), flush=True)


main()
