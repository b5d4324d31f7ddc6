"""Speed beside the peers: one registry, every comparison in one process, alternating."""
