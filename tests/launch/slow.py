"""A training run whose process 1 is slow to start: `python -m tests.launch.slow SECONDS LIMIT ...`.

It sleeps SECONDS before it starts its devices, before it connects them and before its first batch; LIMIT, if not 0,
takes the place of --start-timeout once all have come.
"""

import sys
import time

from ptdit_jax import cli, train
from ptdit_jax.processes import distributed

SECONDS, LIMIT = (float(sys.argv.pop(1)) for _ in range(2))
make_loader, initialize, meet = train.make_loader, distributed.initialize, distributed.meet


def dawdle():
    if launched.process_id == 1:
        time.sleep(SECONDS)


def slow_initialize(launch):
    global launched
    launched = launch
    others = initialize(launch)
    if LIMIT:
        assert others is not None
        distributed._others = others, LIMIT
    return others


def slow_meet(where):
    dawdle()
    meet(where)


def slow_loader(*arguments, **options):
    dawdle()
    return make_loader(*arguments, **options)


distributed.initialize, distributed.meet, train.make_loader = slow_initialize, slow_meet, slow_loader
sys.exit(cli.run(lambda: train.start(sys.argv)))
