"""What devices send each other, in programs whose collectives are known."""

import math

import pytest

from ptdit_jax.plan import collectives, hlo_cost
from tests.plan.programs import MESH, program


def single(line: str) -> collectives.Collective:
    """The one collective of a program, which runs once."""
    cost = hlo_cost.program_cost(program(f"%p = f32[16,4]{{1,0}} parameter(0)\n{line}"), MESH)
    ((collective, count),) = cost.collectives.items()
    assert count == 1
    return collective


R = "f32[16,4]{1,0}"  # 256 bytes


@pytest.mark.parametrize(
    ("shape", "opcode", "groups", "axes", "group", "received"),
    [  # devices are numbered data·4 + fsdp·2 + context
        (R, "all-reduce", "replica_groups={{0,1},{2,3},{4,5},{6,7}}", ["context"], 2, 256),
        (R, "all-reduce", "replica_groups={}", ["data", "fsdp", "context"], 8, 448),
        (R, "all-gather", "replica_groups={{0,2},{1,3},{4,6},{5,7}}", ["fsdp"], 2, 128),
        (R, "reduce-scatter", "replica_groups=[2,4]<=[8]", ["fsdp", "context"], 4, 768),
        (R, "all-to-all", "replica_groups=[2,4]<=[4,2]T(1,0)", ["data", "fsdp"], 4, 192),
        (R, "collective-permute", "source_target_pairs={{0,1},{1,0}}", ["context"], 2, 256),
        (R, "collective-permute", "source_target_pairs={{0,0},{1,1}}", [], 2, 0),
        (f"(f32[4,4]{{1,0}}, {R})", "all-gather-start", "replica_groups=[2,4]<=[8]", ["fsdp", "context"], 4, 192),
        (f"({R}, {R}, u32[])", "collective-permute-start", "source_target_pairs={{0,4},{4,0}}", ["data"], 2, 256),
    ],
)  # fmt: skip
def test_bytes_received_and_mesh_axes(shape, opcode, groups, axes, group, received):
    collective = single(f"%c = {shape} {opcode}(%p, %p), channel_id=1, {groups}, dimensions={{0}}")
    assert (collective.kind, list(collective.axes)) == (opcode.removesuffix("-start"), axes)
    assert (collective.group, collective.received) == (group, received)


def test_groups_that_cannot_be_read_are_an_error():
    with pytest.raises(ValueError, match="groups of devices"):
        single("%c = f32[16,4]{1,0} all-reduce(%p), replica_groups=@mesh{x}, to_apply=%add")


def test_mesh_of_another_size_is_an_error():
    with pytest.raises(ValueError, match="4 devices, the program 8"):
        hlo_cost.program_cost(program("%p = f32[8]{0} parameter(0)"), {"data": 4})


def test_axes_of_every_product_of_axes_are_found():
    sizes = {"a": 2, "b": 3, "c": 4}
    assert collectives.mesh_axes([tuple(range(math.prod(sizes.values())))], sizes) == ["a", "b", "c"]
    assert collectives.mesh_axes([(0, 4, 8)], sizes) == ["b"]
    assert collectives.mesh_axes([(0, 12), (1, 13)], sizes) == ["a"]
    assert collectives.mesh_axes([(5,)], sizes) == []


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("replica_groups=mesh['x'=2,'y'=4] {'y'}", [(0, 1, 2, 3), (4, 5, 6, 7)]),
        ("replica_groups=mesh['x'=2,'y'=4] {'x'}", [(0, 4), (1, 5), (2, 6), (3, 7)]),
        ("replica_groups=mesh['x'=2,'y'=4] {'x','y'}", [(0, 1, 2, 3, 4, 5, 6, 7)]),
        ("replica_groups=mesh['x'=2,'y'=4], device_ids=([4,2]T(1,0)) {'y'}", [(0, 2, 4, 6), (1, 3, 5, 7)]),
        ("replica_groups=mesh['x'=2,'y'=4] {'y':(1)2}", [(0, 2), (1, 3), (4, 6), (5, 7)]),
        ("replica_groups=mesh['x'=2,'y'=4] {'y':(2)2}", [(0, 1), (2, 3), (4, 5), (6, 7)]),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", [(0, 2, 4, 6), (1, 3, 5, 7)]),
        ("replica_groups=[4,2]<=[2,2,2]T(2,0,1)", [(0, 2), (4, 6), (1, 3), (5, 7)]),
    ],
)
def test_groups_of_devices(groups, expected):
    module = program(
        f"%p = f32[8]{{0}} parameter(0)\n%c = f32[8]{{0}} all-reduce(%p), {groups}, to_apply=%add"
    )
    found = collectives.replica_groups(module.computations["main"].instructions["c"], module.devices)
    assert sorted(found) == sorted(expected)


def test_a_collective_that_runs_beside_other_work_counts_once():
    part = (
        "all-gather(%p), channel_id=1, replica_groups={}, dimensions={0}, "
        'backend_config={"async_collective_fusion_config":{"flag_start":"2"}}'
    )
    rest = f"""
%start (p: f32[1]) -> (f32[1], f32[8]) {{
  %p = f32[1]{{0}} parameter(0)
  %g = f32[8]{{0}} {part}
  ROOT %c = (f32[1]{{0}}, f32[8]{{0}}) custom-call(%g), custom_call_target="AsyncCollectiveStart"
}}

%beside (p: f32[1]) -> (f32[1], f32[8]) {{
  %p = f32[1]{{0}} parameter(0)
  %n = f32[1]{{0}} negate(%p)
  %g = f32[8]{{0}} {part}
  ROOT %t = (f32[1]{{0}}, f32[8]{{0}}) tuple(%n, %g)
}}

%done (p: f32[1]) -> f32[8] {{
  %p = f32[1]{{0}} parameter(0)
  %g = f32[8]{{0}} {part}
  ROOT %c = f32[8]{{0}} custom-call(%p, %g), custom_call_target="AsyncCollectiveDone"
}}
"""
    body = """
        %p = f32[1]{0} parameter(0)
        %a = (f32[1]{0}, f32[8]{0}) fusion(%p), kind=kCustom, calls=%start
        %b = (f32[1]{0}, f32[8]{0}) fusion(%p), kind=kLoop, calls=%beside
        %c = f32[8]{0} fusion(%p), kind=kCustom, calls=%done
    """
    cost = hlo_cost.program_cost(program(body, rest))
    ((collective, count),) = cost.collectives.items()
    assert (collective.kind, collective.received, count) == ("all-gather", 28, 1)


def test_merged_collectives_are_counted_array_by_array_where_each_is_from():
    body = """
        %p = f32[16,4]{1,0} parameter(0)
        %a = f32[16,4]{1,0} negate(%p), metadata={op_name="first/dot"}
        %b = bf16[16,4]{1,0} convert(%p), metadata={op_name="second/dot"}
        %moved = bf16[16,4]{1,0} copy(%b)
        %c = (f32[16,4]{1,0}, /*index=1*/bf16[16,4]{1,0:S(1)}) all-reduce(%a, %moved), replica_groups={}, to_apply=%add
        %d = f32[16,4]{1,0} get-tuple-element(%c), index=0, metadata={op_name="first/psum"}
        %e = bf16[16,4]{1,0} get-tuple-element(%c), index=1
    """
    cost = hlo_cost.program_cost(program(body))
    found = {
        collective.op_name: (collective.received, count) for collective, count in cost.collectives.items()
    }
    assert found == {"first/psum": (2 * 7 / 8 * 256, 1), "second/dot": (2 * 7 / 8 * 128, 1)}


def test_the_function_that_made_an_instruction_is_found():
    tables = """
FileNames
1 "step.py"

FunctionNames
1 "step"
2 "Linear.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=3 end_line=3 column=1 end_column=2}
2 {file_name_id=1 function_name_id=2 line=9 end_line=9 column=1 end_column=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
"""
    body = """
        %p = f32[8]{0} parameter(0)
        %c = f32[8]{0} all-reduce(%p), replica_groups={}, to_apply=%add, metadata={op_name="f/psum" stack_frame_id=2}
    """
    ((collective, _),) = hlo_cost.program_cost(program(body, tables)).collectives.items()
    assert (collective.op_name, collective.function) == ("f/psum", "Linear.__call__")
