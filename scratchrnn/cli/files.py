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
    if _is_stream(path):
        return
    target = Path(path).resolve()
    there = target.exists()
    try:
        open(path, "ab").close()
    finally:
        if not there:
            target.unlink(missing_ok=True)
    _folder_beside(target).cleanup()


@contextmanager
def replacing(path: str) -> Iterator[str]:
    """Where to write a file that takes the place of `path` in one go if the block ends well; if not, nothing changes.

    A pipe or a device is written to as it is.
    """
    if _is_stream(path):
        yield path
        return
    target = Path(path).resolve()
    with _folder_beside(target) as folder:
        unfinished = os.path.join(folder, target.name)
        yield unfinished
        if target.exists():
            shutil.copymode(target, unfinished)
        os.replace(unfinished, target)


def _is_stream(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _folder_beside(target: Path) -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix=".scratchrnn-", dir=target.parent)


def write_json(path: str, content: Any) -> None:
    """Write JSON; a number that is not finite, which JSON has no word for, is a ValueError: see `parity.for_json`."""
    text = json.dumps(content, indent=1, allow_nan=False)
    with replacing(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
