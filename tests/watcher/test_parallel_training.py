"""Training on several processes: each rank is watched, and judged without the others."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
LONGEST_SECONDS = 240
"""A rank that waits for another one waits for half an hour."""
PROGRAM = """
import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

dist.init_process_group("gloo")
torch.manual_seed(0)
x, y = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
loader = DataLoader(data, batch_size=32, sampler=DistributedSampler(data))
network = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
model = WRAPPED
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
for epoch in range(10):
    loader.sampler.set_epoch(epoch)
    for inputs, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
"""


PARALLEL, SHARDED, CLOSED = "DistributedDataParallel(network)", "fully_shard(network)", "dist.destroy_process_group()\n"


@pytest.mark.parametrize(
    ("wrapped", "end", "word"),
    [(PARALLEL, "", "HEALTHY"), (PARALLEL, CLOSED, "HEALTHY"), (SHARDED, CLOSED, "UNDECIDED")],
    ids=["group left open", "group closed", "sharded"],
)
def test_ranks_of_torchrun_are_judged_apart(tmp_path: Path, wrapped: str, end: str, word: str):
    """A healthy training is healthy on each rank, its group closed or open; of a sharded model too little is seen."""
    (tmp_path / "train.py").write_text(PROGRAM.replace("WRAPPED", wrapped) + end)
    command = [*LAUNCH, "-m", "firstfault", "run", "--no-swaps", "train.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    ran = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False
    )

    assert ran.stdout.count(f"   {word}   ") == 2, ran.stdout + ran.stderr
    assert (ran.returncode == 0) == (word == "HEALTHY")
    assert len(list(tmp_path.glob(".firstfault/runs/*/verdict.json"))) == 2
