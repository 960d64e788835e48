"""Made-up coordinate checks whose exponents of the width are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

WIDTHS = (64, 128, 256, 512, 1024)
SEEDS = (0, 1, 2)
NAN = float("nan")

# Settings of a run that a case does not name.
DEFAULT = {
    "data": "digits",
    "samples": 64,
    "model": "mlp",
    "base_width": 64,
    "activation": "tanh",
    "parameterization": "mup",
    "output_exponent": NAN,
    "output_multiplier": 0.125,
    "optimizer": "kfac",
    "loss": "mse",
    "fisher": "ggn",
    "damping_rule": "rescaled",
    "damping": 0.1,
    "ema": 1.0,
    "interval": 1,
    "lr": 0.1,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "batch_size": NAN,
    "steps": 1,
    "precision": "double",
}
PLAIN = {"optimizer": "sgd", "damping_rule": "none", "damping": NAN}
SHAMPOO = {"optimizer": "shampoo", "damping_rule": "largest", "damping": 1e-4}
HEURISTIC = {"damping_rule": "heuristic"}
FACTORS = ("trace_A", "trace_B", "lambda_max_A", "lambda_max_B", "rho_A", "rho_B")

Values = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def power(
    *exponents: float, levels: Sequence[float] = (0.3, 0.2, 0.1), drift: float = 0.0
) -> Values:
    """Levels times M^exponent per layer, (width, step, layer); ``drift`` is added per step.

    Seeds differ by a factor that depends on the width and averages out over 0, 1, 2 and over 0, 2.
    """

    def values(width: np.ndarray, step: np.ndarray, seed: int) -> np.ndarray:
        exponent = np.array(exponents) + drift * step[:, None]
        wiggle = np.exp(0.02 * (seed - 1) * np.sin(width))[:, None, None]
        return np.array(levels) * wiggle * width[:, None, None] ** exponent

    return values


def case(dWh: Values, dh: Values | None = None, **settings) -> dict:
    """One case: changes of the layers as functions of width, step and seed."""
    return {"dWh": dWh, "dh": dh or dWh, **settings}


def runs(
    cases: Sequence[dict],
    widths: Sequence[int] = WIDTHS,
    seeds: Sequence[int] = SEEDS,
    layer_steps: Sequence[int] = (0, 1),
) -> xr.Dataset:
    """Trained runs of some cases at all widths and seeds, as an analysis sees them."""
    step = np.array(layer_steps)
    names = sorted({name for each in cases for name in each if callable(each[name])})
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in names}
    settings: dict[str, list] = {name: [] for name in ("seed", "width", *DEFAULT)}
    for each in cases:
        own = {**DEFAULT, **{n: v for n, v in each.items() if not callable(v)}}
        for seed in seeds:
            width = np.array(widths, dtype=float)
            for name in names:
                block = each[name](width, step, seed) if name in each else NAN
                block = np.broadcast_to(block, (len(widths), len(step), 3)).copy()
                if name in ("dWh", "dh"):
                    block[:, step == 0] = 0.0
                block[:, step > own["steps"]] = NAN
                blocks[name].append(block)
            settings["seed"] += [seed] * len(widths)
            settings["width"] += list(widths)
            for name in DEFAULT:
                settings[name] += [own[name]] * len(widths)
    data = xr.Dataset(
        {n: (("run", "layer_step", "layer"), np.concatenate(b)) for n, b in blocks.items()},
        coords={"layer_step": step, "layer": [0, 1, 2]},
    )
    data = data.assign_coords({name: ("run", values) for name, values in settings.items()})
    data["diverged_at"] = ("run", np.full(data.sizes["run"], -1))
    return data


# --- The experiments at laptop scale --------------------------------------------------------------

STANDARD = {"parameterization": "sp", "output_multiplier": 1.0}
FIVE = {"steps": 5, "activation": "relu"}


def factors(trace: Sequence[Values], rho: Sequence[Values], top: float = 0.5) -> dict[str, Values]:
    """Variables of the factors A and B; the largest eigenvalue is a fixed share of the trace."""
    found: dict[str, Values] = {}
    for letter, own_trace, own_rho in zip("AB", trace, rho, strict=True):
        found[f"trace_{letter}"] = own_trace
        found[f"lambda_max_{letter}"] = lambda w, t, s, own=own_trace: top * own(w, t, s)
        found[f"rho_{letter}"] = own_rho
    return found


A, B = power(0, 1, 1), power(-1, -1, 0)
PRODUCT = power(-1, 0, 1)
KFAC_RESCALED = factors((A, B), (A, B))
KFAC_HEURISTIC = factors((A, B), (power(1, 1, 0), power(-1, -1, 0)))


def coord_check_main(**shape) -> xr.Dataset:
    """Predicted exponents, except where a claim is about a deviation from them."""
    standard = factors((A, power(0.05, -0.07, 0)), (A, B))
    steps = shape.pop("layer_steps", (0, 1, 2, 3, 5))
    return runs(
        [
            case(power(-0.5, 0.5, 1), **PLAIN, **STANDARD),
            case(power(-0.03, -0.1, 0), **PLAIN),
            case(power(-0.52, 0, 0.5), **SHAMPOO, **STANDARD),
            case(power(0, 0.04, 0), **SHAMPOO, **factors((PRODUCT, PRODUCT), (PRODUCT,) * 2)),
            case(power(-0.48, -0.5, 0), **standard, **STANDARD),
            case(power(0.02, 0, -0.05), power(0.02, 0, -0.11), **KFAC_RESCALED),
            case(power(-0.45, -0.5, 0), damping=0.01, fisher="mc", **STANDARD),
            case(power(0.09, 0.08, 0.06), damping=0.01, fisher="mc"),
            *(
                case(power(first, hidden, last), **HEURISTIC, **KFAC_HEURISTIC, damping=rho)
                for rho, first, hidden, last in (
                    (1e-3, -0.3, 0, 0.06),
                    (1.0, -0.8, -0.08, 0.2),
                    (1e4, -0.99, 0, 1),
                )
            ),
            *(
                case(power(-0.3, -0.1, 0.2), **HEURISTIC, damping=rho, **STANDARD)
                for rho in (1e-3, 1.0, 1e4)
            ),
            case(power(0, 0, 0, drift=-0.014), **PLAIN, **FIVE),
            case(power(0, 0, 0, drift=0.01), **SHAMPOO, **FIVE),
            case(power(0, 0.02, -0.13), **FIVE),
            case(power(-0.5, 0.5, 1), **PLAIN, **FIVE, **STANDARD),
            case(power(-0.5, 0, 0.5), **SHAMPOO, **FIVE, **STANDARD),
            case(power(-0.5, -0.5, 0), **FIVE, **STANDARD),
        ],
        layer_steps=steps,
        **shape,
    )


def coord_check_activations(**shape) -> xr.Dataset:
    """Exponents as predicted but for one deviation of 0.08."""
    found = []
    for activation in ("tanh", "relu", "gelu", "identity"):
        off = 0.08 if activation == "gelu" else 0.0
        own = {"activation": activation}
        found += [
            case(power(-0.5, 0, 0.5), **SHAMPOO, **STANDARD, **own),
            case(power(0, off, 0), **SHAMPOO, **own),
            case(power(-0.5, -0.5, 0), **STANDARD, **own),
            case(power(0, 0, 0), **own),
        ]
    return runs(found, **shape)


def coord_check_foof_gn(**shape) -> xr.Dataset:
    """FOOF off by 0.03, layer-wise Gauss-Newton by 0.04 (0.01) and 0.06 (0.1)."""
    foof = {"optimizer": "foof", "damping": 0.01}
    newton = {"optimizer": "layerwise_gn"}
    square = {"trace_A": PRODUCT, "lambda_max_A": power(-1.1, 0.2, 1), "rho_A": PRODUCT}
    return runs(
        [
            case(power(-0.53, -0.5, 0), **foof, **STANDARD),
            case(power(0, 0, 0.02), **foof),
            case(power(0, 0.04, 0), **newton, **square, damping=0.01),
            case(power(0.06, 0, 0), **newton, **square, damping=0.1),
        ],
        **shape,
    )


def coord_check_cross_entropy(**shape) -> xr.Dataset:
    """Off by 0.05."""
    own = {"loss": "cross_entropy"}
    return runs(
        [
            case(power(-0.5, 0, 0.45), **SHAMPOO, **STANDARD, **own),
            case(power(0, 0, 0), **SHAMPOO, **own),
            case(power(-0.5, -0.5, 0), **STANDARD, **own),
            case(power(0.01, 0, 0), **own),
        ],
        **shape,
    )


def coord_check_up(**shape) -> xr.Dataset:
    """Off by 0.09 for SGD; K-FAC as under SP up to 2e-9."""
    own = {"parameterization": "up", "output_multiplier": 1.0}
    kfac = power(-0.48, -0.5, 0)
    return runs(
        [
            case(power(-0.5, -0.59, 0), **PLAIN, **own),
            case(power(-0.5, -0.5, 0), **SHAMPOO, **own),
            case(lambda w, t, s: kfac(w, t, s) * (1 + 2e-9 * (w[:, None, None] == 256)), **own),
        ],
        **shape,
    )


def coord_check_output_multiplier(**shape) -> xr.Dataset:
    """Slopes lower by 0.2 (SGD) and 0.4 (K-FAC) with multiplier 1."""
    return runs(
        [
            case(power(-0.2, -0.2, -0.2), **PLAIN, output_multiplier=1.0),
            case(power(0, 0, 0), **PLAIN),
            case(power(-0.4, -0.3, -0.5), output_multiplier=1.0),
            case(power(0, 0, 0)),
        ],
        **shape,
    )


def factor_order(
    widths: Sequence[int] = (64, 256, 512), seeds: Sequence[int] = (0, 2), **shape
) -> xr.Dataset:
    """tr A off by 0.1 and drifting by 0.004 per step, tr B off by 0.12 throughout."""
    own = factors((power(0, 1.1, 1, drift=0.004), power(-1, -0.88, 0)), (A, B))
    return runs(
        [case(power(0, 0, 0), **own, activation="relu", steps=33, batch_size=128.0)],
        widths,
        seeds,
        shape.pop("layer_steps", (0, 8, 16, 32)),
    )


MADE = {
    made.__name__: made
    for made in (
        coord_check_main,
        coord_check_activations,
        coord_check_foof_gn,
        coord_check_cross_entropy,
        coord_check_up,
        coord_check_output_multiplier,
        factor_order,
    )
}


def laptop() -> dict[str, xr.Dataset]:
    """All experiments as at laptop scale."""
    return {name: made() for name, made in MADE.items()}


def smoke() -> dict[str, xr.Dataset]:
    """Three narrow networks, two seeds."""
    small = {"widths": (16, 32, 64), "seeds": (0, 1)}
    return {name: made(**small) for name, made in MADE.items()}
