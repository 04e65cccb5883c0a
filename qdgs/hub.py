"""Files of the Hugging Face Hub: whether they are on this machine, and how to get them here."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from qdgs.errors import MissingModelError, reason_of

PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class HubFile:
    """A file of a repository: the first of `names` that the repository has.

    Attributes:
        repository: "organisation/repository".
        names: What the file may be called, the preferred name first.
        place: The key of the configuration that asks for it, for errors.
        optional: The repository may have none of the names.
    """

    repository: str
    names: tuple[str, ...]
    place: str = "guide.clip"
    optional: bool = False

    def cached(self) -> Path | None:
        """Where the file is on this machine, without asking the network."""
        return next((found for name in self.names if isinstance(found := self._known(name), Path)), None)

    @property
    def settled(self) -> bool:
        """Whether nothing is to be fetched: the file is here, or is optional and known not to exist."""
        known = [self._known(name) for name in self.names]
        return any(isinstance(found, Path) for found in known) or (self.optional and None not in known)

    @property
    def url(self) -> str:
        """Where the preferred name is downloaded from."""
        from huggingface_hub import hf_hub_url

        return hf_hub_url(self.repository, self.names[0])

    def fetch(self) -> Path | None:
        """The file on this machine, downloaded where it is not there yet; None for an optional one of no one.

        Raises:
            MissingModelError: It is not there and cannot be downloaded: no network (found out within seconds,
                where the hub's own client tries for a minute), or no such file.
        """
        return self.cached() if self.settled else self._download()

    def _known(self, name: str) -> Path | bool | None:
        """Its path here; False where it is known not to exist; None where nothing is known."""
        from huggingface_hub import constants, try_to_load_from_cache

        found = try_to_load_from_cache(self.repository, name, cache_dir=constants.HF_HUB_CACHE)
        if found is None:
            return None
        return Path(found) if isinstance(found, str) else False

    def _download(self) -> Path | None:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

        reason = unreachable()
        if reason is not None:
            raise self._unavailable(reason)
        for name in self.names:
            try:
                return Path(hf_hub_download(self.repository, name, cache_dir=constants.HF_HUB_CACHE))
            except LocalEntryNotFoundError as broken:
                raise self._unavailable("the network broke off") from broken
            except EntryNotFoundError:
                continue
            except (HfHubHTTPError, OSError, ValueError) as refused:
                raise self._unavailable(reason_of(refused)) from refused
        if self.optional:
            return None
        raise self._unavailable("the repository has no such file")

    def _unavailable(self, why: str) -> MissingModelError:
        from huggingface_hub import constants

        folder = f"models--{self.repository.replace('/', '--')}"
        return MissingModelError(
            f"{self.place}: {self} is not on this machine and {why}; run `qdgs fetch CONFIG` on a machine "
            f"that has a network and copy {folder} from its hub cache into {constants.HF_HUB_CACHE}, or name "
            "a model that is here (qdgs list)"
        )

    def __str__(self) -> str:
        return f"{self.repository}/{self.names[0]}"


def missing(files: Iterable[HubFile]) -> list[HubFile]:
    """Those that are to be fetched, each once; asks no network."""
    return [file for file in dict.fromkeys(files) if not file.settled]


def told(files: Iterable[HubFile]) -> str:
    """Files in words; optional ones, which come along, are not told."""
    return " and ".join(str(file) for file in files if not file.optional)


def unreachable() -> str | None:
    """Why the hub cannot be asked, or None; found out within seconds, where its own client tries a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    return None if _answers(constants.ENDPOINT) else f"{constants.ENDPOINT} cannot be reached"


def _answers(endpoint: str) -> bool:
    """Whether anything answers at an address; a name server that never answers costs no more either."""
    answered = threading.Event()
    done = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(endpoint, method="HEAD")
            urllib.request.urlopen(request, timeout=PROBE_SECONDS).close()
            answered.set()
        except urllib.error.HTTPError:
            answered.set()  # an answer, whatever it says
        except OSError:
            pass
        finally:
            done.set()

    threading.Thread(target=ask, daemon=True).start()
    done.wait(PROBE_SECONDS + 1)
    return answered.is_set()
