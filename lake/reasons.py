"""The closed sets of reasons: why a picture did not come in, and why a row is not in a release."""

from enum import StrEnum


class FailureReason(StrEnum):
    """``fetch_failures.reason``: why a listed row has no picture in the lake."""

    NOT_FOUND = "not_found"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    BAD_URL = "bad_url"
    BLOCKED_SCHEME = "blocked_scheme"
    BLOCKED_ADDRESS = "blocked_address"
    REDIRECT_LOOP = "redirect_loop"
    TOO_LARGE = "too_large"
    OPTED_OUT = "opted_out"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    DECODE_ERROR = "decode_error"
    BOMB = "bomb"
    MISSING_MEMBER = "missing_member"
    UNSAFE_MEMBER = "unsafe_member"
    BAD_ROW = "bad_row"
    CHANGED = "changed"
    TAKEN_DOWN = "taken_down"


class ExclusionReason(StrEnum):
    """``exclusions.reason``: why an image of the lake is not in a release."""

    DUPLICATE = "duplicate"
    CONTAMINATED = "contaminated"
    PREDICATE = "predicate"
    OVER_QUOTA = "over_quota"
    NO_QUOTA = "no_quota"
    NO_CAPTION = "no_caption"
    IN_RELEASE = "in_release"
    FLAGGED = "flagged"
    NOT_IN_EXPORT = "not_in_export"
    TAKEN_DOWN = "taken_down"
