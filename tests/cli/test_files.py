"""What the commands write: whole or not at all, and readable by any parser."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import scratchrnn
from scratchrnn.cli.files import check_writable, replacing, write_json


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("older")
    with replacing(str(path)) as unfinished:
        Path(unfinished).write_text("new")
        assert path.read_text() == "older"
        assert Path(unfinished).name == "page.html"  # whoever writes goes by its ending
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["page.html"]


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_of_a_file_that_was_not_finished_nothing_stays(there: bool, error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if there:
        path.write_text("older")

    def half() -> None:
        with replacing(str(path)) as unfinished:
            Path(unfinished).write_text("ha")
            raise error

    with pytest.raises(error):
        half()
    assert os.listdir(tmp_path) == ["a.json"] * there
    assert not there or path.read_text() == "older"


def test_a_new_file_has_the_usual_rights_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    path = tmp_path / "a.json"
    for expected in ((tmp_path / "usual").stat().st_mode, stat.S_IFREG | 0o640):
        with replacing(str(path)) as unfinished:
            Path(unfinished).touch()
        assert path.stat().st_mode == expected
        path.chmod(0o640)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a.json").symlink_to(tmp_path / "there" / "b.json")
    check_writable(str(tmp_path / "a.json"))
    write_json(str(tmp_path / "a.json"), {})
    assert (tmp_path / "a.json").is_symlink()
    assert (tmp_path / "there" / "b.json").read_text() == "{}\n"


def test_a_pipe_is_written_to_as_it_is() -> None:
    code = "from scratchrnn.cli.files import *; check_writable('/dev/stdout'); write_json('/dev/stdout', [1])"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=600)
    assert done.stdout == b"[\n 1\n]\n"


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="has no names for open files")
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "link"])
def test_a_file_that_is_open_already_is_written_on(path: str, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    code = f"""
from scratchrnn.cli.files import *
print("before")
check_writable({path!r})
write_json({path!r}, [1])
print("after")
"""
    env = os.environ | {"PYTHONPATH": str(Path(scratchrnn.__file__).parent.parent)}
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True, timeout=600, cwd=tmp_path, env=env)
    assert (tmp_path / "out").read_text() == "before\n[\n 1\n]\nafter\n"


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that takes no new file of whoever runs the test, with a file that may be written."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with TemporaryDirectory() as folder:  # tmp_path is below a folder of root's own
        path = Path(folder) / "a.json"
        path.write_text("older")
        path.chmod(0o666)
        Path(folder).chmod(0o555)
        if root:  # who may write everywhere
            os.seteuid(65534)
        try:
            if os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
                pytest.skip("every folder can be written here")
            yield path
        finally:
            if root:
                os.seteuid(0)
            Path(folder).chmod(0o700)


def test_a_file_is_written_where_its_folder_takes_no_new_one(closed: Path) -> None:
    check_writable(str(closed))
    with replacing(str(closed)) as unfinished:
        Path(unfinished).write_text("new")
        assert closed.read_text() == "older"
        assert Path(unfinished).name == "a.json"
    assert closed.read_text() == "new"
    with pytest.raises(PermissionError, match=r"b\.json'$"):
        check_writable(str(closed.with_name("b.json")))
    with pytest.raises(PermissionError, match=r"b\.json'$"):
        write_json(str(closed.with_name("b.json")), [1])
    assert os.listdir(closed.parent) == ["a.json"]


@pytest.mark.parametrize("there", [False, True])
def test_a_look_whether_it_can_be_written_leaves_nothing_behind(there: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    if there:
        path.write_text("older")
    check_writable(str(path))
    assert os.listdir(tmp_path) == ["a.json"] * there
    assert not there or path.read_text() == "older"


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: 'no/where\.json'"):
        check_writable("no/where.json")
    with pytest.raises(IsADirectoryError, match=r"Is a directory: '\.'"):
        check_writable(".")


def test_a_number_that_json_has_no_word_for_is_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(str(tmp_path / "a.json"), {"a": number})
    assert os.listdir(tmp_path) == []
