"""A trace of some steps, which TensorBoard (with its profile plugin) and XProf open."""

from pathlib import Path

import jax


class Profile:
    """Traces the steps of a range; a context, so that an error still leaves the trace of what came before it."""

    def __init__(self, folder: Path, steps: range):
        """Prepare.

        Args:
          folder: gets `plugins/profile/TIME/`.
          steps: to be traced; none if empty.
        """
        self.folder, self.steps = folder, steps
        self._running = False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def step(self, number: int) -> jax.profiler.StepTraceAnnotation:
        """To be entered around the call that starts step `number`."""
        if number in self.steps and not self._running:
            jax.profiler.start_trace(self.folder)
            self._running = True
        return jax.profiler.StepTraceAnnotation("train", step_num=number)

    def ends_with(self, number: int) -> bool:
        """Whether the trace is to be stopped after step `number`, when the devices are done with it."""
        return self._running and number == self.steps[-1]

    def stop(self) -> None:
        """Write the trace, if there is one."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
