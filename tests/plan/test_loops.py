"""Loops of a compiled program: how often they run, and that what they hold counts as often."""

import pytest

from ptdit_jax.plan import hlo_cost
from tests.plan.programs import MESH, program

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
