"""From a document and its arrays to objects; `metamix.persistence.encoding` says what a document consists of.

Whoever decodes has compared the names with those that are trusted. What an index of a document or of a tree points to
is checked here before compiled code follows it. A node is built once, however often it is referred to, an array of the
file belongs to one node, and an array of objects is filled item by item: objects need no more memory than the document
promises.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.persistence.trees import COMPILED, check_state
from metamix.persistence.trust import is_known, may_be_called, may_be_made

__all__ = ["decode", "find", "read_dtype"]

UNFINISHED = object()
# Objects in one key of a dict or set; keys of fitted models have a handful.
LARGEST_KEY = 1000
BIT_GENERATORS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
}


def decode(document: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> Any:
    """Build the object of a document whose names are trusted.

    Parameters
    ----------
    document : dict
        As `encode` returns it.
    arrays : list of ndarray

    Raises
    ------
    ImportError
        If a name is not found.
    Exception
        Anything, if the document does not fit together: classes put what they find into their objects.

    Examples
    --------
    >>> decode({"names": [], "root": {"a": ["list", 1, ["array", 0]]}}, [np.zeros(2)])
    {'a': [1, array([0., 0.])]}
    """
    return _Decoder(document["names"], arrays).value(document["root"])


def find(name: str) -> Any:
    """Class or function by module and name.

    Raises
    ------
    ImportError
        If there is none.

    Examples
    --------
    >>> find("numpy.log1p")(0.0)
    np.float64(0.0)
    """
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        try:
            found: Any = import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                raise ImportError(f"{'.'.join(parts[:end])} has no {'.'.join(parts[end:])}")
            found = getattr(found, part)
        return found
    raise ImportError(f"there is no {name}")


def read_dtype(description: Any) -> np.dtype[Any]:
    """Dtype of an array from its description.

    Raises
    ------
    ValueError
        If it is no dtype of a fixed size without objects.

    Examples
    --------
    >>> read_dtype([["x", "<f8"], ["", "|V8"], ["y", "|u1"]]).fields["y"]
    (dtype('uint8'), 16)
    """

    def fields(part: Any) -> Any:
        if isinstance(part, list):
            return [tuple(fields(one) if i == 1 else one for i, one in enumerate(field)) for field in part]
        return part

    dtype = np.lib.format.descr_to_dtype(fields(description))
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"{description!r} is no dtype of numbers or text")
    return dtype


class _Decoder:
    def __init__(self, names: Sequence[str], arrays: Sequence[NDArray[Any]]) -> None:
        self.names = names
        self.arrays: list[NDArray[Any] | None] = list(arrays)
        self.found: dict[int, Any] = {}
        self.made: list[Any] = []
        self.builders: dict[str, Callable[..., Any]] = {
            "list": self._list, "tuple": self._tuple, "set": self._set, "frozenset": self._frozenset,
            "dict": self._dict, "array": self._array, "scalar": self._scalar, "text": self._text,
            "bytes": self._bytes, "bytearray": self._bytearray, "objects": self._objects, "masked": self._masked,
            "dtype": self._dtype, "random_state": self._random_state, "generator": self._generator,
            "name": self._named, "new": self._new, "call": self._call,
        }  # fmt: skip

    def value(self, node: Any) -> Any:
        kind = type(node)
        if kind is list:
            if node[0] == "ref":
                return self._made(node[1])
            place = len(self.made)
            self.made.append(UNFINISHED)
            self.made[place] = value = self.builders[node[0]](place, *node[1:])
            return value
        if kind is dict:
            self.made.append(filled := {})
            for key, one in node.items():
                filled[key] = self.value(one)
            return filled
        return node

    def _made(self, place: int) -> Any:
        value = self.made[_natural(place)]
        if value is UNFINISHED:
            raise ValueError("a node refers to itself before it is there")
        return value

    def _list(self, place: int, *items: Any) -> list[Any]:
        filled: list[Any] = []
        self.made[place] = filled
        filled.extend(self.value(one) for one in items)
        return filled

    def _dict(self, place: int, *items: Any) -> dict[Any, Any]:
        self.made[place] = filled = {}
        for key, one in zip(items[::2], items[1::2], strict=True):
            key = self._key(key)
            filled[key] = self.value(one)
        return filled

    def _tuple(self, place: int, *items: Any) -> tuple[Any, ...]:
        return tuple(self.value(one) for one in items)

    def _set(self, place: int, *items: Any) -> set[Any]:
        return {self._key(one) for one in items}

    def _frozenset(self, place: int, *items: Any) -> frozenset[Any]:
        return frozenset(self._key(one) for one in items)

    def _key(self, node: Any) -> Any:
        key = self.value(node)
        _check_key(key)
        return key

    def _array(self, place: int, i: int) -> NDArray[Any]:
        array = self.arrays[_natural(i)]
        if array is None:  # as bytes or text each node would be a copy of it
            raise ValueError("an array belongs to several nodes")
        self.arrays[i] = None
        return array

    def _scalar(self, place: int, i: int) -> Any:
        return self._array(place, i)[()]

    def _bytes(self, place: int, i: int) -> bytes:
        return self._array(place, i).tobytes()

    def _bytearray(self, place: int, i: int) -> bytearray:
        return bytearray(self._array(place, i))

    def _text(self, place: int, i: int) -> str:
        return self._bytes(place, i).decode("utf-8", "surrogatepass")

    def _objects(self, place: int, shape: Sequence[int], *items: Any) -> NDArray[Any]:
        if math.prod(map(_natural, shape)) != len(items):
            raise ValueError("an array of objects has another number of items")
        self.made[place] = array = np.empty(len(items), dtype=object)
        for i, one in enumerate(items):
            array[i] = self.value(one)
        return array.reshape(shape)

    def _masked(self, place: int, *parts: Any) -> Any:
        data, mask, fill_value = map(self.value, parts)
        if any(type(one) is not np.ndarray for one in (data, mask)):
            raise ValueError("a masked array has no arrays")
        if mask.shape != data.shape or mask.dtype != np.ma.make_mask_descr(data.dtype):  # numpy would make a new mask
            raise ValueError("a masked array has another mask than data")
        return np.ma.MaskedArray(data, mask=mask, fill_value=fill_value)

    def _dtype(self, place: int, description: Any) -> np.dtype[Any]:
        return read_dtype(description)

    def _random_state(self, place: int, state: Any) -> np.random.RandomState:
        state = self.value(state)
        _check_random(state)
        made = np.random.RandomState(0)
        made.set_state(state)
        return made

    def _generator(self, place: int, state: Any) -> np.random.Generator:
        state = self.value(state)
        _check_random(state)
        bits = BIT_GENERATORS[state["bit_generator"]](0)
        bits.state = state
        return np.random.Generator(bits)

    def _named(self, place: int, i: int) -> Any:
        if i not in self.found:
            self.found[i] = find(self.names[_natural(i)])
        return self.found[i]

    def _new(self, place: int, i: int, arguments: list[Any], *content: Any) -> Any:
        kind, name = self._named(place, i), self.names[i]
        if not isinstance(kind, type) or (is_known(name) and not may_be_made(name)):
            raise ValueError(f"{name} is not made in this way")
        self.made[place] = made = kind.__new__(kind, *map(self.value, arguments))
        return self._fill(made, *content)

    def _call(self, place: int, i: int, arguments: list[Any], state: Any = None, *content: Any) -> Any:
        function, name = self._named(place, i), self.names[i]
        if is_known(name) and not may_be_called(name):
            raise ValueError(f"{name} is called, which no file of metamix does")
        given = [self.value(one) for one in arguments]
        if name in COMPILED:
            state = self.value(state)
            check_state(name, given, state)
            made = function(*given)
            _set_state(made, state)
            return made
        self.made[place] = made = function(*given)
        return self._fill(made, state, *content)

    def _fill(self, made: Any, state: Any = None, items: Any = None, pairs: Any = None) -> Any:
        _set_state(made, self.value(state))
        if items is not None:
            made.extend([self.value(one) for one in items])
        for key, one in zip((pairs or [])[::2], (pairs or [])[1::2], strict=True):
            key = self._key(key)
            made[key] = self.value(one)
        return made


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no index")
    return number


def _check_key(key: Any) -> None:
    """Refuse keys that are large or deep: the hash of a tuple visits all of it, in C and without a limit of depth."""
    stack, size = [key], 1
    while stack:
        one = stack.pop()
        if isinstance(one, tuple | frozenset):
            inside = one
        elif is_dataclass(one) and not isinstance(one, type):
            inside = tuple(getattr(one, field.name, None) for field in fields(one))
        else:
            continue
        size += len(inside)
        if size > LARGEST_KEY:
            raise ValueError(f"a key consists of more than {LARGEST_KEY:,} objects")
        stack.extend(inside)


def _check_random(state: dict[str, Any]) -> None:
    """Check the place in the buffer, from which numpy reads on unchecked."""
    place, numbers = state["state"].get("pos", 0), state.get("buffer_pos", 0)
    if not 0 <= place <= 624 or not 0 <= numbers <= 4:
        raise ValueError("random numbers go on outside their buffer")


def _set_state(made: Any, state: Any) -> None:
    """Put a state into an object, as pickle does."""
    if state is None:
        return
    if hasattr(made, "__setstate__"):
        made.__setstate__(state)
        return
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    made.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        if name.startswith("__"):
            raise ValueError(f"{name} cannot be set")
        setattr(made, name, value)
