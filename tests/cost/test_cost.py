"""Published networks, counted: as they are traced, and beside their papers; the command that prints them."""

import json
import math
from fractions import Fraction
from pathlib import Path

import pytest

from configs import common
from ptdit_jax import config as rules
from ptdit_jax.cost import __main__ as cost
from ptdit_jax.cost import count, published
from ptdit_jax.models import complexity
from tests.models.traced import traced_macs


@pytest.mark.parametrize("network", published.NETWORKS, ids=lambda network: network.name)
def test_published_networks_are_counted_as_they_are_traced(network):
    config = count.published_config(network)
    counted = count.measure(network.name, config, [512], network)
    size, window = (1, 64, 64), rules.layout(config, height=64, width=64)[0]
    traced_count = traced_macs(counted.arch, size, window, text_tokens=config.model.text_length)
    assert complexity.total(counted.sizes[0].parts) == traced_count


def measured(name, sides):
    network = next(network for network in published.NETWORKS if network.name == name)
    return count.measure(name, count.published_config(network), sides, network)


def giga_macs(name, side):
    return complexity.total(measured(name, [side]).sizes[0].parts).total / 1e9


@pytest.mark.parametrize("name", ["DiT-S/2", "DiT-B/2", "DiT-L/2", "DiT-XL/2"])
def test_published_dit_figures_are_macs_with_the_products_of_attention(name):
    counted = measured(name, [256, 512])
    paper = counted.paper
    for size in counted.sizes:
        if figure := paper.macs.get(size.pixels[0]):
            macs = complexity.total(size.parts)
            assert macs.total / 1e9 == pytest.approx(figure, rel=0.005)
            assert macs.linear / 1e9 < 0.97 * figure
    assert counted.parameters / 1e6 == pytest.approx(paper.parameters, rel=0.005)


@pytest.mark.parametrize(
    ("variant", "figures", "near"),
    [
        ("S", {256: 5.8}, 0.01),
        ("B", {256: 22.5, 512: 90.1, 1024: 360.6}, 0.01),
    ],  # reviews of arXiv 2409.04005
)
def test_dam_is_near_its_published_figures(variant, figures, near):
    config = common.get_config()
    config.model.update({"family": "dam", "variant": variant, "out_channels": 8})
    counted = count.measure("DAM", config, list(figures))
    for size in counted.sizes:
        macs = complexity.total(size.parts).total / 1e9
        assert macs == pytest.approx(figures[size.pixels[0]], rel=near)


def test_norms_at_four_a_value_make_up_the_rest_of_dit_xl():
    norms = (
        4 * 256 * 1152 * (2 * 28 + 1)
    )  # as fvcore counts them: N·D values in two norms a block and the last
    assert round(giga_macs("DiT-XL/2", 256) + norms / 1e9, 2) == 118.69


def test_class_networks_are_near_their_published_figures():
    for name in ("PT-DiT/S-Class", "PT-DiT/B-Class", "PT-DiT/L-Class"):
        paper = measured(name, [256]).paper
        assert measured(name, [256]).parameters / 1e6 == pytest.approx(paper.parameters, rel=0.05)
        for side, figure in paper.macs.items():
            assert giga_macs(name, side) == pytest.approx(figure, rel=0.05)


def test_parameters_of_the_released_network():
    assert measured("PT-DiT/XL", [1024]).parameters == 1_131_629_216


def test_equation_3_is_the_attention_of_a_dit_block():
    counted = measured("DiT-B/2", [512])
    macs = complexity.total(counted.sizes[0].parts)
    assert macs.attention == 12 * complexity.full_attention(1024, 768)


def test_equation_4_is_the_attention_of_giim_and_tcm():
    counted = measured("PT-DiT/XL", [1024])
    parts = counted.sizes[0].parts
    ours = sum(parts[part].attention for part in ("proxies", "injection", "windows", "shifted"))
    assert ours == 28 * complexity.proxy_attention(4096, 1152, (1, 8, 8))


def test_attention_shares():
    share = complexity.attention_share
    assert share(256, (1, 2, 2)) == Fraction(11, 32)
    assert share(1024, (1, 4, 4)) == Fraction(25, 256)
    assert share(4096, (1, 8, 8)) == Fraction(193, 4096)
    assert share(16384, (1, 16, 16)) == Fraction(2305, 65536)
    cut = [
        math.floor(1000 * share(side**2 // 256, (1, side // 128, side // 128))) / 10
        for side in (256, 512, 1024)
    ]
    assert cut == [published.ATTENTION_SHARES[side] for side in (256, 512, 1024)]
    assert math.floor(1000 * share(16384, (1, 8, 8))) / 10 == published.ATTENTION_SHARES[2048]


def run(capsys, *arguments):
    assert cost.main(["cost", *arguments]) == 0
    return capsys.readouterr().out


def test_the_table_is_the_one_in_the_docs(capsys):
    docs = Path(__file__).parents[2] / "docs" / "variants.md"
    assert run(capsys) in docs.read_text(), "put the output of python -m ptdit_jax.cost into docs/variants.md"


def test_columns_are_aligned(capsys):
    for block in run(capsys).split("\n\n"):
        if block.startswith("|"):
            assert len({len(line) for line in block.splitlines()}) == 1
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_json_holds_parts_that_add_up(capsys):
    numbers = json.loads(run(capsys, "--json", "--resolution", "256,768"))
    assert [network["name"] for network in numbers["networks"]] == [n.name for n in published.NETWORKS]
    assert numbers["attention_share_percent"]["256"] == 34.375
    for network in numbers["networks"]:
        assert [size["pixels"] for size in network["sizes"]] == [[256, 256], [768, 768]]
        for size in network["sizes"]:
            linear = sum(part["linear"] for part in size["parts"].values())
            attention = sum(part["attention"] for part in size["parts"].values())
            assert (size["macs"], size["macs_without_attention"]) == (linear + attention, linear)


def test_a_config_with_overrides(capsys):
    config = Path(__file__).parents[2] / "configs" / "video_digits.py"
    arguments = ["--config", str(config), "--config.model.depth=4"]
    (network,) = json.loads(run(capsys, *arguments, "--json"))["networks"]
    (size,) = network["sizes"]
    assert (network["blocks"], size["frames"], size["tokens"], size["window"]) == (4, 16, 1024, [4, 2, 2])
    text = run(capsys, *arguments, "--resolution", "16,32")
    assert "16x16 px, 16 latent frame(s): 1,024 tokens" in text
    assert "32x32 px, 16 latent frame(s): 4,096 tokens" in text


CONFIGS = Path(__file__).parents[2] / "configs"


def test_one_config_has_memory_by_part_and_by_remat_policy(capsys):
    text = run(capsys, "--config", str(CONFIGS / "c2i_digits.py"), "--config.model.remat=block")
    for line in (
        "| kept: stream ",
        "| again: mlp ",
        "| moments of AdamW ",
        "| offload ",
        "|   counted |",
    ):
        assert line in text


def test_several_configs_in_a_table_or_as_json(capsys):
    files = ",".join(str(CONFIGS / name) for name in ("c2i_digits.py", "video_digits.py"))
    text = run(capsys, "--configs", files, "--config.model.depth=4", "--config.model.remat=block")
    assert "| c2i_digits " in text
    assert "| video_digits " in text
    networks = json.loads(run(capsys, "--configs", files, "--config.model.depth=4", "--json"))["networks"]
    assert [(n["name"], n["blocks"]) for n in networks] == [("c2i_digits", 4), ("video_digits", 4)]
    for network in networks:
        (size,) = network["sizes"]
        memory, block = size["memory"], size["block_attention"]
        state = memory["parameters"] + memory["averages"] + memory["moments"] + memory["gradients"]
        kept = memory["samples"] * sum(memory["saved"].values())
        backward = memory["samples"] * sum(memory["block"].values())
        assert memory["total"] == state + kept + memory["weights"] + backward
        assert block["counted"] <= block["equation_4"] < block["equation_3"]  # shifts in every other block


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "a.py", "--configs", "b.py"], "exclude each other"),
        (["--configs", "a.py", "--figures", "out"], "exclude each other"),
        (["--figures", "out", "--json"], "goes alone"),
        (["--configs", "no_such_file.py"], "no_such_file.py"),
    ],
)
def test_options_that_do_not_go_together(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("from configs.common import get_config\n")
    with pytest.raises(ValueError, match=message):
        cost.main(["cost", *arguments])
    assert not (tmp_path / "out").exists()


def test_a_config_that_is_wrong_is_one_line():
    with pytest.raises(
        ValueError, match=r"^model\.heads=5|model\.width=.* must be a multiple of model\.heads=5"
    ):
        cost.main(["cost", "--configs", str(CONFIGS / "c2i_digits.py"), "--config.model.heads=5"])


@pytest.mark.parametrize("text", ["", "256,", "256;512", "-256", "0"])
def test_resolutions_that_are_none(text, capsys):
    with pytest.raises(SystemExit) as exit_:
        cost.main(["cost", f"--resolution={text}"])
    assert exit_.value.code == 2
    assert "256,512" in capsys.readouterr().err


def test_resolutions_that_latents_or_tokens_do_not_fit():
    with pytest.raises(ValueError, match=r"--resolution 250 .*pixels_per_latent=8"):
        cost.main(["cost", "--resolution", "250"])
    with pytest.raises(ValueError, match=r"multiple of model\.patch=2"):
        cost.main(["cost", "--resolution", "248"])


def test_json_holds_what_text_costs(capsys):
    (network,) = json.loads(run(capsys, "--config", "configs/t2i_xl_256.py", "--json"))["networks"]
    assert network["text"]["stored"][0]["terabytes"] == pytest.approx(16.384)
    assert network["text"]["live"]["encoder"] == "T5 v1.1 XXL"
    (network,) = json.loads(run(capsys, "--config", "configs/uncond_digits.py", "--json"))["networks"]
    assert network["text"] is None
