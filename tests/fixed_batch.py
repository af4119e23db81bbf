"""Real artifacts whose graph takes one batch size only, as other exporters make them: rewritten from free ones."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.manifest import Variant


def with_fixed_batch(bundle: Bundle, batch: int, path: Path) -> Bundle:
    """Write the bundle again with artifacts that take exactly `batch` samples; the manifest still allows any."""
    manifest, contents, variants = bundle.manifest, {}, []
    with bundle.unpacked() as release:
        for variant in manifest.variants:
            _REWRITE[variant.engine](release.artifact(variant), batch)
            written = {file.path: (release.folder / file.path).read_bytes() for file in variant.files}
            contents |= written
            variants.append(_declared(variant, written))
    contents |= {file.path: bundle.read(file.path) for file in (manifest.golden, *manifest.attachments)}
    return bundles.write(path, replace(manifest, variants=tuple(variants)), contents)


def _declared(variant: Variant, written: dict[str, bytes]) -> Variant:
    files = tuple(bundles.declare(path, content) for path, content in written.items())
    return replace(variant, files=files, size_bytes=sum(file.size_bytes for file in files))


def _litert(artifact: Path, batch: int) -> None:
    from edgeward_converters.exporters import tflite_file

    model = tflite_file.read(artifact.read_bytes())
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.shapeSignature is not None and len(tensor.shapeSignature) and tensor.shapeSignature[0] == -1:
                tensor.shape, tensor.shapeSignature = np.array([batch, *tensor.shape[1:]], np.int32), None
    artifact.write_bytes(tflite_file.write(model))


def _onnxruntime(artifact: Path, batch: int) -> None:
    import onnx

    model = onnx.load(artifact)
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = batch
    onnx.save(model, artifact)


def _openvino(artifact: Path, batch: int) -> None:
    import openvino

    model = openvino.Core().read_model(str(artifact))
    model.reshape({port.get_any_name(): [batch, *list(port.get_partial_shape())[1:]] for port in model.inputs})
    rewritten = artifact.with_name("rewritten.xml")  # the model still reads its weights from the file beside `artifact`
    openvino.save_model(model, str(rewritten), compress_to_fp16=False)
    del model
    for suffix in (".xml", ".bin"):
        rewritten.with_suffix(suffix).replace(artifact.with_suffix(suffix))


_REWRITE: dict[str, Callable[[Path, int], None]] = {
    "litert": _litert,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
