"""PyTorch → ONNX by PyTorch's own exporter, once for all engines that want it: it may take most of a conversion."""

from pathlib import Path

from edgeward_converters.sources import Source


def of(source: Source, folder: Path) -> Path:
    """The program as ONNX in the conversion's folder, its tensors not named yet."""
    import torch

    from edgeward_converters.sources.torch import load

    path = folder / "torch.onnx"
    if not path.exists():
        converted = torch.onnx.export(load(source.canonical), (), dynamo=True, verbose=False)
        path.write_bytes(converted.model_proto.SerializeToString())
    return path
