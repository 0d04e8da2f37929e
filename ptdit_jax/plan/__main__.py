"""What the training step of a config needs on machines that need not be there: memory, communication, time.

    python -m ptdit_jax.plan --topology NAME[,NAME...] [--config FILE] [--config.FIELD=VALUE ...]
        [--mesh AXIS=N,... ...] [--batch N | --batch-per-replica N] [--sweep] [--compare full] [--json]

The step is compiled as `train` would, by the TPU's own compiler (libtpu) without a TPU, or for CPU devices of this
process: NAME is "v5e:2x2", "v5p:8x8x8", "cpu:8", ...  Nothing is allocated and nothing runs.

--mesh                sizes of mesh axes, the others as in the config; data takes the rest by default.  Once for all
                      topologies, or once for each
--batch-per-replica   samples a step for each replica (data x fsdp), on machines of several sizes
--sweep               every factorisation of the chips into the mesh axes that --mesh leaves open, best first
--compare full        also full attention among all tokens in blocks of the same width, and the ratio of traffic

Exit code: 0 done, whether it fits or not; 2 the command or the config is wrong.
"""

import argparse
import copy
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ptdit_jax import cli
from ptdit_jax import config as rules
from ptdit_jax.experiment import ratio_cost, text_cost
from ptdit_jax.parallel import topology
from ptdit_jax.parallel.axes import AXES, filled
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.plan.measure import measure
from ptdit_jax.plan.report import as_json, comparison_report, plan_report, plans_report
from ptdit_jax.text_tables import triple


def main(argv: Sequence[str]) -> int:
    """Compile, measure and print; returns the exit code."""
    options, rest = parse(argv)
    config, folder, _ = cli.parse([argv[0], *rest], __doc__ or "")
    machines = [topology.parse(name) for name in options.topology]
    sizes = options.mesh or [{}]
    if len(sizes) not in (1, len(machines)):
        raise ValueError(
            f"--mesh is given {len(sizes)} times; once, or for each of {len(machines)} topologies"
        )
    cases = [
        (machine, case)
        for machine, mesh in zip(machines, itertools.cycle(sizes), strict=False)
        for case in configs(config, machine, mesh, options)
    ]
    if options.compare:
        if len(cases) > 1:
            raise ValueError("--compare needs one topology and no --sweep")
        machine, ours = cases[0]
        full = full_attention(ours)
        rules.validate(full, devices=machine.chips, check_data=False)
        cases.append((machine, full))

    ratios = rules.parts(cases[0][1])
    if len(ratios) > 1:
        if len(cases) > 1:
            raise ValueError(
                f"compression.by_time has {len(ratios)} ratios, each a program: plan one topology and mesh, without "
                "--sweep and --compare"
            )
        cases = [(cases[0][0], part.config) for part in ratios]

    # All devices and meshes first: what is wrong with one shows before anything is compiled.
    devices = {m.name: topology.devices(m) for m in sorted(machines, key=lambda m: m.chips, reverse=True)}
    meshes = [make_mesh(case.mesh, devices[machine.name]) for machine, case in cases]

    plans = []
    began = time.perf_counter()
    for number, ((machine, case), mesh) in enumerate(zip(cases, meshes, strict=True), 1):
        ratio = f", ratio {triple(case.compression.fixed)}" if len(ratios) > 1 else ""
        plan = measure(folder.name + ratio, case, machine, mesh)
        plans.append(plan)
        if len(cases) > 1:
            left = (time.perf_counter() - began) / number * (len(cases) - number)
            print(f"[{number}/{len(cases)}] {plan.line}; {left:.0f} s left", file=sys.stderr, flush=True)

    texts = {id(plan): text_cost.as_json(case) for plan, (_, case) in zip(plans, cases, strict=True)}
    if options.compare:
        text = comparison_report(*plans)
    elif len(ratios) > 1:
        bounds = [{f"{kind}, ms": 1e3 * s for kind, s in plan.bounds.items()} for plan in plans]
        bounds = bounds if all(bounds) else []  # what does not fit, and a CPU, have none
        text = "\n\n".join([*map(plan_report, plans), ratio_cost.report(config, bounds)])
    elif len(plans) == 1:
        text = "\n\n".join(filter(None, (plan_report(plans[0]), text_cost.report(cases[0][1]))))
    else:
        if options.sweep:
            plans.sort(key=lambda plan: plan.rank)
        text = plans_report(plans)
    printed = [as_json(plan) | {"text": texts[id(plan)]} for plan in plans]
    print(json.dumps(printed, indent=2) if options.json else text)
    return 0


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Our options, and the arguments left for the config's flags."""
    parser = cli.option_parser("ptdit_jax.plan", __doc__ or "")
    parser.add_argument(
        "--topology", required=True, type=lambda text: text.split(","), help=argparse.SUPPRESS
    )
    parser.add_argument("--mesh", action="append", type=mesh_sizes, help=argparse.SUPPRESS)
    batch = parser.add_mutually_exclusive_group()
    batch.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    batch.add_argument("--batch-per-replica", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--sweep", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--compare", choices=("full",), help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_known_args(argv[1:])


def mesh_sizes(text: str) -> dict[str, int]:
    """{"context": 4, "fsdp": 2} from "context=4,fsdp=2"."""
    sizes = {}
    for part in text.split(","):
        match = re.fullmatch(r"(\w+)=(-1|\d+)", part)
        if match is None or match[1] not in AXES:
            raise argparse.ArgumentTypeError(f"{part!r} must be AXIS=SIZE, AXIS one of {', '.join(AXES)}")
        sizes[match[1]] = int(match[2])
    return sizes


def configs(
    config: Any, machine: topology.Topology, mesh: dict[str, int], options: argparse.Namespace
) -> Iterator[Any]:
    """The configs to compile for a machine, with every size of the mesh and the batch filled in.

    Raises:
      ValueError: none of them is possible; says why the last one is not.
    """
    meshes = list(factorisations(machine.chips, mesh)) if options.sweep else [mesh]
    problem: ValueError | None = ValueError(
        f"--mesh: {mesh} must divide the {machine.chips} chips of {machine.name}"
    )
    for mesh in meshes:
        case = copy.deepcopy(config)
        case.mesh.update(mesh)
        case.mesh.update(filled(case.mesh.to_dict(), machine.chips))
        if options.batch is not None:
            case.data.batch = options.batch
        elif options.batch_per_replica is not None:
            case.data.batch = options.batch_per_replica * case.mesh.data * case.mesh.fsdp
        try:
            rules.validate(case, devices=machine.chips, check_data=False)
        except ValueError as error:
            problem = problem and error
        else:
            problem = None
            yield case
    if problem:
        raise problem


def factorisations(chips: int, sizes: dict[str, int]) -> Iterator[dict[str, int]]:
    """Every mesh of all chips with these sizes of some axes, -1 for any."""
    fixed = {axis: size for axis, size in sizes.items() if size != -1}
    open_axes = [axis for axis in AXES if axis not in fixed]
    divisors = [size for size in range(1, chips + 1) if chips % size == 0]
    for chosen in itertools.product(divisors, repeat=len(open_axes)):
        mesh = fixed | dict(zip(open_axes, chosen, strict=True))
        if math.prod(mesh.values()) == chips:
            yield mesh


def full_attention(config: Any) -> Any:
    """The config with the blocks of DiT or, with text, PixArt-α: the same width, heads, depth, size and mesh."""
    arch = rules.architecture(config)
    full = copy.deepcopy(config)
    full.model.update(
        {"family": "full3d", "variant": "custom"}
        | {"depth": arch.depth, "width": arch.width, "heads": arch.heads}
    )
    return full


if __name__ == "__main__":
    # The host computes nothing, and an attached accelerator could belong to a training run.
    sys.exit(cli.run(lambda: main(sys.argv), debug="--debug" in sys.argv, platforms="cpu"))
