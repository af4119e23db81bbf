"""`verify --locate`: one layer of a real artifact is broken, and that layer is named, whatever source and engine.

Every layer with weights is broken in turn, and operators are exchanged for others. Models are made, exported and walked
in the worker, which imports TensorFlow and PyTorch once.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from edgeward_converters import exporters, layers, sources
from edgeward_converters.layers import Finding, Layer
from edgeward_converters.layers.counterparts import match
from edgeward_converters.layers.tracing import INPUT, OUTPUT
from edgeward_converters.sources import Source
from edgeward_converters.sources.recognize import recognize
from edgeward_converters.worker import Worker
from edgeward_runtimes import bundle as bundles
from edgeward_runtimes.bundle import Bundle
from tests.conftest import Cli

Arrays = dict[str, np.ndarray]

CHANNELS = 3
PICTURES = np.random.default_rng(0).normal(size=(2, 16, 16, CHANNELS)).astype(np.float32)
TOLERANCE = 1e-3  # of an output's scale, as float variants are judged on a device


class Made(Struct, frozen=True):
    """A source with an artifact of each engine, and inputs for them."""

    source: Source
    artifacts: dict[str, Path]
    inputs: Arrays


class Case(Struct, frozen=True):
    """What was broken, by how much the outputs changed (of their scale), and what was found.

    `between` are the source's layers that the broken layer stands for.
    """

    broken: str
    change: float
    found: Finding | None
    between: tuple[str, ...]


# --- models -----------------------------------------------------------------------------------------------------------


def _save_keras(path: Path) -> None:
    """Residual blocks with normalization, a strided shortcut, a depthwise convolution and a gate; two outputs."""
    import keras
    from keras import layers as k

    keras.utils.set_random_seed(1)

    def convolved(x, filters: int, size: int, stride: int = 1, relu: bool = True):
        x = k.BatchNormalization()(k.Conv2D(filters, size, stride, "same", use_bias=False)(x))
        return k.ReLU()(x) if relu else x

    picture = keras.Input((16, 16, CHANNELS), name="picture")
    x = convolved(picture, 8, 3)
    for filters, stride in ((8, 1), (16, 2)):
        y = convolved(convolved(x, filters, 3, stride), filters, 3, relu=False)
        shortcut = x if stride == 1 else convolved(x, filters, 1, stride, relu=False)
        x = k.ReLU()(k.Add()([y, shortcut]))
    y = k.BatchNormalization()(k.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    gate = k.Dense(16, activation="sigmoid")(k.GlobalAveragePooling2D()(y))
    x = k.MaxPooling2D(2)(k.Add()([x, k.Multiply()([y, k.Reshape((1, 1, 16))(gate)])]))
    x = k.GlobalAveragePooling2D()(x)
    model = keras.Model(picture, [k.Dense(10, name="scores")(x), k.Dense(4, name="box")(x)])
    random = np.random.default_rng(2)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif weight.path.endswith(("beta", "moving_mean", "bias")):
            weight.assign(random.normal(0, 0.3, weight.shape))
    model.save(path)


def _save_torch(path: Path) -> None:
    """The same kind of network, channels first, its modules named by what they are."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.norm1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
            self.conv2, self.norm2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
            self.shortcut = nn.Conv2d(before, after, 1, stride) if stride > 1 else nn.Identity()

        def forward(self, x):
            y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
            return torch.relu(y + self.shortcut(x))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(CHANNELS, 8, 3, 1, 1)
            self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2))
            self.norm, self.head = nn.LayerNorm(16 * 8 * 8), nn.Linear(16 * 8 * 8, 10)

        def forward(self, picture):
            x = self.blocks(torch.relu(self.stem(picture)))
            return self.head(self.norm(torch.flatten(x, 1)))

    torch.manual_seed(1)
    network = Network()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    program = torch.export.export(
        network.eval(),
        (torch.zeros(2, CHANNELS, 16, 16),),
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
    )
    torch.export.save(program, str(path))


def _make(given: Path, engines: tuple[str, ...], inputs: tuple[np.ndarray, ...], folder: Path) -> Made:
    source = sources.describe(recognize(given, folder), folder)
    artifacts = {
        engine: exporters.export(engine, source, folder / f"model{exporters.SUFFIX[engine]}")[0] for engine in engines
    }
    named = {tensor.name: array for tensor, array in zip(source.inputs, inputs, strict=True)}
    return Made(source, artifacts, named)


_MADE: dict[str, Made] = {}


@pytest.fixture(scope="module")
def unpacked(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Arrays]:
    """The digits' artifacts in a folder, and their golden inputs."""
    bundle = Bundle.open(digits / "digits.edge")
    folder = tmp_path_factory.mktemp("unpacked")
    bundle.unpack(folder)
    return folder / "variants", bundle.golden().inputs


@pytest.fixture(scope="module")
def made(worker: Worker, unpacked, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """A model by the kind of its source; each is made once."""
    _MADE.clear()
    first = PICTURES.transpose(0, 3, 1, 2).copy()

    def make(kind: str) -> Made:
        folder = tmp_path_factory.mktemp(kind)
        if kind == "keras":
            worker.run(_save_keras, folder / "skips.keras")
            return worker.run(_make, folder / "skips.keras", ("litert", "onnxruntime", "openvino"), (PICTURES,), folder)
        if kind == "saved_model":
            return worker.run(_make, known("keras").source.canonical, ("litert",), (PICTURES,), folder)
        if kind == "torch":
            worker.run(_save_torch, folder / "skips.pt2")
            return worker.run(_make, folder / "skips.pt2", ("litert", "onnxruntime"), (first,), folder)
        if kind == "onnx":
            return worker.run(_make, known("torch").artifacts["onnxruntime"], ("onnxruntime",), (first,), folder)
        artifacts, inputs = unpacked
        return worker.run(
            _make, artifacts / "litert-fp32.tflite", ("litert", "onnxruntime"), (inputs["image"][:2],), folder
        )

    def known(kind: str) -> Made:
        if kind not in _MADE:
            _MADE[kind] = make(kind)
        return _MADE[kind]

    return known


# --- breaking them ----------------------------------------------------------------------------------------------------


def _shuffled(array: np.ndarray) -> np.ndarray:
    """The same numbers in other places: nothing but where they are tells."""
    return np.random.default_rng(0).permutation(array.reshape(-1)).reshape(array.shape)


def _broken_litert(artifact: Path, out: Path) -> Iterator[str]:
    """Write the artifact again and again, the weights of one more operator shuffled each time; give its name."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeward_converters.exporters import tflite_file

    kinds = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT8: np.int8}
    content = bytearray(artifact.read_bytes())
    for place in range(schema.Model.GetRootAs(content).Subgraphs(0).OperatorsLength()):
        model = tflite_file.read(content)
        graph = model.subgraphs[0]
        for index in graph.operators[place].inputs:
            tensor = graph.tensors[index]
            buffer = model.buffers[tensor.buffer]
            if index < 0 or buffer.data is None or tensor.type not in kinds or len(tensor.shape) < 2:
                continue
            weights = np.frombuffer(bytes(buffer.data), kinds[tensor.type])
            buffer.data = np.frombuffer(_shuffled(weights).tobytes(), np.uint8)
            out.write_bytes(tflite_file.write(model))
            yield graph.tensors[graph.operators[place].outputs[0]].name.decode()
            break


def _broken_onnx(artifact: Path, out: Path) -> Iterator[str]:
    """As for LiteRT; int8 weights reach their operator through a DequantizeLinear."""
    import onnx
    from onnx import numpy_helper

    for place in range(len(onnx.load(artifact).graph.node)):
        model = onnx.load(artifact)
        weights = {tensor.name: tensor for tensor in model.graph.initializer if len(tensor.dims) >= 2}
        stored = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
        node = model.graph.node[place]
        names = [stored.get(name, name) for name in node.input]
        name = next((name for name in names if name in weights), None)
        if name is None or node.op_type == "DequantizeLinear":
            continue
        broken = _shuffled(numpy_helper.to_array(weights[name]))
        weights[name].CopyFrom(numpy_helper.from_array(broken, name))
        onnx.save(model, str(out))
        yield node.name


def _broken_openvino(artifact: Path, out: Path) -> Iterator[str]:
    """As for LiteRT."""
    import openvino
    from openvino import opset13

    for place in range(len(openvino.Core().read_model(artifact).get_ordered_ops())):
        model = openvino.Core().read_model(artifact)
        node = model.get_ordered_ops()[place]
        if node.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
            continue
        weights = node.inputs()[1]
        broken = opset13.constant(_shuffled(weights.get_source_output().get_node().data))
        weights.replace_source_output(broken.output(0))
        openvino.save_model(model, str(out), compress_to_fp16=False)
        yield node.get_friendly_name()


_BREAK = {"litert": _broken_litert, "onnxruntime": _broken_onnx, "openvino": _broken_openvino}


def _exchanged_onnx(artifact: Path, out: Path) -> Iterator[str]:
    """One operator exchanged for another that takes and gives the same shapes."""
    import onnx

    others = {"Relu": ("Identity", "Tanh"), "Sigmoid": ("Tanh",), "MaxPool": ("AveragePool",), "Add": ("Sub",)}
    for place, node in enumerate(onnx.load(artifact).graph.node):
        for other in others.get(node.op_type, ()):
            model = onnx.load(artifact)
            model.graph.node[place].op_type = other
            onnx.save(model, str(out))
            yield node.name


def _exchanged_litert(artifact: Path, out: Path) -> Iterator[str]:
    """One fused ReLU left out, or one maximum pooled as an average."""
    from ai_edge_litert import schema_py_generated as schema

    from edgeward_converters.exporters import tflite_file

    content = bytearray(artifact.read_bytes())
    for place in range(schema.Model.GetRootAs(content).Subgraphs(0).OperatorsLength()):
        model = tflite_file.read(content)
        operator = model.subgraphs[0].operators[place]
        code = model.operatorCodes[operator.opcodeIndex]
        if getattr(operator.builtinOptions, "fusedActivationFunction", 0):
            operator.builtinOptions.fusedActivationFunction = 0
        elif code.builtinCode == schema.BuiltinOperator.MAX_POOL_2D:
            code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.AVERAGE_POOL_2D
        else:
            continue
        out.write_bytes(tflite_file.write(model))
        yield model.subgraphs[0].tensors[operator.outputs[0]].name.decode()


_EXCHANGE = {"litert": _exchanged_litert, "onnxruntime": _exchanged_onnx}


# --- looking for it ---------------------------------------------------------------------------------------------------


def _outputs(traced: list[Layer]) -> Arrays:
    arrays = {name: array for layer in traced for name, array in layer.arrays.items()}
    return {layer.name: arrays[layer.inputs[0]] for layer in traced if layer.operator == OUTPUT}


def _changes(right: Arrays, actual: Arrays) -> dict[str, float]:
    """By output, of its scale."""
    return {name: float(np.abs(actual[name] - each).max() / np.abs(each).max()) for name, each in right.items()}


def _between(reference: list[Layer], healthy: list[Layer], broken: str) -> tuple[str, ...]:
    """The reference's layers after what a layer takes, up to what it gives when it is right."""
    found = match(reference, healthy).found
    layer = next(each for each in healthy if each.name == broken and each.operator not in (INPUT, OUTPUT))
    place = {name: index for index, each in enumerate(reference) for name in each.outputs}
    taken = [place[found[name].tensor] for name in layer.inputs if name in found]
    given = [place[found[name].tensor] for name in layer.outputs if name in found]
    return tuple(each.name for each in reference[min(taken, default=0) + 1 : max(given, default=len(reference)) + 1])


def _cases(
    reference: Made | Path,
    engine: str,
    artifact: Path,
    inputs: Arrays,
    way: str,
    precision: str,
    tolerance: float,
    folder: Path,
) -> list[Case]:
    """Break an artifact in every way, and look for where it departs from the source or from a float artifact."""
    if isinstance(reference, Made):
        right = layers.trace_source(reference.source, inputs)
    else:
        right = layers.trace(engine, reference, inputs)
    healthy = layers.trace(engine, artifact, inputs)
    broken = folder / f"broken{artifact.suffix}"
    cases = []
    for name in (_BREAK if way == "weights" else _EXCHANGE)[engine](artifact, broken):
        traced = layers.trace(engine, broken, inputs)
        changes = _changes(_outputs(right), _outputs(traced))
        failing = [output for output, change in changes.items() if change > tolerance]
        found = layers.locate(right, traced, failing, precision) if failing else None
        cases.append(Case(name, max(changes.values()), found, _between(right, healthy, name)))
    return cases


def _whole(name: str | None) -> str:
    """The Keras layer or the PyTorch module of `layer/operation`."""
    return (name or "").partition("/")[0]


def _missed(cases: list[Case]) -> list[str]:
    """What was not found as it should, for a readable failure."""
    return [
        f"{case.broken}: found {case.found and (case.found.layer, case.found.nearest_source_layer)}, "
        f"expected it and one of {case.between}"
        for case in cases
        if case.found is None
        or case.found.layer != case.broken
        or _whole(case.found.nearest_source_layer) not in map(_whole, case.between)
        or case.found.max_abs_error == 0.0
    ]


_PAIRS = [
    ("keras", "litert", 10),
    ("keras", "onnxruntime", 10),
    ("keras", "openvino", 10),
    ("saved_model", "litert", 10),
    ("torch", "litert", 7),
    ("torch", "onnxruntime", 7),
    ("onnx", "onnxruntime", 7),
    ("tflite", "litert", 4),
    ("tflite", "onnxruntime", 4),
]


@pytest.mark.parametrize(("kind", "engine", "at_least"), _PAIRS)
def test_the_layer_with_broken_weights_is_named(made, worker: Worker, tmp_path, kind, engine, at_least) -> None:
    model = made(kind)
    artifact = model.artifacts[engine]
    cases = worker.run(_cases, model, engine, artifact, model.inputs, "weights", "fp32", TOLERANCE, tmp_path)
    assert len(cases) >= at_least
    assert min(case.change for case in cases) > TOLERANCE
    assert _missed(cases) == []


# Where a source has convolution and ReLU as one and the variant has two, which of them errs cannot be told.
_EXCHANGED = [pair[:2] for pair in _PAIRS if pair[1] != "openvino" and pair[:2] != ("tflite", "onnxruntime")]


@pytest.mark.parametrize(("kind", "engine"), _EXCHANGED)
def test_an_operator_exchanged_for_another_is_named(made, worker: Worker, tmp_path, kind, engine) -> None:
    model = made(kind)
    artifact = model.artifacts[engine]
    cases = worker.run(_cases, model, engine, artifact, model.inputs, "operators", "fp32", TOLERANCE, tmp_path)
    seen = [case for case in cases if case.change > TOLERANCE]
    assert len(seen) >= 3
    assert _missed(seen) == []


@pytest.mark.parametrize(("kind", "engine"), [pair[:2] for pair in _PAIRS])
def test_an_artifact_that_is_right_departs_nowhere(made, worker: Worker, kind, engine) -> None:
    model = made(kind)
    located, worst_db = worker.run(_healthy, model, engine)
    assert located is None
    assert worst_db > 90  # what is left is rounding


def _healthy(model: Made, engine: str) -> tuple[Finding | None, float]:
    source = layers.trace_source(model.source, model.inputs)
    variant = layers.trace(engine, model.artifacts[engine], model.inputs)
    assert max(_changes(_outputs(source), _outputs(variant)).values()) < 1e-5
    worst = layers.largest_error(source, variant)
    assert worst is not None
    assert worst.snr_db is not None
    return layers.locate(source, variant), worst.snr_db


@pytest.mark.parametrize("engine", ["litert", "onnxruntime"])
def test_the_int8_layer_with_broken_weights_is_named(unpacked, worker: Worker, tmp_path, engine) -> None:
    """Compared with the float artifact, next to which every int8 layer errs a little."""
    folder, inputs = unpacked
    paths = [folder / f"{engine}-{precision}{exporters.SUFFIX[engine]}" for precision in ("fp32", "int8")]
    cases = worker.run(_cases, paths[0], engine, paths[1], inputs, "weights", "int8", 0.1, tmp_path)
    assert len(cases) == 4
    assert min(case.change for case in cases) > 0.1
    assert _missed(cases) == []


@pytest.mark.parametrize("engine", ["litert", "onnxruntime", "openvino"])
def test_the_error_of_each_quantized_layer_is_known_with_its_size(unpacked, worker: Worker, engine: str) -> None:
    folder, inputs = unpacked
    float_path, int8_path = (folder / f"{engine}-{each}{exporters.SUFFIX[engine]}" for each in ("fp32", "int8"))
    errors = worker.run(layers.quantization_error, engine, float_path, int8_path, inputs)
    sizes = {each.name: each.weights_bytes for each in worker.run(layers.sizes, engine, float_path)}
    weighty = [error for error in errors if error.weights_bytes > 200]
    assert len(weighty) >= 4
    assert all(20 < error.sqnr_db < 70 for error in errors)
    assert all(error.max_abs_error > 0 for error in errors)
    assert sum(error.weights_bytes for error in errors) < 0.3 * sum(sizes.values())
    same = worker.run(layers.quantization_error, engine, float_path, float_path, inputs)
    assert {error.sqnr_db for error in same} == {float("inf")}
    assert [error.name for error in same if error.weights_bytes] != []


def test_the_error_of_a_layer_is_the_noise_in_its_output(unpacked, worker: Worker) -> None:
    """Against the definition, on the last layer before the softmax."""
    folder, inputs = unpacked
    paths = [folder / f"litert-{precision}.tflite" for precision in ("fp32", "int8")]
    traced = [worker.run(layers.trace, "litert", path, inputs) for path in paths]
    expected, actual = (
        next(layer for layer in reversed(each) if layer.operator == "FULLY_CONNECTED") for each in traced
    )
    (left,), (right,) = expected.arrays.values(), actual.arrays.values()
    error = next(
        each for each in worker.run(layers.quantization_error, "litert", *paths, inputs) if each.name == expected.name
    )
    left, right = left.astype(np.float64), right.astype(np.float64)
    assert error.sqnr_db == pytest.approx(10 * np.log10((left**2).sum() / ((left - right) ** 2).sum()))
    assert error.max_abs_error == pytest.approx(np.abs(left - right).max())
    assert error.weights_bytes == actual.weights_bytes


@pytest.mark.parametrize("engine", ["litert", "onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_sizes_account_for_the_weights_in_the_file(unpacked, worker: Worker, engine: str, precision: str) -> None:
    path = unpacked[0] / f"{engine}-{precision}{exporters.SUFFIX[engine]}"
    total = sum(each.weights_bytes for each in worker.run(layers.sizes, engine, path))
    stored = path.with_suffix(".bin").stat().st_size if engine == "openvino" else path.stat().st_size
    parameters = 160 + 4640 + 18496 + 650
    assert parameters * (4 if precision == "fp32" else 1) <= total <= 1.01 * stored  # OpenVINO stores equal ones once


def _with(bundle: Path, out: Path, artifacts: dict[str, bytes], keep: tuple[str, ...]) -> Path:
    """The bundle with some variants alone, and other bytes for the files of some."""
    given = Bundle.open(bundle)
    contents = {file.path: given.read(file.path) for file in (given.manifest.golden, *given.manifest.attachments)}
    variants = []
    for variant in given.manifest.variants:
        if variant.id in keep:
            files = {file.path: given.read(file.path) for file in variant.files}
            files |= {path: artifacts[variant.id] for path in files if variant.id in artifacts}
            declared = tuple(bundles.declare(path, content) for path, content in files.items())
            size = sum(file.size_bytes for file in declared)
            variants.append(replace(variant, files=declared, size_bytes=size))
            contents |= files
    tolerance = {each.id: given.manifest.golden.tolerance[each.id] for each in variants}
    manifest = replace(
        given.manifest, variants=tuple(variants), golden=replace(given.manifest.golden, tolerance=tolerance)
    )
    bundles.write(out, manifest, contents)
    return out


def _nth_broken(break_one: Callable[[Path, Path], Iterator[str]], artifact: Path, out: Path, place: int) -> str:
    """Break the artifact's layer of that place among those with weights; give its name."""
    return next(name for index, name in enumerate(break_one(artifact, out)) if index == place)


@pytest.fixture(scope="module")
def broken(digits: Path, unpacked, worker: Worker, tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """The digits' bundle with two broken variants, and the broken layer of each."""
    folder = tmp_path_factory.mktemp("broken")
    tflite, onnx = folder / "a.tflite", folder / "a.onnx"
    names = {
        "litert-fp32": worker.run(_nth_broken, _broken_litert, unpacked[0] / "litert-fp32.tflite", tflite, 1),
        "onnxruntime-int8": worker.run(_nth_broken, _broken_onnx, unpacked[0] / "onnxruntime-int8.onnx", onnx, 2),
    }
    artifacts = {"litert-fp32": tflite.read_bytes(), "onnxruntime-int8": onnx.read_bytes()}
    keep = ("litert-fp32", "litert-int8", "onnxruntime-fp32", "onnxruntime-int8")
    return _with(digits / "digits.edge", folder / "broken.edge", artifacts, keep), names


@pytest.mark.parametrize("with_source", [True, False])
def test_verify_names_the_broken_layers(digits: Path, broken, cli: Cli, with_source: bool) -> None:
    bundle, names = broken
    options = ("--source", digits / "digits.keras") if with_source else ()
    code, out, _ = cli("verify", bundle, "--locate", "--json", *options)
    assert code == 1
    rows = {row["id"]: row for row in json.loads(out)["variants"]}
    assert {name: row["located"] and row["located"]["layer"] for name, row in rows.items()} == {
        "litert-fp32": names["litert-fp32"],
        "litert-int8": None,
        "onnxruntime-fp32": None,
        "onnxruntime-int8": names["onnxruntime-int8"],
    }
    located = rows["litert-fp32"]["located"]
    assert set(located) == {"layer", "operator", "nearest_source_layer", "max_abs_error", "cosine", "reason"}
    assert (located["operator"], located["max_abs_error"] > 0.1, located["cosine"] < 0.99) == ("CONV_2D", True, True)
    compared = {name: row["compared_with"] for name, row in rows.items()}
    assert compared["onnxruntime-int8"] == "onnxruntime-fp32"
    assert compared["litert-fp32"] == ("digits.keras" if with_source else "onnxruntime-fp32")
    if with_source:
        assert located["nearest_source_layer"] == "conv2d_1"
        assert rows["onnxruntime-int8"]["located"]["nearest_source_layer"] == "dense"
    assert rows["litert-int8"]["largest_error"]["max_abs_error"] < 1


def test_verify_shows_the_layers_around_the_departure(digits: Path, broken, cli: Cli) -> None:
    code, out, _ = cli("verify", broken[0], "--source", digits / "digits.keras")
    assert code == 1
    text = " ".join(out.split())
    assert "litert-fp32: the first layer whose output departs is CONV_2D" in text
    assert "where the source has conv2d_1: max abs error" in text
    assert "onnxruntime-int8: the first layer whose output departs is Gemm" in text
    lines = [line.split() for line in out.splitlines()]
    assert next(line for line in lines if line[1:2] == ["conv2d"])[0] == "✓"
    assert next(line for line in lines if line[1:2] == ["conv2d_1"])[0] == "✗"


@pytest.fixture(scope="module")
def right(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits' bundle with three variants alone, all as they should be."""
    keep = ("litert-fp32", "litert-int8", "onnxruntime-fp32")
    return _with(digits / "digits.edge", tmp_path_factory.mktemp("right") / "right.edge", {}, keep)


def test_verify_says_that_nothing_departs(right: Path, cli: Cli) -> None:
    code, out, _ = cli("verify", right, "--locate")
    assert code == 0
    assert "Nothing departs." in out
    assert "The layer with the largest error" in out
    code, out, _ = cli("verify", right, "--locate", "--json")
    rows = json.loads(out)["variants"]
    assert [row["located"] for row in rows] == [None] * 3
    assert all(row["largest_error"]["layer"] for row in rows)
    code, out, _ = cli("verify", right, "--json")
    assert all("located" not in row for row in json.loads(out)["variants"])


def test_a_variant_that_cannot_be_run_does_not_keep_the_others_from_being_walked(
    digits: Path, broken, cli: Cli, tmp_path: Path
) -> None:
    keep = ("litert-fp32", "onnxruntime-fp32", "onnxruntime-int8")
    cut = _with(broken[0], tmp_path / "cut.edge", {"onnxruntime-int8": b"no model"}, keep)
    code, out, _ = cli("verify", cut, "--locate", "--json")
    rows = {row["id"]: row for row in json.loads(out)["variants"]}
    assert code == 1
    assert rows["onnxruntime-int8"]["located"]["layer"] is None
    assert "onnxruntime" in rows["onnxruntime-int8"]["located"]["reason"]
    assert rows["litert-fp32"]["located"]["layer"] == broken[1]["litert-fp32"]


def test_without_anything_to_compare_with_a_source_is_asked_for(digits: Path, cli: Cli, tmp_path: Path) -> None:
    alone = _with(digits / "digits.edge", tmp_path / "alone.edge", {}, ("litert-int8",))
    code, out, _ = cli("verify", alone, "--locate")
    assert code == 0
    assert "litert-int8: there is nothing to compare its layers with; pass --source MODEL." in " ".join(out.split())


def _save_other(like: Path, path: Path) -> None:
    """The same architecture with other weights."""
    import keras

    model = keras.models.load_model(like, compile=False)
    for weight in model.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    model.save(path)


def test_a_source_that_is_another_model_is_refused(digits, right, made, worker: Worker, cli: Cli, tmp_path) -> None:
    other, strange = tmp_path / "other.keras", made("keras").source.path
    worker.run(_save_other, digits / "digits.keras", other)
    for source, message in (
        (other, "other.keras gives other answers than the bundle's golden samples: output 'output_0' differs by"),
        (strange, "the bundle's model image (any, 8, 8, 1): it is another model. Pass the one that"),
        (tmp_path / "gone.keras", "gone.keras does not exist"),
    ):
        code, out, err = cli("verify", right, "--locate", "--source", source)
        assert (code, out) == (2, "")
        assert message in " ".join(err.split())
        assert "Traceback" not in err


def test_an_engine_that_cannot_be_looked_into_is_named(multiply_bundle, cli: Cli) -> None:
    code, out, _ = cli("verify", multiply_bundle(variants={"multiply-fp32": {}, "other-fp32": {}}), "--locate")
    assert code == 1
    assert "multiply-fp32: there is nothing to compare its layers with" in " ".join(out.split())
