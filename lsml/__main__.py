"""`python -m lsml` is the command `lsml`."""

from lsml.cli.main import run

if __name__ == "__main__":
    run()
