import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chromium import launched
from hypothesis import HealthCheck, Phase, settings
from speller import LETTERS, Speller, vocabulary

from scratchrnn import native
from scratchrnn.traces import training

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
_common["phases"] = [phase for phase in Phase if phase != Phase.explain]  # explaining takes longer than finding
settings.register_profile("default", max_examples=25, derandomize=True, **_common)
settings.register_profile("thorough", max_examples=250, **_common)
torch.set_num_threads(1)  # the tensors here are small: threads would only wait for each other
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes the fixture `browser` is marked so."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)


def pytest_collection_finish() -> None:
    """Python's garbage collector does not look through thousands of tests each time."""
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `compiled` needs a C compiler."""
    if item.get_closest_marker("compiled") and not native.is_available():
        pytest.skip("needs a C compiler")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _graphs() -> Iterator[None]:
    """Every test captures its own graphs: torch.compile gives up at a function's ninth, whoever had the others."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture(scope="module", params=["native", "torch"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    """The tests of numbers run once by each engine."""
    if request.param == "native" and not native.is_available():
        pytest.skip("the native engine needs a C compiler")
    before = native.enable(request.param == "native")
    yield request.param
    native.enable(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser, for the pages."""
    with launched() as chromium:
        yield chromium


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of trained models, of this test's own, which is not there yet."""
    monkeypatch.setattr(training, "folder", lambda: tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def speller(here: Path) -> Speller:
    """A model that is saved as `speller.pt`, beside its tokens, `letters.txt`."""
    model = Speller()
    torch.save(model.state_dict(), "speller.pt")
    vocabulary("letters.txt", LETTERS)
    return model
