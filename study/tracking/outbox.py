"""An outbox: what runs are told is on this machine's disk before anything is sent, and sent until it has arrived."""

import socket
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from study.errors import TrackingError
from study.tracking.backlog import REFUSED_FOLDER, Backlog
from study.tracking.claimed_folder import ClaimedFolder, abandoned_folders
from study.tracking.deliveries import MAX_POINTS, Delivery
from study.tracking.failures import RecordRefusedError
from study.tracking.journal import SUFFIX, DamagedJournalError, RunJournal
from study.tracking.patience import FIRST_WAIT_S, LONGEST_WAIT_S

LINGER_S = 5.0  # a short trial is one batch, a long one is seen while it runs
CLOSE_S = 30.0


class Receiver(Protocol):
    """Where deliveries go."""

    def deliver(self, run_id: str, delivery: Delivery) -> None:
        """Tells a run, trying once.

        Raises:
            RecordRefusedError: if it will never be taken.
            TrackingError: if it was not taken now.
        """


@dataclass
class _Pending:
    """One run's journals, oldest first: those of dead processes, then our own."""

    journals: list[RunJournal] = field(default_factory=list)
    own: RunJournal | None = None
    due_s: float = 0.0
    is_urgent: bool = False  # it ends the run, somebody waits for it, or a dead process left it: all of it goes now
    num_points: int = 0


class Outbox:
    """Sends what runs are told to MLflow from a thread of its own; a caller waits for the disk only.

    Every process has its own folder under `folder`, one journal a run. What a dead process left there is taken over at the
    start and at each `flush`. A run's deliveries arrive in the order in which they were put in, in batches within MLflow's
    limits. In memory is only which runs wait.

    Nothing is lost when the process dies. A power cut loses what the system's memory held: journals are synced to the disk each
    time that a try to send fails, so while MLflow is away that is what was put in since the last try (`LONGEST_WAIT_S`),
    and while it answers what was put in during the last `linger_s`.
    """

    def __init__(self, folder: Path, receiver: Receiver, linger_s: float = LINGER_S) -> None:
        self.folder = folder
        self._receiver = receiver
        self._linger_s = linger_s
        self._changed = threading.Condition()
        self._pending: dict[str, _Pending] = {}
        self._refused: dict[str, str] = {}
        self._reason: str | None = None
        self._wait_s, self._not_before_s, self._wakes_s = FIRST_WAIT_S, 0.0, 0.0
        self._is_closing = False
        name = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            self._own_folder = ClaimedFolder(folder, name)
            self._own_folder.path.mkdir()
        self._folders = [self._own_folder]
        self._adopt()
        self._sender = threading.Thread(target=self._send_all, name="outbox", daemon=True)
        self._sender.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def put(self, run_id: str, delivery: Delivery) -> None:
        """Keeps a delivery on this machine's disk, and has it sent: soon, or at once where the run ends with it.

        Raises:
            TrackingError: if it cannot be written, or MLflow refused this run something before: then it is not kept.
        """
        with self._changed:
            self._require_working(run_id)
            now_s = time.monotonic()
            pending = self._pending.setdefault(run_id, _Pending(due_s=now_s + self._linger_s))
            if pending.own is None:
                pending.own = RunJournal(self._own_folder.path, run_id)
                pending.journals.append(pending.own)
            pending.own.append(delivery)
            pending.num_points += len(delivery.points)
            pending.is_urgent |= delivery.state is not None
            if pending.is_urgent or pending.num_points >= MAX_POINTS:
                pending.due_s = min(pending.due_s, now_s)
            if pending.due_s < self._wakes_s:
                self._changed.notify_all()

    def flush(self, timeout_s: float, run_ids: Collection[str] | None = None) -> Backlog:
        """Sends everything now; what has not arrived after `timeout_s`.

        Args:
            run_ids: wait for these only; None for all.
        Raises:
            TrackingError: if the sending thread has died, which would be our own mistake.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            self._adopt()
            self._not_before_s = 0.0
            for pending in self._pending.values():
                pending.is_urgent, pending.due_s = True, min(pending.due_s, time.monotonic())
            self._changed.notify_all()
            while self._waits_for(run_ids) and (left_s := deadline_s - time.monotonic()) > 0:
                self._require_working()
                self._changed.wait(min(left_s, 1.0))
            return self.backlog(run_ids)

    def backlog(self, run_ids: Collection[str] | None = None) -> Backlog:
        """What has not arrived, of some runs or of all."""
        with self._changed:
            waiting = [pending for run_id, pending in self._pending.items() if run_ids is None or run_id in run_ids]
            num_deliveries = sum(journal.num_waiting() for pending in waiting for journal in pending.journals)
            return Backlog(num_deliveries, len(waiting), self._reason, dict(self._refused), self.folder)

    def close(self, timeout_s: float = CLOSE_S) -> Backlog:
        """Sends what can be sent within `timeout_s` and ends; what is left waits on the disk for whoever opens the folder."""
        if self._is_closing:
            return self.backlog()
        backlog = self.flush(timeout_s)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._sender.join(timeout_s)
        for folder in self._folders:
            folder.release()
        return backlog

    def _send_all(self) -> None:
        """The sending thread."""
        while (run_id := self._next_due()) is not None:
            journal = self._pending[run_id].journals[0]  # only this thread takes journals away
            try:
                delivery, end = journal.read(journal.delivered)
                self._receiver.deliver(run_id, delivery)
            except (RecordRefusedError, DamagedJournalError) as error:
                self._set_aside(run_id, journal, str(error))
            except (TrackingError, OSError) as error:
                self._postpone(run_id, str(error))
            else:
                self._arrived(run_id, journal, end, len(delivery.points))

    def _next_due(self) -> str | None:
        """Waits until a run is due; None when the outbox closes."""
        with self._changed:
            while not self._is_closing:
                run_id = min(self._pending, key=lambda run_id: self._pending[run_id].due_s, default=None)
                now_s = time.monotonic()
                due_s = now_s + LONGEST_WAIT_S if run_id is None else self._pending[run_id].due_s
                self._wakes_s = max(due_s, self._not_before_s)
                if run_id is not None and self._wakes_s <= now_s:
                    return run_id
                self._changed.wait(self._wakes_s - now_s)
            return None

    def _arrived(self, run_id: str, journal: RunJournal, end: int, num_points: int) -> None:
        with self._changed:
            self._reason, self._wait_s = None, FIRST_WAIT_S
            pending = self._pending[run_id]
            pending.num_points = max(pending.num_points - num_points, 0)
            if end < journal.size:
                journal.mark_delivered(end)
                if not pending.is_urgent and pending.num_points < MAX_POINTS:  # what came meanwhile may wait for company
                    pending.due_s = time.monotonic() + self._linger_s
            else:
                with suppress(OSError):  # a disk that fails: the next process sends it once more, which is harmless
                    journal.remove()
                self._drop(run_id, journal)
            self._changed.notify_all()

    def _postpone(self, run_id: str, reason: str) -> None:
        """The store is away: another run goes first next time, and meanwhile what waits is made safe against a power cut."""
        with self._changed:
            self._reason = reason
            self._pending[run_id].due_s = time.monotonic()
            journals = [journal for pending in self._pending.values() for journal in pending.journals]
        for journal in journals:
            with suppress(OSError):  # gone because it was taken over, or a disk that fails: the next `put` will tell
                journal.sync()
        with self._changed:
            self._not_before_s = time.monotonic() + self._wait_s
            self._wait_s = min(2 * self._wait_s, LONGEST_WAIT_S)

    def _set_aside(self, run_id: str, journal: RunJournal, reason: str) -> None:
        """Keeps what will never be taken where it is not tried again."""
        with self._changed:
            self._refused[run_id] = reason
            with suppress(OSError):  # a full disk: it stays, and the next process meets the same refusal
                journal.move_to(self.folder / REFUSED_FOLDER / self._own_folder.path.name)
            self._drop(run_id, journal)
            self._changed.notify_all()

    def _drop(self, run_id: str, journal: RunJournal) -> None:
        pending = self._pending[run_id]
        pending.journals.remove(journal)
        if journal is pending.own:
            pending.own = None
        if not pending.journals:
            del self._pending[run_id]

    def _adopt(self) -> None:
        """Takes over what dead processes left; it is sent before anything of ours to the same run."""
        for folder in abandoned_folders(self.folder):
            self._folders.append(folder)
            for file in sorted(folder.path.glob(f"*{SUFFIX}")):
                pending = self._pending.setdefault(file.stem, _Pending())
                pending.is_urgent, pending.due_s = True, 0.0
                pending.journals.insert(-1 if pending.own else len(pending.journals), RunJournal(folder.path, file.stem))

    def _waits_for(self, run_ids: Collection[str] | None) -> bool:
        return bool(self._pending if run_ids is None else self._pending.keys() & set(run_ids))

    def _require_working(self, run_id: str | None = None) -> None:
        if self._is_closing or not self._sender.is_alive():
            how = "was closed" if self._is_closing else "has lost its sending thread"
            raise TrackingError(f"an outbox must work to take a record, but that in {self.folder} {how}. Open it anew.")
        if run_id in self._refused:
            raise TrackingError(
                f"MLflow must take what run {run_id} is told, but refused it: {self._refused[run_id]} "
                f"`study resume` goes on, for a trial in a new run."
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrackingError(
                f"what runs are told must be written to {self.folder} before it is sent, but: {error.strerror}. "
                f"Free some space, or make the folder writable."
            ) from error
