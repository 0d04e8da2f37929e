"""Where the network that is sampled comes from: a run's checkpoint, or the released weights.

Shapes: none; parameters are nested dicts of arrays.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from ptdit_jax import config as rules
from ptdit_jax.experiment import live_text, null_text
from ptdit_jax.experiment.build import Experiment
from ptdit_jax.experiment.pretrained import load_params
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.parallel.rules import replicated
from ptdit_jax.training import checkpoint, checksums
from ptdit_jax.training.state import ema_name


@dataclasses.dataclass(frozen=True)
class Origin:
    """A network to sample from, before its parameters are read.

    Attributes:
      title: for people.
      parameters: which: "params", or an average's name.
      identity: what tells it from others, plain values.
      config: of the network and of sampling.
      path: the checkpoint's step, or the file of weights.
      folder: that may keep the empty caption which it was trained with; None for the release, which keeps none.
      load: (experiment, mesh) -> its parameters, whole on every device of the mesh; every process calls it.
    """

    title: str
    parameters: str
    identity: str
    config: Any
    path: Path
    folder: Path | None
    load: Callable[[Experiment, Mesh], Any]

    @property
    def home(self) -> Path:
        """The folder of what belongs to the network: the run's, or that of the weights' file."""
        return self.folder or (self.path.parent if self.path.is_file() else self.path)

    def empty_caption(self) -> null_text.NullText | None:
        """What guidance leads away from: the empty caption that the run keeps, or else that of the text encoder.

        Returns:
          None for a model without text, and without guidance where none is kept.

        Raises:
          ValueError: there is neither, and there is guidance.
        """
        config = self.config
        kept = None if self.folder is None else null_text.of_run(config, self.folder)
        if kept is not None or config.model.condition != "text" or config.sampling.guidance == 1:
            return kept
        if not config.text_encoder.path:
            raise ValueError(
                f"guidance {config.sampling.guidance:g} needs the empty caption, which {self.folder} does not keep; "
                "use --guidance 1"
            )
        return null_text.padded(config, live_text.null(config))


def of_checkpoint(path: Path, *, ema: float | None = None) -> Origin:
    """A run's newest checkpoint, or a step.

    Args:
      path: see `checkpoint.find`.
      ema: decay of the average that is sampled, 0 = the raw parameters; None: as the run's config has it.

    Raises:
      ValueError: there is none.
    """
    step = checkpoint.find(path)
    config = rules.from_json(json.dumps(checkpoint.load_config(step)))
    if ema is not None:
        config.sampling.ema = ema
    name = ema_name(config.sampling.ema)

    def load(experiment: Experiment, mesh: Mesh) -> Any:
        if jax.process_count() == 1 or mesh.size == jax.device_count():
            return load_params(step, name, experiment, mesh)
        # Processes read a checkpoint together, each a part, and each then has all.
        return on_own_devices(load_params(step, name, experiment, make_mesh({"data": -1})), mesh)

    list_of_files = step / checksums.FILE
    content = json.loads(list_of_files.read_bytes())["sha256"] if list_of_files.is_file() else str(step)
    title, identity = f"{name} of {step}", f"{name} of {content}"
    return Origin(title, name, identity, config, step, null_text.folder_of(step), load)


def on_own_devices(params: Any, mesh: Mesh) -> Any:
    """Parameters that lie whole on every device of all processes, as arrays of this process's alone; nothing is copied.

    Args:
      params: nested dicts of arrays.
      mesh: of this process's devices.
    """
    whole = replicated(mesh)

    def own(array: jax.Array) -> jax.Array:
        parts = {part.device: part.data for part in array.addressable_shards}
        return jax.make_array_from_single_device_arrays(
            array.shape, whole, [parts[device] for device in mesh.devices.flat]
        )

    return jax.tree.map(own, params)
