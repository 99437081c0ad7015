"""A user's module as a search space: every choice inside it is a decision of its own."""

from __future__ import annotations

import copy

from torch import nn

from oche.architecture import Architecture
from oche.domain import Domain, Edge, Node
from oche.errors import InputError
from oche.needs import Feature
from oche.nn.choice import Decision, decisions
from oche.nn.supernet import ModuleBody, Supernet


class ModuleSpace:
    """The search space spanned by the choices in a module.

    Args:
        module: any module that contains choices; it is copied at every use and never changed.

    Raises:
        InputError: it has no choices, or two of them share a key but not their options.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        options = {key: choice.options for _, key, choice in decisions(module)}
        if not options:
            raise InputError(
                "there is nothing to search: the model has no Choice, InputChoice or ValueChoice; "
                'put one in, for example self.block = oche.Choice({"conv": ..., "skip": nn.Identity()})'
            )
        self.name = type(module).__name__
        self.domain = Domain(self.name, tuple(Node((Edge(key, values),)) for key, values in options.items()))

    @property
    def offers(self) -> frozenset[Feature]:
        """What it has that parts may need: nothing, since a module can be anything."""
        return frozenset()

    def supernet(self) -> Supernet:
        """A supernet around a copy of the module, with the weights that the module has now."""
        return Supernet(ModuleBody(copy.deepcopy(self._module)))

    def network(self, architecture: Architecture, weights_of: Supernet | None = None) -> nn.Module:
        """The discrete network: each choice is replaced by what was chosen for it.

        Args:
            architecture: one choice for every key.
            weights_of: a searched supernet whose weights to inherit; None: the weights the module was given with.

        Raises:
            InputError: the architecture is not of this space.
        """
        self.domain.check(architecture)
        if weights_of is None:
            network = copy.deepcopy(self._module)
        else:
            assert isinstance(weights_of.body, ModuleBody)
            network = copy.deepcopy(weights_of.body.module)
        keys = {choice: key for _, key, choice in decisions(network)}
        # One choice may stand in several places. Inner choices come first, so that what replaces an outer one is
        # already discrete.
        for path, choice in reversed(list(network.named_modules(remove_duplicate=False))):
            if not isinstance(choice, Decision):
                continue
            chosen = choice.fixed(architecture.choices[keys[choice]])
            if not path:
                return chosen
            parent, _, name = path.rpartition(".")
            setattr(network.get_submodule(parent), name, chosen)
        return network
