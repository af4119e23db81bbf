"""The ways into LiteRT from Python, timed on one model: why the runtime calls the interpreter and nothing above it."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import timing
from tests.benchmarks.raw import open_raw


def measure(artifact: Path) -> list[tuple[str, str]]:
    """Each way, and how long a call of a one-input, one-output float model takes by it."""
    x = np.zeros((1, 16), np.float32)
    raw = open_raw("litert", artifact)
    # An interpreter whose inside somebody else holds, too, refuses to run by itself: hence one more for each who does.
    native = open_raw("litert", artifact).names["interpreter"]
    runner = open_raw("litert", artifact).names["interpreter"].get_signature_runner()
    names = {"x": x, **raw.names, **_compiled(artifact), "runner": runner}
    names["native"] = native._interpreter
    names["output"] = raw.names["interpreter"].tensor(raw.names["output_index"])
    names["input_name"] = next(iter(runner.get_input_details()))
    view = "interpreter.tensor(input_index)()[...] = x; interpreter.invoke(); output().copy()"
    compiled = "given.write(x); compiled_model.run_by_index(0, [given], [taken]); taken.read(4, numpy.float32)"
    statements = {
        "interpreter: `set_tensor`, `invoke`, `get_tensor`": raw.statement,
        "its native object: `SetTensor`, `Invoke`, `GetTensor`": (
            "native.SetTensor(input_index, x); native.Invoke(); native.GetTensor(output_index)"
        ),
        "interpreter: views of both tensors": view,
        "interpreter: `set_tensor`, `invoke`, a view of the output": (
            "interpreter.set_tensor(input_index, x); interpreter.invoke(); output()"
        ),
        "signature runner": "runner(**{input_name: x})",
        "CompiledModel: `write`, `run_by_index`, `read`": compiled,
    }
    turns = timing.compare(statements, names, turns=501)
    return [(way, f"{turns.median(way) * 1e6:.2f} µs") for way in statements]


def _compiled(artifact: Path) -> dict[str, Any]:
    """The CompiledModel with its buffers; it holds to one thread by itself."""
    from ai_edge_litert.compiled_model import CompiledModel

    compiled_model = CompiledModel.from_file(str(artifact))
    given, taken = compiled_model.create_input_buffers(0)[0], compiled_model.create_output_buffers(0)[0]
    return {"compiled_model": compiled_model, "given": given, "taken": taken, "numpy": np}
