"""`edgeward serve` as a process, with the clients that others wrote: answers, batching, limits, and exact counts."""

import asyncio
import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

import edgeward
from edgeward.listening import listening
from edgeward_runtimes.home import Home
from edgeward_runtimes.install import installer
from edgeward_runtimes.latency.recorder import SUFFIX, read_file
from tests.conftest import wait_for

Serve = Callable[..., str]
Make = Callable[..., Path]
X = np.array([[1.0, -2.0], [0.5, 3.0]], np.float32)


@pytest.fixture
def serve(free_port: Callable[[], int]) -> Iterator[Serve]:
    """Serve a model; gives the address. At the end each server must have stopped well, and said nothing bad."""
    servers: list[subprocess.Popen[str]] = []

    def start(source: Path | str, *options: str) -> str:
        port = free_port()
        command = [sys.executable, "-m", "edgeward", "serve", str(source), "--port", str(port), *options]
        servers.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        address = f"127.0.0.1:{port}"
        wait_for(lambda: servers[-1].poll() is not None or _is_healthy(address), "the server", within_s=60)
        assert servers[-1].poll() is None, servers.pop().communicate()[1]
        return address

    yield start
    for server in servers:
        if server.poll() is None:
            server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=20)
        assert server.returncode == 0, said
        assert "Traceback" not in said
        assert "serving " in said


def _is_healthy(address: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"http://{address}/healthz").json() == {"status": "ok"}
    return False


def _metrics(address: str) -> dict[tuple[str, ...], float]:
    """Samples by name and label values; labels in the order of their names."""
    page = httpx.get(f"http://{address}/metrics").text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def _triton_input(name: str, array: NDArray, *, binary: bool = True) -> triton.InferInput:
    described = triton.InferInput(name, array.shape, "FP32")
    described.set_data_from_numpy(array, binary_data=binary)
    return described


@pytest.fixture(scope="module")
def pictures(digits: Path) -> NDArray:
    with np.load(digits / "evaluation.npz") as evaluation:
        return evaluation["x"]


@pytest.fixture(scope="module")
def expected(digits: Path, pictures: NDArray) -> NDArray:
    with edgeward.load(digits / "digits.edge") as model:
        return model.predict(pictures)


def _close(came: object, expected: NDArray) -> None:
    np.testing.assert_allclose(np.asarray(came), expected, atol=1e-5)


def test_an_unmodified_triton_client_asks_and_infers(
    digits: Path, pictures: NDArray, expected: NDArray, serve: Serve
) -> None:
    with triton.InferenceServerClient(serve(digits / "digits.edge")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("digits")
        assert client.is_model_ready("digits", "1.0.0")
        assert not client.is_model_ready("cats")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        described = client.get_model_metadata("digits")
        assert (described["name"], described["versions"]) == ("digits", ["1.0.0"])
        assert described["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8, 1]}]
        output = described["outputs"][0]["name"]

        picture = _triton_input("image", pictures[:7])
        answer = client.infer("digits", [picture], request_id="seven")
        assert (answer.get_response()["id"], answer.get_response()["model_version"]) == ("seven", "1.0.0")
        assert answer.get_output(output)["parameters"] == {"binary_data_size": 7 * 10 * 4}
        _close(answer.as_numpy(output), expected[:7])
        for binary in (True, False):
            wanted = [triton.InferRequestedOutput(output, binary_data=binary)]
            as_json = _triton_input("image", pictures[:3], binary=False)
            _close(client.infer("digits", [as_json], outputs=wanted).as_numpy(output), expected[:3])
        for packing in ("gzip", "deflate"):
            packed = client.infer("digits", [picture], model_version="1", request_compression_algorithm=packing)
            _close(packed.as_numpy(output), expected[:7])
        _check_refusals(client, picture)


def _check_refusals(client: triton.InferenceServerClient, picture: triton.InferInput) -> None:
    def refused(message: str, name: str = "digits", given: triton.InferInput = picture, **options: object) -> None:
        with pytest.raises(triton.InferenceServerException, match=message):
            client.infer(name, [given], **options)

    refused(r"\[404\] No model 'cats' is served here; this server has 'digits'", name="cats")
    refused(r"\[404\] digits has no version '2' here; it is '1.0.0'", model_version="2")
    refused(r"\[400\] Output 'y' is none of the model's", outputs=[triton.InferRequestedOutput("y")])
    flat = _triton_input("image", np.zeros((1, 64), np.float32))
    refused(r"\[400\] Input 'image' expects float32 of shape \(any, 8, 8, 1\), but float32 .* came", given=flat)
    double = triton.InferInput("image", [1, 8, 8, 1], "FP64")
    double.set_data_from_numpy(np.zeros((1, 8, 8, 1)))
    refused(r"\[400\] Input 'image' is FP32, but FP64 came\. Send it as FP32", given=double)


def test_a_plain_tensorflow_serving_client_asks_and_predicts(
    digits: Path, pictures: NDArray, expected: NDArray, serve: Serve
) -> None:
    with httpx.Client(base_url=f"http://{serve(digits / 'digits.edge')}/v1/models") as client:
        available = {"version": "1.0.0", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        assert client.get("/digits").json() == {"model_version_status": [available]}
        signatures = client.get("/digits/versions/1/metadata").json()["metadata"]["signature_def"]["signature_def"]
        image = signatures["serving_default"]["inputs"]["image"]
        assert image["dtype"] == "DT_FLOAT"
        assert [each["size"] for each in image["tensor_shape"]["dim"]] == ["-1", "8", "8", "1"]
        rows = pictures[:5].tolist()
        for path in ("/digits:predict", "/digits/versions/1:predict", "/digits/versions/1.0.0:predict"):
            for by_row in (rows, [{"image": row} for row in rows]):
                request = {"instances": by_row, "signature_name": "serving_default"}
                _close(client.post(path, json=request).json()["predictions"], expected[:5])
            for by_column in (rows, {"image": rows}):
                _close(client.post(path, json={"inputs": by_column}).json()["outputs"], expected[:5])
        for path, request, status, message in [
            ("/cats:predict", {"instances": rows}, 404, "No model 'cats'"),
            ("/digits/versions/2:predict", {"instances": rows}, 404, "no version '2'"),
            ("/digits:predict", {"instances": rows, "signature_name": "train"}, 400, "no signature 'train'"),
            ("/digits:predict", {"instances": [1, 2]}, 400, "'image' expects float32 of shape (any, 8, 8, 1)"),
            ("/digits:predict", {"rows": rows}, 400, "one of the two"),
            ("/digits/predict", {"instances": rows}, 404, "Nothing is served here"),
        ]:
            refused = client.post(path, json=request)
            assert refused.status_code == status
            assert message in refused.json()["error"]
        assert client.post("/digits:predict", content=b"{").status_code == 400


def test_requests_that_come_together_share_predictions_and_each_gets_its_own_answer(
    digits: Path, pictures: NDArray, expected: NDArray, serve: Serve
) -> None:
    address = serve(digits / "digits.edge", "--max-delay-ms", "20", "--max-batch-size", "16")
    requests = 200

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        if number % 10 == 9:  # a wrong one among them
            answer = await client.post("/v1/models/digits:predict", json={"instances": [[1.0]]})
            assert answer.status_code == 400
            return
        samples = slice(number, number + 1 + number % 3)
        answer = await client.post("/v1/models/digits:predict", json={"instances": pictures[samples].tolist()})
        _close(answer.json()["predictions"], expected[samples])

    async def ask_all() -> None:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as client:
            await asyncio.gather(*(ask(client, number) for number in range(requests)))

    asyncio.run(ask_all())
    counted = _metrics(address)
    good = [number for number in range(requests) if number % 10 != 9]
    assert counted["edgeward_requests_total", "answered", "tensorflow"] == len(good)
    assert counted["edgeward_requests_total", "refused", "tensorflow"] == requests - len(good)
    assert counted["edgeward_samples_total", "tensorflow"] == sum(1 + number % 3 for number in good)
    (predictions,) = (value for key, value in counted.items() if key[0] == "edgeward_predictions_total")
    assert len(good) / 16 <= predictions < len(good) / 2


def test_many_triton_requests_at_once_each_get_their_own_answer(
    digits: Path, pictures: NDArray, expected: NDArray, serve: Serve
) -> None:
    with triton.InferenceServerClient(serve(digits / "digits.edge"), concurrency=16) as client:
        asked = [client.async_infer("digits", [_triton_input("image", pictures[i : i + 2])]) for i in range(100)]
        for i, pending in enumerate(asked):
            _close(pending.get_result().as_numpy("output_0"), expected[i : i + 2])


def test_what_is_too_large_is_refused_and_its_client_gets_to_read_so(multiply_bundle: Make, serve: Serve) -> None:
    address = serve(multiply_bundle(), "--max-request-bytes", "100000")

    def chunked() -> Iterator[bytes]:
        yield from (b" " * (1 << 20) for _ in range(100))

    bomb = gzip.compress(b"0" * 10_000_000)
    with httpx.Client(base_url=f"http://{address}") as client:
        for content, headers in [(b" " * 100_001, {}), (chunked(), {}), (bomb, {"content-encoding": "gzip"})]:
            refused = client.post("/v2/models/toy/infer", content=content, headers=headers)
            assert refused.status_code == 413
            assert "more than 100000 bytes" in refused.json()["error"]
        assert client.post("/v2/models/toy/infer", content=b" " * 100_000).status_code == 400
    assert _metrics(address)["edgeward_requests_total", "refused", "v2"] == 4
    with triton.InferenceServerClient(address) as client:
        answer = client.infer("toy", [_triton_input("x", X)])
        np.testing.assert_array_equal(answer.as_numpy("y"), X * 2)


@pytest.mark.parametrize(
    "begun",
    [
        b"Content-Length: 100001\r\n\r\n",
        b"Content-Length: %s\r\n\r\n" % (b"9" * 18),
        b"Transfer-Encoding: chunked\r\n\r\n" + b"186a1\r\n" + b" " * 100_001 + b"\r\n",
    ],
    ids=["declared", "declared absurdly", "chunked"],
)
def test_what_is_too_large_is_refused_before_it_has_all_been_sent(
    begun: bytes, multiply_bundle: Make, serve: Serve
) -> None:
    host, _, port = serve(multiply_bundle(), "--max-request-bytes", "100000").partition(":")
    with socket.create_connection((host, int(port)), timeout=4) as connection:
        connection.sendall(b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\n" + begun)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    # asyncio's own loop looks at this before it turns Nagle's algorithm off; uvloop, which is optional, does not.
    with listening("127.0.0.1", 0, "") as web:
        assert web.proto == socket.IPPROTO_TCP


def _counted_in_files(home: Home) -> dict[str, tuple[int, int]]:
    """Predictions and errors by release, as the agent reads them."""
    read = [read_file(path) for path in home.latency.glob(f"*{SUFFIX}")]
    return {header.release: (histogram.count, errors) for header, errors, histogram in read}


def test_an_installed_model_is_counted_as_load_counts_and_its_new_release_is_followed(
    multiply_bundle: Make, home: Home, serve: Serve
) -> None:
    first = installer.install(home, multiply_bundle("1.0.0", factor=2.0)).release
    address = serve("toy")
    with triton.InferenceServerClient(address) as client:
        for _ in range(25):
            client.infer("toy", [_triton_input("x", X)])
        with pytest.raises(triton.InferenceServerException):
            client.infer("toy", [_triton_input("x", X[0])])
        assert _counted_in_files(home) == {first: (25, 0)}
        assert _metrics(address)["edgeward_predictions_total", "toy", first] == 25
        # Within the golden tolerance of 1e-3 on values up to 14, but distinguishable.
        second = installer.install(home, multiply_bundle("1.1.0", factor=2.00005)).release
        wait_for(lambda: client.get_model_metadata("toy")["versions"] == ["1.1.0"], "the new release")
        answer = client.infer("toy", [_triton_input("x", X)], model_version="1.1.0")
        np.testing.assert_array_equal(answer.as_numpy("y"), X * np.float32(2.00005))
        assert answer.get_response()["model_version"] == "1.1.0"
        assert _counted_in_files(home)[second] == (1, 0)
        assert _counted_in_files(home)[first] == (25, 0)
        assert _metrics(address)["edgeward_predictions_total", "toy", second] == 1
        assert _metrics(address)["edgeward_requests_total", "answered", "v2"] == 26


def test_an_engine_that_fails_is_a_500_with_its_words_and_is_counted(multiply_bundle: Make, serve: Serve) -> None:
    address = serve(multiply_bundle(fail="out of luck"))
    answer = httpx.post(f"http://{address}/v1/models/toy:predict", json={"instances": X.tolist()})
    assert answer.status_code == 500
    assert answer.json() == {"error": "multiply failed to run multiply-fp32: out of luck"}
    counted = _metrics(address)
    assert counted["edgeward_requests_total", "failed", "tensorflow"] == 1
    assert [value for key, value in counted.items() if key[0] == "edgeward_errors_total"] == [1]


def test_a_request_under_way_is_answered_before_the_server_stops(
    multiply_bundle: Make, free_port: Callable[[], int]
) -> None:
    port = free_port()
    command = [sys.executable, "-m", "edgeward", "serve", str(multiply_bundle(sleep_s=1.0)), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        wait_for(lambda: _is_healthy(f"127.0.0.1:{port}"), "the server", within_s=60)
        body = json.dumps({"inputs": X.tolist()}).encode()
        head = b"POST /v1/models/toy:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(head + body)
            wait_for(lambda: _unread_bytes(port, connection.getsockname()[1]) == 0, "the request to be under way")
            server.send_signal(signal.SIGTERM)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert json.loads(answer.read()) == {"outputs": (X * 2).tolist()}
        assert server.wait(20) == 0


def _unread_bytes(port: int, client_port: int) -> int:
    """What a server on loopback has not yet read of a connection."""
    ends = [f"0100007F:{each:04X}" for each in (port, client_port)]
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    (queues,) = (row[4] for row in rows if row[1:3] == ends)
    return int(queues.partition(":")[2], 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["toy.edge", "--host", "0.0.0.0"], "--host 0.0.0.0 lets other machines predict here"),
        (["toy.edge", "--port", "1", "--host", "192.0.2.1", "--allow-remote"], "Cannot listen on 192.0.2.1:1"),
        (["toy.edge", "--port", "0"], "toy.edge cannot be read"),
        (["nobody", "--port", "0"], "No model 'nobody' is installed"),
    ],
)
def test_what_cannot_be_served_is_one_line(options: list[str], message: str, home: Home, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeward", "serve", *options]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
