from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def policy():
    """One thread and deterministic algorithms, as in every job."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    yield
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(threads)
