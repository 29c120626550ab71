"""The agent for control: a deterministic latent model without a decoder, and Q-learning on replayed data."""
