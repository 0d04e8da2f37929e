"""Checkpoints of a small state: what comes back, what is kept, and what an error says."""

import json
import resource
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import c2i_digits, common
from ptdit_jax import config as rules
from ptdit_jax.training import checkpoint, optimizer, state

CONFIG = json.loads(rules.to_json(c2i_digits.get_config()))


def make_state(seed=0, width=300):
    direction = optimizer.make_direction(common.get_config().optimizer)
    kernel = jax.random.normal(jax.random.key(seed), (width, width))
    params = {"blocks": {0: {"kernel": kernel}, 1: {"kernel": -kernel}}, "final": {"bias": jnp.arange(3.0)}}
    return state.create(params, direction, (0.9, 0.99))


def abstract(tree):
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


def progress(step):
    return checkpoint.Progress(step, checkpoint.key_data(jax.random.key(2**33 + 5)), {"next_index": step})


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_everything_comes_back(tmp_path):
    saved = make_state()
    with_history = checkpoint.Checkpoints(tmp_path / "c", keep=0)
    assert with_history.last is None
    with_history.save(saved, progress(3), CONFIG)
    with_history.close()
    again = checkpoint.Checkpoints(tmp_path / "c", keep=0)
    assert again.last == 3
    restored, where = again.restore(abstract(saved))
    assert_equal(restored, saved)
    assert where == progress(3)
    key = jax.random.wrap_key_data(jnp.array(where.key, jnp.uint32))
    assert jnp.array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(2**33 + 5)))
    assert checkpoint.load_config(checkpoint.find(tmp_path / "c")) == CONFIG
    again.close()


def test_a_save_in_the_background_is_not_changed_by_a_donating_step(tmp_path):
    step = jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)
    checkpoints = checkpoint.Checkpoints(tmp_path / "c", keep=0)
    now, wanted = make_state(width=1000), make_state(width=1000)
    for number in range(1, 4):
        checkpoints.save(now, progress(number), CONFIG)
        now = step(step(step(now)))
    checkpoints.close()
    for number in range(1, 4):
        loaded = checkpoint.load_params(tmp_path / "c" / str(number), "params", abstract(wanted.params))
        assert_equal(loaded, wanted.params)
        wanted = step(step(step(wanted)))


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path / "c", keep=2)
    for number in (5, 10, 15):
        checkpoints.save(make_state(width=4), progress(number), CONFIG)
    checkpoints.close()
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["10", "15"]


def test_what_an_interrupted_save_left_is_no_checkpoint_and_goes(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path / "c", keep=0)
    checkpoints.save(make_state(width=4), progress(5), CONFIG)
    checkpoints.close()
    shutil.copytree(tmp_path / "c" / "5", tmp_path / "c" / "10.orbax-checkpoint-tmp")
    assert checkpoint.find(tmp_path / "c").name == "5"
    again = checkpoint.Checkpoints(tmp_path / "c", keep=0)
    assert again.last == 5
    again.save(make_state(width=4), progress(10), CONFIG)
    again.close()
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["10", "5"]


def test_one_average_is_read_alone(tmp_path):
    saved = make_state(width=4)
    checkpoints = checkpoint.Checkpoints(tmp_path / "checkpoints", keep=0)
    checkpoints.save(saved, progress(5), CONFIG)
    checkpoints.close()
    shutil.rmtree(tmp_path / "checkpoints" / "5" / "train")
    shutil.rmtree(tmp_path / "checkpoints" / "5" / "params")
    found = checkpoint.find(tmp_path)
    assert_equal(checkpoint.load_params(found, "ema_0.9", abstract(saved.params)), saved.emas["ema_0.9"])
    with pytest.raises(checkpoint.CheckpointError, match="cannot be read"):
        checkpoint.load_params(found, "ema_0.5", abstract(saved.params))


def test_find_takes_a_run_its_checkpoints_or_a_step(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path / "checkpoints", keep=0)
    for number in (9, 10):
        checkpoints.save(make_state(width=4), progress(number), CONFIG)
    checkpoints.close()
    newest = tmp_path / "checkpoints" / "10"
    assert (
        checkpoint.find(tmp_path)
        == checkpoint.find(tmp_path / "checkpoints")
        == checkpoint.find(newest)
        == newest
    )
    assert checkpoint.find(tmp_path / "checkpoints" / "9").name == "9"
    for folder in (tmp_path / "none", tmp_path / "checkpoints" / "10" / "params"):
        with pytest.raises(ValueError, match="holds no checkpoint"):
            checkpoint.find(folder)


def test_another_network_is_an_error(tmp_path):
    checkpoints = checkpoint.Checkpoints(tmp_path / "c", keep=0)
    checkpoints.save(make_state(width=4), progress(5), CONFIG)
    checkpoints.wait()
    with pytest.raises(checkpoint.CheckpointError, match="could not be read"):
        checkpoints.restore(abstract(make_state(width=5)))


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        checkpoint.CheckpointError, match=f"could not be opened in {tmp_path}/file/c: .*Not a dir"
    ):
        checkpoint.Checkpoints(tmp_path / "file" / "c", keep=0)


def test_one_process_at_a_time(tmp_path):
    with (
        checkpoint.Checkpoints(tmp_path / "c", keep=0),
        pytest.raises(checkpoint.CheckpointError, match=f"in {tmp_path}/c: another process trains in it"),
    ):
        checkpoint.Checkpoints(tmp_path / "c", keep=0)
    with pytest.raises(KeyError), checkpoint.Checkpoints(tmp_path / "c", keep=0):
        raise KeyError
    checkpoint.Checkpoints(tmp_path / "c", keep=0).close()


def check_for_a_while(checkpoints):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        checkpoints.check()
        time.sleep(0.01)


@pytest.fixture
def largest_file():
    """A function that sets the size, in bytes, beyond which this process cannot write a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_error_of_the_background_is_raised_by_the_next_check(tmp_path, largest_file):
    folder = tmp_path / "c"
    checkpoints = checkpoint.Checkpoints(folder, keep=0)
    checkpoints.save(make_state(), progress(5), CONFIG)
    checkpoints.wait()
    checkpoints.check()
    largest_file(100_000)
    checkpoints.save(make_state(), progress(6), CONFIG)
    with pytest.raises(checkpoint.CheckpointError, match=f"{folder}: File too large .*last.*: {folder}/5"):
        check_for_a_while(checkpoints)
    restored, where = checkpoints.restore(abstract(make_state()))
    assert where.step == 5
    assert_equal(restored, make_state())
