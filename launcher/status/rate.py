"""Rate: how fast the newest submission of a run goes, by the beats of its attempts, and whether that tells when it ends."""

from launcher.runs.shard_states import Shards
from launcher.runs.submissions import SubmissionState

# After so much of its work, or such a time, a submission's rate is that of what is left.
_STEADY_SHARE = 0.1
_STEADY_SECONDS = 120.0


def rate_of(shards: Shards, newest: SubmissionState) -> float | None:
    """Samples per second that the newest submission has done, over the time in which its attempts ran."""
    seconds = seconds_of(shards, newest)
    return shards.closed_by(newest.number).count / seconds if seconds > 0 else None


def seconds_of(shards: Shards, newest: SubmissionState) -> float:
    """For how long attempts of the newest submission ran, as far as is known; 0 where none has begun."""
    recent = [one for one in shards.attempts if one.submission == newest.number and one.start]
    # Until the last beat, not until now: what was done since then is not known yet.
    until = max((one.beat.time for one in recent), default=0.0)
    return until - min((one.start.time for one in recent if one.start), default=until)


def is_steady(shards: Shards, newest: SubmissionState | None) -> bool:
    """Whether its rate tells when it ends: not that of the first batches, when processes start and models are loaded."""
    if newest is None:
        return False
    done, left = shards.closed_by(newest.number).count, shards.left_of(newest.submission).count
    return done >= _STEADY_SHARE * (done + left) or seconds_of(shards, newest) >= _STEADY_SECONDS
