"""Sharding: weights, gradients and moments spread over processes (FSDP2), whole in checkpoints.

The unit is a layer. Inside a layer modules read each other's weights, and a ternary matrix depends
on the mean of the whole latent one; so a layer's weights are gathered before it runs, and freed
after it. Embedding and head are one more unit. Nothing else is ever whole: gradients are added up
into shares, and the optimizer sees only shares.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from operator import itemgetter

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from mmfree.errors import InputError
from mmfree.training.checkpoint import TrainingState
from mmfree.training.folder import SHARD_ALONE

_RECIPE = "the recipe says that (precision, accumulate, compile)"
_SHARD = "mmfree train --shard does that"
_FOREIGN = {
    "ACCELERATE_MIXED_PRECISION": ("mixed precision", "no", _RECIPE),
    "ACCELERATE_DOWNCAST_BF16": ("downcast to bf16", "false", _RECIPE),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("gradient accumulation", "1", _RECIPE),
    "ACCELERATE_GRADIENT_CLIPPING": ("gradient clipping", "none", "the recipe says that (clip)"),
    "ACCELERATE_DYNAMO_BACKEND": ("compilation", "no", _RECIPE),
    "ACCELERATE_USE_FSDP": ("FSDP", "false", _SHARD),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("parallelism", "false", _SHARD),
    "ACCELERATE_USE_DEEPSPEED": ("DeepSpeed", "false", _SHARD),
    "ACCELERATE_USE_MEGATRON_LM": ("Megatron-LM", "false", _SHARD),
}
"""accelerate's variable -> what it asks for, the value that asks for nothing, and what to do."""


_JOINING = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("ACCELERATE_TORCH_DEVICE", "ACCELERATE_USE_CPU"),
)
"""Variables that say which processes and devices there are."""


def refuse_foreign_settings() -> None:
    """Raise InputError if accelerate is told, by whoever started it, to train in another way.

    The recipe alone decides how a model is trained: it is what the checkpoint says of itself.
    """
    for variable, (what, neutral, remedy) in _FOREIGN.items():
        value = os.environ.get(variable, neutral)
        if value.strip().lower() not in (neutral, ""):
            raise InputError(
                f"accelerate is told to use {what} ({variable}={value}), which has no effect here:"
                f" {remedy}; leave it out of accelerate's options, config file and environment"
            )


def join_processes(*, shard: bool) -> Accelerator:
    """The processes of this run, as torchrun or accelerate started them.

    Raises
    ------
    InputError
        If a model is to be sharded and there is one process, or accelerate is told to train in a
        way of its own.
    """
    refuse_foreign_settings()
    # Before accelerate sets some of them itself.
    found = [name for name in _JOINING if name in os.environ]
    # Without a GPU accelerate joins processes only if it is told that CPUs are meant. What a
    # variable could say otherwise is said here.
    try:
        accelerator = Accelerator(
            cpu=not torch.accelerator.is_available(),
            mixed_precision="no",
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            dynamo_backend="no",
        )
    except Exception as error:  # of whatever kind: the environment may hold anything
        if "already been initialized" in str(error):
            # Its state is one for the whole process, and somebody's Trainer may have set it up.
            raise InputError(
                f"accelerate is set up in another way in this process ({error}): train in a process"
                " of its own"
            ) from None
        raise InputError(
            f"accelerate cannot begin with what the environment says ({', '.join(found)}): {error};"
            " start several processes with torchrun, or unset these variables"
        ) from None
    if shard and accelerator.num_processes < 2:
        raise InputError(SHARD_ALONE)
    return accelerator


def shard_model(model: nn.Module, accelerator: Accelerator) -> None:
    """Leave this process its share of every parameter, in place: rows, as evenly as possible.

    Every process must have the same whole model. The optimizer is made afterwards.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # States and logits are views; nobody writes into them.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor", UserWarning)
    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    layers = model.layers
    assert isinstance(layers, nn.ModuleList)
    for unit in (*layers, model):
        # Also after a forward pass that no backward pass follows, such as a score's: what is saved
        # or stepped next must be shares (docs/decisions/0016).
        fully_shard(unit, mesh=mesh, reshard_after_forward=True)


def gather(
    model: nn.Module, optimizer: torch.optim.Optimizer, *, keep: bool
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Whole weights, and moments by parameter name, in main memory; nothing without ``keep``.

    If the model is sharded all processes must call this at the same time, for tensors are put
    together one after another.
    """
    parameters = [
        (name, parameter)
        for name, parameter in model.named_parameters()
        if parameter in optimizer.state
    ]
    weights = _whole(model.state_dict().items(), keep)
    return weights, {
        name: _whole(optimizer.state[parameter].items(), keep) for name, parameter in parameters
    }


def _whole(tensors: Iterable[tuple[str, Tensor]], keep: bool) -> dict[str, Tensor]:
    found = {}
    # In the same order in all processes: each has its own for a state that was read from a file.
    for name, tensor in sorted(tensors, key=itemgetter(0)):
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            found[name] = whole.detach().cpu()
    return found


def restore_moments(
    state: TrainingState, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Put moments back, bit for bit: this process's share of them."""
    for name, parameter in model.named_parameters():
        if name in state.moments:
            optimizer.state[parameter] = {
                key: _share(moment, parameter) for key, moment in state.moments[name].items()
            }


def _share(whole: Tensor, parameter: Tensor) -> Tensor:
    """The part of a moment that belongs to this process's share of a parameter.

    A count of steps belongs to every share.
    """
    if not isinstance(parameter, DTensor):
        return whole.clone()
    if whole.shape != parameter.shape:
        return whole.to(parameter.device, copy=True)
    # All processes have read the same, so nothing is sent. The share is copied: a view would keep
    # the whole tensor in memory.
    share = distribute_tensor(
        whole.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
    return torch.zeros_like(parameter).copy_(share).detach()


def held_bytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of weights and moments that this process holds between two steps."""
    moments = [moment for values in optimizer.state.values() for moment in values.values()]
    return sum(
        _local(tensor).untyped_storage().nbytes() for tensor in (*model.parameters(), *moments)
    )


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
