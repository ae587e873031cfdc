"""Training: one configuration into one network, in this process."""
