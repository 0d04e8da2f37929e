"""Config files of a user's own: whatever is wrong in one is a line with its name and place."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ptdit_jax import cli
from ptdit_jax import config as rules

HEAD = "from configs import common\n\n\ndef get_config():\n    config = common.get_config()\n"
BROKEN = {
    "value": (
        HEAD + "    raise ValueError('no such\\nluck')\n",
        ":6: get_config(): ValueError: no such luck",
    ),
    "type": (
        HEAD + "    config.model.depth = 'six'\n",
        ":6: get_config(): TypeError: Could not override field",
    ),
    "attribute": (HEAD + "    config.model.dept = 6\n", ":6: get_config(): AttributeError: .*dept"),
    "zero": ("x = 1\ny = x / 0\n", ":2: ZeroDivisionError: division by zero"),
    "key": ("x = {}['y']\n", ":1: KeyError: 'y'"),
    "memory": ("raise MemoryError\n", ":1: MemoryError"),
    "recursion": ("def get_config():\n    return get_config()\n", ":2: get_config\\(\\): RecursionError: "),
    "group": ("raise ExceptionGroup('two', [ValueError('a')])\n", ":1: ExceptionGroup: two"),
    "syntax": ("x = 1\ndef get_config(:\n", ":2: SyntaxError: "),
    "indentation": ("def f():\nreturn 1\n", ":2: IndentationError: "),
    "import": (
        "import os\nimport no_such_package\n",
        ":2: ModuleNotFoundError: No module named 'no_such_package'",
    ),
    "exit": (HEAD + "    raise SystemExit(0)\n", r":6: get_config\(\): exit\(0\) is called"),
    "exit_on_import": ("import sys\nsys.exit()\n", r":2: exit\(None\) is called"),
    "nothing": ("", ": it has no function get_config"),
    "no_function": ("get_config = 3\n", ": it has no function get_config"),
    "none": ("def get_config():\n    pass\n", r": get_config\(\) returns NoneType; it must return a config"),
    "dict": ("def get_config():\n    return {}\n", r": get_config\(\) returns dict; it must return a config"),
    "empty": (
        "import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict()\n",
        r": the config of get_config\(\) has no [a-z.]+; begin it with configs.common.get_config\(\)",
    ),
    "section": (
        HEAD + "    config.model = None\n    return config\n",
        r": the config .* has no model[.][a-z]+; ",
    ),
    "more": (
        HEAD + "    with config.unlocked():\n        config.model.dept = 3\n    return config\n",
        r": get_config\(\): model.dept: there is no such field; did you mean model.depth\?",
    ),
    "argument": ("def get_config(size):\n    return size\n", r": get_config\(\): TypeError: .*size"),
    "text": ("\x00\x01\x02", ": .*null bytes"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_a_line_with_its_place(tmp_path, name):
    text, message = BROKEN[name]
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(ValueError) as caught:
        cli.parse(["train", f"--config={file}"], "")
    line = str(caught.value)
    assert "\n" not in line
    assert re.match(re.escape(str(file)) + message.replace("get_config(): ", r"get_config\(\): "), line), line


def test_a_file_that_is_no_text(tmp_path):
    file = tmp_path / "picture.py"
    file.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(ValueError, match=re.escape(str(file))):
        cli.parse(["train", f"--config={file}"], "")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ValueError, match=re.escape(f"--config={tmp_path}: it is no file")):
        cli.parse(["train", f"--config={tmp_path}"], "")
    with pytest.raises(ValueError, match="--config needs a file"):
        cli.parse(["train", "--config"], "")


def test_an_error_in_what_a_file_imports_names_the_line_of_the_file(tmp_path, monkeypatch):
    (tmp_path / "part_of_mine.py").write_text("x = 1\ny = x.z\n")
    file = tmp_path / "mine.py"
    file.write_text("import os\nimport part_of_mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"mine\.py:2: AttributeError: 'int' object has no attribute 'z'"):
        cli.parse(["train", f"--config={file}"], "")


def test_numbers_of_numpy_and_paths_are_taken(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "import pathlib\n\nimport numpy as np\n\n"
        + HEAD
        + "    config.model.depth = np.int64(7)\n"
        + "    config.optimizer.learning_rate = np.float32(0.5)\n"
        + "    config.model.giim = np.bool_(False)\n"
        + "    config.compression.fixed = (np.int32(1), 2, 2)\n"
        + "    config.data.path = pathlib.Path('/data')\n"
        + "    return config\n"
    )
    config, workdir, _ = cli.parse(["train", f"--config={file}"], "")
    model = config.model
    found = (
        model.depth,
        config.optimizer.learning_rate,
        model.giim,
        config.data.path,
        *config.compression.fixed,
    )
    assert found == (7, 0.5, False, "/data", 1, 2, 2)
    assert [type(value) for value in found] == [int, float, bool, str, int, int, int]
    assert rules.flatten(rules.from_json(rules.to_json(config))) == rules.flatten(config)
    assert workdir == Path("runs/mine")


def test_an_argument_of_the_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        HEAD.replace("get_config():", "get_config(depth='3'):", 1)
        + "    config.model.depth = int(depth)\n    return config\n"
    )
    assert cli.parse(["train", f"--config={file}:12"], "")[0].model.depth == 12
    assert cli.parse(["train", "--config", str(file)], "")[0].model.depth == 3


def test_debug_shows_the_rest(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("x = 1 / 0\n")
    arguments = [sys.executable, "-m", "ptdit_jax.cost", f"--config={file}"]
    root = Path(__file__).parents[2]
    plain = subprocess.run(arguments, cwd=root, capture_output=True, text=True)
    assert plain.returncode == cli.USER_ERROR
    assert plain.stderr == f"error: {file}:1: ZeroDivisionError: division by zero\n"
    full = subprocess.run([*arguments, "--debug"], cwd=root, capture_output=True, text=True)
    assert full.returncode == 1
    assert "Traceback" in full.stderr
    assert "x = 1 / 0" in full.stderr
