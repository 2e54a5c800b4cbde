"""What the commands write: a file is there when it is whole, and not before; and JSON that any parser reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any


def check_writable(path: str) -> None:
    """Raise OSError if no file can be written there: said before the work, not after it. Nothing stays behind."""
    if _descriptor(path) is not None or _is_stream(path):
        return
    target = Path(path).resolve()
    there = target.exists()
    try:
        open(path, "ab").close()
    finally:
        if not there:
            target.unlink(missing_ok=True)
    _folder_for(target).cleanup()


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Where to write a file that takes the place of `path` in one go if the block ends well; if not, nothing changes.

    A pipe or a device is written to as it is, and what is open already, as /dev/stdout, is written on. A file in a
    folder that takes no new one gets the content of the new.
    """
    if (descriptor := _descriptor(path)) is not None:
        with TemporaryDirectory(prefix="scratchrnn-") as folder:
            unfinished = os.path.join(folder, Path(path).name)
            yield unfinished
            print(end="", flush=True)  # what was printed before stands before it
            with open(unfinished, "rb") as new, open(descriptor, "wb", closefd=False) as file:
                shutil.copyfileobj(new, file)
    elif _is_stream(path):
        yield path
    else:
        target = Path(path).resolve()
        with _folder_for(target) as folder:
            unfinished = os.path.join(folder, target.name)
            yield unfinished
            if target.exists():
                shutil.copymode(target, unfinished)
            try:
                os.replace(unfinished, target)
            except OSError:  # the folder takes no new file, or the file is mounted
                shutil.copyfile(unfinished, target)


def _is_stream(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _descriptor(path: str) -> int | None:
    """Of what is open already, if the path is a name for that: 1 for /dev/stdout."""
    folder, name = os.path.split(path)
    if not os.path.exists(path):
        return None
    if name.isdecimal() and os.path.realpath(folder) == os.path.realpath("/dev/fd"):
        return int(name)
    return _descriptor(os.path.join(folder, os.readlink(path))) if os.path.islink(path) else None


def _folder_for(target: Path) -> TemporaryDirectory[str]:
    """Beside it, where it can be moved from in one go, or else wherever there is one."""
    try:
        return TemporaryDirectory(prefix=".scratchrnn-", dir=target.parent)
    except OSError:
        return TemporaryDirectory(prefix="scratchrnn-")


def write_json(path: str, content: Any) -> None:
    """Write JSON; a number that is not finite, which JSON has no word for, is a ValueError: see `parity.for_json`."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with replacing(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
