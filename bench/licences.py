"""Lists the licence of each package that the locks pin, and fails on one that nobody has allowed.

    python bench/licences.py

Licences are what installed packages say of themselves; of those that are not installed here, what `ELSEWHERE` says.
Needs no network.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-gpu.lock", "requirements-jax.lock")

ALLOWED = {
    *(
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Zlib",
    ),
}
"""By their SPDX identifiers: they ask for no more than to be named."""

NAMES = {
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages call them otherwise; of BSD licences that do not say which, the longer one."""

NO_LICENCES = {"DFSG approved", "OSI Approved"}
"""What classifiers say besides."""

EXCEPTIONS = {
    "certifi": ("MPL-2.0", "asks for changes to its own files alone, which are used as they are"),
    "psycopg": ("LGPL-3.0-only", "an extra that is imported as it is, and that anybody can replace"),
    "psycopg-binary": ("LGPL-3.0-only", "as psycopg"),
    "pathspec": ("MPL-2.0", "as certifi; for development alone"),
    "tqdm": ("MPL-2.0 AND MIT", "as certifi"),
    "huey": ("MIT", "its metadata name none; the licence lies beside it"),
    "namex": ("Apache-2.0", "its metadata name none; the licence lies beside it"),
    "skops": ("MIT", "its metadata name none; the licence lies beside it"),
}
"""What the metadata do not allow by themselves: the licence, and why it is no obstacle."""

ELSEWHERE = {
    "colorama": ("BSD-3-Clause", "on Windows"),
    "jax": ("Apache-2.0", "in the environment of JAX"),
    "jaxlib": ("Apache-2.0", "in the environment of JAX"),
    "nvidia-*": ("NVIDIA's terms", "CUDA, for the extra gpu alone; free to use, not to be redistributed with lsml"),
    "pywin32": ("PSF-2.0", "on Windows"),
    "tzdata": ("Apache-2.0", "on Windows"),
    "waitress": ("ZPL-2.1", "on Windows; asks for no more than to be named"),
}
"""Packages that a lock pins and this environment need not have."""


def locked() -> list[str]:
    """The names of all packages in the locks."""
    texts = [(ROOT / lock).read_text(encoding="utf-8") for lock in LOCKS]
    return sorted({name for text in texts for name in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)})


def said(package: str) -> str | None:
    """The licence that an installed package names; empty where it names none, None where it is not installed."""
    try:
        described = metadata(package)
    except PackageNotFoundError:
        return None
    lines = [line.split(" :: ") for line in described.get_all("Classifier") or [] if line.startswith("License ::")]
    classified = [line[-1] for line in lines if line[-1] not in NO_LICENCES]
    written = (described.get("License") or "").strip().splitlines()[:1]
    return described.get("License-Expression") or " AND ".join(NAMES.get(name, name) for name in classified or written)


def is_allowed(licence: str) -> bool:
    """Whether an alternative of an SPDX expression is made of allowed licences; brackets are for you to read."""
    return any(set(option.split(" AND ")) <= ALLOWED for option in licence.split(" OR "))


def review(licences: Mapping[str, str | None]) -> tuple[list[tuple[str, str, str]], list[str]]:
    """A row a package, with the reason where it is an exception; and what is wrong, a line each."""
    rows, wrong = [], []
    for package, licence in licences.items():
        group = f"{package.partition('-')[0]}-*"
        listed = EXCEPTIONS if licence is not None else ELSEWHERE
        known = listed.get(package) or listed.get(group)
        if licence is not None and is_allowed(licence):
            rows.append((package, licence, ""))
        elif known:
            rows.append((package, *known))
        else:
            why = (
                f"licence {licence or 'not named'}"
                if licence is not None
                else "not installed, so its licence is not known"
            )
            wrong.append(f"{package}: {why}; allow it in bench/licences.py with the reason, or do without")
    return rows, wrong + [f"{name}: an exception of no locked package; remove it" for name in _idle(licences)]


def _idle(packages: Iterable[str]) -> list[str]:
    known = {*packages} | {f"{name.partition('-')[0]}-*" for name in packages}
    return sorted(({*EXCEPTIONS} | {*ELSEWHERE}) - known)


def main() -> int:
    """Prints the table; 1 where something is wrong."""
    rows, wrong = review({package: said(package) for package in locked()})
    cells = [("package", "licence", "allowed because"), ("---", "---", "---"), *rows]
    sys.stdout.writelines(f"| {' | '.join(row)} |\n" for row in cells)
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
