"""Preprocessing: each declared step does what it says, and what is no picture is one sentence."""

import contextlib
import io
import json
import sys
import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from edgeward_converters import pictures
from edgeward_runtimes import classification, manifest, preprocess
from edgeward_runtimes.errors import ConfigError, EdgewardError, InputError, SchemaError
from edgeward_runtimes.manifest import Preprocess, Tensor
from edgeward_runtimes.resampling import resize
from tests.builders import bundle_content

PIXELS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4])))
PHOTO = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
HOSTILE = settings(max_examples=200)


def _input(*shape: int | None, dtype: str = "float32") -> Tensor:
    return Tensor(name="image", shape=(None, *shape), dtype=dtype)


def _prepared(picture, tensor: Tensor | None = None, **steps) -> np.ndarray:
    return preprocess.prepare([picture], tensor or _input(None, None, 3), Preprocess(**steps))


# What each step does


def test_a_picture_of_the_right_size_goes_in_as_it_is() -> None:
    np.testing.assert_array_equal(_prepared(PHOTO, _input(20, 30, 3)), PHOTO[None].astype(np.float32))
    assert _prepared(PHOTO, _input(20, 30, 3)).dtype == np.float32


def test_the_channels_and_the_layout_are_those_of_the_input() -> None:
    first = _prepared(PHOTO, _input(3, 20, 30), layout="NCHW")
    np.testing.assert_array_equal(first, PHOTO.transpose(2, 0, 1)[None])
    assert first.flags.c_contiguous
    np.testing.assert_array_equal(_prepared(PHOTO, color="bgr"), PHOTO[None, :, :, ::-1])
    gray = np.asarray(Image.fromarray(PHOTO).convert("L"))
    np.testing.assert_array_equal(_prepared(PHOTO, _input(20, 30, 1))[0, :, :, 0], gray)
    np.testing.assert_array_equal(_prepared(PHOTO, color="gray"), np.repeat(gray[None, :, :, None], 3, axis=3))


@given(pixels=PIXELS, channels=st.sampled_from([1, 3, 4]))
def test_pixels_change_their_channels_as_pillow_changes_them(pixels: np.ndarray, channels: int) -> None:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    tensor = _input(*pixels.shape[:2], channels)
    np.testing.assert_array_equal(_prepared(pixels, tensor), _prepared(image, tensor))


def test_a_normalized_value_is_scaled_first_and_then_freed_of_mean_and_std() -> None:
    values = _prepared(PHOTO, scale=1 / 255, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 2.0))
    expected = (PHOTO / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.4, 0.5, 2.0])
    np.testing.assert_allclose(values[0], expected, atol=1e-6)


@pytest.mark.parametrize(("dtype", "mean", "lowest", "highest"), [("int8", 128, -128, 127), ("uint8", 0, 0, 255)])
def test_an_integer_input_gets_rounded_values_within_its_range(dtype, mean, lowest, highest) -> None:
    plain = _prepared(PHOTO, _input(20, 30, 3, dtype=dtype), mean=(mean,))
    assert plain.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(plain[0].astype(int), PHOTO.astype(int) - mean)
    beyond = _prepared(PHOTO, _input(20, 30, 3, dtype=dtype), mean=(128,), scale=2.0)
    assert (beyond.min(), beyond.max()) == (lowest, highest)
    halved = _prepared(PHOTO, _input(20, 30, 3, dtype=dtype), scale=0.4)
    np.testing.assert_array_equal(halved[0], np.rint(PHOTO * np.float32(0.4)).clip(lowest, highest))


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    interpolation=st.sampled_from(["nearest", "bilinear", "bicubic"]),
    resampling=st.sampled_from(["tensorflow", "torch", "torch_uint8"]),
    antialias=st.booleans(),
    pixels=PIXELS,
)
def test_a_picture_of_one_color_keeps_it_in_any_size(size, interpolation, resampling, antialias, pixels) -> None:
    how = Preprocess(interpolation=interpolation, resampling=resampling, antialias=antialias)
    color = pixels[:1, :1]
    resized = resize(np.broadcast_to(color, pixels.shape), size, how)
    np.testing.assert_allclose(resized, np.broadcast_to(color, resized.shape), atol=1e-3)


def test_the_shorter_edge_leads_and_the_longer_follows() -> None:
    assert _prepared(PHOTO, resize=10).shape == (1, 10, 15, 3)
    assert _prepared(PHOTO.transpose(1, 0, 2), resize=10).shape == (1, 15, 10, 3)
    assert _prepared(PHOTO, resize=10, crop=(10, 10)).shape == (1, 10, 10, 3)


def test_exif_orientation_turns_a_picture_only_where_declared(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    Image.fromarray(PHOTO).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(_prepared(tmp_path / "turned.png")[0], PHOTO)
    np.testing.assert_array_equal(_prepared(tmp_path / "turned.png", upright=True)[0], np.rot90(PHOTO, -1))


def test_the_first_frame_of_an_animation_is_the_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert (_prepared(tmp_path / "moving.gif")[0] == [255, 0, 0]).all()


def test_a_file_is_closed_once_it_is_read(tmp_path: Path) -> None:
    for ending in ("tif", "gif", "png", "jpg"):
        Image.fromarray(PHOTO).save(tmp_path / f"photo.{ending}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _prepared(tmp_path / f"photo.{ending}")


# Without Pillow


def test_pixels_need_no_pillow(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert _prepared(PHOTO, _input(20, 30, 3)).shape == (1, 20, 30, 3)
    assert _prepared(PHOTO, _input(7, 9, 3), resampling="tensorflow").shape == (1, 7, 9, 3)
    assert _prepared(PHOTO, crop=(9, 9), color="gray").shape == (1, 9, 9, 3)
    with pytest.raises(EdgewardError, match=r"Resizing with .* needs Pillow.*pip install pillow"):
        _prepared(PHOTO, _input(7, 9, 3))
    with pytest.raises(EdgewardError, match=r"Reading a picture file needs Pillow.*pip install pillow"):
        _prepared("photo.jpg")


# What is no picture


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (PHOTO.astype(np.float32), "must be uint8 from 0 to 255; float32 came"),
        (PHOTO[:, :, :2], r"channels.*they have \(20, 30, 2\)"),
        (PHOTO.transpose(2, 0, 1), "x.transpose"),
        (PHOTO[:0], r"they have \(0, 30, 3\)"),
        (PHOTO.tolist(), "A list is no picture"),
        (None, "A NoneType is no picture"),
        (Image.new("I;16", (3, 3)), "more than 8 bits"),
        (Image.new("F", (3, 3)), "more than 8 bits"),
        (Path("nowhere.png"), "nowhere.png cannot be read as a picture: .*No such file"),
        (Path("/"), "cannot be read as a picture"),
    ],
)
def test_what_is_no_picture_is_said_in_one_sentence(picture, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _prepared(picture)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
@HOSTILE
@given(data=st.data())
def test_a_damaged_picture_is_an_input_error(form: str, tmp_path: Path, data) -> None:
    written = io.BytesIO()
    Image.fromarray(PHOTO).save(written, form)
    content = bytearray(written.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "damaged").write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(InputError):
            assert _prepared(tmp_path / "damaged", _input(8, 8, 3)).shape == (1, 8, 8, 3)


def test_a_picture_too_large_for_memory_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch) -> None:
    Image.new("L", (400, 400)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"bomb.png cannot be read as a picture: .*decompression bomb"):
        _prepared(tmp_path / "bomb.png")


def test_a_strip_is_not_blown_up_beyond_memory() -> None:
    strip = np.zeros((1, 50_000, 3), np.uint8)
    with pytest.raises(InputError, match="1 × 50000 pixels would be resized to 256 × 12800000"):
        _prepared(strip, resize=256)
    with pytest.raises(InputError, match="cannot be padded"):
        _prepared(strip, resize=(64, 64), aspect="pad")


def test_pictures_of_different_sizes_make_no_batch() -> None:
    with pytest.raises(InputError, match=r"of one size.*\(10, 30, 3\), \(20, 30, 3\)"):
        preprocess.prepare([PHOTO, PHOTO[:10]], _input(None, None, 3), Preprocess())


@pytest.mark.parametrize("shape", [(10,), (20, 30), (20, 30, 5), (3, 20, 30), (2, 20, 30, 3), (20, 30, None)])
def test_an_input_that_takes_no_picture_says_what_it_takes(shape: tuple) -> None:
    with pytest.raises(InputError, match=r"'image' of shape \(any, .*takes no picture: expected NHWC"):
        _prepared(PHOTO, _input(*shape))


# In the manifest


def _with_preprocess(**keys: object) -> bytes:
    document = json.loads(manifest.encode(bundle_content()[0]))
    return json.dumps({**document, "preprocess": keys}).encode()


def test_a_bundle_of_the_first_days_means_what_it_meant() -> None:
    keys = {"resize": [8, 9], "layout": "NCHW", "scale": 0.5, "mean": [0.1], "std": [2.0]}
    how = manifest.decode(_with_preprocess(**keys), "old.edge").preprocess
    assert how == Preprocess(resize=(8, 9), layout="NCHW", scale=0.5, mean=(0.1,), std=(2.0,))
    pillow = np.asarray(Image.fromarray(PHOTO).resize((9, 8), Image.Resampling.BILINEAR))
    expected = ((pillow * 0.5 - 0.1) / 2.0).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(preprocess.prepare([PHOTO], _input(3, None, None), how), expected, atol=1e-5)


@pytest.mark.parametrize(
    "keys",
    [
        {"resize": [0, 8]},
        {"resize": [8, 10**9]},
        {"resize": [8]},
        {"crop": [8, -1]},
        {"color": "pink"},
        {"fill": 256},
        {"unknown": 1},
    ],
)
def test_a_preprocess_that_is_none_is_a_schema_error(keys: dict) -> None:
    with pytest.raises(SchemaError, match=r"bad\.edge"):
        manifest.decode(_with_preprocess(**keys), "bad.edge")


@pytest.mark.parametrize(
    "keys",
    [
        {"resize": 0},
        {"resize": -5},
        {"resize": 10**9},
        {"mean": [1.0, 2.0]},
        {"mean": []},
        {"std": [0.0]},
        {"resize": [16384, 16384]},
    ],
)
def test_numbers_that_no_converter_writes_are_an_input_error(keys: dict) -> None:
    how = manifest.decode(_with_preprocess(**keys), "odd.edge").preprocess
    with pytest.raises(InputError):
        preprocess.prepare([PHOTO], _input(None, None, 3), how)


# As convert is given it


def test_a_toml_file_has_the_keys_of_preprocess(tmp_path: Path) -> None:
    for how in (*pictures.PRESETS.values(), Preprocess(resize=(3, 4), crop=(1, 2), aspect="pad", fill=114)):
        named = {key: value for key, value in msgspec.to_builtins(how).items() if value is not None}
        (tmp_path / "how.toml").write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in named.items()))
        assert pictures.preprocess(tmp_path / "how.toml") == how
    (tmp_path / "empty.toml").write_text("")
    assert pictures.preprocess(str(tmp_path / "empty.toml")) == Preprocess()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("resise = 256", "unknown field `resise`"),
        ("resize = 256.5", "resize"),
        ("resize =", "not a preprocess"),
        ("std = [0.0]", "no std of 0"),
        ("mean = [nan]", "finite"),
        ("resize = 0", "at least 1 pixel"),
        ("resize = 256\naspect = 'pad'", "needs a resize to"),
    ],
)
def test_a_toml_file_that_is_no_preprocess_is_one_sentence(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "how.toml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        pictures.preprocess(tmp_path / "how.toml")


def test_a_preprocess_made_in_python_is_held_to_the_same() -> None:
    for wrong in ({"resize": (0, 4)}, {"color": "pink"}, {"mean": "much"}, {"scale": np.float32(1)}):
        with pytest.raises(ConfigError, match="The preprocess is not one"):
            pictures.preprocess(Preprocess(**wrong))


def test_a_missing_file_lists_the_presets() -> None:
    with pytest.raises(
        ConfigError, match="Pass a TOML file, or one of keras-tf, keras-caffe, keras-torch, torchvision"
    ):
        pictures.preprocess("torchvison")


@pytest.mark.parametrize(
    ("how", "inputs", "message"),
    [
        (Preprocess(), (_input(8, 8, 3), _input(2)), "one input; this one has 2"),
        (Preprocess(layout="NCHW"), (_input(8, 8, 3),), "takes no picture: expected NCHW"),
        (Preprocess(mean=(1.0, 2.0)), (_input(8, 8, 3),), "2 numbers for mean"),
        (Preprocess(resize=(8, 9)), (_input(8, 8, 3),), r"makes pictures of \(height, width\) \(8, 9\)"),
        (Preprocess(resize=256, crop=(8, 9)), (_input(8, 8, 3),), r"makes pictures of \(height, width\) \(8, 9\)"),
    ],
)
def test_a_preprocess_that_does_not_fit_the_model_is_refused(how, inputs, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pictures.check_preprocess(how, inputs)
    pictures.check_preprocess(Preprocess(resize=9, crop=(8, 9)), (_input(None, 9, 3),))


def test_labels_come_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("\ufefftabby cat\r\ngrüner Tee\r\n\r\n".encode())
    assert pictures.labels(tmp_path / "labels.txt") == ("tabby cat", "grüner Tee")
    assert pictures.labels(str(tmp_path / "labels.txt")) == pictures.labels(["tabby cat", "grüner Tee"])
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for wrong in (tmp_path / "empty.txt", tmp_path / "binary.txt", tmp_path / "none.txt", [], [1, 2]):
        with pytest.raises(ConfigError, match="labels"):
            pictures.labels(wrong)


def _output(*shape: int | None) -> tuple[Tensor]:
    return (Tensor(name="scores", shape=(None, *shape), dtype="float32"),)


@pytest.mark.parametrize(("shape", "count"), [((3,), 3), ((3, 1, 1), 3), ((1, 1, 3), 3), ((1,), 2), ((1,), 1)])
def test_there_is_a_label_for_each_class(shape: tuple[int, ...], count: int) -> None:
    pictures.check_labels(("label",) * count, _output(*shape))
    with pytest.raises(ConfigError, match=rf"There are {count + 2} labels.*'scores' has {max(shape)} classes"):
        pictures.check_labels(("label",) * (count + 2), _output(*shape))


@pytest.mark.parametrize("shape", [(None,), (8, 8, 3), (100, 4)])
def test_labels_of_what_is_no_classifier_of_known_classes_are_not_counted(shape: tuple) -> None:
    pictures.check_labels(("a", "b"), _output(*shape))


# The best classes


class _Answered:
    """What `best` wants to know of a model."""

    outputs = _output(None)

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        self.labels = labels


def _best(scores, labels: tuple[str, ...] | None = None, top: int = 5):
    return classification.best(np.asarray(scores), _Answered(labels), top)  # type: ignore[arg-type]


@given(scores=hnp.arrays(np.float32, (3, 7), elements=st.floats(-5, 5, width=32)), top=st.integers(1, 9))
def test_the_best_come_first_with_the_outputs_own_values(scores: np.ndarray, top: int) -> None:
    labels = tuple("abcdefg")
    for row, found in zip(scores, _best(scores, labels, top), strict=True):
        assert [each.index for each in found] == sorted(range(7), key=lambda i: (-row[i], i))[:top]
        assert all(each.score == row[each.index] and each.label == labels[each.index] for each in found)


def test_scores_of_any_dtype_and_nan_can_be_ranked() -> None:
    assert [each.index for each in _best(np.array([[3, 255, 7]], np.uint8))[0]] == [1, 2, 0]
    assert [each.index for each in _best([[np.nan, 0.1, 0.9]])[0]] == [2, 1, 0]
    assert [each.label for each in _best([[0.1, 0.9]])[0]] == [None, None]
    assert len(_best(np.ones((2, 1, 1, 3)))[0]) == 3


def test_a_sigmoid_with_two_labels_is_the_probability_of_the_second() -> None:
    found = _best([[0.75], [0.25]], ("cat", "dog"))
    assert [(each.label, each.index, each.score) for each in found[0]] == [("dog", 1, 0.75), ("cat", 0, 0.25)]
    assert [each.label for each in found[1]] == ["cat", "dog"]
    with pytest.raises(InputError, match=r"must be a probability, not 3.2. End the model with a sigmoid"):
        _best([[3.2]], ("cat", "dog"))
    assert [(each.label, each.score) for each in _best([[3.2]], ("cat",))[0]] == [("cat", 3.2)]


def test_labels_that_do_not_fit_the_output_are_an_error() -> None:
    with pytest.raises(InputError, match="The output has 3 classes but there are 2 labels"):
        _best([[1, 2, 3]], ("a", "b"))
