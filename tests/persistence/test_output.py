"""Output files: what may be written to, and what is left when writing fails."""

import errno
import os
import stat
import threading

import pytest

from metamix.persistence import ModelFileError, OutputFile


def write(path, text, **given):
    with OutputFile(path, **given).open() as stream:
        stream.write(text.encode())


def fail_while_writing(path, error):
    with OutputFile(path).open() as stream:
        stream.write(b"half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_interrupted_writing_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error):
        fail_while_writing(path, error)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_replaced_and_keeps_its_permissions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.txt"
    assert not OutputFile("a.txt").replaces
    write("a.txt", "one")
    path.chmod(0o600)
    assert OutputFile("a.txt").replaces
    write("a.txt", "two")
    assert path.read_text() == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


@pytest.mark.parametrize("kind", ["same", "link", "hard link", "relative"])
def test_an_input_is_never_the_output(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    table, out = tmp_path / "t.csv", tmp_path / "out.csv"
    table.write_text("a,y")
    if kind == "link":
        out.symlink_to(table)
    elif kind == "hard link":
        os.link(table, out)
    else:
        out = table if kind == "same" else "t.csv"
    with pytest.raises(ModelFileError, match="read as input"):
        OutputFile(out, [tmp_path / "other.mix", table])
    assert table.read_text() == "a,y"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_text()))
    reader.start()
    output = OutputFile(pipe)
    assert not output.replaces
    with output.open() as stream:
        stream.write(b"text")
    reader.join()
    assert found == ["text"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_to_and_stays_a_device(tmp_path):
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        node.open("wb").close()
    except PermissionError:  # only root makes devices, and not in every container
        node.unlink(missing_ok=True)
        node.symlink_to("/dev/null")
    write(node, "text")
    assert stat.S_ISCHR(node.stat().st_mode)
    assert list(tmp_path.iterdir()) == [node]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
def test_a_full_disk_names_the_path():
    with pytest.raises(ModelFileError, match="/dev/full cannot be written: No space left") as caught:
        write("/dev/full", "text")
    assert caught.value.__cause__.errno == errno.ENOSPC


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "a.bin"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal = pytest.importorskip("signal")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ModelFileError, match=r"a\.bin cannot be written: File too large"):
            write(path, "x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent/a.txt", "no folder"),
        ("a.txt/b.txt", "cannot be written"),
        ("new/", "cannot be written"),
        (".", "is a folder"),
        ("x" * 300, "File name too long"),
        ("loop", "symbolic links"),
        ("/proc/metamix.txt", "cannot be written"),
        ("", "not the name of a file"),
        ("a\0b", "not the name of a file"),
        (None, "None is not the name of a file"),
        (1, "1 is not the name of a file"),
        (True, "True is not the name of a file"),
    ],
)
def test_other_places_are_refused_before_anything_is_written(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ModelFileError, match=message):
        OutputFile(name)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_protected_places_are_refused(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.txt").chmod(0o400)
    locked.chmod(0o500)
    with pytest.raises(ModelFileError, match="Permission denied"):
        OutputFile(locked / "a.txt")
    with pytest.raises(ModelFileError, match="write-protected"):
        OutputFile(tmp_path / "a.txt")
