"""The command line: answers alone on stdout, and whatever is wrong in one line with exit code 2, never a traceback."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgeward
from edgeward_runtimes.home import Home
from edgeward_runtimes.manifest import Preprocess
from tests.conftest import Cli


def _refused(outcome: tuple[int, str, str], message: str) -> None:
    code, out, err = outcome
    assert code == 2, err
    assert out == ""
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("error: ")]) == 1
    assert "Traceback" not in err


def test_a_bundle_can_be_inspected_verified_timed_and_asked(digits: Path, cli: Cli, tmp_path: Path) -> None:
    bundle = digits / "digits.edge"
    code, out, _ = cli("inspect", bundle, "--json")
    assert (code, json.loads(out)["name"]) == (0, "digits")
    code, out, _ = cli("inspect", bundle)
    assert code == 0
    assert "Here it would run" in out
    code, out, _ = cli("verify", bundle, "--json")
    assert code == 0
    checks = json.loads(out)["variants"]
    assert len(checks) == 6
    assert all(set(each) == {"id", "max_abs_error", "cosine", "top1_agreement", "passed"} for each in checks)
    code, out, _ = cli("bench", bundle, "--json")
    assert code == 0
    for row in json.loads(out)["variants"]:
        assert set(row) == {"id", "engine", "precision", "p50_ms", "p90_ms", "p99_ms", "load_s", "peak_rss_mb"}
        assert row["p50_ms"] > 0
    code, out, _ = cli("predict", bundle, digits / "evaluation.npz", "-o", tmp_path / "exactly.this", "--json")
    assert code == 0
    with np.load(tmp_path / "exactly.this") as outputs:
        assert outputs[outputs.files[0]].shape == (450, 10)


def test_a_variant_that_does_not_run_is_told_and_not_left_out(multiply_bundle, cli: Cli) -> None:
    bundle = multiply_bundle(variants={"multiply-fp32": {}, "elsewhere-fp32": {}, "multiply-int8": {"crash": True}})
    code, out, err = cli("bench", bundle, "--json")
    assert code == 0
    rows = {row["id"]: row["p50_ms"] for row in json.loads(out)["variants"]}
    assert rows["multiply-fp32"] > 0
    assert (rows["elsewhere-fp32"], rows["multiply-int8"]) == (None, None)
    assert "elsewhere-fp32: no engine" in err
    assert "multiply-int8: its engine crashed" in err
    assert cli("bench", multiply_bundle(variants={"elsewhere-fp32": {}}))[0] == 1
    assert cli("verify", bundle)[0] == 1


def test_flash_status_and_rollback_tell_what_runs(multiply_bundle, cli: Cli, tmp_path: Path) -> None:
    device = f"local:{tmp_path / 'device[1]'}"
    code, out, _ = cli("flash", multiply_bundle("1.0.0"), device)
    assert code == 0
    assert "device[1] now runs toy 1.0.0" in out.replace("\n", "")
    assert cli("flash", multiply_bundle("1.1.0"), device, "--json")[0] == 0
    code, out, _ = cli("rollback", device, "toy", "--json")
    assert json.loads(out)["release"].startswith("1.0.0")
    code, out, _ = cli("status", device)
    assert "multiply-fp32" in out
    _refused(cli("rollback", device, "gone"), "No model 'gone' is installed")
    _refused(cli("status", "ftp://device"), "is not a device URL")


@pytest.mark.parametrize("where", ["folder", "file/below"])
def test_a_bundle_that_could_not_be_written_is_refused_before_converting(where: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    source = tmp_path / "never-read.keras"
    _refused(cli("convert", source, "-o", tmp_path / where), "cannot be written")


@pytest.mark.parametrize(
    ("name", "content"),
    [("cut.npz", b"PK\x03\x04cut"), ("empty.npy", b""), ("noise.npz", b"noise"), ("missing.npz", None)],
)
def test_a_damaged_data_file_is_one_sentence(
    name: str, content: bytes | None, digits: Path, cli: Cli, tmp_path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    _refused(cli("predict", digits / "digits.edge", path), name)
    _refused(cli("convert", digits / "digits.keras", "-o", tmp_path / "o.edge", "--calibration", path), name)


def test_pickled_objects_are_never_loaded(digits: Path, cli: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    _refused(cli("predict", digits / "digits.edge", tmp_path / "objects.npz"), "plain arrays")


def test_text_from_elsewhere_is_shown_as_it_is(multiply_bundle, cli: Cli) -> None:
    bundle = multiply_bundle(fail="[/job:localhost/device:CPU:0] [bold] failed")
    code, out, _ = cli("verify", bundle)
    assert code == 1
    assert "[/job:localhost/device:CPU:0] [bold]" in out


def test_a_picture_is_prepared_alike_from_a_bundle_and_installed(
    digits: Path, cli: Cli, home: Home, tmp_path: Path
) -> None:
    bundle = edgeward.convert(
        digits / "digits.keras", variants=["litert-fp32"], name="pictures", preprocess=Preprocess(scale=1 / 16)
    )
    bundle.save(tmp_path / "pictures.edge")
    with np.load(digits / "evaluation.npz") as split:
        pixels = (split["x"][0, :, :, 0] * 16).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "digit.png")
    edgeward.flash(tmp_path / "pictures.edge", f"local:{home.root}")
    answers = [
        json.loads(cli("predict", source, tmp_path / "digit.png", "--json")[1])["outputs"]
        for source in (tmp_path / "pictures.edge", "pictures")
    ]
    assert answers[0] == answers[1]
    with edgeward.load(tmp_path / "pictures.edge") as model:
        expected = model.predict((pixels / np.float32(16)).astype(np.float32)[None, :, :, None])
    np.testing.assert_allclose(next(iter(answers[0].values())), expected, atol=1e-5)


def test_pictures_that_are_none_are_refused(digits: Path, cli: Cli, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "text.png").write_text("no picture")
    _refused(cli("predict", digits / "digits.edge", tmp_path / "text.png"), "cannot be read as a picture")
    Image.new("L", (400, 400)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    _refused(cli("predict", digits / "digits.edge", tmp_path / "large.png"), "cannot be read as a picture")


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    script = "import sys; sys.modules['uvicorn'] = None; from edgeward.cli import run; sys.exit(run())"
    completed = subprocess.run([sys.executable, "-c", script, "monitor"], capture_output=True, text=True, check=False)
    _refused((completed.returncode, completed.stdout, completed.stderr), "pip install 'edgeward[serve]'")
