"""From objects to a document of JSON values and a list of arrays.

An object is taken apart by the protocol of `copyreg` and `pickle` (`__reduce_ex__`), and named by module and name; what
it consists of becomes nodes, which `metamix.persistence.decoding` puts together again:

* null, booleans, numbers and strings: themselves; ``{...}``: a dict whose keys are strings;
* ``["list", *items]``, and so "tuple", "set" and "frozenset"; ``["dict", key, value, ...]``: a dict with other keys;
* ``["array", i]``: entry i of the arrays; and so "scalar", "text", "bytes" and "bytearray";
* ``["objects", shape, *items]``: of objects; ``["masked", data, mask, fill_value]``, ``["dtype", description]``;
* ``["random_state", state]``, ``["generator", state]``: of `numpy.random`, the latter without its seed;
* ``["name", i]``: the class or function with name i;
* ``["new", i, arguments, state, items, pairs]``: ``cls.__new__(cls, *arguments)``, and what is put into it;
* ``["call", i, arguments, state, items, pairs]``: ``function(*arguments)``, and what is put into it;
* ``["ref", n]``: again the n-th of the nodes that are arrays or objects of JSON.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LONGEST_TEXT", "MOST_NODES", "encode", "name_of"]

# Longer strings are stored among the arrays, where they need no escapes.
LONGEST_TEXT = 1000
# More nodes are neither written nor read: a file of commas would take many times its size in memory. The default pool
# has 20,000 nodes, a forest of 1,000 trees 60,000.
MOST_NODES = 5_000_000
ATOMS = (bool, int, float)
CONTAINERS: dict[type, str] = {list: "list", tuple: "tuple", set: "set", frozenset: "frozenset"}
FUNCTIONS = (type, FunctionType, BuiltinFunctionType, np.ufunc, type(np.sum))


def encode(value: Any) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Take an object apart.

    Parameters
    ----------
    value : object

    Returns
    -------
    document : dict
        ``names`` (list of str), ``arrays`` (list of ``[dtype, shape, is Fortran-contiguous]``) and ``root``, a node.
    arrays : list of ndarray

    Raises
    ------
    TypeError
        If something inside cannot be stored, such as a lambda, a lock or a method.

    Examples
    --------
    >>> document, arrays = encode({"a": [1, 2.5], "b": np.zeros(3)})
    >>> document["root"], document["arrays"]
    ({'a': ['list', 1, 2.5], 'b': ['array', 0]}, [['<f8', [3], False]])
    """
    encoder = _Encoder()
    root = encoder.node(value)
    return {"names": list(encoder.names), "arrays": encoder.table, "root": root}, encoder.arrays


def name_of(value: Any) -> str:
    """Module and name of a class or function.

    Raises
    ------
    TypeError
        If it cannot be imported by that name, as what is defined inside a function.

    Examples
    --------
    >>> name_of(np.log1p), name_of(encode)
    ('numpy.log1p', 'metamix.persistence.encoding.encode')
    """
    name = getattr(value, "__qualname__", value.__name__)
    modules = [getattr(value, "__module__", None) or "", "numpy", "scipy.special"]
    for module in dict.fromkeys(one for one in modules if one):
        if _found(module, name) is value:
            return f"{module}.{name}"
    raise TypeError(
        f"{modules[0]}.{name} cannot be imported by name: define functions and classes at the top level of a module"
    )


def _found(module: str, name: str) -> Any:
    import sys

    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


class _Encoder:
    """What has been written so far."""

    def __init__(self) -> None:
        self.names: dict[str, int] = {}
        self.arrays: list[NDArray[Any]] = []
        self.table: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []  # an id belongs to its object only as long as that lives

    def node(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind in ATOMS or (kind is str and len(value) <= LONGEST_TEXT):
            return value
        if id(value) in self.numbers:
            return ["ref", self.numbers[id(value)]]
        self.numbers[id(value)] = len(self.kept)
        self.kept.append(value)
        if kind is dict:
            return self._dict(value)
        if kind in CONTAINERS:
            return [CONTAINERS[kind], *map(self.node, value)]
        if kind is str:
            return ["text", self._array(np.frombuffer(value.encode("utf-8", "surrogatepass"), np.uint8))]
        if kind in (bytes, bytearray):
            return [kind.__name__, self._array(np.frombuffer(value, np.uint8))]
        if isinstance(value, np.generic | np.ndarray | np.dtype | np.random.RandomState | np.random.Generator):
            return self._numpy(value)
        if isinstance(value, FUNCTIONS):
            return ["name", self._name(name_of(value))]
        return self._object(value)

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) is str for key in value):
            return {key: self.node(one) for key, one in value.items()}
        return ["dict", *(self.node(one) for pair in value.items() for one in pair)]

    def _numpy(self, value: Any) -> Any:
        if isinstance(value, np.dtype):
            return ["dtype", _description(value)]
        if isinstance(value, np.random.RandomState):
            return ["random_state", self.node(value.get_state(legacy=False))]
        if isinstance(value, np.random.Generator):
            return ["generator", self.node(value.bit_generator.state)]
        if isinstance(value, np.ma.MaskedArray):
            parts = (np.asarray(value.data), np.ma.getmaskarray(value), np.asarray(value.fill_value))
            return ["masked", *map(self.node, parts)]
        if isinstance(value, np.generic):
            return ["scalar", self._array(np.asarray(value))]
        if type(value) not in (np.ndarray, np.memmap):
            return self._object(value)
        if value.dtype == object:
            return ["objects", list(value.shape), *map(self.node, value.ravel())]
        return ["array", self._array(np.asarray(value))]

    def _array(self, array: NDArray[Any]) -> int:
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        self.table.append([_description(array.dtype), list(array.shape), fortran])
        self.arrays.append(array)
        return len(self.arrays) - 1

    def _name(self, name: str) -> int:
        return self.names.setdefault(name, len(self.names))

    def _object(self, value: Any) -> Any:
        if isinstance(value, MethodType):
            raise TypeError(f"{value.__qualname__} is a method of an object, which cannot be stored; use a function")
        reduce = copyreg.dispatch_table.get(type(value))
        reduced = value.__reduce_ex__(4) if reduce is None else reduce(value)
        if isinstance(reduced, str):
            return ["name", self._name(f"{type(value).__module__}.{reduced}")]
        function, arguments, *rest = reduced
        state, items, pairs, setter = [*rest, None, None, None, None][:4]
        if setter is not None:
            raise TypeError(f"a {type(value).__name__} restores its state by a function, which cannot be stored")
        if getattr(function, "__name__", "") == "__newobj__":
            tag, function, arguments = "new", arguments[0], arguments[1:]
        else:
            tag = "call"
        node = [tag, self._name(name_of(function)), [*map(self.node, arguments)], self.node(state)]
        return self._with_content(node, items, pairs)

    def _with_content(self, node: list[Any], items: Iterable[Any] | None, pairs: Iterable[Any] | None) -> list[Any]:
        """Add the items of a list and the pairs of a dict that have a class of their own."""
        for content in (items, None if pairs is None else (one for pair in pairs for one in pair)):
            node.append(None if content is None else [self.node(one) for one in content])
        while node[-1] is None:
            node.pop()
        return node


def _description(dtype: np.dtype[Any]) -> Any:
    """A dtype as JSON: its string, or the fields of a record.

    Raises
    ------
    TypeError
        If it has no fixed size.
    """
    if dtype.hasobject or dtype.itemsize == 0:
        raise TypeError(f"arrays of {dtype} cannot be stored")
    return np.lib.format.dtype_to_descr(dtype)
