"""OpenVINO and ONNX Runtime in mixed int8 and float, by NNCF's accuracy control.

NNCF quantizes everything, ranks what it inserted by how much it hurts, and takes back the worst until the drop on the
held-back samples is within what is allowed. The judge is ours (`litert_mixed_judge`), so a drop means the same for
every engine, and includes the margin for the number of samples.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nncf
import numpy as np
from nncf.quantization.range_estimator import RangeEstimatorParametersSet
from numpy.typing import NDArray

from edgeward_converters.data import Arrays
from edgeward_converters.quantizers import Written, batched
from edgeward_converters.quantizers.litert_mixed_judge import Judge
from edgeward_converters.quantizers.litert_mixed_settings import Basis, Mixed
from edgeward_runtimes.errors import ConversionError

_RANKED_SAMPLES = 300


def quantize(float_artifact: Path, artifact: Path, settings: Mixed, basis: Basis) -> Written:
    """Write the model with as much of it in int8 as the drop on held-back samples allows.

    Raises:
        ConversionError: When NNCF fails.
        ConfigError: When there are too few samples.
    """
    if artifact.suffix == ".onnx":
        return _onnx(float_artifact, artifact, settings, basis)
    return _openvino(float_artifact, artifact, settings, basis)


def _openvino(float_artifact: Path, artifact: Path, settings: Mixed, basis: Basis) -> Written:
    import openvino

    from edgeward_converters.exporters.openvino import save

    model = openvino.Core().read_model(str(float_artifact))

    def answers(compiled: Any, samples: Arrays) -> list[NDArray[Any]]:
        return [np.array(compiled(batch)[0]) for batch in batched(samples, basis.batch)]

    compiled = openvino.compile_model(model, "CPU")
    return save(_controlled(model, compiled, answers, settings, basis), artifact), "static"


def _onnx(float_artifact: Path, artifact: Path, settings: Mixed, basis: Basis) -> Written:
    import onnx
    import onnxruntime

    from edgeward_converters.quantizers.onnxruntime import fused

    model = onnx.load(str(fused(float_artifact, artifact)))
    name = model.graph.output[0].name

    def answers(candidate: Any, samples: Arrays) -> list[NDArray[Any]]:
        content = candidate.SerializeToString()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return [session.run([name], batch)[0] for batch in batched(samples, basis.batch)]

    onnx.save(_controlled(model, model, answers, settings, basis), str(artifact))
    return [artifact], "static"


def _controlled(model: Any, compiled: Any, answers: Any, settings: Mixed, basis: Basis) -> Any:
    """The model quantized; `answers` gives the first output of what NNCF hands over, here `compiled`, in batches."""
    held, y = basis.held_back(settings.samples)
    intended = answers(compiled, held)
    reference = np.concatenate(intended)
    is_onnx = not hasattr(compiled, "infer_new_request")
    judge = Judge(reference, None if y is None else y[: len(reference)], basis.metric)

    def value(candidate: Any, _: Iterable[Any]) -> tuple[float, list[Any]]:
        batches = answers(candidate, held)
        metric = 1.0 - judge(np.concatenate(batches)).bound
        if is_onnx:  # whose outputs NNCF cannot compare itself
            pairs = zip(batches, intended, strict=True)
            return metric, [-float(np.square(batch - before).mean()) for batch, before in pairs]
        return metric, [[batch] for batch in batches]

    fitted = batched(basis.fitted(), basis.batch)
    try:
        return nncf.quantize_with_accuracy_control(
            model,
            calibration_dataset=nncf.Dataset(fitted),
            validation_dataset=nncf.Dataset(batched(held, basis.batch)),
            validation_fn=value,
            max_drop=settings.share * basis.max_drop,
            drop_type=nncf.DropType.ABSOLUTE,
            subset_size=len(fitted),
            advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                ranking_subset_size=_RANKED_SAMPLES
            ),
        )
    except (nncf.ValidationError, nncf.UnsupportedModelError, nncf.UnsupportedBackendError) as error:
        raise ConversionError(f"NNCF's accuracy control refuses it: {error}") from error
