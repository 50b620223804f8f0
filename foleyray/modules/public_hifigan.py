"""Generators of HiFi-GAN as they are published: a torch file of weights beside a JSON file of settings."""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch
from torch import Tensor

from foleyray.clips import MelSpec
from foleyray.config import Config, UserError
from foleyray.modules.hifigan import HiFiGAN, HiFiGANLayout

NORMS = ((".weight_g", ".weight_v"), (".parametrizations.weight.original0", ".parametrizations.weight.original1"))
"""Endings of length and direction of a weight, as torch has spelled them before and since 2.0."""
JSON_NAMES = {
    "sample_rate_hz": "sampling_rate",
    "fft": "n_fft",
    "hop": "hop_size",
    "window": "win_size",
    "bands": "num_mels",
    "low_hz": "fmin",
    "high_hz": "fmax",
}


class PublicSettings(Config, extra="ignore"):
    """What the JSON file says about generator and mel; what it says about training is not read."""

    resblock: Literal["1", "2"]
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    upsample_initial_channel: int
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    num_mels: int
    n_fft: int
    hop_size: int
    win_size: int
    sampling_rate: int
    fmin: float
    fmax: float | None

    def layout(self, origin: str) -> HiFiGANLayout:
        values = {
            "channels": self.upsample_initial_channel,
            "rates": self.upsample_rates,
            "kernels": self.upsample_kernel_sizes,
            "resblock": int(self.resblock),
            "residual_kernels": self.resblock_kernel_sizes,
            "dilations": self.resblock_dilation_sizes,
        }
        return HiFiGANLayout.parse(values, origin)

    def mel(self, origin: str) -> MelSpec:
        """What is not in the file (filters, floor, no centring) is the same for all of them, and our default."""
        values = {ours: getattr(self, theirs) for ours, theirs in JSON_NAMES.items()}
        return MelSpec.parse(values | {"high_hz": self.sampling_rate / 2 if self.fmax is None else self.fmax}, origin)


def load_public(weights: Path, settings: Path, mel: MelSpec) -> HiFiGAN:
    """The generator of a public checkpoint, plain and frozen; raises UserError where it does not take the mels of `mel`.

    `weights` holds `{"generator": state}`, with weight norm in either spelling of torch or folded already. Also raises
    UserError for files that are missing or damaged, and for weights that are missing, unknown or of another shape.
    """
    public = PublicSettings.parse(_read_json(settings), str(settings))
    _check_mel(public.mel(str(settings)), mel, settings)
    layout = public.layout(str(settings))
    layout.check(mel)
    generator, found = HiFiGAN(layout, mel.bands), without_norm(_read_state(weights), weights)
    _check_shapes(found, generator.state_dict(), weights)
    generator.load_state_dict(found)
    return generator.eval().requires_grad_(False)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no settings of a vocoder at '{path}'; give the JSON file that lies beside its weights") from None
    except ValueError as error:
        raise UserError(
            f"{path} is not JSON ({error}); the settings that lie beside the vocoder's weights are expected"
        ) from None
    if not isinstance(document, dict):
        raise UserError(f"{path} holds {type(document).__name__}; the settings of a vocoder by name are expected")
    return document


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"no weights of a vocoder at '{path}'; give the file of its generator") from None
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends early"
        raise UserError(f"{path} is no torch file of plain tensors ({reason}); fetch the generator's weights again") from None
    state = document.get("generator") if isinstance(document, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        found = sorted(map(str, document)) if isinstance(document, dict) else type(document).__name__
        raise UserError(f"{path} holds {found}; tensors by name under 'generator' are expected, give the generator's file")
    return state


def _check_mel(theirs: MelSpec, ours: MelSpec, origin: Path) -> None:
    """Names the first field in which a vocoder's mels differ from ours."""
    for name, value in theirs.model_dump().items():
        if value != (expected := getattr(ours, name)):
            known_as = f" ('{JSON_NAMES[name]}')" if name in JSON_NAMES else ""
            raise UserError(
                f"the vocoder of {origin} takes mels with {name}{known_as} {value}, expected {expected}; "
                "choose one that was trained on the config's mel, or change the mel"
            )


def without_norm(state: dict[str, Tensor], origin: Path) -> dict[str, Tensor]:
    """Plain weights: direction over its own norm, times length; what has no norm stays as it is."""
    plain = dict(state)
    for length_end, direction_end in NORMS:
        for key in [key for key in state if key.endswith((length_end, direction_end))]:
            name = key.removesuffix(length_end).removesuffix(direction_end)
            if f"{name}.weight" in plain:
                continue
            missing = [end for end in (length_end, direction_end) if name + end not in state]
            if missing:
                raise UserError(f"{origin} has no '{name}{missing[0]}' beside '{key}'; fetch the generator's weights again")
            length, direction = plain.pop(name + length_end), plain.pop(name + direction_end)
            norm = torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.ndim)), keepdim=True)
            plain[f"{name}.weight"] = direction * (length / norm)
    return plain


def _check_shapes(found: dict[str, Tensor], expected: dict[str, Tensor], origin: Path) -> None:
    """Names the first weight that is missing, unknown, or of another shape."""
    for problem, keys in (("has no", expected.keys() - found.keys()), ("has an unknown", found.keys() - expected.keys())):
        if keys:
            raise UserError(
                f"{origin} {problem} '{min(keys)}' ({len(keys)} such); its settings describe another generator, "
                "give the JSON file that lies beside these weights"
            )
    for key, value in expected.items():
        if found[key].shape != value.shape:
            raise UserError(
                f"{origin} has '{key}' of shape {tuple(found[key].shape)}, expected {tuple(value.shape)} by its settings; "
                "give the JSON file that lies beside these weights"
            )
