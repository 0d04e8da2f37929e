"""The reader of compiled programs, on programs whose cost is known."""

import math

import pytest

from ptdit_jax.plan import hlo, hlo_cost

MESH = {"data": 2, "fsdp": 2, "tensor": 1, "context": 2}


def program(body: str, rest: str = "") -> hlo.Module:
    """Eight devices running `body`, the instructions of an entry computation whose last one is its root."""
    lines = [f"  {line.strip()}" for line in body.strip().splitlines()]
    lines[-1] = "  ROOT " + lines[-1].strip()
    entry = "\n".join(lines)
    head = "HloModule test, is_scheduled=true, num_partitions=8"
    return hlo.parse(f"{head}\n\n{rest}\nENTRY %main (p: f32[8]) -> f32[8] {{\n{entry}\n}}\n")


def single(line: str) -> hlo_cost.Collective:
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


NESTED = """
%inner.body (t: (s32[], f32[16,4])) -> (s32[], f32[16,4]) {
  %t = (s32[], f32[16,4]{1,0}) parameter(0)
  %x = f32[16,4]{1,0} get-tuple-element(%t), index=1
  %sum = f32[16,4]{1,0} all-reduce(%x), replica_groups=[4,2]<=[8], to_apply=%add, metadata={op_name="jit(f)/inner"}
  ROOT %r = (s32[], f32[16,4]{1,0}) tuple(%t, %sum)
}

%inner.condition (t: (s32[], f32[16,4])) -> pred[] {
  %t = (s32[], f32[16,4]{1,0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

%product (a: f32[16,4], b: f32[4,4]) -> f32[16,4] {
  %a = f32[16,4]{1,0} parameter(0)
  %b = f32[4,4]{1,0} parameter(1)
  ROOT %d = f32[16,4]{1,0} dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%outer.body (t: (s32[], f32[16,4])) -> (s32[], f32[16,4]) {
  %t = (s32[], f32[16,4]{1,0}) parameter(0)
  %x = f32[16,4]{1,0} get-tuple-element(%t), index=1
  %w = f32[4,4]{1,0} constant({...})
  %y = f32[16,4]{1,0} fusion(%x, %w), kind=kOutput, calls=%product
  %in = (s32[], f32[16,4]{1,0}) tuple(%t, %y)
  ROOT %loop = (s32[], f32[16,4]{1,0}) while(%in), condition=%inner.condition, body=%inner.body, INNER
}
"""


def nested(inner: str, outer: str) -> hlo_cost.Cost:
    """Loop of loops: a product in the outer body, a sum over "context" in the inner one."""
    body = f"""
        %t = (s32[], f32[16,4]{{1,0}}) parameter(0)
        %loop.1 = (s32[], f32[16,4]{{1,0}}) while(%t), condition=%inner.condition, body=%outer.body, {outer}
    """
    return hlo_cost.program_cost(program(body, NESTED.replace("INNER", inner)), MESH)


def test_trip_counts_of_nested_loops_multiply():
    cost = nested(
        'backend_config={"known_trip_count":{"n":"5"}}',
        'metadata={op_name="scan"}, backend_config={"known_trip_count":{"n":"3"},"known_init_step":{"init":"0"}}',
    )
    ((collective, count),) = cost.collectives.items()
    assert (count, collective.received, collective.op_name) == (15, 256, "jit(f)/inner")
    assert cost.received == 15 * 256
    assert cost.flops == 3 * 2 * 16 * 4 * 4
    assert not cost.unknown_loops


def test_loop_of_unknown_length_is_named_and_counts_once():
    cost = nested("sharding={replicated}", 'backend_config={"known_trip_count":{"n":"3"}}')
    assert cost.unknown_loops == {"loop"}
    assert sum(cost.collectives.values()) == 3


def test_slices_of_stacked_arrays_count_as_what_is_read():
    rest = """
%take (stack: f32[28,64], i: s32[]) -> f32[1,64] {
  %stack = f32[28,64]{1,0} parameter(0)
  %i = s32[] parameter(1)
  %view = f32[28,64]{1,0} bitcast(%stack)
  ROOT %slice = f32[1,64]{1,0} dynamic-slice(%view, %i, %i), dynamic_slice_sizes={1,64}
}

%put (stack: f32[28,64], row: f32[1,64], i: s32[]) -> f32[28,64] {
  %stack = f32[28,64]{1,0} parameter(0)
  %row = f32[1,64]{1,0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %updated = f32[28,64]{1,0} dynamic-update-slice(%stack, %row, %i, %i)
}
"""
    body = """
        %stack = f32[28,64]{1,0} parameter(0)
        %i = s32[] parameter(1)
        %row = f32[1,64]{1,0} fusion(%stack, %i), kind=kLoop, calls=%take
        %near = f32[1,64]{1,0:S(1)} negate(%row)
        %new = f32[28,64]{1,0} fusion(%stack, %near, %i), kind=kLoop, calls=%put
    """
    row, index = 64 * 4, 4
    # take: reads row and index, writes row; negate: reads row, writes no main memory; put: reads index, writes row.
    assert hlo_cost.program_cost(program(body, rest)).traffic == (2 * row + index) + row + (index + row)


@pytest.mark.parametrize(
    ("lhs", "rhs", "out", "attributes", "macs"),
    [
        # A product (16, 4)·(4, 8) as a TPU writes it.
        ("f32[16,4]", "f32[4,8]", "f32[16,8]", "dim_labels=bf_io->bf", 16 * 4 * 8),
        # 3 products (16, 4)·(4, 8) as a strided window over a dilated batch axis: 3, not 9.
        (
            "f32[3,16,4]",
            "f32[3,4,8]",
            "f32[3,16,8]",
            "window={size=3 stride=2 pad=0_0 lhs_dilate=3}, dim_labels=0bf_0io->0bf",
            3 * 16 * 4 * 8,
        ),
        # Five outputs of a window of 3 over 5 inputs with a border: 3·5 pairs less the 2 outside.
        ("f32[1,5,2]", "f32[3,2,7]", "f32[1,5,7]", "window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f", 13 * 2 * 7),
    ],
)  # fmt: skip
def test_convolutions_count_what_is_multiplied(lhs, rhs, out, attributes, macs):
    body = f"""
        %p = {lhs} parameter(0)
        %q = {rhs} parameter(1)
        %c = {out} convolution(%p, %q), {attributes}
    """
    assert hlo_cost.program_cost(program(body)).flops == 2 * macs


def test_sizes_of_types():
    text = "(pred[3], bf16[2,2]{1,0:T(8,128)(2,1)}, f8e4m3fn[5], c64[1], s4[4], token[], f32[])"
    assert [array.bytes for array in hlo.arrays(text)] == [3, 8, 5, 8, 2, 0, 4]


def test_memory_space_is_read():
    assert [array.space for array in hlo.arrays("(f32[2]{0:T(128)S(1)}, f32[2]{0:T(128)})")] == [1, 0]


def test_text_that_is_no_program_is_an_error():
    with pytest.raises(ValueError, match="ENTRY"):
        hlo.parse("module @jit_f { func.func }")


def test_a_bracket_that_never_closes_is_an_error():
    with pytest.raises(ValueError, match="closes"):
        program("%p = f32[8]{0} parameter(0")


def test_axes_of_every_product_of_axes_are_found():
    sizes = {"a": 2, "b": 3, "c": 4}
    assert hlo_cost.mesh_axes([tuple(range(math.prod(sizes.values())))], sizes) == ["a", "b", "c"]
    assert hlo_cost.mesh_axes([(0, 4, 8)], sizes) == ["b"]
    assert hlo_cost.mesh_axes([(0, 12), (1, 13)], sizes) == ["a"]
    assert hlo_cost.mesh_axes([(5,)], sizes) == []


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
    found = hlo.replica_groups(module.computations["main"].instructions["c"], module.devices)
    assert sorted(found) == sorted(expected)


COUNTED = """
%body (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %again = s32[] copy(%i)
  %step = s32[] constant(STEP)
  %next = s32[] add(%again, %step)
  %x = f32[8]{0} get-tuple-element(%t), index=1
  %sum = f32[8]{0} all-reduce(%x), replica_groups={}, to_apply=%add
  ROOT %r = (s32[], f32[8]{0}) tuple(%next, %sum)
}

%condition (t: (s32[], f32[8])) -> pred[] {
  %t = (s32[], f32[8]{0}) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %stop = s32[] constant(STOP)
  ROOT %less = pred[] compare(%i, %stop), direction=DIRECTION
}
"""


@pytest.mark.parametrize(
    ("start", "step", "stop", "direction", "runs"),
    [
        ("0", "1", "28", "LT", 28),
        ("3", "1", "28", "LT", 25),
        ("0", "5", "28", "LT", 6),
        ("30", "1", "28", "LT", 0),
        ("0", "1", "28", "NE", None),
        ("0", "0", "28", "LT", None),
    ],
)
def test_counters_tell_how_often_a_loop_runs_where_the_compiler_does_not(start, step, stop, direction, runs):
    body = f"""
        %x = f32[8]{{0}} parameter(0)
        %zero = s32[] constant({start})
        %start = s32[] copy(%zero)
        %t = (s32[], f32[8]{{0}}) tuple(%start, %x)
        %loop = (s32[], f32[8]{{0}}) while(%t), condition=%condition, body=%body
    """
    rest = COUNTED.replace("STEP", step).replace("STOP", stop).replace("DIRECTION", direction)
    cost = hlo_cost.program_cost(program(body, rest))
    assert sum(cost.collectives.values()) == (1 if runs is None else runs)
    assert cost.unknown_loops == (frozenset({"loop"}) if runs is None else frozenset())


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
