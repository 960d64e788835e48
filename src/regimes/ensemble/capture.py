"""A training step as one CUDA graph, so that small networks are not bound by kernel launches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from regimes.ensemble import probing

WARM_UP = 3  # calls before the capture, in which libraries allocate their workspaces


def captured(
    step: Callable[..., tuple[torch.Tensor, ...]], state: Sequence[torch.Tensor]
) -> Callable[..., tuple[torch.Tensor, ...]]:
    """Return a function that does what ``step`` does, replayed as one CUDA graph.

    Parameters
    ----------
    step
        Function of tensors that updates ``state`` in place and returns tensors; it must not wait
        for the device (no ``item``, no data-dependent shapes).
    state
        Tensors that a step changes, on a CUDA device. They keep their memory and their values.

    Returns
    -------
    callable
        Like ``step``; a graph is captured at the first call with inputs of each shape (the last
        batch of an epoch may be smaller). Its result is overwritten by the next call.
    """
    graphs: dict[tuple, tuple] = {}

    def replay(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        shapes = tuple(value.shape for value in inputs)
        if shapes not in graphs:
            graphs[shapes] = _capture(step, state, inputs)
        program, buffers, result = graphs[shapes]
        for buffer, value in zip(buffers, inputs, strict=True):
            buffer.copy_(value)
        program.replay()
        return result

    return replay


def _capture(step, state, inputs):
    buffers = [value.clone(memory_format=torch.contiguous_format) for value in inputs]
    kept = [value.clone() for value in state]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), probing.uncounted():
        for _ in range(WARM_UP):
            step(*buffers)
    torch.cuda.current_stream().wait_stream(side)
    program = torch.cuda.CUDAGraph()
    with torch.cuda.graph(program):
        result = step(*buffers)
    for value, before in zip(state, kept, strict=True):
        value.copy_(before)
    return program, buffers, result
