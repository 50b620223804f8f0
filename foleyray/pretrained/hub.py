"""Published models of several files on the Hugging Face hub: found in a folder, or fetched at a fixed revision."""

from dataclasses import dataclass
from pathlib import Path

from foleyray.config import UserError
from foleyray.pretrained.weights import WeightsFile, search_folders
from foleyray.progress import Progress


@dataclass(frozen=True)
class HubModel:
    """The files of a repository that a network needs, at one revision; all of them are verified by their hash."""

    repo: str
    revision: str
    files: tuple[WeightsFile, ...]

    @property
    def folder(self) -> str:
        """The sub-folder of a weights folder that may hold the files."""
        return self.files[0].folder

    def locate(self, given: Path | None, progress: Progress) -> Path:
        """The folder with all files: below `given`, `FOLEYRAY_WEIGHTS` or the cache folder, else fetched from the hub.

        Raises UserError where files are missing and cannot be fetched, or one is not the published one.
        """
        places = [inner for folder in search_folders(given) for inner in (folder / self.folder, folder)]
        whole = [place for place in places if all((place / file.name).is_file() for file in self.files)]
        found = whole[0] if whole else self._fetch(given, progress)
        for file in self.files:
            file.verify(found / file.name)
        return found

    def _fetch(self, given: Path | None, progress: Progress) -> Path:
        """The snapshot in the hub's own cache, fetched file by file where it is not whole."""
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        shown, total = not are_progress_bars_disabled(), sum(file.num_bytes for file in self.files)
        disable_progress_bars()
        try:
            with progress.begin(f"fetching {self.repo}", total, "bytes") as task:
                for file in self.files:
                    place = Path(hf_hub_download(self.repo, file.name, revision=self.revision))
                    task.advance(file.num_bytes)
            return place.parent
        except Exception as error:  # also those of the HTTP library below, which is not the same in every version
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UserError(
                f"{self.folder} needs {', '.join(file.name for file in self.files)} ({total / 1e6:.1f} MB) of {self.repo} at "
                f"revision {self.revision}, which could not be fetched ({reason}); fetch them from https://huggingface.co/"
                f"{self.repo} and put them into {search_folders(given)[-1] / self.folder}, or into DIR/{self.folder} with "
                f"--weights DIR"
            ) from None
        finally:
            if shown:
                enable_progress_bars()
