"""`bench track`: sends to a tracker what cells have left so far."""

from __future__ import annotations

from pathlib import Path

from bench.cli import options
from bench.spec.errors import UsageError
from bench.spec.secrets import redacted


def track(
    out: options.Out = Path("results"),
    profile: options.ProfileOfResults = None,
    tensorboard: options.Tensorboard = False,
    mlflow: options.Mlflow = None,
) -> None:
    """Send what cells have left so far to a tracker, as `bench run --tensorboard` does.

    Examples:

        bench track --tensorboard

        bench track --mlflow http://127.0.0.1:5000 --profile cpu
    """
    from bench.store.cells import Store
    from bench.store.results import finished_profile
    from bench.store.track import Wanted, send

    wanted, store = Wanted(tensorboard, mlflow), Store(out)
    if not wanted:
        raise UsageError("nothing to send to; expected --tensorboard or --mlflow URI")
    wanted.check()
    chosen = finished_profile(store, profile)
    try:
        count = send(store, chosen, wanted)
    except Exception as error:  # a tracker may fail in any way
        reason = redacted((str(error).strip() or "no reason").splitlines()[0], mlflow or "")
        raise UsageError(f"the tracker failed ({reason}); is it there?") from error
    print(f"{count} finished cells of the profile '{chosen}' are sent whole.")
