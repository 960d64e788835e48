"""Networks of the study, with the direction that each optimizer follows."""

from __future__ import annotations

from regimes.ensemble.losses import Loss
from regimes.ensemble.reversible import GaussNewtonNetwork, ReversibleNetwork
from regimes.nn.revmlp import RevMLP
from regimes.optim.pseudo_inverse import Rule
from regimes.studies.exact_gauss_newton.settings import DATA, Train


def model_of(run: Train) -> RevMLP:
    """Network of a run."""
    sizes = DATA[run.data]
    return RevMLP(
        sizes.features,
        run.blocks,
        run.width,
        sizes.outputs,
        first_block_linear=run.first_block_linear,
    )


def network_of(run: Train, optimizer: str, model: RevMLP, loss: Loss) -> ReversibleNetwork:
    """Network with the direction that an optimizer follows."""
    if optimizer != "gn":
        return ReversibleNetwork(model, loss)
    rule = Rule(run.inverse, run.rtol, run.atol, run.damping, run.noise)
    return GaussNewtonNetwork(model, loss, rule, run.cross_term)
