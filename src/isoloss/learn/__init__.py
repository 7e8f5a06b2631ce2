"""Learning to teleport: meta-optimizers that choose the local update and the group element."""
