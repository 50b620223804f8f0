"""Words of the sound itself: the class list, the clip and the mel specification. Data only, no torch, no ray."""

import re
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from foleyray.config import Config, UserError, fingerprint, nearest

CLASS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,63}")


class ClassList(Config):
    """Class names in index order, with other spellings found in the wild. Stored with every corpus and checkpoint."""

    names: tuple[str, ...] = Field(min_length=1, max_length=127)
    aliases: dict[str, str] = {}

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name in self.names:
            if not CLASS_NAME.fullmatch(name):
                raise ValueError(f"class name {name!r} must be 1 to 64 letters, digits, spaces, '_' or '-'")
        if len({_plain(name) for name in self.names}) != len(self.names):
            raise ValueError("two class names differ only in letter case or punctuation")
        strays = set(self.aliases.values()) - set(self.names)
        if strays:
            raise ValueError(f"aliases lead to unknown classes {sorted(strays)}")
        return self

    @cached_property
    def _index(self) -> dict[str, int]:
        spellings = {_plain(alias): self.names.index(name) for alias, name in self.aliases.items()}
        return spellings | {_plain(name): index for index, name in enumerate(self.names)}

    def index(self, text: str | int) -> int:
        """The index of a class given in any known spelling, or as an index; raises UserError with the nearest name."""
        if isinstance(text, int):
            if 0 <= text < len(self.names):
                return text
        elif _plain(text) in self._index:
            return self._index[_plain(text)]
        near = nearest(str(text), [*self.names, *self.aliases])
        raise UserError(f"unknown class '{text}'{near}; classes: {', '.join(self.names)}")


def spoken(class_name: str) -> str:
    """A class name as words: DogBark -> dog bark."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_-]", " ", class_name).lower()


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.casefold())


DCASE7 = ClassList(
    names=("DogBark", "Footstep", "GunShot", "Keyboard", "MovingMotorVehicle", "Rain", "SneezeCough"),
    aliases={
        "dog": "DogBark",
        "bark": "DogBark",
        "footsteps": "Footstep",
        "steps": "Footstep",
        "gunshots": "GunShot",
        "keyboard typing": "Keyboard",
        "typing": "Keyboard",
        "motor": "MovingMotorVehicle",
        "vehicle": "MovingMotorVehicle",
        "sneeze": "SneezeCough",
        "cough": "SneezeCough",
    },
)


class ClipSpec(Config):
    """One clip: mono, a fixed rate and length (DCASE 2023 Task 7: 4 s at 22,050 Hz)."""

    sample_rate_hz: int = Field(22_050, ge=4_000, le=192_000)
    seconds: float = Field(4.0, gt=0, le=60)

    @property
    def num_samples(self) -> int:
        return round(self.sample_rate_hz * self.seconds)


class MelSpec(Config):
    """A log-mel front end; the defaults are `mel22k80`, the HiFi-GAN convention (sheet of the task's baseline)."""

    sample_rate_hz: int = Field(22_050, gt=0)
    fft: int = Field(1024, gt=0)
    hop: int = Field(256, gt=0)
    window: int = Field(1024, gt=0)
    bands: int = Field(80, gt=0)
    low_hz: float = Field(0.0, ge=0)
    high_hz: float = Field(8_000.0, gt=0)
    filter_shape: Literal["slaney", "htk"] = "slaney"
    floor: float = Field(1e-5, gt=0)
    centre: bool = False

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.high_hz > self.sample_rate_hz / 2 or self.low_hz >= self.high_hz:
            raise ValueError(f"bands must lie within 0..{self.sample_rate_hz / 2} Hz, found {self.low_hz}..{self.high_hz}")
        if self.window > self.fft:
            raise ValueError(f"window {self.window} is longer than fft {self.fft}")
        return self

    @property
    def padding(self) -> int:
        """Reflected samples on each side before the transform."""
        return self.fft // 2 if self.centre else (self.fft - self.hop) // 2

    def frames(self, num_samples: int) -> int:
        """Frames of a wave of `num_samples` samples: 344 for 88,200 with the defaults."""
        return 1 + (num_samples + 2 * self.padding - self.fft) // self.hop

    @property
    def id(self) -> str:
        """8 hex digits of the content; two front ends are the same exactly when their ids are."""
        return fingerprint(self)
