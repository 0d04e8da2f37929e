"""The reader of compiled programs, on programs whose cost is known."""

import pytest

from ptdit_jax.plan import hlo, hlo_cost
from tests.plan.programs import program


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


def test_slices_that_are_read_ahead_count_as_what_is_read():
    """A quarter of an array on its way into on-chip memory, as libtpu writes it."""
    body = """
        %p = bf16[288,4608]{1,0} parameter(0)
        %s = ((bf16[288,4608]{1,0}), bf16[72,4608]{1,0:S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:72], [0:4608]}
        %near = bf16[72,4608]{1,0:S(1)} slice-done(%s)
    """
    assert hlo_cost.program_cost(program(body)).traffic == 72 * 4608 * 2


def test_what_a_fusion_passes_to_a_fusion_inside_is_read():
    """A product whose operand has another shape there, by a fusion that is a bitcast alone, as libtpu writes it."""
    rest = """
%reshaped (x: bf16[16,256,64]) -> bf16[4096,64] {
  %x = bf16[16,256,64]{2,1,0} parameter(0)
  ROOT %flat = bf16[4096,64]{1,0} bitcast(%x)
}

%product (x: bf16[16,256,64], w: bf16[64,32]) -> bf16[4096,32] {
  %x = bf16[16,256,64]{2,1,0} parameter(0)
  %w = bf16[64,32]{1,0:S(1)} parameter(1)
  %inner = bf16[4096,64]{1,0} fusion(%x), kind=kLoop, calls=%reshaped
  ROOT %y = bf16[4096,32]{1,0:S(1)} convolution(%inner, %w), dim_labels=bf_io->bf
}
"""
    body = """
        %x = bf16[16,256,64]{2,1,0} parameter(0)
        %w = bf16[64,32]{1,0:S(1)} parameter(1)
        %y = bf16[4096,32]{1,0:S(1)} fusion(%x, %w), kind=kOutput, calls=%product
    """
    assert hlo_cost.program_cost(program(body, rest)).traffic == 4096 * 64 * 2


def test_memory_that_is_only_named_is_not_written():
    """What a loop will fill."""
    body = """
        %p = f32[8]{0} parameter(0)
        %room = bf16[28,4096,1152]{2,1,0} custom-call(), custom_call_target="AllocateBuffer"
        %q = f32[8]{0} negate(%p)
    """
    assert hlo_cost.program_cost(program(body)).traffic == 2 * 8 * 4


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


def test_an_attribute_on_several_lines_belongs_to_its_instruction():
    """As compilers write the metadata of a kernel."""
    kernel = """
        %p = f32[8]{0} parameter(0)
        %kernel = f32[8]{0} custom-call(%p), custom_call_target="tpu_custom_call", frontend_attributes={metadata={
"block":"{\\\\"q\\\\": 512}"
}}, backend_config={"x":"y"}
        %after = f32[8]{0} negate(%kernel)
    """
    assert hlo_cost.program_cost(program(kernel)).traffic == 2 * 2 * 8 * 4
