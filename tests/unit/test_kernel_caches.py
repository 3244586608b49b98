"""What torch's library prepares for a shape is not kept for every shape that a stream of texts has."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from nlpx.device import KERNEL_CACHES

# A product of more shapes than are kept, then the first shape again. A convolution goes through oneDNN in float32 on
# every processor; the library itself says which shapes it had prepared.
PROGRAM = """
import torch
from nlpx.models.config import ModelConfig
from nlpx.models.transformer import Transformer
sizes = dict(vocab_size=8, hidden_size=4, num_layers=1, num_attention_heads=1, intermediate_size=4)
Transformer(ModelConfig(**sizes))
if not torch.backends.mkldnn.is_available():
    raise SystemExit("no oneDNN")
map = torch.nn.Conv1d(16, 16, 3).requires_grad_(False)
for length in [*range(40, 240), 40]:
    print(f"length {length}", flush=True)
    map(torch.ones(2, 16, length))
"""


def creations(**variables: str) -> list[tuple[str, bool]]:
    """The shape, and whether it was at hand, of each product that the library set up."""
    kept = {name: value for name, value in os.environ.items() if name not in KERNEL_CACHES}
    environment = kept | {"ONEDNN_VERBOSE": "profile_create", "OMP_NUM_THREADS": "1"} | variables
    run = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    if "no oneDNN" in run.stderr:
        pytest.skip("torch was built without oneDNN")
    assert run.returncode == 0, run.stderr
    found, length = [], ""
    for line in run.stdout.splitlines():
        if line.startswith("length "):
            length = line
        elif "convolution" in line and "create:cache_" in line:
            found.append((length, "create:cache_hit" in line))
    if not found:
        pytest.skip("convolutions do not go through oneDNN here")
    return found


def test_old_shapes_make_room_for_new_ones() -> None:
    assert creations()[-1] == ("length 40", False)


def test_the_user_chooses_otherwise() -> None:
    assert creations(**dict.fromkeys(KERNEL_CACHES, "1024"))[-1] == ("length 40", True)
