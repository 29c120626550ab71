"""`python -m worldmodel.baseline`: PPO, DQN or SAC of Stable-Baselines3, in a run folder like that of any run."""
