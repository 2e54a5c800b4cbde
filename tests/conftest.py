import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
_common["phases"] = [phase for phase in Phase if phase != Phase.explain]  # explaining takes longer than finding
settings.register_profile("default", max_examples=25, derandomize=True, **_common)
settings.register_profile("thorough", max_examples=250, **_common)
torch.set_num_threads(1)  # the tensors here are small: threads would only wait for each other
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test starts from the same random numbers."""
    torch.manual_seed(0)
