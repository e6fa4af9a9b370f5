"""A config of the LiteLLM proxy, read and written anew as a routes.yaml. Nothing here imports LiteLLM."""
