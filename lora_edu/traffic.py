"""What processes send each other: a counter that sees every collective of PyTorch, and the bytes that a ring sends.

A collective is one call that all processes of a group make together. Four matter here: all-reduce (everybody has the
sum), reduce-scatter (everybody has a part of the sum), all-gather (everybody has all parts), broadcast. `data_parallel`
trains with them.
"""

from collections import Counter
from typing import Any

from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode  # private by name only: CommDebugMode is built on it as well
from torch.utils._pytree import tree_leaves

# Names as PyTorch's operators have them, in-place and functional, and whether the whole tensor is what comes out.
_COLLECTIVES = {
    "allreduce": ("all-reduce", False),
    "all_reduce": ("all-reduce", False),
    "allgather": ("all-gather", True),
    "all_gather": ("all-gather", True),
    "reduce_scatter": ("reduce-scatter", False),
    "broadcast": ("broadcast", False),
}
_ROUNDS = {"all-reduce": 2, "all-gather": 1, "reduce-scatter": 1, "broadcast": 1}


def ring_bytes(collective: str, size: float, processes: int) -> float:
    """Bytes that each of `processes` sends, on average, for a collective on a tensor of `size` bytes in a ring.

    Each process has one part in `processes` of the tensor. A part goes all the way round but for the last step, once
    for a reduce-scatter or an all-gather, and once for each in an all-reduce, which is both: 2 (W − 1) / W · size
    (Patarasuk and Yuan 2009, doi:10.1016/j.jpdc.2008.09.002). A broadcast passes the tensor along the ring.

    Raises ValueError for another collective or no process.
    """
    if collective not in _ROUNDS or processes < 1:
        raise ValueError(f"collective={collective!r} is none of {', '.join(_ROUNDS)}, or processes={processes} is none")
    return _ROUNDS[collective] * (processes - 1) / processes * size


class Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]  # it has no types
    """Counts, in a `with` block, the collectives of this process and the bytes of the tensors handed to them.

    `sizes` maps "all-reduce" and so on to the bytes of the whole tensors, and `calls` to how many there were. What
    goes over a wire follows by `ring_bytes`. It sees what DDP and FSDP2 do, in the forward and the backward pass.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()

    def sent(self, processes: int) -> dict[str, float]:
        """Bytes that each process sends, by collective, if all of them go round a ring of `processes`."""
        return {name: ring_bytes(name, size, processes) for name, size in self.sizes.items()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # a sharded tensor first turns into its parts and the collectives between them
        result = func(*args, **(kwargs or {}))
        if func.namespace in ("c10d", "_c10d_functional"):
            name = func._schema.name.partition("::")[2].strip("_")
            for start, (collective, whole_comes_out) in _COLLECTIVES.items():
                if name.startswith(start):
                    # In place, the first argument is what is written: the whole tensor in an all-gather, a part in a
                    # reduce-scatter, whose second argument is the whole.
                    if func.namespace == "c10d":
                        whole = args[1] if collective == "reduce-scatter" else args[0]
                    else:
                        whole = result if whole_comes_out else args[0]
                    tensors = [leaf for leaf in tree_leaves(whole) if isinstance(leaf, Tensor)]
                    self.sizes[collective] += sum(t.numel() * t.element_size() for t in tensors)
                    self.calls[collective] += 1
                    break
        return result


def local_bytes(tensors: Any) -> int:
    """Bytes of `tensors` (any nest of them) that this process holds: of a sharded tensor, its own part."""
    parts = (leaf.to_local() if isinstance(leaf, DTensor) else leaf for leaf in tree_leaves(tensors))
    return sum(part.numel() * part.element_size() for part in parts if isinstance(part, Tensor))
