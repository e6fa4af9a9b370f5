"""What vendors and servers answer when they fail, and what that must become: for `classify` and for both adapters.

Texts are reworded; what decides is as the vendors' documentation, SDKs or public issues show it, whose addresses are in
`gateway/policy/failures/vendor_words.py`.
"""

from __future__ import annotations

from typing import Final

from tests.vendor_failures.accounts import ACCOUNT, MODEL_GONE
from tests.vendor_failures.case import GOOGLE, Refusal
from tests.vendor_failures.choices import FAILED, WHOLE_ANSWERS, Failed
from tests.vendor_failures.limits import FILTERED, LIMITS, THE_UPSTREAMS
from tests.vendor_failures.shapes import SHAPES
from tests.vendor_failures.too_long import TOO_LONG

__all__ = ["FAILED", "GOOGLE", "REFUSALS", "WHOLE_ANSWERS", "Failed", "Refusal"]

REFUSALS: Final = [*TOO_LONG, *ACCOUNT, *MODEL_GONE, *FILTERED, *LIMITS, *THE_UPSTREAMS, *SHAPES]
