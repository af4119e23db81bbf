"""Builds what unit tests need: small bundles with bytes for models, where no engine is to run them."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edgeward_runtimes import bundle as bundles
from edgeward_runtimes import manifest as m
from edgeward_runtimes.bundle import Bundle
from edgeward_runtimes.samples import GoldenSamples

INPUTS = (m.Tensor(name="x", shape=(None, 2), dtype="float32"),)
OUTPUTS = (m.Tensor(name="y", shape=(None, 2), dtype="float32"),)
_CREATED = datetime(2026, 1, 1, tzinfo=timezone.utc)


def bundle_content(
    *,
    version: str = "1.0.0",
    artifacts: Mapping[str, bytes] | None = None,
    factor: float = 2.0,
    latencies_ms: Mapping[str, float] | None = None,
) -> tuple[m.Manifest, dict[str, bytes]]:
    """A manifest and its files; the source model multiplies by `factor`."""
    artifacts = artifacts or {"litert-fp32": b"float model", "onnxruntime-int8": b"int8 model"}
    samples = np.arange(8, dtype=np.float32).reshape(4, 2)
    golden = GoldenSamples({"x": samples}, {"y": samples * np.float32(factor)}).encode()
    contents = {"golden.npz": golden}
    variants = []
    for variant_id, content in artifacts.items():
        engine, _, precision = variant_id.rpartition("-")
        path = f"variants/{variant_id}.{'tflite' if engine == 'litert' else 'model'}"
        contents[path] = content
        variants.append(
            m.Variant(
                id=variant_id,
                engine=engine,
                precision=precision,
                files=(bundles.declare(path, content),),
                size_bytes=len(content),
                latency_ms=(latencies_ms or {}).get(variant_id),
            )
        )
    declared = bundles.declare("golden.npz", golden)
    manifest = m.Manifest(
        schema=m.SCHEMA,
        name="toy",
        version=version,
        created=_CREATED,
        inputs=INPUTS,
        outputs=OUTPUTS,
        variants=tuple(variants),
        golden=m.Golden(
            path=declared.path,
            size_bytes=declared.size_bytes,
            sha256=declared.sha256,
            samples=4,
            tolerance={variant_id: {"y": m.Tolerance(max_abs_error=1e-3, cosine=0.999)} for variant_id in artifacts},
        ),
        provenance=m.Provenance(source_sha256="0" * 64, tools={}),
    )
    return manifest, contents


def write_bundle(path: Path, **content: object) -> Bundle:
    """Write such a bundle."""
    manifest, contents = bundle_content(**content)  # type: ignore[arg-type]
    return bundles.write(path, manifest, contents)


def seal(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Zip members and seal them correctly, whatever they are: an attacker can do that too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"edgeward-sha256:" + b"0" * 64
    unsealed = buffer.getvalue()[:-64]
    return unsealed + hashlib.sha256(unsealed).hexdigest().encode()
