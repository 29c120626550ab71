"""Small environments that tell choices of replay and of memory apart: importing this registers them with Gymnasium."""

import gymnasium as gym
from worldmodel.envs.diagnostic.appearing_object import AppearingObject
from worldmodel.envs.diagnostic.blind_cliffwalk import BlindCliffwalk
from worldmodel.envs.diagnostic.key_door import KeyDoor
from worldmodel.envs.diagnostic.noisy_tv import NoisyTV
from worldmodel.envs.diagnostic.tmaze import TMaze

__all__ = ["AppearingObject", "BlindCliffwalk", "KeyDoor", "NoisyTV", "TMaze"]

for _class in (BlindCliffwalk, AppearingObject, NoisyTV, TMaze, KeyDoor):
    if f"{_class.__name__}-v0" not in gym.registry:
        gym.register(f"{_class.__name__}-v0", f"{__name__}:{_class.__name__}")
