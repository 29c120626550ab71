"""An optimiser around a base: its parameter groups, states and hyperparameters are the base's."""

import inspect
from typing import Any

import torch
from torch import Tensor

from hybrid_opt.errors import ProblemError


class BasedOptimizer(torch.optim.Optimizer):
    """Base class of optimisers that change what another does.

    base: the other. The base replaces its groups and states when it loads its own state, so both are asked for and
    never kept. Raises ProblemError where it is no optimiser.
    """

    _own: dict[str, Any]  # groups and states of the constructor
    # as it is inside: PyTorch hides it from its compiler, and to do so imports it, which takes over a second
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    def __init__(self, base: torch.optim.Optimizer) -> None:
        if not isinstance(base, torch.optim.Optimizer):
            raise ProblemError(f"base: a {type(base).__name__}; an optimiser of torch.optim is accepted")
        self.base: torch.optim.Optimizer | None = None
        super().__init__(base.param_groups, base.defaults)
        del self._own  # from here on groups and states are the base's
        self.base = base

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self._own["param_groups"] if self.base is None else self.base.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[dict[str, Any]]) -> None:
        self._set("param_groups", groups)

    @property
    def state(self) -> Any:
        return self._own["state"] if self.base is None else self.base.state

    @state.setter
    def state(self, state: Any) -> None:
        self._set("state", state)

    def _set(self, name: str, value: Any) -> None:
        if self.base is None:
            self.__dict__.setdefault("_own", {})[name] = value
        else:
            setattr(self.base, name, value)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the base. Its parameters take part in choices once `attach` is called again."""
        if self.base is None:  # while the base's own groups are taken over
            inspect.unwrap(super().add_param_group)(self, param_group)
        else:
            self.base.add_param_group(param_group)

    def named(self) -> list[tuple[str, Tensor]]:
        """The parameters with the names that the base was given. Raises ProblemError where it was given none."""
        names = [(group.get("param_names"), group["params"]) for group in self.param_groups]
        if any(own is None for own, _ in names):
            raise ProblemError(
                "attach: the base optimiser knows no names; attach(loss, model.named_parameters()) is accepted"
            )
        return [pair for own, params in names for pair in zip(own or (), params, strict=True)]
