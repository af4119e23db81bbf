"""What a careful user writes by hand, without edgeward: one session of each engine, and the statement that runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[Any]


class Raw(Struct, frozen=True):
    """An opened artifact.

    Attributes:
        statement: Runs it on `x` and leaves the answer to its last expression.
        names: What the statement needs, beside `x`.
        run: The same as a function.
    """

    statement: str
    names: dict[str, Any]
    run: Callable[[Array], Array]


def open_raw(engine: str, artifact: Path) -> Raw:
    """Open an artifact for one input, one output and one thread."""
    return {"litert": _litert, "onnxruntime": _onnxruntime, "openvino": _openvino}[engine](artifact)


def _litert(artifact: Path) -> Raw:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(artifact), num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    output_index = interpreter.get_output_details()[0]["index"]

    def run(x: Array) -> Array:
        interpreter.set_tensor(input_index, x)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(output_index))

    return Raw(
        "interpreter.set_tensor(input_index, x); interpreter.invoke(); interpreter.get_tensor(output_index)",
        {"interpreter": interpreter, "input_index": input_index, "output_index": output_index},
        run,
    )


def _onnxruntime(artifact: Path) -> Raw:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(artifact), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Raw(
        "session.run(None, {name: x})",
        {"session": session, "name": name},
        lambda x: np.asarray(session.run(None, {name: x})[0]),
    )


def _openvino(artifact: Path) -> Raw:
    import openvino

    core = openvino.Core()
    # As edgeward compiles it (engines/openvino.py): the comparison is of calls, not of settings.
    config = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "ENABLE_CPU_PINNING": False,
    }
    infer_request = core.compile_model(core.read_model(str(artifact)), "CPU", config).create_infer_request()
    return Raw(
        "infer_request.infer({0: x}, share_inputs=True, share_outputs=True)",
        {"infer_request": infer_request},
        lambda x: np.asarray(infer_request.infer({0: x}, share_inputs=True, share_outputs=True)[0]),
    )
