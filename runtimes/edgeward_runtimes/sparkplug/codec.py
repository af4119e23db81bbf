"""Sparkplug payloads as frozen structs, to and from protobuf bytes.

Data types are those of the specification's section 6.4.16; of them edgeward writes the ones in `DataType`
and reads all scalar ones. Signed integers travel as two's complement in unsigned fields, as it says there.
"""

from enum import IntEnum

from google.protobuf.message import DecodeError
from msgspec import Struct

from edgeward_runtimes.sparkplug import payload_pb2 as wire

Value = bool | int | float | str | bytes | None


class DataType(IntEnum):
    """Sparkplug's scalar data types. UNKNOWN is a null in data, which leave the type to the birth."""

    UNKNOWN = 0
    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    BYTES = 17
    FILE = 18


_SIGNED_BITS = {DataType.INT8: 32, DataType.INT16: 32, DataType.INT32: 32, DataType.INT64: 64}
_WIDE = (DataType.INT64, DataType.UINT64, DataType.DATETIME)


class Metric(Struct, frozen=True, kw_only=True):
    """One metric. A birth gives name, alias and datatype; data give the alias. `timestamp` is Unix ms.

    A datatype that the message leaves out is read from the value's field, as the widest one that it can be.
    """

    name: str | None = None
    alias: int | None = None
    datatype: DataType
    value: Value
    timestamp: int | None = None
    is_historical: bool = False


class Payload(Struct, frozen=True, kw_only=True):
    """One message's content. `timestamp` is Unix ms; `seq` is 0 to 255, absent in NDEATH and commands."""

    timestamp: int | None = None
    seq: int | None = None
    metrics: tuple[Metric, ...] = ()


def encode(payload: Payload, *, with_datatypes: bool = True) -> bytes:
    """Write a payload as protobuf. Data leave the datatypes to the birth, commands and births do not."""
    message = wire.Payload()
    if payload.timestamp is not None:
        message.timestamp = payload.timestamp
    if payload.seq is not None:
        message.seq = payload.seq
    for metric in payload.metrics:
        _encode_metric(metric, message.metrics.add(), with_datatypes)
    return message.SerializeToString()


def decode(content: bytes) -> Payload:
    """Read a payload. Metrics of types that edgeward does not read are left out.

    Raises:
        ValueError: When the bytes are not a Sparkplug payload.
    """
    message = wire.Payload()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise ValueError(f"not a Sparkplug payload: {error}") from None
    metrics = (_decode_metric(metric) for metric in message.metrics)
    return Payload(
        timestamp=message.timestamp if message.HasField("timestamp") else None,
        seq=message.seq if message.HasField("seq") else None,
        metrics=tuple(metric for metric in metrics if metric is not None),
    )


def _encode_metric(metric: Metric, target: wire.Payload.Metric, with_datatype: bool) -> None:
    if metric.name is not None:
        target.name = metric.name
    if metric.alias is not None:
        target.alias = metric.alias
    if metric.timestamp is not None:
        target.timestamp = metric.timestamp
    if metric.is_historical:
        target.is_historical = True
    if with_datatype:
        target.datatype = int(metric.datatype)
    if metric.value is None:
        target.is_null = True
    else:
        setattr(target, _field_of(metric), _on_the_wire(metric))


def _field_of(metric: Metric) -> str:
    """The field of the wire's oneof that carries the metric's value."""
    match metric.value:
        case bool():
            return "boolean_value"
        case int():
            return "long_value" if metric.datatype in _WIDE else "int_value"
        case float():
            return "float_value" if metric.datatype is DataType.FLOAT else "double_value"
        case str():
            return "string_value"
        case _:
            return "bytes_value"


def _on_the_wire(metric: Metric) -> Value:
    bits = _SIGNED_BITS.get(metric.datatype)
    if bits is not None and isinstance(metric.value, int):
        twos_complement: int = metric.value % 2**bits
        return twos_complement
    return metric.value


def _decode_metric(metric: wire.Payload.Metric) -> Metric | None:
    # DATA may leave out the datatype (it is the birth's): then the field that is set tells enough.
    field = metric.WhichOneof("value")
    try:
        datatype = DataType(metric.datatype) if metric.datatype else _DATATYPE_OF_FIELD[field]
    except (ValueError, KeyError):
        return None
    value: Value = None
    if field is not None and field in _DATATYPE_OF_FIELD and not metric.is_null:
        value = getattr(metric, field)
        if datatype in _SIGNED_BITS and isinstance(value, int):
            bits = _SIGNED_BITS[datatype]
            value = value - 2**bits if value >= 2 ** (bits - 1) else value
    return Metric(
        name=metric.name if metric.HasField("name") else None,
        alias=metric.alias if metric.HasField("alias") else None,
        datatype=datatype,
        value=value,
        timestamp=metric.timestamp if metric.HasField("timestamp") else None,
        is_historical=metric.is_historical,
    )


_DATATYPE_OF_FIELD: dict[str | None, DataType] = {
    None: DataType.UNKNOWN,
    "int_value": DataType.UINT32,
    "long_value": DataType.UINT64,
    "float_value": DataType.FLOAT,
    "double_value": DataType.DOUBLE,
    "boolean_value": DataType.BOOLEAN,
    "string_value": DataType.STRING,
    "bytes_value": DataType.BYTES,
}
