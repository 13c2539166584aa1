"""The drill: three releases, the bad one taken back, while the orchestrator works on."""
