"""Checks raw reply bodies against botocore's output shapes, strictly: botocore itself drops what it does not know."""

import json
import re

MILLISECONDS_FROM = 1e11


class Mismatch(Exception):
    pass


def check(body, status, operation, milliseconds):
    """Raises Mismatch where a reply is not exactly what the operation's model allows."""
    expected = operation.http.get("responseCode", 200)
    if status != expected:
        raise Mismatch(f"status {status} instead of {expected}")
    value = json.loads(body) if body else {}
    shape = operation.output_shape
    if shape is None or not shape.members:
        if value != {}:
            raise Mismatch(f"members where there are none: {value}")
        return
    _check(value, shape, operation.name, milliseconds)


def _fail(path, text):
    raise Mismatch(f"{path}: {text}")


def _check(value, shape, path, milliseconds):
    checker = {
        "structure": _structure,
        "list": _list,
        "map": _map,
        "string": _string,
        "boolean": _boolean,
        "integer": _integer,
        "long": _integer,
        "timestamp": _timestamp,
    }.get(shape.type_name)
    if checker is None:
        _fail(path, f"the validator knows no {shape.type_name}")
    checker(value, shape, path, milliseconds)


def _structure(value, shape, path, milliseconds):
    if not isinstance(value, dict):
        _fail(path, f"{value!r} is no object")
    names = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    for name in value:
        if name not in names:
            _fail(path, f"unknown member {name}")
    for name in shape.required_members:
        if name not in value:
            _fail(path, f"required member {name} is missing")
    for name, inner in value.items():
        _check(inner, names[name], f"{path}.{name}", milliseconds)


def _range(size, shape, path):
    if size < shape.metadata.get("min", size) or size > shape.metadata.get("max", size):
        _fail(path, f"{size} is out of range {shape.metadata}")


def _list(value, shape, path, milliseconds):
    if not isinstance(value, list):
        _fail(path, f"{value!r} is no list")
    _range(len(value), shape, path)
    for index, inner in enumerate(value):
        _check(inner, shape.member, f"{path}[{index}]", milliseconds)


def _map(value, shape, path, milliseconds):
    if not isinstance(value, dict):
        _fail(path, f"{value!r} is no map")
    _range(len(value), shape, path)
    for key, inner in value.items():
        _check(key, shape.key, f"{path}<{key}>", milliseconds)
        _check(inner, shape.value, f"{path}.{key}", milliseconds)


def _string(value, shape, path, _milliseconds):
    if not isinstance(value, str):
        _fail(path, f"{value!r} is no string")
    _range(len(value), shape, path)
    enum = shape.metadata.get("enum")
    if enum and value not in enum:
        _fail(path, f"{value!r} is none of {enum}")
    pattern = shape.metadata.get("pattern", "")
    # Python's `re` knows no \p classes, and double-escaped patterns of the model match nothing at all.
    usable = pattern and "\\p{" not in pattern and "\\\\" not in pattern
    if usable and not re.search(pattern, value):
        _fail(path, f"{value!r} does not match {pattern}")


def _boolean(value, _shape, path, _milliseconds):
    if not isinstance(value, bool):
        _fail(path, f"{value!r} is no boolean")


def _integer(value, shape, path, _milliseconds):
    if isinstance(value, bool) or not isinstance(value, int):
        _fail(path, f"{value!r} is no integer")
    _range(value, shape, path)


def _timestamp(value, _shape, path, milliseconds):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _fail(path, f"{value!r} is no number")
    if (value >= MILLISECONDS_FROM) != milliseconds:
        _fail(path, f"{value!r} has the wrong unit")
