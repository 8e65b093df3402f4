"""Memory that may still be taken, by what the system says of the machine, of control groups and of a process."""

import subprocess
import sys

import psutil
import pytest

from metamix.memory import bytes_of, free_memory, in_units

GIGABYTE = 2**30


def _system(place, groups, meminfo=64 * GIGABYTE):
    """Files as the kernel shows them: the groups that a process is in, and the memory of the machine."""
    (place / "proc" / "self").mkdir(parents=True)
    (place / "proc" / "self" / "cgroup").write_text(groups)
    (place / "proc" / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {meminfo // 1024} kB\n")
    return place / "groups", place / "proc"


def _group(folder, limit, used, cache, names=("memory.max", "memory.current", "inactive_file")):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 17\n{names[2]} {cache}\nfile 3\n")


def test_of_this_machine_it_is_what_psutil_says():
    found, available = free_memory(), psutil.virtual_memory().available
    assert 0 < found.each <= found.together <= 1.2 * available


def test_the_least_of_nested_groups_counts_and_the_cache_is_free(tmp_path):
    groups, proc = _system(tmp_path, "0::/outer/inner\n")
    _group(groups / "outer" / "inner", "max", 3 * GIGABYTE, 0)
    assert free_memory(groups, proc).together == 64 * GIGABYTE
    _group(groups / "outer", 8 * GIGABYTE, 5 * GIGABYTE, 2 * GIGABYTE)
    assert free_memory(groups, proc).together == 5 * GIGABYTE
    _group(groups / "outer" / "inner", 4 * GIGABYTE, 3 * GIGABYTE, GIGABYTE)
    assert free_memory(groups, proc).together == 2 * GIGABYTE
    _group(groups, GIGABYTE, 2 * GIGABYTE, 0)
    assert free_memory(groups, proc).together == 0


def test_groups_of_the_first_version(tmp_path):
    groups, proc = _system(tmp_path, "5:cpu,cpuacct:/a\n4:memory:/a\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    _group(groups / "memory" / "a", 9223372036854771712, GIGABYTE, 0, names)
    assert free_memory(groups, proc).together == 64 * GIGABYTE
    _group(groups / "memory" / "a", 3 * GIGABYTE, GIGABYTE, 0, names)
    assert free_memory(groups, proc).together == 2 * GIGABYTE


def test_a_machine_that_says_nothing(tmp_path):
    found = free_memory(tmp_path / "none", tmp_path / "neither").together
    assert found >= psutil.virtual_memory().total * 0.9


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is not enforced elsewhere")
def test_the_limit_of_a_process_is_its_own():
    code = (
        "import resource\nfrom metamix.memory import free_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))\nfound = free_memory()\n"
        "print(found.each, found.together)\nspace = bytearray(int(found.each * 0.9))\n"
        "try:\n    more = bytearray(int(found.each * 0.2))\nexcept MemoryError:\n    print('full')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    each, together, said = done.stdout.split()
    assert 2**29 < float(each) < 2**31
    assert float(together) > float(each)
    assert said == "full"


@pytest.mark.parametrize(("size", "said"), [(0, "0 MB"), (9.99e8, "999 MB"), (1.5e10, "15 GB")])
def test_in_units(size, said):
    assert in_units(size) == said


@pytest.mark.parametrize("size", ["", "two GB", "2 XB", "2iB", -1, 0, "0GB", True])
def test_what_is_no_size(size):
    with pytest.raises(ValueError, match="2GB"):
        bytes_of(size)
