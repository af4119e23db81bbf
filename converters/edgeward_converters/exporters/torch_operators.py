"""Operators of PyTorch that litert-torch 0.10 cannot lower, in terms of others that it can."""

import re
from typing import Any

_RECURRENT = re.compile(r"aten\.(lstm|gru|rnn_tanh|rnn_relu)\.")


def lowered(program: Any) -> Any:
    """The program, its transposed convolutions with output padding rewritten (`mhlo.convolution` is illegal)."""
    import torch

    operator = torch.ops.aten.conv_transpose2d.input
    if all(node.target != operator for node in program.graph.nodes):
        return program
    return program.run_decompositions({operator: _conv_transpose2d})


def is_recurrent(program: Any) -> bool:
    """Whether it has LSTM, GRU or RNN layers, which all but PyTorch's ONNX exporter write out step after step."""
    return any(_RECURRENT.match(str(node.target)) for node in program.graph.nodes if node.op == "call_function")


def _conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    output_padding: Any = (0, 0),
    groups: int = 1,
    dilation: Any = (1, 1),
) -> Any:
    """The whole convolution, cut to what padding leaves; rows that output padding adds past its end are zero."""
    import torch
    from torch.nn import functional

    if not any(output_padding):
        return NotImplemented
    before, added = _both(padding), _both(output_padding)
    beyond = [max(0, more - cut) for cut, more in zip(before, added, strict=True)]
    whole = torch.ops.aten.conv_transpose2d.input(x, weight, None, stride, [0, 0], [0, 0], groups, dilation)
    whole = functional.pad(whole, (0, beyond[1], 0, beyond[0]))
    for axis, (cut, more, past) in enumerate(zip(before, added, beyond, strict=True), 2):
        end = whole.shape[axis] - past - cut + more
        whole = whole.narrow(axis, cut, end - cut)
    return whole if bias is None else whole + bias.reshape(1, -1, 1, 1)


def _both(sizes: Any) -> list[int]:
    """Two sizes, where one may stand for both."""
    return list(sizes) * 2 if len(sizes) == 1 else list(sizes)
