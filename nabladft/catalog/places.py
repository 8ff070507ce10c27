"""Where downloaded files lie, where mirrors are, and which catalogue files a user adds.

Three settings, each from the environment or else from a configuration file:

=============  ====================  ==============  =========================================
what           environment           configuration   when neither says anything
=============  ====================  ==============  =========================================
data folder    ``NABLADFT_DATA``     ``data``        the platform's place for a user's data
mirrors        ``NABLADFT_MIRRORS``  ``mirrors``     none
catalogues     ``NABLADFT_CATALOG``  ``catalogs``    none but the packaged one
=============  ====================  ==============  =========================================

A variable that is set replaces the same setting of the configuration file (it is not added to it).
Mirrors are separated by blanks, catalogues as in ``PATH``; a mirror with a blank in its path goes
into the configuration file.
The configuration file is ``NABLADFT_CONFIG``, else ``~/.config/nabladft/config.toml``:

.. code-block:: toml

    data = "/scratch/nabladft"
    mirrors = ["https://mirror.example.org/nabladft", "/share/nabladft"]
    catalogs = ["our-files.toml"]        # relative to this file

Nothing is created or fetched here.

Example:
    >>> local_path(load_catalogue().get("energy/train-tiny"))  # doctest: +SKIP
    PosixPath('/home/ada/.local/share/nabladft/energy/train_2k_v2_formation_energy_w_forces.db')
"""

from __future__ import annotations

import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from nabladft.errors import ConfigError, suggestion
from nabladft.resources import embedded_datasets

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nabladft.catalog.product import Product

__all__ = [
    "Settings",
    "catalog_files",
    "data_folder",
    "find_local",
    "local_path",
    "locations",
    "mirrors",
    "settings",
]

_KEYS: Final = ("data", "mirrors", "catalogs")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What environment and configuration file say together.

    Attributes:
        data: Folder under which downloads are kept.
        mirrors: Places to try before the origin, in this order: URLs or folders.
        catalogs: Catalogue files of the user, read after the packaged one.
        config_file: The configuration file that was read, or None when there is none.
    """

    data: Path
    mirrors: tuple[str, ...]
    catalogs: tuple[Path, ...]
    config_file: Path | None


def settings() -> Settings:
    """Read environment and configuration file.

    Raises:
        ConfigError: The configuration file cannot be read, has an unknown key or a wrong value.
    """
    file, said = _config()
    base = file.parent if file else Path()
    environment = os.environ
    if data := environment.get("NABLADFT_DATA"):
        folder = Path(data).expanduser()
    elif "data" in said:
        folder = base / Path(_text(file, "data", said["data"])).expanduser()
    else:
        folder = _user_data_folder()
    if (mirrors_said := environment.get("NABLADFT_MIRRORS")) is not None:
        found = tuple(mirrors_said.split())
    else:
        found = _texts(file, "mirrors", said.get("mirrors", []))
    if (catalogs_said := environment.get("NABLADFT_CATALOG")) is not None:
        paths = [Path(one).expanduser() for one in catalogs_said.split(os.pathsep) if one]
    else:
        texts = _texts(file, "catalogs", said.get("catalogs", []))
        paths = [base / Path(one).expanduser() for one in texts]
    return Settings(data=folder, mirrors=found, catalogs=tuple(paths), config_file=file)


def data_folder() -> Path:
    """Folder under which downloads are kept; it may not exist yet."""
    return settings().data


def mirrors() -> tuple[str, ...]:
    """Places to try before the origin, in this order: URLs or folders."""
    return settings().mirrors


def catalog_files() -> tuple[Path, ...]:
    """Catalogue files of the user, read after the packaged one."""
    return settings().catalogs


def local_path(product: Product) -> Path:
    """Say where a product lies, or will lie, on this machine.

    Embedded data sets lie in the package. Everything else lies in the data folder, in the folder
    its name gives, under the name it was published with: ``energy/train-tiny`` is
    ``<data>/energy/train_2k_v2_formation_energy_w_forces.db``.
    """
    embedded = embedded_datasets()
    if product.embedded and product.name in embedded:
        return embedded[product.name]
    return data_folder() / relative_path(product)


def relative_path(product: Product) -> PurePosixPath:
    """Give a product's place inside the data folder, and inside a mirror that is a copy of it."""
    return PurePosixPath(product.name).parent / product.file_name


def locations(product: Product, extra_mirrors: Iterable[str] = ()) -> tuple[str, ...]:
    """List where a product can be fetched from, in the order to try.

    First the mirrors given here, then those of the settings, then the origin and the mirrors of the
    catalogue. A mirror is a copy either of a data folder (``<mirror>/energy/train_2k...db``) or of
    the published server (``<mirror>/data/nablaDFTv2/energy_databases/train_2k...db``), or simply a
    folder with the files (``<mirror>/train_2k...db``); all three are tried, in this order.

    Returns:
        URLs and paths of files, without duplicates.
    """
    found: list[str] = []
    for mirror in (*extra_mirrors, *mirrors()):
        found += [f"{mirror.rstrip('/')}/{path}" for path in _paths_in_mirror(product)]
    return tuple(dict.fromkeys([*found, *product.urls]))


def find_local(product: Product) -> Path | None:
    """Find a product on this machine: in the data folder, or in a mirror that is a folder."""
    path = local_path(product)
    if path.exists():
        return path
    for mirror in mirrors():
        folder = _as_folder(mirror)
        if folder is None:
            continue
        for inside in _paths_in_mirror(product):
            if (folder / inside).exists():
                return folder / inside
    return None


def _paths_in_mirror(product: Product) -> list[str]:
    paths = [str(relative_path(product))]
    paths += [unquote(urlsplit(url).path).lstrip("/") for url in product.urls[:1]]
    paths.append(product.file_name)
    return list(dict.fromkeys(path for path in paths if path))


def _as_folder(mirror: str) -> Path | None:
    parts = urlsplit(mirror)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    # A single letter is a drive of Windows, not a scheme.
    return Path(mirror).expanduser() if len(parts.scheme) < 2 else None


def _config() -> tuple[Path | None, dict[str, object]]:
    named = os.environ.get("NABLADFT_CONFIG")
    if named == "":
        return None, {}
    file = Path(named).expanduser() if named else _user_config_folder() / "config.toml"
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if named:
            message = f"The configuration file {file} that NABLADFT_CONFIG names does not exist."
            raise ConfigError(message) from None
        return None, {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        message = f"The configuration file {file} cannot be read: {error}"
        raise ConfigError(message) from error
    for key in said:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            message = f"{file}: unknown key {key!r}.{suggestion(key, _KEYS)} Known: {known}."
            raise ConfigError(message)
    return file, said


def _text(file: Path | None, key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        message = f"{file}: {key} must be a text, got {value!r}."
        raise ConfigError(message)
    return value


def _texts(file: Path | None, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        message = f"{file}: {key} must be a list of texts, got {value!r}."
        raise ConfigError(message)
    return tuple(value)


def _user_config_folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nabladft"


def _user_data_folder() -> Path:
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "nabladft"
