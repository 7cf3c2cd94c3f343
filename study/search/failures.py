"""The one failure of a search that must not be answered by marking its trials as interrupted: they are somebody else's now."""

from study.errors import SearchError


class AnotherDriverError(SearchError):
    """Another process drives the study: whatever is RUNNING in the stores is that one's, and is left alone."""
