"""The two failures of a record that call for different deeds: try again, or give it up and say so."""

from study.errors import TrackingError


class StoreAwayError(TrackingError):
    """The store gives no answer, or says that it cannot now: the same call may succeed later."""


class RecordRefusedError(TrackingError):
    """The store answers, and will refuse this record for ever: its run was deleted, or a param would change."""
