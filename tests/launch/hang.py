"""A training run whose process 1 waits for ever for its fifth batch."""

import sys
import time

import jax

from ptdit_jax import cli, train


class Hanging:
    """A loader that stops."""

    def __init__(self, loader):
        self.loader, self.given = loader, 0
        self.get_state, self.set_state = loader.get_state, loader.set_state

    def __next__(self):
        self.given += 1
        if self.given == 5 and jax.process_index() == 1:
            never()
        return next(self.loader)


def never():
    """What the stacks are to show."""
    time.sleep(3600)


make_loader = train.make_loader
train.make_loader = lambda *arguments, **options: Hanging(make_loader(*arguments, **options))
sys.exit(cli.run(lambda: train.start(sys.argv)))
