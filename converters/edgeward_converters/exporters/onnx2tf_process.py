"""onnx2tf's side of `onnx2tf`, run by the Python of its own environment as `python -I onnx2tf_process.py`.

One job a line comes in on stdin as JSON, and one answer a line goes out on stdout: null, or why it failed. It imports
nothing of edgeward, which that environment does not have, and is a process of its own for all of a model's attempts:
starting it and importing onnx2tf takes longer than converting a small model.
"""

import importlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any


def simplify(model: str, to: str) -> None:
    """Fold constants, and drop what does nothing, by onnxsim."""
    import onnx
    import onnxsim  # type: ignore[import-not-found]

    simplified, _ = onnxsim.simplify(onnx.load(model))
    onnx.save(simplified, to)


def convert(model: str, folder: str, inputs: list[str]) -> None:
    """Write `folder`/NAME_float32.tflite, straight as a flatbuffer, with the layout of these inputs kept."""
    import onnx2tf  # type: ignore[import-not-found]

    onnx2tf.convert(
        input_onnx_file_path=model,
        output_folder_path=folder,
        keep_shape_absolutely_input_names=inputs,
        enable_rnn_unroll=True,  # fused kernels keep their state from one call to the next
        not_use_onnxsim=True,  # that would start three more processes, for what `simplify` did
        not_use_opname_auto_generate=True,
        verbosity="error",
    )


_JOBS: dict[str, Callable[..., None]] = {"simplify": simplify, "convert": convert}


def _answer(job: dict[str, Any]) -> str | None:
    try:
        _JOBS[job["do"]](**job["with"])
    except BaseException as error:  # onnx2tf calls sys.exit
        return f"{type(error).__name__}: {error}"
    return None


def serve() -> None:
    """Answer jobs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    importlib.import_module("onnx2tf.onnx2tf")  # while the other side prepares the first job
    for line in sys.stdin:
        answers.write(json.dumps(_answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve()
