"""`load`: C source as a library, compiled when it is first asked for and kept in the user's cache folder.

What stands in the way, of the compiler, the disk or the folder, is an `Unavailable`: what it is, and what to do.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from threading import Lock

# Never -ffast-math: where it is linked, it sets flush-to-zero for the whole process.
_MATH = ("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math")
# schedule-insns, which gcc has for ARM alone, loads a tile's rows so early that not all its sums have a register.
_FLAGS = ("-O2", "-fno-schedule-insns", *_MATH, "-shared", "-fPIC")
_MARCH = "-march=native"
_OURS = re.compile(r"\w+-[0-9a-f]{32}\.(so|c|lock)|\.unfinished-\w+")  # of the names in the cache folder
_ANOTHER = "name another compiler in SCRATCHRNN_CC"
_OWN = "set SCRATCHRNN_CACHE to a folder of your own"

_tried: dict[tuple[str, str], ctypes.CDLL | str] = {}  # the library, or why there is none: it is not tried at each call
_lock = Lock()


def _after_fork() -> None:
    """Another thread of the parent may have held the lock, and is not here to release it."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Unavailable(RuntimeError):  # noqa: N818 - a state, told by `status`, before it is an error
    """The native engine does not run: why, and what to do."""


def load(source: str, name: str, *, limit: float = 60.0, wait: float = 10.0) -> ctypes.CDLL:
    """The library of a C source, whose files are called by `name`.

    The compiler may take `limit` seconds, and another process that compiles the same is waited for `wait` seconds.

    Raises:
        Unavailable: there is none, in later calls neither.
    """
    if (name, source) not in _tried:
        with _lock:
            if (name, source) not in _tried:
                try:
                    _tried[name, source] = _load(source, name, limit, wait)
                except Unavailable as error:
                    _tried[name, source] = str(error)
                except OSError as error:
                    _tried[name, source] = f"no library can be kept in {folder()}: {error.strerror or error}; {_OWN}"
    found = _tried[name, source]
    if isinstance(found, str):
        raise Unavailable(found)
    return found


def built_with(library: ctypes.CDLL) -> list[str]:
    """The command, without the names of files, that has compiled what `load` gave."""
    with Path(library._name).with_suffix(".c").open(encoding="utf-8") as code:
        return shlex.split(code.readline().removeprefix("// "))


def compiler(limit: float = 60.0) -> tuple[list[str], str]:
    """The first that tells its version: `SCRATCHRNN_CC` or else `CC`, Python's own, cc, gcc, clang, ziglang; and that.

    Raises:
        Unavailable: there is none.
    """
    usual = [os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]
    if find_spec("ziglang"):
        usual.append(shlex.join([sys.executable, "-m", "ziglang", "cc"]))
    tried = []
    for text in filter(None, [chosen] if (chosen := os.environ.get("SCRATCHRNN_CC")) else usual):
        try:
            first, *others = shlex.split(text)
        except ValueError as error:  # a quotation without an end, or blanks alone
            tried.append(f"{text!r}: {error}")
            continue
        if (path := shutil.which(first)) is None:
            tried.append(f"{text}: not found")
            continue
        command = [os.path.abspath(path), *others]
        status, said = _run([*command, "--version"], None, limit)
        if status == 0:
            return command, said
        tried.append(f"{text} --version: {said}")
    raise Unavailable(
        f"no C compiler ({'; '.join(dict.fromkeys(tried))}): install gcc or clang, or pip install "
        "'scratchrnn[native]', or name one in SCRATCHRNN_CC"
    )


def folder() -> Path:
    """The cache folder: `SCRATCHRNN_CACHE`, or `scratchrnn` where the user's caches are.

    Raises:
        Unavailable: the user has no home.
    """
    if chosen := os.environ.get("SCRATCHRNN_CACHE"):
        return Path(os.path.expanduser(chosen)).absolute()
    if os.path.isabs(caches := os.environ.get("XDG_CACHE_HOME", "")):
        return Path(caches, "scratchrnn")
    if not (home := os.environ.get("HOME")):
        raise Unavailable(f"HOME is not set, so there is no cache folder: {_OWN}")
    return Path(home, "Library/Caches" if sys.platform == "darwin" else ".cache", "scratchrnn").absolute()


def kept() -> list[Path]:
    """Our files in the cache folder, where others may lie, too."""
    return sorted(path for path in folder().glob("*") if _OURS.fullmatch(path.name))


def clear() -> None:
    """Remove `kept()`. Libraries that are loaded stay so."""
    for path in kept():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _load(source: str, name: str, limit: float, wait: float) -> ctypes.CDLL:
    if os.name != "posix":
        raise Unavailable("the native engine is for Linux and macOS")
    (command, version), where = compiler(limit), folder()
    if "zig" in shlex.join(command):
        command.append("-fno-sanitize=undefined")  # on which zig traps, if it is not told otherwise
    where.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_own(where)
    if os.statvfs(where).f_flag & getattr(os, "ST_NOEXEC", 0):
        raise Unavailable(f"{where} is mounted noexec: {_OWN}")
    told = "\0".join([source, *command, version, _MARCH, *_FLAGS, _cpu()])
    key = hashlib.sha256(told.encode()).hexdigest()[:32]
    path = where / f"{re.sub('[^A-Za-z0-9]+', '_', name)}-{key}.so"
    whole = _is_whole(path)
    if whole:
        with suppress(OSError):  # it is of a machine with another libc: compiled anew
            return ctypes.CDLL(str(path))
    with _alone(path.with_suffix(".lock"), wait):
        if whole or not _is_whole(path):  # else another process has done it meanwhile
            _compile(source, path, command, limit)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise Unavailable(f"{shlex.join(command)} makes what cannot be loaded: {error}; {_ANOTHER}") from None


def _check_own(path: Path) -> None:
    """Of who may write it: what is loaded runs as this user."""
    found = os.stat(path)
    if found.st_uid != os.geteuid():
        raise Unavailable(f"{path} belongs to user {found.st_uid}, not {os.geteuid()}: {_OWN}")
    if found.st_mode & 0o022:
        raise Unavailable(f"{path} can be written by other users: chmod go-w it, if nobody has, or {_OWN}")


def _is_whole(path: Path) -> bool:
    """Whether the library is as it was written: where the end is missing, loading it can end the process."""
    try:
        _check_own(path)
        lines = path.with_suffix(".c").read_text(encoding="utf-8", errors="replace").splitlines()
        return lines[1:2] == [f"// {hashlib.sha256(path.read_bytes()).hexdigest()}"]
    except FileNotFoundError:
        return False


def _compile(source: str, path: Path, compiler: Sequence[str], limit: float) -> None:
    """Library and source get their names when they are whole; the source, with what the library is, last."""
    with TemporaryDirectory(prefix=".unfinished-", dir=path.parent) as work:
        code, library = Path(work, path.with_suffix(".c").name), Path(work, path.name)
        code.write_text(source, encoding="utf-8")
        for march in ([_MARCH], []):  # some compilers refuse it for some processors
            command = [*compiler, *march, *_FLAGS]
            status, said = _run([*command, code.name, "-o", library.name], work, limit)
            if status == 0 and library.exists():
                break
        else:
            raise Unavailable(
                f"{shlex.join(command)} failed: {said if status else 'it has written nothing'}; {_ANOTHER}"
            )
        library.chmod(0o700)  # whatever the umask is
        digest = hashlib.sha256(library.read_bytes()).hexdigest()
        code.write_text(f"// {shlex.join(command)}\n// {digest}\n{source}", encoding="utf-8")
        os.replace(library, path)
        os.replace(code, path.with_suffix(".c"))


@contextmanager
def _alone(path: Path, wait: float) -> Iterator[None]:
    """Among the processes; where a file system has no locks, all compile and the last one's files stay."""
    import fcntl  # there is none on Windows

    with open(path, "ab") as file:
        until = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Unavailable(f"another process still compiles after {wait:g} s: start again later") from None
                time.sleep(0.02)
            except OSError:
                break
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)  # not by closing alone: a child forked meanwhile holds the file, too


def _run(command: Sequence[str], where: str | None, limit: float) -> tuple[int, str]:
    """Exit status and output, or, where it failed, the line that says why. What the command starts ends with it."""
    with TemporaryFile() as file:  # no pipe: a process that is left over would keep it open
        try:
            process = subprocess.Popen(
                command, cwd=where, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        except OSError as error:  # it is no program
            return 126, str(error)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{shlex.join(command)} has not ended in {limit:g} s; {_ANOTHER}") from None
        finally:
            if process.poll() is None:  # at Ctrl-C, too
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        file.seek(0)
        said = file.read().decode(errors="replace").strip()
    if status == 0:
        return status, said
    lines = [line for line in said.splitlines() if line.strip()] or [f"exit status {status}"]
    return status, next((line for line in lines if "error" in line), lines[-1]).strip()


@cache
def _cpu() -> str:
    """Model and abilities of the processor: a library is for that one alone."""
    if sys.platform == "darwin":
        return _run(["sysctl", "hw.machine", "machdep.cpu", "hw.optional"], None, 10)[1]
    told = "vendor_id|cpu family|model|model name|flags|features|cpu (implementer|architecture|variant|part)|isa"
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if re.match(rf"({told})\s*:", line, re.IGNORECASE)}))
    return " ".join(os.uname())
