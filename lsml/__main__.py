"""`python -m lsml` is the command `lsml`."""

from lsml.errors.signals import leaving_by_signals


def run() -> None:
    """Runs the command line of this process; signals are listened to before all that takes time to import."""
    with leaving_by_signals():
        from lsml.cli.main import run as command_line

        command_line()


if __name__ == "__main__":
    run()
