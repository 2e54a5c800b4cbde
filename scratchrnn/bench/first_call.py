"""The first call of a layer in a new process: with what it compiles, or with what was compiled before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from tempfile import TemporaryDirectory

import torch

from ..engine.native.takes import status
from .cases import CELLS, Case
from .clock import once
from .implementations import IMPLEMENTATIONS, OURS, Build, Unavailable
from .subject import Subject, subject

FROM_DISK = f"{OURS}, disk cache"
"""The first call that finds on disk what it would compile: this process has run the layer and left it there."""


def first_call(case: Case, name: str, build: Build, device: str) -> float:
    """Seconds of the first call in a new process, by this implementation; nothing is on disk, but for `FROM_DISK`.

    Starting Python, importing torch and making the layer are not in it.

    Raises:
        Unavailable: a new process cannot have this implementation, or it fails there.
    """
    found = build.path if isinstance(build, Subject) else OURS if name == FROM_DISK else name
    if not found or (found not in IMPLEMENTATIONS and not isinstance(build, Subject)):
        raise Unavailable("a new process does not know it")
    told = json.dumps([asdict(case), found, torch.get_num_threads(), device])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    if found == OURS:  # by the same engine as here
        environment["SCRATCHRNN_NATIVE"] = "0" if status(CELLS[case.cell].cell) else "require"
    with TemporaryDirectory() as empty:
        if name != FROM_DISK:
            environment |= {"SCRATCHRNN_CACHE": empty, "TORCHINDUCTOR_CACHE_DIR": empty}
        command = [sys.executable, "-c", "from scratchrnn.bench.first_call import tell; tell()", told]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Unavailable(f"its first call fails in a new process: {said[-1]}")
    return float(done.stdout.split()[-1])


def tell() -> None:
    """What the new process does: print the seconds."""
    fields, found, threads, device = json.loads(sys.argv[1])
    case = Case(**fields)
    torch.set_num_threads(threads)
    build = IMPLEMENTATIONS[found] if found in IMPLEMENTATIONS else subject(found, unchecked=True)
    module, x = build(case.theirs(device)), case.input(device)
    with torch.no_grad():
        print(once(lambda: module(x)))
