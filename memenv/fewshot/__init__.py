"""Few-shot learning on chips: characters, episodes, initialisations and the chips that learn; NumPy, no torch."""
