"""Zero-cost proxies: what a network that was never trained says about its architecture. Higher is better.

| proxy | score | source |
|---|---|---|
| `synflow` | flow through the network of absolute weights | Tanaka et al., NeurIPS 2020 |
| `jacob-cov` | how little the Jacobians of different images correlate | Mellor et al., arXiv 2006.04647v1 |
| `naswot` | how differently different images pass the ReLUs | Mellor et al., ICML 2021 |
| `grad-norm` | norms of the gradients of one batch, summed over the weights | see below |
| `parameters` | number of weights | |
| `madds` | multiply-adds of one image | |

The forms for architecture search are those of Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021.
They are scores to rank by, no accuracies. A network through which nothing flows has the lowest there is.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from oche.architecture import Architecture
from oche.data.batches import Batch
from oche.errors import InputError, named
from oche.nn.network import Stack
from oche.randomness import derive, frozen
from oche.spaces.space import Space
from oche.task import ImageTask

JACOBIAN_K = 1e-5
"""The `k` of the public code of jacob-cov."""


class Proxy(ABC):
    """A score of a network that was not trained.

    Attributes:
        name: the registry name.
        sees_images: whether the score depends on images and labels; otherwise on their shape alone.
    """

    name: ClassVar[str]
    sees_images: ClassVar[bool]

    @abstractmethod
    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """The score; the network may be changed.

        Args:
            network: freshly initialized, `N x C x H x W` to `N x classes`.
            images: `N x C x H x W`, normalized.
            labels: `N`, int64.
        """


@dataclass(frozen=True)
class SynFlow(Proxy):
    """Synaptic flow: how much can pass through all layers.

    With the weights' absolute values, without biases and batch normalization (Abdelfattah et al., Sec. 3.2), the output
    is of degree 1 in every layer, so that the sum of `w dR/dw` over any cut of the network is R: the flow is conserved.
    The score is `log(1 + sum)`, which ranks alike and does not overflow; computed in float64.
    """

    CITES: ClassVar[tuple[str, ...]] = ("synflow", "zero-cost")
    name: ClassVar[str] = "synflow"
    sees_images: ClassVar[bool] = False

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """See `Proxy`."""
        return math.log1p(sum(float(flow.sum()) for flow in self.flows(network, images).values()))

    def flows(self, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """`w dR/dw` of every weight by its name; all are 0 or more."""
        bare = _without_norms(copy.deepcopy(network).double()).eval()
        with torch.no_grad():
            for name, parameter in bare.named_parameters():
                parameter.copy_(torch.zeros_like(parameter) if name.endswith("bias") else parameter.abs())
        weights = {name: p for name, p in bare.named_parameters() if not name.endswith("bias")}
        # Tanaka et al., Eq. 2 and Algorithm 1: R = 1^T f(1; |w|).
        passed = bare(torch.ones_like(images[:1], dtype=torch.double)).sum()
        gradients = torch.autograd.grad(passed, list(weights.values()), allow_unused=True)
        return {
            name: torch.zeros_like(w) if g is None else (w * g).detach()
            for (name, w), g in zip(weights.items(), gradients, strict=True)
        }


@dataclass(frozen=True)
class JacobianCovariance(Proxy):
    """How little the Jacobians of different images correlate (the first version of NAS without training).

    With `v` the eigenvalues of the correlation matrix of the rows of `d(sum of outputs)/d(images)`:
    `-sum(log(v + k) + 1 / (v + k))`, largest for uncorrelated rows.
    """

    CITES: ClassVar[tuple[str, ...]] = ("naswot", "zero-cost")
    name: ClassVar[str] = "jacob-cov"
    sees_images: ClassVar[bool] = True

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """See `Proxy`."""
        images = images.detach().clone().requires_grad_(True)
        (jacobian,) = torch.autograd.grad(network.train()(images).sum(), images, allow_unused=True)
        return -math.inf if jacobian is None else self.of_jacobian(jacobian.flatten(1))

    @staticmethod
    def of_jacobian(jacobian: Tensor) -> float:
        """The score of a Jacobian, `N x inputs`."""
        centred = jacobian.double() - jacobian.double().mean(dim=1, keepdim=True)
        norms = centred.norm(dim=1, keepdim=True)
        if not bool((norms > 0).all()) or not bool(norms.isfinite().all()):
            return -math.inf
        rows = centred / norms
        v = torch.linalg.eigvalsh(rows @ rows.T).clamp(min=0) + JACOBIAN_K
        return -float((v.log() + 1 / v).sum())


@dataclass(frozen=True)
class Naswot(Proxy):
    """NAS without training: how differently different images pass the ReLUs.

    With `c_i` the code of image i (which ReLUs let it pass, in all layers) and `N_A` the number of ReLUs:
    `K_ij = N_A - hamming(c_i, c_j)`, and the score is `log |det K|` (Mellor et al., Eq. 2 and 3).
    """

    CITES: ClassVar[tuple[str, ...]] = ("naswot",)
    name: ClassVar[str] = "naswot"
    sees_images: ClassVar[bool] = True

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """See `Proxy`."""
        kernel = self.kernel(network, images)
        sign, logarithm = torch.linalg.slogdet(kernel)
        return float(logarithm) if float(sign) > 0 else -math.inf

    @staticmethod
    def kernel(network: nn.Module, images: Tensor) -> Tensor:
        """K, `N x N`."""
        kernel = torch.zeros(len(images), len(images), dtype=torch.double)
        with torch.no_grad(), _ReluOutputs() as seen:
            network.train()(images)
        for output in seen.outputs:
            passed = (output > 0).flatten(1).double()
            blocked = 1 - passed
            kernel += (passed @ passed.T + blocked @ blocked.T).cpu()
        return kernel


@dataclass(frozen=True)
class GradientNorm(Proxy):
    """The Euclidean norms of the gradients of the cross-entropy of one batch, summed over the weight tensors."""

    CITES: ClassVar[tuple[str, ...]] = ("zero-cost",)
    name: ClassVar[str] = "grad-norm"
    sees_images: ClassVar[bool] = True

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """See `Proxy`."""
        weights = [p for p in network.parameters() if p.dim() > 1]  # of convolutions and linear layers
        loss = F.cross_entropy(network.train()(images), labels)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        return float(sum(g.norm() for g in gradients if g is not None))


@dataclass(frozen=True)
class Parameters(Proxy):
    """The number of weights, without an auxiliary head."""

    name: ClassVar[str] = "parameters"
    sees_images: ClassVar[bool] = False

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """See `Proxy`."""
        return float(sum(p.numel() for p in network.parameters()))


@dataclass(frozen=True)
class MultiplyAdds(Proxy):
    """Multiply-adds of convolutions and linear layers for one image."""

    name: ClassVar[str] = "madds"
    sees_images: ClassVar[bool] = False

    def score(self, network: nn.Module, images: Tensor, labels: Tensor) -> float:
        """See `Proxy`."""
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(images[:1])
        return float(counter.get_total_flops()) / 2  # it counts a multiply-add as two


PROXIES: dict[str, Proxy] = {
    p.name: p for p in (SynFlow(), JacobianCovariance(), Naswot(), GradientNorm(), Parameters(), MultiplyAdds())
}


def proxy(name: str) -> Proxy:
    """A proxy by name.

    Raises:
        InputError: the name is unknown.
    """
    return named("zero-cost proxy", name, PROXIES)


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores architectures of a space, each as one freshly initialized network.

    Attributes:
        proxy: the score.
        space: of the architectures.
        task: shapes of images and outputs.
        stack: depth and width of the networks; small ones are ranked alike and cost less.
        batch: images and labels; None: the proxy only needs their shape.
        seed: of the initial weights.

    Raises:
        InputError: the proxy needs images and there are none.
    """

    proxy: Proxy
    space: Space
    task: ImageTask
    stack: Stack
    batch: Batch | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.proxy.sees_images and self.batch is None:
            raise InputError(
                f"the proxy {self.proxy.name!r} needs a batch of images, but there are none: a table holds accuracies "
                "only; give --data with images, or take synflow, parameters or madds"
            )

    def scores(self, architectures: Sequence[Architecture]) -> Mapping[Architecture, float]:
        """The score of each."""
        return {architecture: self.score(architecture) for architecture in architectures}

    def score(self, architecture: Architecture) -> float:
        """The score of one."""
        device = torch.device("cpu") if self.batch is None else self.batch[0].device
        with frozen(derive(self.seed, "proxy", architecture.to_json()), device):
            network = self.space.network(architecture, self.task, self.stack).to(device)
            if self.batch is not None:
                return self.proxy.score(network, *self.batch)
            shape = (1, self.task.channels, self.task.height, self.task.width)
            return self.proxy.score(network, torch.zeros(shape), torch.zeros(1, dtype=torch.long))


class _ReluOutputs(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its __init_subclass__ has no types
    """Keeps what leaves every ReLU, whether it is a module or a function."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.outputs: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.relu.default, torch.ops.aten.relu_.default):
            self.outputs.append(result)
        return result


def _without_norms(module: nn.Module) -> nn.Module:
    """The module with the identity in place of every batch normalization."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.Identity())
        else:
            _without_norms(child)
    return module
