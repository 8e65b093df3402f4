"""Damaged and hostile files of saved mixtures: what `load` and `predict` do with them, and what memory that takes.

python benchmarks/damaged_files.py [--files 300] [--seed 0] [--quick]

Files are made from an honest one: bits flipped and the end cut off; members changed, swapped, renamed, doubled and
compressed; names of types that would run code; sizes of arrays and of members that are not there; references that
multiply; indices of trees, neighbours and support vectors out of range. Each is loaded in a process of its own, which
predicts if the file loads. A file may be refused with `ModelFileError`, or load. It fails if code of it runs, another
exception is raised by `load`, the process dies or takes more than a minute, or it needs more than three times the
memory that the honest file takes.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import collections
import io
import json
import pickle
import re
import resource
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from metamix import MixtureClassifier, load, save
from metamix.persistence import ModelFileError
from metamix.persistence.archive import ARRAYS, MODEL

ALLOWED_MEMORY = 3.0  # times what the honest file takes
SECONDS = 60
MARK = "code of the file has run"
WRONG = [-1, -2, 7, 10**3, 10**6, 2**31 - 1, -(2**31), 2**62]


def honest_mixture(rows: int) -> tuple[Any, Any]:
    """A mixture of models whose predictions follow indices, and rows to predict."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 4))
    y = (X[:, 0] + rng.normal(size=rows) > 0).astype(int) + (X[:, 1] > 1)
    experts = [
        ("forest", RandomForestClassifier(30, random_state=0)),
        ("boosting", "boosting"),
        ("stages", GradientBoostingClassifier(n_estimators=20, random_state=0)),
        ("near", KNeighborsClassifier(algorithm="kd_tree")),
        ("brute", KNeighborsClassifier(algorithm="brute")),
        ("vectors", SVC(probability=False)),
        ("clusters", make_pipeline(KMeans(4, random_state=0, n_init=1), LogisticRegression())),
    ]
    experts = [part if not isinstance(part[1], str) else part[1] for part in experts]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture = MixtureClassifier(experts, specialize=False, gate="tree", cv=2, random_state=0).fit(X, y)
    return mixture, X[:200]


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return {name: file.read(name) for name in file.namelist()}


def archive(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return buffer.getvalue()


def with_document(parts: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> bytes:
    document = json.loads(parts[MODEL])
    change(document)
    return archive({**parts, MODEL: json.dumps(document).encode()})


def flipped(content: bytes, rng: Any, count: int = 1) -> bytes:
    changed = bytearray(content)
    for place in rng.integers(0, len(content), count):
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def bit_flips(honest: bytes, rng: Any) -> Iterator[bytes]:
    while True:
        yield flipped(honest, rng, int(rng.choice([1, 1, 1, 20])))


def cut_off(honest: bytes, rng: Any) -> Iterator[bytes]:
    yield from (b"", b"PK", honest + b"more", honest + honest, honest[:-1], honest[1:])
    while True:
        yield honest[: int(rng.integers(len(honest)))]


def changed_members(honest: bytes, rng: Any) -> Iterator[bytes]:
    """Members with flipped bits under a right checksum, and members that are not what they should be."""
    parts = members(honest)
    names = list(parts)
    yield archive({name: parts[names[k - 1]] for k, name in enumerate(names)})
    yield archive({**parts, ARRAYS: parts[ARRAYS][:-8]})
    yield archive({**parts, "../../outside.txt": b"text"})
    yield archive({f"/tmp/{name}": content for name, content in parts.items()})
    yield archive({name: parts[name] for name in names[:-1]})
    for name in names:
        yield archive({**parts, name: b""})
        yield archive({**parts, name: b"[" * 100_000})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile says that the name is there already
            buffer = io.BytesIO(honest)
            with zipfile.ZipFile(buffer, "a") as file:
                file.writestr(name, b"{}")
            yield buffer.getvalue()
    while True:
        name = names[int(rng.integers(len(names)))]
        yield archive({**parts, name: flipped(parts[name], rng, int(rng.choice([1, 5])))})


def changed_documents(honest: bytes, rng: Any) -> Iterator[bytes]:
    """Values of the document replaced by others, and exchanged."""
    parts = members(honest)
    values: list[Any] = [None, True, -1, 10**30, 1e999, "", "text", [], {}, ["ref", 0], ["ref", 10**9], ["name", 0]]

    def places(node: Any) -> Iterator[tuple[Any, Any]]:
        for key, one in node.items() if isinstance(node, dict) else enumerate(node):
            yield node, key
            if isinstance(one, dict | list):
                yield from places(one)

    while True:
        document = json.loads(parts[MODEL])
        found = list(places(document))
        (one, here), (other, there) = (found[int(k)] for k in rng.integers(len(found), size=2))
        if rng.random() < 0.5:
            one[here] = values[int(rng.integers(len(values)))]
        else:
            one[here] = other[there] if not isinstance(other[there], dict | list) else [*other[there]]
        yield archive({**parts, MODEL: json.dumps(document).encode()})


def hostile_types(honest: bytes, mark: Path) -> list[bytes]:
    """Files that would write a mark if anything of them was called."""
    parts = members(honest)
    code = f"open({str(mark)!r}, 'w').write({MARK!r})"
    calls = [
        ("os.system", [f"echo '{MARK}' > {mark}"]), ("builtins.exec", [code]), ("builtins.eval", [code]),
        ("builtins.open", [str(mark), "w"]), ("pathlib.Path", [str(mark)]), ("builtins.getattr", [None, "x"]),
        ("subprocess.Popen", [["list", "touch", str(mark)]]), ("numpy.savetxt", [str(mark), ["list", 1]]),
        ("joblib.numpy_pickle.load", [str(mark)]), ("metamix.persistence.load", [str(mark)]),
        ("metamix.data.files.read_file", [str(mark)]), ("sklearn.utils._joblib.joblib.dump", [1, str(mark)]),
        ("sklearn.datasets._base.load_files", [str(mark.parent)]), ("sklearn.externals", []),
        ("sklearn.linear_model._ridge.Ridge", [1.0]), ("numpy.ndarray", [["tuple", 10**9]]),
        ("numpy.memmap", [str(mark), "uint8", "w+", 0, ["tuple", 10]]), ("sklearn.tree._tree.Tree", [4, 1, 10**9]),
        ("sklearn.utils._bunch.Bunch", []), ("functools.partial", [["name", 0]]),
    ]  # fmt: skip
    found = [
        with_document(parts, lambda document, name=name, node=node: document.update(names=[name], root=node))
        for name, arguments in calls
        for node in (["call", 0, arguments], ["new", 0, arguments], ["name", 0])
    ]
    found.append(archive({**parts, MODEL: pickle.dumps(mark)}))
    reduced = f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode()
    return [*found, reduced, archive({**parts, ARRAYS: reduced})]


def bombs(honest: bytes) -> Iterator[bytes]:
    """Files of a few megabytes that declare a gigabyte or more, or multiply what they hold."""
    parts = members(honest)
    zeros = b"\0" * 10**9
    for name in (MODEL, ARRAYS):
        yield archive({**parts, name: zeros}, zipfile.ZIP_DEFLATED)
    yield archive({**parts, MODEL: b"[" + b"0," * (5 * 10**8) + b"0]"}, zipfile.ZIP_DEFLATED)
    del zeros
    for shape in ([10**9], [10**12], [2**62, 4], [0, 2**62], [-1, -8], [1] * 100):
        yield with_document(parts, lambda document, shape=shape: document["arrays"][0].__setitem__(1, shape))
        yield with_document(parts, lambda document, shape=shape: document["arrays"].append(["<f8", shape, False]))
    for dtype in ("|V0", "|O", "|V1000000000", "<U100000000", [["a", "|O"]]):
        yield with_document(parts, lambda document, dtype=dtype: document["arrays"].append([dtype, [1], False]))
    nested: Any = ["list", 1.5]
    for level in range(30):  # 2 ** 30 items if each reference was a copy
        nested = ["list", nested, ["ref", 30 - level]] if level else nested
    for tag in (["objects", [2, 2]], ["tuple"], ["masked"]):
        yield with_document(parts, lambda document, tag=tag: document.update(root=[*tag, *[nested] * 4]))
    for many in (b"[]," * 6_000_000, b"0," * 6_000_000, b'{"":' * 1_000_000):
        yield archive({**parts, MODEL: b'{"names":[],"arrays":[],"root":["list",' + many + b"0]}"})
    directory = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", *[0] * 18) * 10**5
    yield honest + directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 3, 3, len(directory), len(honest), 0)
    sizes = bytearray(honest)
    for found in re.finditer(b"PK\x01\x02", honest):
        sizes[found.start() + 20 : found.start() + 28] = struct.pack("<2L", 2**31, 2**31)
    yield bytes(sizes)


def wrong_indices(honest: bytes, rng: Any) -> Iterator[bytes]:
    """An integer array, or a field of a record, with one wrong value."""
    parts = members(honest)
    table = json.loads(parts[MODEL])["arrays"]
    starts = np.cumsum([0, *(np.dtype(_descr(d)).itemsize * int(np.prod(s)) for d, s, _ in table)])
    kinds = collections.defaultdict(list)
    for k, (description, shape, _) in enumerate(table):
        dtype = np.dtype(_descr(description))
        fields = [(name, *dtype.fields[name][:2]) for name in dtype.names] if dtype.names else [("", dtype, 0)]
        for name, kind, offset in fields:
            if kind.kind in "iu" and np.prod(shape):
                kinds[str(description), name, len(shape)].append((k, kind, offset))
    groups = list(kinds.values())
    while True:
        for group in groups:
            k, kind, offset = group[int(rng.integers(len(group)))]
            width, size = np.dtype(_descr(table[k][0])).itemsize, int(np.prod(table[k][1]))
            place = starts[k] + offset + width * int(rng.choice([0, rng.integers(size)]))
            wrong = np.array(WRONG[int(rng.integers(len(WRONG)))]).astype(kind).tobytes()
            arrays = parts[ARRAYS]
            yield archive({**parts, ARRAYS: arrays[:place] + wrong + arrays[place + len(wrong) :]})


def _descr(description: Any) -> Any:
    return [tuple(field) for field in description] if isinstance(description, list) else description


def cases(honest: bytes, count: int, seed: int, mark: Path) -> Iterator[tuple[str, bytes]]:
    """Kind and content of about `count` files."""
    rng = np.random.default_rng(seed)
    hostile, explosive = hostile_types(honest, mark), bombs(honest)
    share = {
        "bit flips": (bit_flips(honest, rng), 0.15), "cut off": (cut_off(honest, rng), 0.08),
        "members": (changed_members(honest, rng), 0.15), "document": (changed_documents(honest, rng), 0.2),
        "types": (iter(hostile), 0.2), "bombs": (explosive, 0.1), "indices": (wrong_indices(honest, rng), 0.12),
    }  # fmt: skip
    for kind, (files, part) in share.items():
        for _, content in zip(range(max(2, round(count * part))), files, strict=False):
            yield kind, content


def peak() -> float:
    """Peak memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def outcome(path: Path, X: Any) -> tuple[str, float]:
    """What happens with a file in a process of its own, and the memory that it takes there in megabytes."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        before = peak()
        try:
            said = attempt(path, X)
        except BaseException as error:  # whatever it is, it is what this script looks for
            said = f"ERROR {type(error).__name__}: {error}"[:300]
        os.write(writing, f"{peak() - before:.1f} {said}".encode())
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        memory, _, said = pipe.read().decode(errors="replace").partition(" ")
    return (said, float(memory)) if said else (f"DIED by signal {os.WTERMSIG(status)}", 0.0)


def attempt(path: Path, X: Any) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mixture = load(path)
        except ModelFileError:
            return "refused"
        try:
            mixture.predict_proba(X)
        except Exception as error:  # of numpy, about shapes that do not fit: an error, and nothing worse
            return f"predict raises {type(error).__name__}"
    return "loaded"


def run(honest: bytes, X: Any, count: int, seed: int) -> tuple[collections.Counter[tuple[str, str]], list[str], float]:
    """Count outcomes by kind; list failures; largest memory relative to the honest file."""
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    failures, largest = [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        path, mark = Path(folder, "a.mix"), Path(folder, "mark")
        path.write_bytes(honest)
        assert attempt(path, X) == "loaded"  # imports what loading imports
        said, allowed = outcome(path, X)
        assert said == "loaded", said
        for number, (kind, content) in enumerate(cases(honest, count, seed, mark)):
            path.write_bytes(content)
            del content
            said, memory = outcome(path, X)
            counts[kind, said.split(" ")[0] if said[0] in "ED" else said] += 1
            largest = max(largest, memory / allowed)
            if said[0] in "ED" or mark.exists() or memory > ALLOWED_MEMORY * allowed:
                failures.append(f"{number} {kind}: {said}, {memory:.0f} MB{', CODE RAN' * mark.exists()}")
            mark.unlink(missing_ok=True)
    print(f"honest file: {len(honest) / 1e6:.1f} MB, loading and predicting takes {allowed:.0f} MB of memory")
    return counts, failures, largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="forty files of a small mixture")
    given = parser.parse_args()
    mixture, X = honest_mixture(300 if given.quick else 4000)
    with tempfile.TemporaryDirectory() as folder:
        save(mixture, Path(folder, "honest.mix"))
        honest = Path(folder, "honest.mix").read_bytes()
    del mixture
    counts, failures, largest = run(honest, X, 40 if given.quick else given.files, given.seed)
    for (kind, said), number in sorted(counts.items()):
        print(f"{kind:<10} {said:<40} {number:4d}")
    print(f"files {sum(counts.values())}, failures {len(failures)}, largest memory {largest:.2f} × the honest file's")
    print(*failures, sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
