"""Where training runs: how many processes on how many nodes, launched or found by Lightning Fabric."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from metatc2.errors import InputError, RankLost
from metatc2.io.launched import process_number
from metatc2.ops.numbers import whole
from metatc2.ops.ranks import Ranks, is_first, others_alive
from metatc2.training.placement import Placement

#: A process that hears nothing from another one for so long takes it for dead.
PATIENCE = timedelta(minutes=10)


def placed(options: Placement) -> tuple[Fabric, Ranks]:
    """Fabric on the devices that the options ask for, its processes launched, and which of them this is.

    Under ``torchrun``, ``accelerate launch`` or ``srun`` processes are there already, and `devices` and `nodes` may be left at
    1. Otherwise the command is started anew for each further device, as Lightning does.

    Args:
        options: accelerator, devices, nodes and precision.

    Raises:
        InputError: if there are not so many devices, or as many processes were started by another launcher.
    """
    whole(options.devices, "devices", 1)
    whole(options.nodes, "nodes", 1)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return _joined(options)
    devices, nodes = _asked(options)
    several = devices * nodes > 1
    try:
        fabric = Fabric(
            accelerator=options.accelerator,
            devices=devices,
            num_nodes=nodes,
            precision=options.precision,
            strategy=DDPStrategy(timeout=PATIENCE) if several else "auto",
        )
        if several:
            with others_alive(Ranks(process_number(), devices * nodes)):
                fabric.launch()
    except RankLost:
        raise
    except (ValueError, RuntimeError, ImportError) as error:  # Fabric's own words, as an error of the input
        asked = f"trainer.accelerator = {options.accelerator!r}"
        asked += f" with trainer.devices = {devices} and trainer.nodes = {nodes}" if several else ""
        raise InputError(f"{asked} cannot be used here: {' '.join(str(error).split())}") from error
    if fabric.world_size != devices * nodes:
        raise InputError(
            f"trainer.devices = {devices} and trainer.nodes = {nodes} were asked for, and the launcher here has "
            f"started {fabric.world_size}; start as many tasks (srun --ntasks-per-node {devices}), or leave the launcher out"
        )
    return fabric, Ranks(fabric.global_rank, fabric.world_size)


def process_count(options: Placement) -> int:
    """How many processes will train together; known before they have met.

    Raises:
        InputError: if another launcher has started another number than the options ask for.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    devices, nodes = _asked(options)
    return devices * nodes


def leave() -> None:
    """Leave the process group, where there is one; the last thing that a command does."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    first = is_first()
    torch.distributed.destroy_process_group()
    if first and not torch.distributed.is_torchelastic_launched():
        # What Lightning has set where it started the others, which end with their command: with it the next command of this
        # process would start none, and wait for them.
        for name in ("LOCAL_RANK", "WORLD_SIZE"):
            os.environ.pop(name, None)


def _joined(options: Placement) -> tuple[Fabric, Ranks]:
    """In a group of processes that was made before, by another trainer or by the user."""
    ranks = Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    if options.devices * options.nodes not in (1, ranks.size):
        raise InputError(
            f"trainer.devices = {options.devices} and trainer.nodes = {options.nodes} were asked for, and this process is in a "
            f"group of {ranks.size}; leave both out"
        )
    fabric = Fabric(accelerator=options.accelerator, devices=1, precision=options.precision)
    if fabric.device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", ranks.rank % torch.cuda.device_count()))
        fabric = Fabric(accelerator="cuda", devices=[local], precision=options.precision)
        torch.cuda.set_device(fabric.device)
    return fabric, ranks


def _asked(options: Placement) -> tuple[int, int]:
    """Devices a node and nodes: as asked for, or what another launcher has started."""
    started = _started()
    if started is None or started == (1, 1):
        return options.devices, options.nodes
    asked = (options.devices, options.nodes)
    if asked not in (started, (1, 1)):
        raise InputError(
            f"the launcher started {started[0]} processes on each of {started[1]} nodes, and trainer.devices = {asked[0]} and "
            f"trainer.nodes = {asked[1]} were asked for; leave both out, or ask for as many as are started"
        )
    return started


def _started() -> tuple[int, int] | None:
    """Processes a node and nodes of ``torchrun`` or ``srun``; None where neither has started this one."""
    env = os.environ
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        size, local = int(env["WORLD_SIZE"]), int(env.get("LOCAL_WORLD_SIZE", env["WORLD_SIZE"]))
        return local, max(1, size // local)
    if SLURMEnvironment.detect():
        tasks, nodes = int(env["SLURM_NTASKS"]), int(env.get("SLURM_NNODES", "1"))
        return max(1, tasks // nodes), nodes
    return None
