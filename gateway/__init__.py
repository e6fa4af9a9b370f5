"""A declarative LLM routing gateway: one hot-reloaded routes.yaml is the whole routing policy."""

__version__ = "0.1.0"
