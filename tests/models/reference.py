"""PT-DiT and its baselines once more, in plain numpy float64: what the tests of `ptdit_jax.models` compare with.

Written from the paper, one sample at a time, and deliberately unlike the package: a token is the coordinate
(frame, row, column) of the real grid, a window is the list of the tokens whose coordinates it covers, and
attention runs over lists of tokens.  So there is no padding to keep out, no mask, no roll and no reshape to
get wrong.

Shapes: (f, h, w) token grid, T tokens of a list, P proxies, D width, H heads, d head width, L text tokens.
"""

import itertools
import math

import numpy as np

PARTS = {"proxy": 3, "injection": 3, "injection_kv": 2, "window": 3, "shift": 3, "mlp": 3}


# Tokens and windows


def tokens(grid):
    """Every coordinate of a grid, row-major."""
    return list(itertools.product(*map(range, grid)))


def clip(window, grid):
    return tuple(min(c, s) for c, s in zip(window, grid))


def rounded_up(grid, window):
    return tuple(math.ceil(s / c) * c for s, c in zip(grid, window))


def windows(grid, window):
    """[[coordinate, ...], ...]: the real tokens of each window, row-major over windows and inside."""
    found = {}
    for token in tokens(grid):
        found.setdefault(tuple(x // c for x, c in zip(token, window)), []).append(token)
    return [found[index] for index in sorted(found)]


def region(position, size, c):
    """Where a rolled position lies along an axis: 0 inside, 1 the end, 2 what was wrapped around."""
    if c == 1 or position < size - c:
        return 0
    return 1 if position < size - c // 2 else 2


def shifted_groups(grid, window):
    """[[coordinate, ...], ...]: real tokens that attend to each other in the shifted windows."""
    padded = rounded_up(grid, window)
    found = {}
    for token in tokens(grid):
        rolled = [(x - c // 2) % size for x, c, size in zip(token, window, padded)]
        places = [(r // c, region(r, size, c)) for r, c, size in zip(rolled, window, padded)]
        found.setdefault(tuple(places), []).append(token)
    return list(found.values())


def proxy_groups(grid, window, ratio=None):
    """[[coordinate, ...], ...]: the real tokens of each proxy, order (window, j, k); some may be empty."""
    ratio = window if ratio is None else clip(ratio, window)
    strides = (window[1] // ratio[1], window[2] // ratio[2])
    groups = []
    for members in windows(grid, window):
        for j, k in itertools.product(range(strides[0]), range(strides[1])):
            inside = [(y % window[1] % strides[0], x % window[2] % strides[1]) for _, y, x in members]
            groups.append([token for token, place in zip(members, inside) if place == (j, k)])
    return groups


def most_similar(vectors):
    """Index of the vector with the largest sum of cosine similarities to the others."""
    sums = []
    for i, a in enumerate(vectors):
        others = [b for j, b in enumerate(vectors) if j != i]
        sums.append(sum(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in others))
    return int(np.argmax(sums))


def extract(z, groups, extraction):
    """(P, D): the proxy of each group that is not empty."""
    lists = [[z[token] for token in group] for group in groups if group]
    pick = {
        "average": lambda vectors: sum(vectors) / len(vectors),
        "top_left": lambda vectors: vectors[0],
        "similarity": lambda vectors: vectors[most_similar(vectors)],
    }[extraction]
    return np.stack([pick(vectors) for vectors in lists])


def interpolated(proxies, counts, window, token):
    """(D,): the proxies, each at the centre of its window, interpolated linearly at the centre of a token."""
    proxies = proxies.reshape(*counts, -1)
    axes = []
    for x, c, count in zip(token, window, counts):
        place = min(max((x + 0.5) / c - 0.5, 0.0), count - 1.0)
        low = min(int(place), max(count - 2, 0))
        axes.append([(low, 1 - (place - low)), (min(low + 1, count - 1), place - low)])
    return sum(
        math.prod(weight for _, weight in corner) * proxies[tuple(index for index, _ in corner)]
        for corner in itertools.product(*axes)
    )


# Positions


def sincos(features, position):
    angles = [position / 10000 ** (j / (features / 2)) for j in range(features // 2)]
    return np.array([*map(math.sin, angles), *map(math.cos, angles)])


def position_3d(token, grid, width, sample_size=32, kind="grid"):
    """[time D/4 | column 3D/8 | row 3D/8] of one token."""
    frame, row, column = token
    if kind == "released":
        flat = row * grid[2] + column
        row, column = flat // grid[1], flat % grid[1]
    scale = max(sample_size // 64, 1)
    share = 3 * width // 8
    parts = [sincos(width // 4, frame), sincos(share, column / scale), sincos(share, row / scale)]
    return np.concatenate(parts)


def position_2d(token, width, scale=1, grid=None, base=0):
    """DiT's [column D/2 | row D/2]; with a base as if the grid had that many rows and columns."""
    row, column = token[1:]
    if base:
        row, column = row * base / grid[1], column * base / grid[2]
    return np.concatenate([sincos(width // 2, column / scale), sincos(width // 2, row / scale)])


# Layers


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def linear(p, x):
    return np.tensordot(x, p["kernel"], 1) + p["bias"]


def norm(x, shift=None, scale=None):
    """LN without parameters, then ·(1 + scale) + shift where there are any."""
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return y if shift is None else y * (1 + scale) + shift


def gate_by(gate, x):
    return x if gate is None else gate * x


def softmax(scores):
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def attend(q, k, v, bias=0.0):
    """One head: q (Q, d), k and v (K, d), bias added to the scores -> (Q, d)."""
    return softmax(q @ k.T / math.sqrt(q.shape[-1]) + bias) @ v


def self_attention(p, x):
    """(T, D) -> (T, D)."""
    return cross_attention(p, x, x)


def cross_attention(p, x, context, bias=0.0):
    """x (T, D), context (K, D) -> (T, D)."""
    return _project(p["out"], linear(p["q"], x), linear(p["k"], context), linear(p["v"], context), bias)


def _project(p, q, k, v, bias=0.0):
    heads = range(q.shape[1])
    return sum(attend(q[:, i], k[:, i], v[:, i], bias) @ p["kernel"][i] for i in heads) + p["bias"]


def mlp(p, x):
    return linear(p["down"], gelu(linear(p["up"], x)))


# The networks


def time_embedding(p, t):
    """(D,) of one time as the network counts it."""
    angles = [t * 10000 ** (-j / 128) for j in range(128)]
    features = np.array([*map(math.cos, angles), *map(math.sin, angles)])
    return linear(p["linear_2"], silu(linear(p["linear_1"], features)))


def block_modulation(p, emb, arch, shifted):
    """{part: (shift, scale, gate)} of one block; emb is t6 (6, D) or (D,)."""
    rows = {part: (None, None, None) for part in PARTS}
    if arch.adaln == "single":
        table = p["modulation"]["table"] + emb
        rows["window"], rows["mlp"] = tuple(table[:3]), tuple(table[3:])
        if shifted:
            rows["shift"] = tuple(p["modulation"]["shift_table"] + emb[:3])
        return rows
    if parts := modulated_parts(arch, shifted):
        values = iter(linear(p["modulation"]["linear"], silu(emb)))
        for part in parts:
            rows[part] = tuple(next(values) if i < PARTS[part] else None for i in range(3))
    return rows


def modulated_parts(arch, shifted):
    """The parts of a block that adaLN-Zero modulates."""
    if arch.family != "ptdit":
        return ["window", "shift", "mlp"] if shifted else ["window", "mlp"]
    present = {"proxy": arch.giim, "injection": arch.giim, "injection_kv": arch.giim}
    present |= {"window": arch.tcm, "shift": shifted, "mlp": True}
    return [part for part in PARTS if present[part] and part in arch.modulated]


def block(p, z, emb, text, text_bias, arch, *, shifted, window, ratio=None):
    """The six steps on one sample.

    Args:
      p: the block's parameters.
      z: (f, h, w, D).
      emb: t6 (6, D) of adaLN-single or (D,) of adaLN-Zero.
      text: (L, D) or None.
      text_bias: (L,) added to the scores of the text tokens.
      arch: the network's facts.
      shifted: whether the block has shifted windows.
      window: (cf, ch, cw).
      ratio: (., ph, pw) for several proxies a window.
    """
    grid, everything = z.shape[:3], tokens(z.shape[:3])
    window = clip(window, grid)
    modulation = block_modulation(p, emb, arch, shifted)
    flat = lambda values: np.stack([values[token] for token in everything])  # noqa: E731

    if arch.giim:
        shift, scale, gate = modulation["proxy"]
        proxies = extract(z, proxy_groups(grid, window, ratio), arch.extraction)
        attended = self_attention(p["giim"]["self_attention"], norm(proxies, shift, scale))
        proxies = proxies + gate_by(gate, attended)
        shift, scale, _ = modulation["injection_kv"]
        context = norm(proxies, shift, scale)
        shift, scale, gate = modulation["injection"]
        if arch.injection == "cross_attention":
            update = cross_attention(p["giim"]["cross_attention"], norm(flat(z), shift, scale), context)
        elif arch.injection == "interpolate":
            counts = [size // c for size, c in zip(rounded_up(grid, window), window)]
            update = np.stack([interpolated(context, counts, window, token) for token in everything])
        else:
            counts = [size // c for size, c in zip(rounded_up(grid, window), window)]
            update = []
            for token in everything:
                place = [x // c for x, c in zip(token, window)]
                inside = [x % c for x, c in zip(token, window)]
                expanded = linear(p["giim"]["expand"], context[np.ravel_multi_index(place, counts)])
                update.append(expanded[np.ravel_multi_index(inside, window)])
            update = np.stack(update)
        if arch.zero_linears:
            update = linear(p["giim"]["linear_1"], update)
        z = z + gate_by(gate, update).reshape(z.shape)

    if arch.tcm:
        shift, scale, gate = modulation["window"]
        update = np.empty_like(z)
        for group in windows(grid, window):
            inputs = norm(np.stack([z[token] for token in group]), shift, scale)
            for token, out in zip(group, self_attention(p["window_attention"]["attention"], inputs)):
                update[token] = gate_by(gate, out)
        z = z + update

    if shifted:
        shift, scale, gate = modulation["shift"]
        update = np.empty_like(z)
        for group in shifted_groups(grid, window):
            inputs = norm(np.stack([z[token] for token in group]), shift, scale)
            for token, out in zip(group, self_attention(p["shifted_attention"]["attention"], inputs)):
                update[token] = gate_by(gate, out)
        z = z + (linear(p["linear_2"], update) if arch.zero_linears else update)

    if arch.condition == "text":
        z = z + cross_attention(p["text_attention"], flat(z), text, text_bias).reshape(z.shape)

    shift, scale, gate = modulation["mlp"]
    return z + gate_by(gate, mlp(p["mlp"], norm(z, shift, scale)))


def mediated_attention(p, x, groups):
    """x (T, D) -> (T, D), query by query: mediator j is the mean query of groups[j], a list of rows of x."""
    q, k, v = (linear(p[name], x) for name in "qkv")  # (T, H, d)
    out = np.zeros_like(v)
    for i in range(q.shape[1]):
        mediators = [sum(q[row, i] for row in group) / len(group) for group in groups]
        values = [attend(mediator[None], k[:, i], v[:, i])[0] for mediator in mediators]
        for row in range(len(x)):
            weights = softmax(
                np.array([q[row, i] @ mediator for mediator in mediators]) / math.sqrt(q.shape[-1])
            )
            out[row, i] = sum(weight * value for weight, value in zip(weights, values))
    return sum(out[:, i] @ p["out"]["kernel"][i] for i in range(q.shape[1])) + p["out"]["bias"]


def baseline_block(p, z, emb, text, text_bias, arch):
    """The block of a baseline on one sample; arguments as of `block`."""
    grid, everything = z.shape[:3], tokens(z.shape[:3])
    modulation = block_modulation(p, emb, arch, shifted=arch.family == "factorized")
    flat = lambda values: np.stack([values[token] for token in everything])  # noqa: E731

    def mixed(z, parameters, part, groups):
        """z and the self-attention among the tokens of each group."""
        shift, scale, gate = modulation[part]
        update = np.empty_like(z)
        for group in groups:
            inputs = norm(np.stack([z[token] for token in group]), shift, scale)
            for token, out in zip(group, self_attention(parameters, inputs)):
                update[token] = gate * out
        return z + update

    if arch.family == "dam":
        shift, scale, gate = modulation["window"]
        sides = [math.ceil(size / count) for size, count in zip(grid, arch.mediators)]
        groups = [[everything.index(token) for token in group] for group in windows(grid, sides)]
        update = mediated_attention(p["attention"], norm(flat(z), shift, scale), groups)
        z = z + gate * update.reshape(z.shape)
    elif arch.family == "factorized":
        frames = [[token for token in everything if token[0] == i] for i in range(grid[0])]
        places = [[(i, *place) for i in range(grid[0])] for place in itertools.product(*map(range, grid[1:]))]
        z = mixed(z, p["attention"], "window", frames)
        z = mixed(z, p["temporal_attention"], "shift", places)
    else:
        z = mixed(z, p["attention"], "window", [everything])
    if arch.condition == "text":
        z = z + cross_attention(p["text_attention"], flat(z), text, text_bias).reshape(z.shape)
    shift, scale, gate = modulation["mlp"]
    return z + gate * mlp(p["mlp"], norm(z, shift, scale))


def layer(blocks, index, group):
    """The parameters of block `index` of a stack: repeat index // group of block index % group."""
    if isinstance(blocks, dict) and 0 in blocks:
        return layer(blocks[index % group], index // group, 1)
    if isinstance(blocks, dict):
        return {name: layer(value, index, 1) for name, value in blocks.items()}
    return blocks[index]


def network(arch, p, x, t, condition=None, *, window=(1, 1, 1), ratio=None):
    """(B, C_out, F, H, W) of PT-DiT, or of the baseline that `arch.family` names.

    Args:
      arch: the network's facts.
      p: its parameters as nested dicts of float64 arrays.
      x: (B, C, F, H, W).
      t: (B,).
      condition: labels (B,), (text (B, L, E), mask (B, L)), or None.
      window: (cf, ch, cw).
      ratio: (., ph, pw) for several proxies a window.
    """
    rows, columns = arch.patch_height or arch.patch, arch.patch
    frames, height, width = x.shape[2:]
    grid = (frames, height // rows, width // columns)
    group = max(arch.shift_every, 1)
    out = np.zeros((len(x), arch.out_channels, frames, height, width))
    for b in range(len(x)):
        z = np.zeros((*grid, arch.width))
        for token in tokens(grid):
            f, i, j = token
            pixels = x[b, :, f, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
            z[token] = linear(p["patch_embedding"], pixels.astype(np.float64).reshape(-1))
            if arch.family in ("dit", "dam", "pixart"):
                scale = max(arch.sample_size // 64, 1) if arch.family == "pixart" else 1
                base = arch.sample_size // arch.patch if arch.positions == "rescaled" else 0
                z[token] += position_2d(token, arch.width, scale, grid, base)
            else:
                z[token] += position_3d(token, grid, arch.width, arch.sample_size, arch.positions)

        time = {"1000t": 1000 * float(t[b]), "1-t": 1 - float(t[b])}[arch.time_input]
        emb = time_embedding(p["time_embedding"], time)
        text, text_bias = None, 0.0
        if arch.condition == "class":
            emb = emb + p["class_embedding"]["table"][int(condition[b])]
        elif arch.condition == "text":
            states = np.asarray(condition[0][b], np.float64)
            project = p["text_projection"]
            text = linear(project["linear_2"], gelu(linear(project["linear_1"], states)))
            text_bias = (np.asarray(condition[1][b], np.float64) - 1) * 10000

        block_emb = emb
        if arch.adaln == "single":
            block_emb = linear(p["shared_modulation"]["linear"], silu(emb))
        for i in range(arch.depth):
            shifted = arch.shift_every > 0 and i % group == group - 1
            arguments = (layer(p["blocks"], i, group), z, block_emb, text, text_bias, arch)
            if arch.family == "ptdit":
                z = block(*arguments, shifted=shifted, window=window, ratio=ratio)
            else:
                z = baseline_block(*arguments)

        final = p["final_layer"]
        if arch.adaln == "single":
            shift, scale = final["table"] + emb
        else:
            shift, scale = linear(final["modulation"], silu(emb))
        features = linear(final["proj_out"], norm(z, shift, scale))
        for f, i, j in tokens(grid):
            for q, r, channel in itertools.product(range(rows), range(columns), range(arch.out_channels)):
                value = features[f, i, j, (q * columns + r) * arch.out_channels + channel]
                out[b, channel, f, i * rows + q, j * columns + r] = value
    return out
