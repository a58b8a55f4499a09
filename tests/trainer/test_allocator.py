"""Memory that training frees is used again without going back to the system."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from trainer.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for count in range(30):
    if count == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(20_000_000)  # 80 MB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages_taken_again(word: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", CODE, word], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc alone")
def test_freed_memory_is_used_again() -> None:
    assert pages_taken_again("keep") * 10 < pages_taken_again("leave")
