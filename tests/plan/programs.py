"""Small programs in the text of compiled ones."""

from ptdit_jax.plan import hlo

MESH = {"data": 2, "fsdp": 2, "tensor": 1, "context": 2}


def program(body: str, rest: str = "") -> hlo.Module:
    """Eight devices running `body`, the instructions of an entry computation whose last one is its root."""
    lines = [f"  {line.strip()}" for line in body.strip().splitlines()]
    lines[-1] = "  ROOT " + lines[-1].strip()
    entry = "\n".join(lines)
    head = "HloModule test, is_scheduled=true, num_partitions=8"
    return hlo.parse(f"{head}\n\n{rest}\nENTRY %main (p: f32[8]) -> f32[8] {{\n{entry}\n}}\n")
