"""One update: losses, gradients, optimiser step; on CUDA optionally as one captured graph."""

import torch
from torch import Tensor

from hybrid_opt.direction.adapter import adapted
from worldmodel.model.agent import Agent
from worldmodel.model.batch import Losses, Recalled, Windows
from worldmodel.train.laprop import NonFiniteGradient, is_finite


class NonFiniteLoss(RuntimeError):
    """The loss, or a gradient of it, is NaN or infinite. The weights are those of before the update."""

    exit_code = 1


class Update:
    """Trains an agent on batches of windows.

    precision: of the matrix products; weights stay float32. final_rate: the share of the learning rate that is left at
    the end of the run, to which it falls linearly. capture: record forward and backward pass as a CUDA graph at the
    first call and replay it after; the optimiser's step stays outside.
    """

    def __init__(
        self,
        agent: Agent,
        optimizer: torch.optim.Optimizer,
        precision: torch.dtype,
        generator: torch.Generator,
        capture: bool = False,
        final_rate: float = 1.0,
    ) -> None:
        self.agent, self.generator = agent, generator
        self.steps = adapted(optimizer)
        self.precision = precision
        self._capture = capture
        self._rates, self._final = [float(group["lr"]) for group in optimizer.param_groups], final_rate
        self._graph: torch.cuda.CUDAGraph | None = None

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of the agent."""
        return self.steps.optimizer

    def __call__(self, windows: Windows, progress: float = 0.0) -> Losses:
        """One update, `progress` of the run being done. Raises NonFiniteLoss before any weight has changed."""
        for group, lr in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = lr * (1 - progress * (1 - self._final))
        self.agent.schedule(progress)
        losses = self._replay(windows) if self._capture else self._gradients(windows)
        if not torch.isfinite(losses.total):
            names = [name for name, value in losses.metrics.items() if not torch.isfinite(value)]
            raise NonFiniteLoss(f"the loss is not finite ({', '.join(names) or 'total'}); the weights were not changed")
        try:
            self.steps.step(windows, losses.metrics["loss/model"])
        except NonFiniteGradient as error:
            gradients = {name: p.grad for name, p in self.agent.named_parameters() if p.grad is not None}
            names = [name for name, gradient in gradients.items() if not is_finite(gradient)]
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            raise NonFiniteLoss(f"the gradient is not finite ({shown}); the weights were not changed") from error
        self.agent.updated(losses.state)
        return losses

    def _gradients(self, windows: Windows) -> Losses:
        self.optimizer.zero_grad(set_to_none=True)
        device = windows.reward.device.type
        with torch.autocast(device, self.precision, enabled=self.precision != torch.float32):
            losses = self.agent.losses(windows, self.generator)
        losses.total.backward()
        return losses._replace(total=losses.total.detach())

    def _replay(self, windows: Windows) -> Losses:
        """Copy the batch into the graph's inputs and launch it. Results are valid until the next call."""
        if self._graph is None:
            self._record(windows)
        for static, new in zip(_tensors(self._inputs), _tensors(windows), strict=True):
            static.copy_(new, non_blocking=True)
        assert self._graph is not None
        self._graph.replay()
        return self._outputs

    def _record(self, windows: Windows) -> None:
        """Capture. Warm-up passes move nothing: buffers and the random state are put back."""
        self._inputs = windows
        buffers = [(buffer, buffer.clone()) for buffer in self.agent.buffers()]
        random = self.generator.get_state()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._gradients(windows)
        torch.cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        with torch.cuda.graph(graph):
            self._outputs = self._gradients(windows)
        for buffer, before in buffers:
            buffer.copy_(before)
        self.generator.set_state(random)
        self._graph = graph


def _tensors(windows: Windows) -> list[Tensor]:
    """All tensors of a batch, in a fixed order."""
    state = windows.before.state
    rest = (windows.action, windows.reward, windows.is_first, windows.terminated, windows.truncated, windows.weight)
    found = [*windows.observation.values(), *rest, state.deter, state.stoch, windows.before.action]
    if isinstance(state, Recalled):
        assert windows.codes is not None
        found += state.slots.sums, windows.codes
    return found
