"""The storage of a search, which waits for a database server that restarts."""

import copy
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hybrid_opt.backends.redaction import redact
from worldmodel.search.study import Stopped

PATIENCE = 600.0  # seconds without an answer after which a search gives up
PAUSES = (0.2, 10.0)  # seconds between two tries: the first, and the longest
SETTLED = 30.0  # seconds without trouble after which all that live have given signs of life: beyond the longest pause
LOOK = 0.1  # seconds between two looks at whether the search was asked to stop
MADE, TAKEN = "made by", "taken by"  # attributes of a trial that tell whose try came through when its answer is lost


class StorageError(Exception):
    """The storage of a search that runs cannot be used. The message is one line."""

    exit_code = 1


def never() -> bool:
    """Whether the search was asked to stop, where nobody asks."""
    return False


def patiently(work: Callable[[], Any], url: str, unwanted: Callable[[], bool] = never) -> Any:
    """Do work until the database server answers, with a line for each outage.

    Raises StorageError after `PATIENCE` seconds, and at once where the database answers with an error or is a file, and
    Stopped where the search is asked to stop meanwhile.
    """
    begin, pause, said = time.monotonic(), PAUSES[0], False
    while True:
        try:
            result = work()
        except (SQLAlchemyError, StorageInternalError) as error:
            reason, patience = _reason(error), PATIENCE if _lost(error) and not url.startswith("sqlite") else 0
            if patience and unwanted():
                raise Stopped(f"the search was stopped while its storage was away: {reason}") from error
            if time.monotonic() - begin >= patience:
                message = f"storage={_shown(url)}: {reason}; the same command continues the search"
                raise StorageError(message) from error
            if not said:
                print(f"storage={_shown(url)}: {reason}; waiting for it to come back", file=sys.stderr, flush=True)
            said = True
            rest(pause, unwanted)
            pause = min(2 * pause, PAUSES[1])
        else:
            if said:
                print(f"storage={_shown(url)}: it is back; the search goes on", file=sys.stderr, flush=True)
            return result


def rest(seconds: float, unwanted: Callable[[], bool]) -> None:
    """Wait, until the search is asked to stop."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0 and not unwanted():
        time.sleep(min(left, LOOK))


def waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of the storage that is called again until the database answers."""

    @wraps(method)
    def call(self: "PatientStorage", *args: Any, **kwargs: Any) -> Any:
        def once() -> Any:
            try:
                return method(self, *args, **kwargs)
            except (SQLAlchemyError, StorageInternalError):
                self.troubled = time.monotonic()
                raise

        return patiently(once, self.url, self.unwanted)

    return call


_METHODS = sorted(
    {name for name, value in vars(BaseStorage).items() if not name.startswith("_") and callable(value)}
    | {"_set_trial_param", "_get_trials", "_get_best_trial_id"}  # which Optuna's cache calls
    - {"create_new_trial", "set_trial_state_values", "remove_session", "check_trial_is_updatable"}
)


class PatientStorage(RDBStorage):
    """An RDBStorage whose every operation is tried again while a database server cannot be reached.

    What is tried again is done once, also where only the answer of the first try was lost. After `PATIENCE` seconds,
    and at once where the database answers with an error, raises StorageError in one line. Files of SQLite are not
    waited for. Once `unwanted` answers yes nothing is waited for, and Stopped is raised.
    """

    for _name in _METHODS:
        vars()[_name] = waiting(getattr(RDBStorage, _name))
    del _name

    def __init__(self, url: str, *args: Any, unwanted: Callable[[], bool] = never, **kwargs: Any) -> None:
        self.unwanted = unwanted
        self.troubled = time.monotonic()  # when the connection was lost last; one that begins knows nothing of before
        super().__init__(url, *args, **kwargs)
        event.listen(self.engine, "invalidate", self._note_trouble)

    @property
    def is_file(self) -> bool:
        """Whether it is a file of SQLite, which does not go away: each operation is tried once."""
        return self.url.startswith("sqlite")

    def _note_trouble(self, *_: object) -> None:
        self.troubled = time.monotonic()

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        """Create a trial that carries who made it, so that a second try finds what the first has made."""
        create = waiting(RDBStorage._create_new_trial)
        if self.is_file:
            return create(self, study_id, template_trial)  # type: ignore[no-any-return]
        if template_trial is None:
            template_trial = create_trial(state=TrialState.RUNNING)
        template = copy.deepcopy(template_trial)
        template.system_attrs = {**template.system_attrs, MADE: uuid.uuid4().hex}
        return create(self, study_id, template)  # type: ignore[no-any-return]

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Any
    ) -> "models.TrialModel":
        if template_trial is None or MADE not in template_trial.system_attrs:
            return super()._get_prepared_new_trial(study_id, template_trial, session)
        attribute = models.TrialSystemAttributeModel
        found = session.query(models.TrialModel).join(attribute).filter(models.TrialModel.study_id == study_id)
        maker = json.dumps(template_trial.system_attrs[MADE])
        made = found.filter(attribute.key == MADE, attribute.value_json == maker).one_or_none()
        return made or super()._get_prepared_new_trial(study_id, template_trial, session)

    def record_heartbeat(self, trial_id: int) -> None:
        """Record it from a thread of Optuna's. What ends the wait ends that of the trial too, and is told there."""
        try:
            waiting(RDBStorage.record_heartbeat)(self, trial_id)
        except (StorageError, Stopped) as error:
            print(error, file=sys.stderr, flush=True)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._create_new_trial(study_id, template_trial)._trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set them once. A trial is taken from the queue together with the taker's attribute, or not at all."""
        taker, tries = uuid.uuid4().hex, 0

        def once(self: "PatientStorage") -> bool:
            nonlocal tries
            tries += 1
            if state != TrialState.RUNNING or self.is_file:
                try:
                    return RDBStorage.set_trial_state_values(self, trial_id, state, values)
                except UpdateFinishedTrialError:
                    if tries > 1:  # the try whose answer was lost had come through
                        return True
                    raise
            if tries > 1 and RDBStorage.get_trial_system_attrs(self, trial_id).get(TAKEN) == taker:
                return True
            attribute = models.TrialSystemAttributeModel(trial_id=trial_id, key=TAKEN, value_json=json.dumps(taker))
            self.scoped_session().add(attribute)  # in the transaction of the next line; a second taker violates its key
            return RDBStorage.set_trial_state_values(self, trial_id, state, values)

        return bool(waiting(once)(self))

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """The trials without signs of life, by a look after all that live have had the time to give some.

        While the server was away nobody could.
        """
        look = waiting(RDBStorage._get_stale_trial_ids)
        stale: list[int] = look(self, study_id)
        while stale and not self.is_file and (left := self.troubled + SETTLED - time.monotonic()) > 0:
            rest(left, self.unwanted)
            if self.unwanted():
                return []
            stale = look(self, study_id)
        return stale


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _lost(error: BaseException) -> bool:
    """Whether the connection was lost or never made, rather than refused by the database."""
    signs = ("connect", "server closed", "terminating", "shutting down", "starting up", "recovery mode", "gone away")
    for cause in _chain(error):  # Optuna and SQLAlchemy may fail once more on what a lost connection leaves
        if isinstance(cause, DBAPIError):
            text = str(cause.orig).lower()
            if cause.connection_invalidated or any(sign in text for sign in signs):
                return True
    return False


def _reason(error: BaseException) -> str:
    cause = next((cause for cause in _chain(error) if isinstance(cause, DBAPIError)), error.__cause__ or error)
    return redact(" ".join(str(getattr(cause, "orig", None) or cause).split()))[:300]


def _shown(url: str) -> str:
    return redact(make_url(url).render_as_string(hide_password=True))
