"""ONNX → `.tflite` by onnx2tf, in its own environment and process (`onnx2tf_environment`, `onnx2tf_process`).

The ONNX model is fixed to one sample, its constants are folded, and what comes of it is compared with onnxruntime's
answers of the model that came. If it runs other batches as well, its batch is made free; the runtime splits what a
fixed one does not take.
"""

import tempfile
from pathlib import Path
from typing import Any

import onnx

from edgeward_converters.exporters import (
    onnx_graph,
    onnx_recurrent,
    tflite_batch,
    tflite_file,
    tflite_recurrent,
    tflite_rewrites,
)
from edgeward_converters.exporters.onnx2tf_converter import Converter
from edgeward_converters.exporters.onnx2tf_environment import VERSION
from edgeward_converters.exporters.onnx_reference import Reference
from edgeward_converters.exporters.tflite_names import name_tensors
from edgeward_runtimes.errors import ConversionError
from edgeward_runtimes.manifest import Tensor


def export(onnx_path: Path, artifact: Path, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> list[Path]:
    """Write a float `.tflite` with the ONNX model's names and layouts, proved against onnxruntime on random inputs.

    Args:
        onnx_path: An ONNX file with its weights inside, tensors named as in inputs and outputs.
        artifact: The `.tflite` file to write. Where inputs or outputs are int64 it may have int32.
        inputs: The public inputs.
        outputs: The public outputs.

    Raises:
        ConversionError: When the model leaves an axis free besides the batch, when onnx2tf cannot convert it or gives
            another model, or when its environment cannot be made.
    """
    original = onnx.load(str(onnx_path))
    fixed = onnx_graph.fix_batch(original, onnx_path)
    reasons = []
    with tempfile.TemporaryDirectory(prefix="edgeward-onnx2tf-") as name, Converter() as converter:
        reference = Reference(onnx_path, onnx_graph.has_free_batch(original), inputs, outputs)
        # onnxsim's graphs come out smaller; it makes an invalid one of some with If nodes, and then onnxruntime folds.
        for folder in (Path(name) / "onnxsim", Path(name) / "onnxruntime"):
            try:
                content = _converted(converter, fixed, reference.shapes, folder)
                reference.check(content)
            except ConversionError as error:
                reasons.append(str(error))
                continue
            artifact.write_bytes(_freed(content, reference))
            return [artifact]
    reason = "; then ".join(dict.fromkeys(reasons))
    raise ConversionError(f"onnx2tf {VERSION} cannot convert {onnx_path.name} to LiteRT: {reason}")


def _converted(converter: Converter, fixed: Any, shapes: dict[str, tuple[int, ...]], folder: Path) -> bytes:
    """The model for one sample, named, folded by what the folder is called after; not proved yet."""
    folder.mkdir()
    path = folder / "model.onnx"
    onnx.save(fixed, str(path))
    if folder.name == "onnxsim":
        converter.run("simplify", model=str(path), to=str(path))
    else:
        onnx_graph.fold(path)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    layers = onnx_recurrent.take_out(model)
    onnx_graph.keep_outputs(model, shapes)
    onnx.save(model, str(path))
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    converter.run("convert", model=str(path), folder=str(folder), inputs=inputs)
    content = tflite_recurrent.write_in((folder / "model_float32.tflite").read_bytes(), layers)
    _check_operators(content)
    content = tflite_rewrites.rewrite(content)
    same_inputs, same_outputs = ({name: name for name in names} for names in (inputs, outputs))
    return tflite_batch.fixed(name_tensors(content, same_inputs, same_outputs))


def _freed(content: bytes, reference: Reference) -> bytes:
    """The model with a free batch, if the source's is free and this model stands it."""
    if not reference.has_free_batch:
        return content
    freed = tflite_batch.freed(content)
    try:
        reference.check(freed)
    except ConversionError:
        return content
    return freed


def _check_operators(content: bytes) -> None:
    """Refuse what LiteRT cannot run, and what keeps state from one prediction to the next: its fused RNN kernels do."""
    model = tflite_file.read(content)
    custom = {(code.customCode or b"").decode() for code in model.operatorCodes} - {""}
    if custom:
        raise ConversionError(f"LiteRT has no operators for {', '.join(name.removeprefix('ONNX_') for name in custom)}")
    if any(tensor.isVariable for graph in model.subgraphs for tensor in graph.tensors):
        raise ConversionError("a recurrent layer of an unusual kind would keep its state between predictions")
