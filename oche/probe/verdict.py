"""The verdict on a search: healthy, at risk or collapsed, with the evidence and what to do.

Whether an architecture has collapsed is decided by the truth: its accuracy lies below the lower quartile of random
architectures. A verdict is what can be said without it, so it says *collapsed* on one sign alone that leaves little
doubt, and *at risk* on every sign that the literature names. Each threshold stands below with its reason; none was
fitted to test accuracies (docs/verdict.md checks them on our own table).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oche.architecture import Architecture, Candidate
from oche.domain import Domain
from oche.nn.choice import kind_of
from oche.nn.operations import OPERATIONS, PARAMETER_FREE
from oche.nn.recurrent.cell import ACTIVATIONS, IDENTITY
from oche.nn.structure import SKIP
from oche.probe.findings import Finding, Status, against, evidence_lines, worst
from oche.probe.paths import on_paths
from oche.probe.probes import Looked
from oche.probe.shares import known, parameter_free

UNDECIDED_ABOVE = 0.99
"""Share of its first entropy above which a mixture is called nearly unchanged: its largest weights then lie within a
few percent of each other, and the selection of one over another is close to chance."""

MOST_SKIPS = 2
"""Skip connections of a cell that are no sign of collapse: P-DARTS allows two in its normal cell, and DARTS+ as iDARTS
reads it stops a search at more than two."""

REDUCTION = "reduction"
"""Kinds of cells that begin so are not judged by what was selected in them: that of DARTS-V2, a good architecture, has
no operation with weights, and a network has two of them."""

NONE_ABOVE = 0.5
"""Mean weight of `none` at which it outweighs all other candidates together. iDARTS (Fig. 7) sees it rise to 0.98 in a
search that degrades and calls 0.18 reasonable. Only where `none` cannot be selected."""

NODE_BELOW = 0.1
"""Norm of a node, relative to the cell's first input, below which it has faded (iDARTS, Sec. III-B: "approach to 0"). A
node of two edges with eight equal, uncorrelated, normalized candidates has 0.4."""

CONFLICTS_ABOVE = 0.5
"""Share of edges whose strongest candidate is not the one most like the mixture (iDARTS, Eq. 5): on most edges."""

RETAINED_BELOW = 0.1
"""Share of the supernet's advantage over chance that is left after the selection. SP-DARTS (Fig. 3b) finds the random
level in searches that fail; a tenth leaves room for the noise of a hundred images."""

RARE = 0.01
"""Share of random recurrent cells with as few activations other than the identity: a selection is no accident then. Of
eight nodes two or fewer."""

LogitTable = Mapping[str, Sequence[float]]

RESISTANT = (
    "choose a method that resists operations without weights, such as --method drnas or sp-darts, and compare with "
    "random architectures (--baseline random:3)"
)
LONGER = "search longer (--search.epochs), or raise the rate of the logits (--search.logit_lr)"
NORMALIZED = "normalize the nodes (--method idarts), or leave none out (--space darts-without-none)"
BY_OUTPUT = "select by what operations contribute instead of by weights (--method idarts)"
UNROLLED = (
    "look at where the weights are going (--method darts-2nd or amended), and compare with random cells "
    "(--baseline random:3)"
)
DECIDED = "train under mixtures that are as sparse as the selection (--method sp-darts)"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a search did, and what is thought of it.

    Attributes:
        parameter_free: share (0 to 1) of the selected candidates that have no weights; None where the candidates are
            a user's own.
        entropy_start: IES of the first mean mixture, in nats.
        entropy_end: IES of the last.
        travel_mean: mean absolute change of a logit.
        travel_max: largest absolute change of a logit.
        validation: name and value of the supernet's validation metric at the end; None if it was not evaluated.
        evidence: what was looked at and what it speaks for.
    """

    parameter_free: float | None
    entropy_start: float
    entropy_end: float
    travel_mean: float
    travel_max: float
    validation: tuple[str, float] | None
    evidence: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst that the evidence speaks for."""
        return worst(self.evidence)

    @property
    def remedies(self) -> tuple[str, ...]:
        """What to do, each once, the worst first; empty for a healthy search."""
        return tuple(dict.fromkeys(f.remedy for f in against(self.evidence) if f.remedy))

    @property
    def report(self) -> str:
        """The line, then the evidence and the remedies, a line each."""
        return "\n".join([str(self), *evidence_lines(self.evidence)])

    def __str__(self) -> str:
        parts = []
        if self.parameter_free is not None:
            parts.append(f"parameter-free {self.parameter_free:.0%}")
        change = (self.entropy_end / self.entropy_start - 1) if self.entropy_start else 0.0
        parts.append(f"IES {self.entropy_start:.2f} -> {self.entropy_end:.2f} ({change:+.1%})")
        parts.append(f"logits moved {self.travel_mean:.3f} on average, {self.travel_max:.3f} at most")
        if self.validation is not None:
            parts.append(f"supernet validation {self.validation[0]} {self.validation[1]:.4g}")
        line = f"{self.status}: " + ", ".join(parts)
        bad = against(self.evidence)
        if bad:
            line += f"; {bad[0].statement}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")
        return line


def judge(
    architecture: Architecture,
    domain: Domain,
    first: LogitTable,
    last: LogitTable,
    entropies: tuple[float, float],
    validation: tuple[str, float] | None,
    *,
    none_weight: float | None = None,
    skip_lead: float | None = None,
    looked: Looked | None = None,
    stopped: str | None = None,
) -> Verdict:
    """Put the facts of a search together and weigh them.

    Args:
        architecture: what was selected.
        domain: from what it was selected.
        first: logits at the start, by key.
        last: logits at the end.
        entropies: IES at the start and at the end.
        validation: the supernet's validation metric.
        none_weight: mean weight of `none` at the end (`probe.shares`).
        skip_lead: how far skip connections outweigh operations with weights.
        looked: what the probes saw at the end; None: they did not look.
        stopped: why the search ended before its last epoch.
    """
    moves = [abs(b - a) for key in first for a, b in zip(first[key], last[key], strict=True)]
    evidence = [
        *_of_selection(architecture, domain),
        *_of_activations(architecture),
        *_of_mixture(domain, entropies, none_weight, skip_lead),
        *_of_supernet(looked or Looked()),
    ]
    if validation is not None and not math.isfinite(validation[1]):
        evidence.append(
            Finding(
                probe="validation",
                status=Status.AT_RISK,
                statement=f"the supernet's validation {validation[0]} is no number, or none that can be written",
                remedy=RESISTANT,
            )
        )
    if stopped is not None:
        evidence.append(Finding(probe="length", status=Status.AT_RISK, statement=stopped, remedy=LONGER))
    return Verdict(
        parameter_free=parameter_free(architecture),
        entropy_start=entropies[0],
        entropy_end=entropies[1],
        travel_mean=sum(moves) / len(moves),
        travel_max=max(moves),
        validation=validation,
        evidence=tuple(evidence),
    )


def _sign(probe: str, bad: bool, *, statement: str, remedy: str) -> Finding:
    """A finding that puts a search at risk or does not; the remedy is for the first case."""
    status = Status.AT_RISK if bad else Status.HEALTHY
    return Finding(probe=probe, status=status, statement=statement, remedy=remedy if bad else "")


def _of_selection(architecture: Architecture, domain: Domain) -> Iterator[Finding]:
    """Operations with weights, and skip connections."""
    chosen = {
        kind: candidates
        for kind, candidates in _selected(architecture, domain).items()
        if not kind.startswith(REDUCTION) and known(candidates) and _offers_weights(kind, domain)
    }
    if not chosen:
        return
    everything = [candidate for candidates in chosen.values() for candidate in candidates]
    count = sum(candidate not in PARAMETER_FREE for candidate in everything)
    bare = count == 0
    yield Finding(
        probe="selection",
        # Amended-DARTS, C.3: DARTS and P-DARTS after 200 epochs. Nothing is left to learn but 1x1 convolutions.
        status=Status.COLLAPSED if bare else Status.HEALTHY,
        statement=(
            "no selected operation on a path from input to output has weights"
            if bare
            else f"{count} of {len(everything)} selected operations on paths have weights (collapsed at 0)"
        ),
        remedy=RESISTANT if bare else "",
    )
    kind, skips = max(((k, c.count(SKIP)) for k, c in chosen.items()), key=lambda item: item[1])
    yield _sign(
        "skip connections",
        skips > MOST_SKIPS,
        statement=f"{skips} in a {kind} cell" if kind != "cell" else f"{skips} in the cell",
        remedy=RESISTANT,
    )


def _of_activations(architecture: Architecture) -> Iterator[Finding]:
    """Of a recurrent cell: whether anything but gates bends what goes through its nodes."""
    chosen = [candidate for _, candidate in architecture.items]
    if not chosen or not all(candidate in ACTIVATIONS for candidate in chosen):
        return
    count, bent = len(chosen), sum(candidate != IDENTITY for candidate in chosen)
    share = 1 / len(ACTIVATIONS)
    chance = sum(math.comb(count, k) * (1 - share) ** k * share ** (count - k) for k in range(bent + 1))
    yield _sign(
        "activations",
        # What skip connections are in cells for images: nothing has to be learned for it, and it is never far off.
        bent == 0 or chance < RARE,
        statement=(
            f"{bent} of {count} selected activations are not the identity; so few are in {chance:.2%} of random cells "
            f"(at risk below {RARE:.0%}, and without any)"
        ),
        remedy=UNROLLED,
    )


def _selected(architecture: Architecture, domain: Domain) -> dict[str, list[Candidate]]:
    """By kind of cell, what matters; all that was selected where the space has no cells."""
    found = on_paths(architecture, domain)
    return {"": [candidate for _, candidate in architecture.items]} if found is None else found


def _offers_weights(kind: str, domain: Domain) -> bool:
    """Whether some edge of a kind could have had an operation with weights."""
    return any(
        candidate in OPERATIONS and candidate not in PARAMETER_FREE
        for key, edge in domain.edges.items()
        if kind in ("", kind_of(key))
        for candidate in edge.selectable
    )


def _of_mixture(
    domain: Domain, entropies: tuple[float, float], none_weight: float | None, skip_lead: float | None
) -> Iterator[Finding]:
    start, end = entropies
    if start > 0:
        undecided = end > UNDECIDED_ABOVE * start
        yield _sign(
            "entropy",
            undecided,
            statement=(
                "the mixture is nearly as undecided as at the start, so the selection is close to chance"
                if undecided
                else f"IES fell to {end / start:.0%} of the first (at risk above {UNDECIDED_ABOVE:.0%})"
            ),
            remedy=LONGER,
        )
    if none_weight is not None and any("none" in edge.excluded for edge in domain.edges.values()):
        yield _sign(
            "none",
            none_weight > NONE_ABOVE,
            statement=f"none, which cannot be selected, has weight {none_weight:.2f} (at risk above {NONE_ABOVE})",
            remedy=NORMALIZED,
        )
    if skip_lead is not None:
        statement = f"skip connections outweigh operations with weights by {skip_lead:+.3f} on average"
        yield Finding(probe="skip lead", status=None, statement=statement)


def _of_supernet(looked: Looked) -> Iterator[Finding]:
    if looked.gap is not None:
        gap, retained = looked.gap, looked.gap.retained
        lost = retained is None or retained < RETAINED_BELOW
        numbers = f"{gap.metric} {gap.mixed:.4g} mixed, {gap.decided:.4g} as selected, {gap.chance:.4g} by chance"
        yield _sign(
            "discretization",
            lost,
            statement=(
                f"the supernet has nothing over chance: {numbers}"
                if retained is None
                else f"the selection keeps {retained:.0%} of what the supernet has over chance: {numbers} (at risk "
                f"below {RETAINED_BELOW:.0%})"
            ),
            remedy=LONGER if retained is None else DECIDED,
        )
    if looked.nodes:
        kind, norm = min(((kind, min(norms)) for kind, norms in looked.nodes.items()), key=lambda item: item[1])
        yield _sign(
            "nodes",
            norm < NODE_BELOW,
            statement=f"the weakest ({kind}) has {norm:.2f} of its cell's first input (at risk below {NODE_BELOW})",
            remedy=NORMALIZED,
        )
    if looked.correlation is not None:
        found = looked.correlation
        yield _sign(
            "correlation",
            found.conflicts > CONFLICTS_ABOVE,
            statement=(
                f"mean cosine of candidates {found.cosine:.2f}; on {found.conflicts:.0%} of {found.edges} edges the "
                f"strongest is not the most like the mixture (at risk above {CONFLICTS_ABOVE:.0%})"
            ),
            remedy=BY_OUTPUT,
        )
    if looked.eigenvalue is not None:
        value = looked.eigenvalue
        rest = "" if value.converged else f", not settled after {value.products} products"
        statement = f"dominant one of the validation Hessian {value.value:.3g}{rest} (only its growth would tell)"
        yield Finding(probe="eigenvalue", status=None, statement=statement)
    for name, reason in looked.unseen.items():
        yield Finding(probe=name, status=None, statement=f"not looked at: {reason}")
