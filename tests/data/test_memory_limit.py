"""Sizes in words, and limits that the kernel holds a process to."""

import subprocess
import sys

import pytest

from metamix.data.frames import TableError
from metamix.data.memory_limit import allowed_memory, bytes_of

CHILD = """
import resource, sys
from metamix.data.memory_limit import allowed_memory
resource.setrlimit(getattr(resource, sys.argv[1]), (3 * 2**30, resource.RLIM_INFINITY))
print(allowed_memory())
"""


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_shell_is_known(limit):
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", CHILD, limit], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 3 * 2**30


def test_less_than_the_machine_has():
    psutil = pytest.importorskip("psutil")
    assert 0 < allowed_memory() <= psutil.virtual_memory().total


@pytest.mark.parametrize("size", ["", "two GB", "2 XB", -1, 0, "0GB", True])
def test_what_is_no_size(size):
    with pytest.raises(TableError, match="2GB"):
        bytes_of(size)
