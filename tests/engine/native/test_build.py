"""`load`: one compilation for each source and machine, and for whatever is in the way a reason and what to do."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import resource
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from scratchrnn.engine.native import build
from scratchrnn.engine.native.build import Unavailable, load

pytestmark = pytest.mark.compiled
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")

ANSWER = "int answer(void) { return 42; }\n"
ELSEWHERE = f"""
import sys
sys.path.insert(0, {str(Path(build.__file__).parent)!r})
from build import Unavailable, load
try:
    print(load(sys.argv[1], "answer").answer())
except Unavailable as error:
    print("Unavailable:", error)
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test, which is not there yet; and the environment names no compiler."""
    monkeypatch.setenv("SCRATCHRNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SCRATCHRNN_CC", raising=False)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(build, "_tried", {})
    return tmp_path / "cache"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """SCRATCHRNN_CC is cc, but for a line written here at each compilation; of `slow` a second passes before it."""
    log = tmp_path / "calls"
    log.touch()
    compiler(tmp_path, f'echo "$@" >> {log}\ncase "$*" in *slow-*) sleep 1;; esac\nexec cc "$@"', monkeypatch)
    return log


def compiler(folder: Path, compiling: str, monkeypatch: pytest.MonkeyPatch, version: str = "1.0") -> str:
    """A script that does this where it should compile is SCRATCHRNN_CC."""
    script = folder / "a compiler"
    script.write_text(f'#!/bin/sh\nif [ "$*" = --version ]; then echo made up {version}; exit 0; fi\n{compiling}\n')
    script.chmod(0o755)
    monkeypatch.setenv("SCRATCHRNN_CC", f"'{script}'")
    return str(script)


def started_elsewhere(source: str = ANSWER) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ELSEWHERE, source], stdout=subprocess.PIPE, text=True)


def elsewhere(source: str = ANSWER) -> str:
    """What `load(source).answer()` says in a new process."""
    process = started_elsewhere(source)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return said.strip()


def libraries(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.so"))


def replace(path: Path, content: bytes) -> None:
    """By another file: where one that is loaded changes, its process may end."""
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o700)


# ------------------------------------------------------------------------------------------------ it compiles once


def test_a_source_is_compiled_once_and_kept_beside_the_library(cache: Path, calls: Path) -> None:
    assert [elsewhere(), elsewhere(), str(load(ANSWER, "answer").answer())] == ["42"] * 3
    assert len(calls.read_text().splitlines()) == 1
    (library,) = libraries(cache)
    assert library.with_suffix(".c").read_text().endswith(ANSWER)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_the_flags_are_those_that_keep_nan_and_the_process_as_they_are(calls: Path) -> None:
    command = build.built_with(load(ANSWER, "answer"))
    assert command[0].endswith("a compiler")
    wanted = "-march=native -O2 -fno-schedule-insns -ffp-contract=fast -fno-math-errno -fno-trapping-math -shared -fPIC"
    assert " ".join(command[1:]) == wanted
    assert calls.read_text().startswith(f"{wanted} answer-")


def test_another_source_processor_option_or_version_is_another_library(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as other:
        other.setattr(build, "_cpu", lambda: "model name: another")
        assert load(ANSWER, "answer").answer() == 42
    assert elsewhere() == "42"
    assert elsewhere(ANSWER.replace("42", "43")) == "43"
    for options in ("", " -DOTHER"):
        monkeypatch.setenv("CC", f"cc{options}")
        assert elsewhere() == "42"
    for version in ("1.0", "1.1"):
        compiler(tmp_path, 'exec cc "$@"', monkeypatch, version)
        assert elsewhere() == "42"
    assert len(libraries(cache)) == 7


def test_the_processor_is_told_by_its_model_and_flags_and_by_nothing_that_changes() -> None:
    told = build._cpu()
    assert told
    assert told == build._cpu.__wrapped__()
    assert "MHz" not in told


def test_where_the_compiler_does_not_know_the_processor_it_is_asked_for_no_special_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, 'case "$*" in *-march*) echo bad value >&2; exit 1;; esac\nexec cc "$@"', monkeypatch)
    library = load(ANSWER, "answer")
    assert library.answer() == 42
    assert "-march=native" not in build.built_with(library)


def test_whatever_a_name_holds_it_makes_a_file(cache: Path) -> None:
    assert load(ANSWER, "../my cell*é").answer() == 42
    (library,) = libraries(cache)
    assert library.name.startswith("_my_cell_-")


def test_processes_at_once_compile_once(calls: Path, cache: Path) -> None:
    processes = [started_elsewhere() for _ in range(4)]
    assert [process.communicate(timeout=600)[0] for process in processes] == ["42\n"] * 4
    assert len(calls.read_text().splitlines()) == 1
    assert len(libraries(cache)) == 1


def test_threads_at_once_get_one_library(calls: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: load(ANSWER, "slow"), range(8)))
    assert all(library is found[0] for library in found)
    assert len(calls.read_text().splitlines()) == 1


def forked_while_a_thread_compiles(calls: Path, in_child: str, in_parent: str) -> str:
    """What the parent prints; the child has a minute."""
    code = f"""
import os, signal, sys, threading, time
sys.path.insert(0, {str(Path(build.__file__).parent)!r})
from build import load
thread = threading.Thread(target=load, args=({ANSWER!r}, "slow"))
thread.start()
while "slow-" not in open({str(calls)!r}).read():
    time.sleep(0.01)
child = os.fork()
if child == 0:
    signal.alarm(60)
    {in_child}
{in_parent}
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.stderr == ""
    return done.stdout.strip()


def test_a_child_forked_while_a_thread_compiles_compiles_for_itself(calls: Path) -> None:
    in_child = f"os._exit(load({ANSWER!r}, 'fast').answer())"
    in_parent = f"print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), load({ANSWER!r}, 'slow').answer())"
    assert forked_while_a_thread_compiles(calls, in_child, in_parent) == "42 42"


def test_a_child_forked_while_a_thread_compiles_does_not_keep_the_others_waiting(calls: Path, cache: Path) -> None:
    in_parent = f"""
thread.join()
import fcntl, pathlib
(path,) = pathlib.Path({str(cache)!r}).glob("*.lock")
fcntl.flock(path.open(), fcntl.LOCK_EX | fcntl.LOCK_NB)
os.kill(child, signal.SIGKILL)
print("free")
"""
    assert forked_while_a_thread_compiles(calls, "time.sleep(60)", in_parent) == "free"


# -------------------------------------------------------------------------------------------------- the compiler


def test_cc_is_split_as_by_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = compiler(tmp_path, 'exec cc "$@"', monkeypatch)
    monkeypatch.setenv("CC", f"'{script}' -DNUMBER='40 + 2'")
    monkeypatch.delenv("SCRATCHRNN_CC")
    assert elsewhere("int answer(void) { return NUMBER; }") == "42"


def test_scratchrnn_cc_comes_before_cc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -DNUMBER=1")
    monkeypatch.setenv("SCRATCHRNN_CC", "cc -DNUMBER=2")
    assert elsewhere("int answer(void) { return NUMBER; }") == "2"


@pytest.mark.parametrize("value", ["no-such-compiler -x", "'cc", "  ", "false"])
def test_a_cc_that_does_not_answer_is_passed_over_and_a_scratchrnn_cc_is_not(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", value)
    assert elsewhere() == "42"
    monkeypatch.setenv("SCRATCHRNN_CC", value)
    with pytest.raises(Unavailable, match=rf"no C compiler \(.*{re.escape(value)}.*\): .* SCRATCHRNN_CC$"):
        load(ANSWER, "answer")


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ziglang", None)
    monkeypatch.setattr(build.sysconfig, "get_config_var", lambda name: "cc -pthread")
    with pytest.raises(Unavailable) as caught:
        load(ANSWER, "answer")
    assert str(caught.value) == (
        "no C compiler (cc -pthread: not found; cc: not found; gcc: not found; clang: not found): install gcc or "
        "clang, or pip install 'scratchrnn[native]', or name one in SCRATCHRNN_CC"
    )


def test_without_another_the_compiler_of_ziglang_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "ziglang"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        f"import os, sys\nos.environ['PATH'] = {os.environ['PATH']!r}\nos.execvp('cc', sys.argv[1:])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.sysconfig, "get_config_var", lambda name: None)
    library = load(ANSWER, "answer")
    assert library.answer() == 42
    assert build.built_with(library)[:5] == [sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined"]


@pytest.mark.skipif(find_spec("ziglang") is None, reason="needs ziglang")
def test_what_zig_compiles_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCHRNN_CC", f"'{sys.executable}' -m ziglang cc")
    assert elsewhere() == "42"


def test_a_compiler_that_fails_is_asked_once_and_its_error_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls"
    compiler(tmp_path, f"echo . >> {log}\necho warning\necho answer.c:1: error: no licence\necho; exit 3", monkeypatch)
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"a compiler' .*-O2 .* failed: answer\.c:1: error: no licence; name ano"):
            load(ANSWER, "answer")
    assert len(log.read_text().splitlines()) == 2  # with -march=native, and without


@pytest.mark.parametrize(
    ("compiling", "reason"),
    [
        ("exit 3", "failed: exit status 3; name another compiler in SCRATCHRNN_CC"),
        ("kill -9 $$", "failed: exit status -9; name another"),
        ("exit 0", "failed: it has written nothing; name another"),
        ('for file; do :; done; echo no library > "$file"', "makes what cannot be loaded: .*; name another"),
    ],
)
def test_a_compiler_that_makes_nothing_of_use_is_told(
    compiling: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(tmp_path, compiling, monkeypatch)
    with pytest.raises(Unavailable, match=reason):
        load(ANSWER, "answer")


def test_a_file_that_is_no_program_is_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_bytes(b"\x7fno program")
    (tmp_path / "text").chmod(0o755)
    monkeypatch.setenv("SCRATCHRNN_CC", str(tmp_path / "text"))
    with pytest.raises(Unavailable, match=r"no C compiler \(.*text --version: .*Exec format error"):
        load(ANSWER, "answer")


def test_a_compiler_that_hangs_is_ended_with_what_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = tmp_path / "started"
    compiler(tmp_path, f"sleep 1000 &\necho $! > {started}.new\nmv {started}.new {started}\nwait", monkeypatch)
    with pytest.raises(Unavailable, match=r"has not ended in 2 s; name another compiler in SCRATCHRNN_CC$"):
        load(ANSWER, "answer", limit=2)
    until = time.monotonic() + 600
    while started.exists() and runs(started.read_text().strip()):  # on a machine without time it has not come so far
        assert time.monotonic() < until
        time.sleep(0.01)


def runs(process: str) -> bool:
    """Whether it is there, and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ------------------------------------------------------------------------------------------------------ the disk


@pytest.mark.parametrize("most", [1000, 4000])
def test_on_a_full_disk_there_is_none_and_nothing_half_written_stays(most: int, cache: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))  # of the source, or of what the compiler writes
    try:
        with pytest.raises(Unavailable, match=r"File too large; set SCRATCHRNN_CACHE|failed: .*; name another"):
            load(ANSWER + "//" * 1000, "answer")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    assert elsewhere() == "42"


def test_a_file_in_place_of_the_folder_is_told(cache: Path) -> None:
    cache.touch()
    said = f"no library can be kept in {cache}: File exists; set SCRATCHRNN_CACHE to a folder of your own"
    assert elsewhere() == f"Unavailable: {said}"


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder that holds `ANSWER` and takes no new file of whoever runs the test."""
    root = os.geteuid() == 0
    with TemporaryDirectory() as folder:  # tmp_path is below a folder of root's own
        monkeypatch.setenv("SCRATCHRNN_CACHE", folder)
        assert elsewhere() == "42"
        if root:  # who may write everywhere
            for path in (folder, *Path(folder).iterdir()):
                os.chown(path, 65534, -1)
            os.seteuid(65534)
        try:
            os.chmod(folder, 0o555)
            yield Path(folder)
        finally:
            if root:
                os.seteuid(0)
            os.chmod(folder, 0o700)


def test_a_folder_that_takes_no_file_serves_what_it_has(read_only: Path) -> None:
    assert load(ANSWER, "answer").answer() == 42
    with pytest.raises(Unavailable, match=rf"no library can be kept in {read_only}: Permission denied; set SCRATCH"):
        load(ANSWER.replace("42", "43"), "answer")


@pytest.mark.skipif(not hasattr(os, "ST_NOEXEC"), reason="cannot tell")
def test_a_folder_mounted_noexec_is_told_and_nothing_is_compiled(
    cache: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(cache.parent)
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result([*real[:8], os.ST_NOEXEC, *real[9:]]))
    with pytest.raises(Unavailable, match=rf"^{cache} is mounted noexec: set SCRATCHRNN_CACHE to a folder of your own"):
        load(ANSWER, "answer")
    assert calls.read_text() == ""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("noexec", "{} is mounted noexec"),
        ("ro", "no library can be kept in {}: Read-only file system"),
        ("size=4k", "no library can be kept in {}: No space left on device"),
    ],
)
def test_a_folder_on_a_disk_that_is_of_no_use_is_told(options: str, reason: str, cache: Path) -> None:
    cache.mkdir()
    mount = f'mount -t tmpfs -o {options},mode=700 none "{cache}" && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh"]  # seen by what is started there alone
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("may not mount a disk")
    command += [sys.executable, "-c", ELSEWHERE, ANSWER + "//" * 4000]
    said = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True).stdout
    assert re.fullmatch(f"Unavailable: {reason.format(cache)}[:;] set SCRATCHRNN_CACHE to a folder of your own\n", said)


@pytest.mark.parametrize("harm", ["cut off", "other bytes", "no source", "no library"])
def test_a_broken_library_is_compiled_anew(harm: str, cache: Path, calls: Path) -> None:
    assert elsewhere() == "42"
    (library,) = libraries(cache)
    content = library.read_bytes()
    if harm == "cut off":
        replace(library, content[: len(content) // 2])
    elif harm == "other bytes":
        replace(library, b"x" * len(content))
    else:
        library.with_suffix(".c" if harm == "no source" else ".so").unlink()
    assert elsewhere() == elsewhere() == "42"
    assert len(calls.read_text().splitlines()) == 2


def test_a_whole_library_that_does_not_load_here_is_compiled_anew(
    cache: Path, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert elsewhere() == "42"
    real, refusals = build.ctypes.CDLL, iter([OSError("version `GLIBC_9' not found")])

    def picky(path: str) -> object:
        for refusal in refusals:
            raise refusal
        return real(path)

    monkeypatch.setattr(build.ctypes, "CDLL", picky)
    assert load(ANSWER, "answer").answer() == 42
    assert len(calls.read_text().splitlines()) == 2


# --------------------------------------------------------------------------------------------- whose files they are


@as_root
def test_a_folder_of_somebody_else_is_not_used(cache: Path, calls: Path) -> None:
    cache.mkdir(mode=0o700)
    os.chown(cache, 12345, -1)
    said = f"{cache} belongs to user 12345, not 0: set SCRATCHRNN_CACHE to a folder of your own"
    assert elsewhere() == f"Unavailable: {said}"
    assert calls.read_text() == ""


@as_root
def test_a_library_of_somebody_else_is_not_loaded(cache: Path) -> None:
    assert elsewhere() == "42"
    os.chown(libraries(cache)[0], 12345, -1)
    assert elsewhere().startswith(f"Unavailable: {libraries(cache)[0]} belongs to user 12345, not 0: ")


@pytest.mark.parametrize("mode", [0o770, 0o702])
@pytest.mark.parametrize("what", ["folder", "library"])
def test_what_others_may_write_is_not_loaded(what: str, mode: int, cache: Path) -> None:
    assert elsewhere() == "42"
    path = cache if what == "folder" else libraries(cache)[0]
    path.chmod(mode)
    said = f"{path} can be written by other users: chmod go-w it, if nobody has, or set SCRATCHRNN_CACHE to a folder"
    assert elsewhere() == f"Unavailable: {said} of your own"
    path.chmod(0o700)
    assert elsewhere() == "42"


def test_the_umask_opens_the_files_to_nobody(cache: Path) -> None:
    before = os.umask(0)
    try:
        assert [elsewhere(), elsewhere()] == ["42", "42"]
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"SCRATCHRNN_CACHE": "/mine", "XDG_CACHE_HOME": "/caches", "HOME": "/home/me"}, "/mine"),
        ({"SCRATCHRNN_CACHE": "~/mine", "HOME": "/home/me"}, "/home/me/mine"),
        ({"XDG_CACHE_HOME": "/caches", "HOME": "/home/me"}, "/caches/scratchrnn"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/scratchrnn"),
        ({"HOME": "/home/me"}, "/home/me/.cache/scratchrnn"),
    ],
)
def test_the_folder_is_the_users_and_can_be_moved(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("SCRATCHRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(build.folder()) == expected


def test_without_a_home_it_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCRATCHRNN_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    said = "HOME is not set, so there is no cache folder: set SCRATCHRNN_CACHE to a folder of your own"
    assert elsewhere() == f"Unavailable: {said}"


def test_clear_removes_what_is_ours_alone(cache: Path) -> None:
    assert elsewhere() == "42"
    (cache / ".unfinished-x").mkdir()
    (cache / "my notes.c").touch()
    assert len(build.kept()) == 4
    build.clear()
    assert build.kept() == []
    assert [path.name for path in cache.iterdir()] == ["my notes.c"]
    build.clear()


# ----------------------------------------------------------------------------------------------------------- locks


def test_another_process_is_waited_for_and_not_for_ever(cache: Path) -> None:
    assert elsewhere() == "42"
    libraries(cache)[0].unlink()
    (path,) = cache.glob("*.lock")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match=r"^another process still compiles after 0\.1 s: start again later$"):
            load(ANSWER, "answer", wait=0.1)
    assert elsewhere() == "42"


def test_a_file_system_without_locks_is_no_hindrance(monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert load(ANSWER, "answer").answer() == 42


def test_another_system_has_the_torch_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        with pytest.raises(Unavailable, match="is for Linux and macOS"):
            load(ANSWER, "answer")
