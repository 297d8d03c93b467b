"""The compiled engine: physics run on terms instead of arrays (trace) becomes text (text), then code (disk, jit)."""
