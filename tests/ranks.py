"""How the process of one gloo rank ends."""

import os
import sys

import torch.distributed as dist


def leave() -> None:
    """Leave together, without the interpreter's teardown, in which gloo's threads now and then abort."""
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
