"""Convert a config of the LiteLLM proxy to a routes.yaml. Nothing here imports LiteLLM."""
