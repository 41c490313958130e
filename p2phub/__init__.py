"""A peer-to-peer hub for machine-learning models."""
