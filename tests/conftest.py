"""What holds for all tests: LiteLLM asks nothing of the network, and no test fails because the machine is busy."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("LITELLM_MODE", "PRODUCTION")

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
