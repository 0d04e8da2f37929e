"""Kernels of a compiled program: FLOPs, and operands that they read more than once."""

import pytest

from ptdit_jax.parallel.axes import AXES
from ptdit_jax.plan import hlo_cost
from ptdit_jax.plan.measure import Plan
from ptdit_jax.plan.report import bounds_table
from tests.plan.programs import program

B, H, Q, K, D = 2, 3, 1024, 768, 8  # by blocks of 256 queries and 128 keys
OF_Q, OF_K = Q // 256, K // 128
QD, KD, FLOAT = B * H * Q * D * 2, B * H * K * D * 2, 4


def splash(blocks: str, operands: dict[str, str], results: list[str]) -> hlo_cost.Cost:
    """A kernel that is given the mask's tables, q, k and v, and then `operands`."""
    given = {
        "next": "s8[1,4,6]",
        "mask": "s8[1,4,6]",
        "q": f"bf16[{B},{H},{Q},{D}]",
        "k": f"bf16[{B},{H},{K},{D}]",
        "v": f"bf16[{B},{H},{K},{D}]",
    } | operands
    lines = [f"%{name} = {shape} parameter({i})" for i, (name, shape) in enumerate(given.items())]
    names = ", ".join(f"%{name}" for name in given)
    attributes = f"""frontend_attributes={{kernel_metadata={{"xprof_metadata":"{{{blocks}}}"}}}}"""
    call = f'%kernel = ({", ".join(results)}) custom-call({names}), custom_call_target="tpu_custom_call", {attributes}'
    return hlo_cost.program_cost(program("\n".join([*lines, call])))


TABLES = 2 * 4 * 6


def test_splash_forward():
    blocks = r"\"block_q\": 256, \"block_kv\": 128, \"block_q_dkv\": 512, \"block_kv_dkv\": 512"
    ids = {"qi": f"s32[{B},{Q},128]", "ki": f"s32[{B},8,{K}]"}
    results = ["f32[256,128]{1,0}", f"bf16[{B},{H},{Q},{D}]{{3,2,1,0}}", f"f32[{B},{H},{Q},128]{{3,2,1,0}}"]
    cost = splash(blocks, ids, results)
    assert cost.flops == 2 * 2 * B * H * Q * K * D
    written = 256 * 128 * FLOAT + QD + B * H * Q * 128 * FLOAT
    read_ids = H * B * Q * 128 * FLOAT + H * OF_Q * B * 8 * K * FLOAT
    assert cost.traffic == TABLES + QD + 2 * OF_Q * KD + read_ids + written
    assert not cost.unknown_kernels


def test_splash_forward_reads_keys_in_one_block_once():
    cost = splash(rf"\"block_q\": 256, \"block_kv\": {K}", {}, [f"bf16[{B},{H},{Q},{D}]"])
    assert cost.traffic == TABLES + QD + 2 * KD + QD


def test_splash_gradient_of_queries():
    rest = {"log": f"f32[{B},{H},1,{Q}]", "g": f"bf16[{B},{H},{Q},{D}]", "di": f"f32[{B},{H},1,{Q}]"}
    cost = splash(r"\"block_q_dq\": 256, \"block_kv_dq\": 128", rest, [f"bf16[{B},{H},{Q},{D}]"])
    assert cost.flops == 3 * 2 * B * H * Q * K * D
    assert cost.traffic == TABLES + 2 * QD + 2 * OF_Q * KD + 2 * B * H * Q * FLOAT + QD


@pytest.mark.parametrize("fused", [False, True])
def test_splash_gradient_of_keys_and_values(fused):
    rest = {"qi": f"s32[{B},8,{Q}]", "ki": f"s32[{B},{K},128]", "log": f"f32[{B},{H},8,{Q}]"}
    rest |= {"g": f"bf16[{B},{H},{Q},{D}]", "di": f"f32[{B},{H},8,{Q}]"}
    sums = [f"f32[128,{D}]{{1,0}}"] * 2
    queries = [f"bf16[{OF_K},{B},{H},{Q},{D}]"] if fused else []
    of_keys = [f"bf16[{B},{H},{K},{D}]"] * 2
    blocks = r"\"block_q_dkv\": 256, \"block_kv_dkv\": 128, \"block_kv_dkv_compute\": 128"
    cost = splash(blocks, rest, [*sums, *queries, *of_keys])
    assert cost.flops == (5 if fused else 4) * 2 * B * H * Q * K * D
    read_ids = OF_K * H * B * 8 * Q * FLOAT + B * K * 128 * FLOAT
    read = OF_K * (2 * QD + 2 * B * H * 8 * Q * FLOAT) + 2 * KD + read_ids
    written = 2 * 128 * D * FLOAT + 2 * KD + fused * OF_K * QD
    assert cost.traffic == TABLES + read + written


SAYS = """
    %p = f32[8,128]{1,0} parameter(0)
    %kernel = f32[8,128]{1,0:S(1)} custom-call(%p, %p), custom_call_target="tpu_custom_call", CONFIG
"""
ESTIMATE = """backend_config={"custom_call_config":{"body":"TUzvUg","cost_estimate":{"flops":"377487360",
    "transcendentals":"524288","bytes_accessed":"4128768"},"needs_layout_passes":true}}"""


def test_a_kernel_that_says_what_it_computes():
    cost = hlo_cost.program_cost(program(SAYS.replace("CONFIG", ESTIMATE.replace("\n", ""))))
    assert cost.flops == 377487360
    assert cost.traffic == 2 * 8 * 128 * 4  # both operands, and a result that stays in on-chip memory
    assert not cost.unknown_kernels


def test_a_kernel_that_says_nothing_is_named():
    text = SAYS.replace("CONFIG", 'backend_config={"custom_call_config":{"body":"TUzvUg"}}')
    cost = hlo_cost.program_cost(program(text))
    assert (cost.flops, cost.unknown_kernels) == (0, {"kernel"})
    assert ((cost + cost) * 3).unknown_kernels == {"kernel"}
    plan = Plan("c", "ptdit", "v5e:1x1", 1, None, dict.fromkeys(AXES, 1), 1, 2, 10, cost=cost)
    assert "Kernels of unknown arithmetic, which is left out: kernel." in bounds_table(plan)


def test_other_custom_calls_are_no_kernels():
    text = SAYS.replace("CONFIG", ESTIMATE.replace("\n", "")).replace("tpu_custom_call", "Sharding")
    assert hlo_cost.program_cost(program(text)).flops == 0
