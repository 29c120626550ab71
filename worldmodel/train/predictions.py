"""Open-loop predictions: what the model expects after seeing a few steps, beside what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from worldmodel.model.agent import Agent
from worldmodel.model.batch import State, Windows
from worldmodel.runs.metrics import MetricsWriter

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTTED = 8  # entries of vectors that are plotted


@torch.no_grad()
def open_loop(agent: Agent, windows: Windows, seen: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Observations predicted for windows [T, B]: reconstructed for the first `seen` steps, imagined from then on."""
    model, noise = agent.world_model, agent.noise(windows.reward.shape, generator)
    previous = torch.cat([windows.before.action.unsqueeze(0), windows.action[:-1]])
    embed = model.encoder({key: value[:seen] for key, value in windows.observation.items()})
    states, _ = model.rssm.observe(embed, previous[:seen], windows.is_first[:seen], windows.before.state, noise[:seen])
    deter, stoch = list(states.deter), list(states.stoch)
    for action, noise_t in zip(previous[seen:], noise[seen:], strict=True):
        state = model.rssm.step(State(deter[-1], stoch[-1]), action, noise_t)
        deter.append(state.deter)
        stoch.append(state.stoch)
    return model.decoder.predictions(model.decoder(State(torch.stack(deter), torch.stack(stoch))))


def write_predictions(writer: MetricsWriter, step: int, agent: Agent, windows: Windows, seen: int) -> None:
    """Write one window [T, 1] to TensorBoard: images as a video (truth, prediction, error), others as plots."""
    generator = torch.Generator(windows.reward.device)
    generator.manual_seed(0)
    predicted = open_loop(agent, windows, seen, generator)
    for key, spec in agent.observations.items():
        truth, guess = (values[key][:, 0].cpu().numpy() for values in (windows.observation, predicted))
        if spec.kind == "image":
            error = (np.abs(truth.astype(np.int16) - guess) + 255) // 2
            frames = np.concatenate([truth, guess, error.astype(np.uint8)], axis=1)  # [T, 3 H, W, C]
            writer.video(f"open_loop/{key}", step, frames[..., :3] if frames.shape[-1] >= 3 else frames[..., :1])
        else:
            writer.figure(f"open_loop/{key}", step, _plot(truth, guess, seen))


def _plot(truth: np.ndarray, guess: np.ndarray, seen: int) -> Figure:
    """True and predicted entries [T, n] over time, at most PLOTTED of them."""
    from matplotlib.figure import Figure  # not before a picture is drawn: it takes a fifth of what training imports

    count = min(truth.shape[1], PLOTTED)
    figure = Figure(figsize=(6, 1.2 * count + 0.4), layout="constrained")
    for i, axes in enumerate(np.atleast_1d(figure.subplots(count, sharex=True))):
        axes.plot(truth[:, i], color="black", label="true")
        axes.plot(guess[:, i], color="tab:orange", label="predicted")
        axes.axvline(seen - 0.5, color="gray", linestyle=":")
        axes.set_ylabel(str(i))
    figure.axes[0].legend(loc="upper right", fontsize="small")
    return figure
