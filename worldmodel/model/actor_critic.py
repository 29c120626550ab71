"""Actor and critic, which learn from imagined rollouts and replayed returns (DreamerV3, arXiv 2301.04104)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodel.envs.spaces.spaces import ActionSpec
from worldmodel.model.actor import Actor
from worldmodel.model.batch import Imagined, Windows
from worldmodel.model.config import BehaviorConfig
from worldmodel.model.factory import DEFAULT, Factory
from worldmodel.model.returns import ReturnScale, lambda_return
from worldmodel.model.size import ModelSize
from worldmodel.model.twohot import TwoHot


class ActorCritic(nn.Module):
    """What is learned of acting. Shapes: T steps, B windows, N = T B imagined rollouts of H steps."""

    entropy: Tensor  # its weight in the actor's loss; a tensor, so that a captured graph sees it change

    def __init__(
        self,
        action: ActionSpec,
        size: ModelSize,
        config: BehaviorConfig,
        twohot: TwoHot,
        parts: Factory = DEFAULT,
    ) -> None:
        super().__init__()
        self.config, self.twohot = config, twohot
        feature = size.feature + parts.context
        sizes = feature, size.units, 3, len(twohot.bins)
        self.actor = Actor(feature, size.units, action, parts)
        self.critic = parts.head("critic", *sizes, scale=0.0)
        self.slow_critic = parts.head("critic", *sizes, scale=0.0).requires_grad_(False)
        self.slow_critic.load_state_dict(self.critic.state_dict())
        self.return_scale = ReturnScale(config.return_rate)
        self.register_buffer("entropy", torch.tensor(config.entropy), persistent=False)

    @torch.no_grad()
    def schedule(self, progress: float) -> None:
        """Set what changes linearly over a run, `progress` of which is done: the weight of the policy's entropy."""
        self.entropy.fill_(self.config.entropy + progress * (self.config.final_entropy - self.config.entropy))

    @torch.no_grad()
    def update_slow_critic(self) -> None:
        """Move the slow critic towards the critic, once per update."""
        slow, fast = tuple(self.slow_critic.parameters()), tuple(self.critic.parameters())
        torch._foreach_lerp_(slow, fast, self.config.slow_rate)

    @torch.no_grad()
    def copy_critic_buffers(self) -> None:
        """Give the slow critic what of the critic no gradient trains, such as the components of a front."""
        for slow, fast in zip(self.slow_critic.buffers(), self.critic.buffers(), strict=True):
            slow.copy_(fast)

    def imagined_losses(self, imagined: Imagined) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        """Actor and critic loss [N], their means over the steps of a rollout, its first return [N], metrics."""
        config = self.config
        _, action, reward, live, slow, logits, raw = imagined
        policy = self.actor.policy(raw)
        with torch.no_grad():
            value = self.twohot.mean(logits)
            returns = lambda_return(reward, value, live, config.return_lambda)  # [H, N]
            reach = live[:-1].cumprod(0)  # the discounted chance that a state is reached; 0 from a terminal start
            scale = self.return_scale(returns)
            advantage = (returns - value[:-1]) / scale
            if config.center_advantages:
                advantage -= (reach * advantage).sum() / reach.sum().clamp(min=1e-8)
        entropy = policy.entropy()
        actor_loss = -reach * (policy.log_prob(action) * advantage + self.entropy * entropy)
        critic_loss = reach * self.twohot.loss(logits[:-1], (returns, 1.0), (slow, config.slow_regularizer))
        metrics = {
            "behavior/return": returns.mean(),
            "behavior/return_scale": scale,
            "behavior/value": value.mean(),
            "behavior/reward": reward.mean(),
            "behavior/continue": live.mean(),
            "behavior/entropy": entropy.mean(),
            "behavior/advantage": advantage.abs().mean(),
        }
        return actor_loss.mean(0), critic_loss.mean(0), returns[0], metrics

    def replay_value_loss(self, windows: Windows, feature: Tensor, returns: Tensor) -> Tensor:
        """Critic loss on replayed states [T, B], bootstrapped from imagined returns; none on a window's last step.

        Its mean over T is the mean over the T - 1 steps that have one, as in the reference.

        A terminated step ends the return; a truncated one cuts the trace and bootstraps. Nothing is learned on
        the step after which the episode ended, since what follows it in the window is another episode.
        """
        config = self.config
        last = windows.terminated | windows.truncated
        logits = self.critic(feature)
        with torch.no_grad():
            slow = self.twohot.mean(self.slow_critic(feature))
            live = (~windows.terminated).float() * config.discount
            mix = (~last).float() * config.return_lambda
            target = lambda_return(windows.reward, returns, live, mix)  # [T - 1, B]
        loss = self.twohot.loss(logits[:-1], (target, 1.0), (slow[:-1], config.slow_regularizer))
        counted = (~last[:-1]).float() * (len(last) / (len(last) - 1))
        return F.pad(loss * counted, (0, 0, 0, 1))
