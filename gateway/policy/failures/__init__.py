"""The failures of upstreams: their kinds, how what was said becomes one, and how long to wait."""

from __future__ import annotations

from gateway.policy.failures.classify import (
    OPENAI_CODES,
    answer_error,
    by_text,
    choice_error,
    classify,
    client_code,
    envelope,
    error_code,
    error_object,
    refusal,
)
from gateway.policy.failures.in_band import failed_by, no_answer
from gateway.policy.failures.kinds import (
    CLIENT_FAULTS,
    FALLBACK_ON,
    KEY_FAULTS,
    PAUSING,
    RETRY_ON,
    Kind,
    LimitName,
    UpstreamError,
    names_of,
)
from gateway.policy.failures.retry_after import retry_after, retry_after_s, told_headers
from gateway.policy.failures.vendor_words import WHOLE

__all__ = [
    "CLIENT_FAULTS", "FALLBACK_ON", "KEY_FAULTS", "OPENAI_CODES", "PAUSING", "RETRY_ON", "WHOLE", "Kind", "LimitName",
    "UpstreamError", "answer_error", "by_text", "choice_error", "classify", "client_code", "envelope", "error_code",
    "error_object", "failed_by", "names_of", "no_answer", "refusal", "retry_after", "retry_after_s", "told_headers",
]  # fmt: skip
