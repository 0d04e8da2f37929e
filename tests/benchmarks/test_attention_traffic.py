"""What single attentions move, of the platform that is here; a TPU's compiler says the rest."""

import pytest

from benchmarks import attention_traffic


def test_a_row_has_the_arithmetic_of_two_products_forward_and_four_backward(capsys):
    words = ["--topology=cpu:1", "--only=4096to64", "--attention=einsum"]
    assert attention_traffic.main(words) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "4,096 tokens" in line]
    flops = 2 * 6 * 4096 * 64 * 16 * 72
    assert f"{flops / 1e9:.1f} |" in row


def test_shifted_windows_have_regions():
    for name in attention_traffic.WINDOWS:
        _, of_q, of_k, regions = attention_traffic.case_of(name)
        assert of_q == of_k == (1, 64, int(name.removeprefix("64x")), 1152)
        assert regions.shape == of_q[1:3]
        assert len({tuple(row) for row in regions}) > 1


def test_what_is_unknown_is_a_line(capsys):
    with pytest.raises(SystemExit):
        attention_traffic.main(["--only=64x63"])
    assert "--only=64x63 must be of 64x64, " in capsys.readouterr().err
