"""A page to try a trained model in a browser.

    python -m ptdit_jax.demo --checkpoint runs/t2i_demo
    python -m ptdit_jax.demo --from-release WEIGHTS --text-encoder DIR --vae DIR --host 0.0.0.0 --port 8080

It needs the packages of requirements-demo.txt.  Network, text encoder and autoencoder stay in memory.  Visitors wait
in a queue, one is served at a time, and what each may ask for is bounded.  Flags of sampling say what the page starts
with.  Only this machine reaches it unless --host says otherwise; nothing is sent anywhere else.

Exit code: 0 after Ctrl-C; 1 a file cannot be read or the port is taken; 2 the command is wrong.
"""

import argparse
import importlib.util
import os
import sys

from ptdit_jax import cli, files
from ptdit_jax.demo import bounds
from ptdit_jax.experiment import decoding
from ptdit_jax.parallel.mesh import make_mesh
from ptdit_jax.processes import environment
from ptdit_jax.sample import flags, request

REQUIREMENTS = "requirements-demo.txt"
TIMES = 4  # the pixels of training that a picture may have by default


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = cli.option_parser("ptdit_jax.demo", __doc__ or "")
    add = parser.add_argument
    flags.add_model(parser)
    flags.add_sampling(parser)
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all (default 127.0.0.1)")
    add("--port", type=int, default=7860, help="(default 7860)")
    add("--title", default="PT-DiT", help="of the page")
    add("--max-count", type=int, default=8, metavar="N", help="samples at once (default 8)")
    add("--max-steps", type=int, default=100, metavar="N", help="steps of the sampler (default 100)")
    add("--max-pixels", type=int, metavar="N", help=f"of a picture (default {TIMES} times those of training)")
    add("--max-waiting", type=int, default=16, metavar="N", help="visitors in the queue (default 16)")
    args = parser.parse_args(argv)
    if args.checkpoint is None and args.from_release is None:
        parser.error("the following arguments are required: --checkpoint (or --from-release)")
    for name in ("max_count", "max_steps", "max_pixels", "max_waiting"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')}={value} must be at least 1")
    if not 0 <= args.port < 2**16:
        parser.error(f"--port={args.port} must be in [0, 65536)")
    if importlib.util.find_spec("gradio") is None:
        parser.error(f"the page needs gradio: pip install -c constraints.txt -r {REQUIREMENTS}")
    args.count = 1  # that `request.find_model` looks at
    files.resolve(args, "checkpoint", "from_release", "text_encoder", "vae")
    return args


def serve(args: argparse.Namespace, *, wait: bool = True) -> object:
    """Open the page; ends with Ctrl-C.

    Args:
      args: the command line.
      wait: until then; else the server is returned, with `close` and `local_url`.

    Raises:
      ValueError: see `request.find_model` and `Painter`.
      OSError: a file cannot be read, or the port is taken.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from ptdit_jax.demo import page, painter  # gradio takes seconds to import, and a wrong flag none

    model = request.find_model(args)
    rows, columns = bounds.trained_size(model.config)
    pixels = args.max_pixels or TIMES * rows * columns
    limits = bounds.Bounds(args.max_count, args.max_steps, pixels, args.max_waiting)
    if args.size is not None:  # before anything is loaded
        bounds.check_size(args.size, model.config, limits)
    mesh = make_mesh({"data": -1}, environment.devices())
    cli.enable_compilation_cache()
    drawer = painter.Painter(model, limits, mesh, frames=args.frames, views=args.views)
    print(
        f"{model.title}: pictures of {decoding.size_text((1, rows, columns))} pixels in training", flush=True
    )
    server = page.build(drawer, args.title, size=args.size)
    server.launch(
        server_name=args.host,
        server_port=args.port or None,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        footer_links=[],
        theme=page.THEME,
        css=page.CSS,
        max_threads=8,
    )
    print(f"the page is at {server.local_url} (Ctrl-C ends it)", flush=True)
    if wait:
        server.block_thread()
    return server


def main(args: argparse.Namespace) -> int:
    """Serve; returns the exit code."""
    serve(args)
    return 0


if __name__ == "__main__":
    arguments = parse(sys.argv[1:])
    sys.exit(cli.run(lambda: main(arguments), debug=arguments.debug))
