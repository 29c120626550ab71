"""Small environments that tell choices of replay apart: importing this module registers them with Gymnasium."""

import gymnasium as gym
from worldmodel.envs.diagnostic.appearing_object import AppearingObject
from worldmodel.envs.diagnostic.blind_cliffwalk import BlindCliffwalk
from worldmodel.envs.diagnostic.noisy_tv import NoisyTV

__all__ = ["AppearingObject", "BlindCliffwalk", "NoisyTV"]

for _class in (BlindCliffwalk, AppearingObject, NoisyTV):
    if f"{_class.__name__}-v0" not in gym.registry:
        gym.register(f"{_class.__name__}-v0", f"{__name__}:{_class.__name__}")
