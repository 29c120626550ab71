"""The agent for continuous control: a deterministic latent model without a decoder, and Q-learning on replayed data."""
