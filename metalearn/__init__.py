"""Learning to learn on imperfect devices: tasks, networks, and bi-level optimisation through the conductance update."""
