"""The nets of VIFS: sizes, shapes, the flow and its inverse, pooling, what a class may change, and the copy for sampling."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from foleyray.audio.mel import Mel
from foleyray.clips import MelSpec
from foleyray.config import UserError
from foleyray.modules.hifigan import HiFiGANLayout
from foleyray.modules.threads import single_threads
from foleyray.systems.vifs.flow import Flow
from foleyray.systems.vifs.folding import LongConv1d
from foleyray.systems.vifs.layout import Layout
from foleyray.systems.vifs.pooling import SelfAttentivePooling
from foleyray.systems.vifs.posterior import Posterior
from foleyray.systems.vifs.prior import FramePrior
from foleyray.systems.vifs.synthesizer import Synthesizer
from foleyray.systems.vifs.wavenet import WaveNet

DECODER = HiFiGANLayout(channels=64, residual_kernels=(3, 5), dilations=((1, 3), (1, 2)))
SMALL = Layout(hidden=32, posterior_layers=3, flow_layers=2, prior_layers=2, frame_prior_layers=2, decoder=DECODER)
BINS, FRAMES, CLASSES = 17, 40, 3
LABEL = torch.tensor([0, 2])


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Fresh nets draw their weights from the process's own random numbers."""
    torch.manual_seed(0)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=draws(seed))


def enliven(net: nn.Module) -> None:
    """Random numbers where a fresh net has zeros, and lengths of weights that are not those of their directions."""
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not parameter.any():
                parameter.normal_(std=0.1, generator=draws())
            elif name.endswith("original0"):
                parameter.mul_(torch.rand(parameter.shape, generator=draws()) + 0.5)


def lively(layout: Layout = SMALL, frames: int = FRAMES) -> Synthesizer:
    """A synthesizer as loud as a trained one."""
    net = Synthesizer(layout, BINS, frames, CLASSES)
    enliven(net)
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.mul_(2)
    return net


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


# Sizes and shapes


def test_the_paper_size_has_the_papers_parameters_and_latents() -> None:
    with torch.device("meta"):
        net = Synthesizer(Layout(), 513, 344, 7)
    assert {name: count(child) for name, child in net.named_children()} == {
        "classes": 1_344,
        "posterior": 8_429_952,
        "flow": 8_294_016,
        "pooling": 37_056,
        "prior": 2_767_680 + 30_970_368,
        "decoder": 14_437_184,
    }
    assert count(net.prior.encoder) == 2_767_680 and count(net.prior.frame_prior) == 30_970_368
    assert count(net) == 64_937_600
    prior = net.prior(torch.zeros(2, 192, device="meta"), torch.zeros(2, dtype=torch.long, device="meta"))
    assert prior.mean.shape == prior.log_std.shape == (2, 192, 344)


def test_a_slice_and_a_clip_have_their_lengths() -> None:
    net = lively(frames=344)
    with torch.inference_mode():
        waves = net.decode(normal(2, 32, 32), LABEL)
        clip = net.make(normal(1, 32), normal(1, 32, 344), torch.ones(1), LABEL[:1])
    assert [wave.shape for wave in waves] == [(2, 2048), (2, 4096), (2, 8192)]
    assert clip.shape == (1, 88_064) and clip.std() > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 33}, "multiple of 2"),
        ({"kernel": 4}, "kernel 4 must be odd"),
        ({"frame_prior_kernel": 34}, "frame_prior_kernel 34 must be odd"),
        ({"decoder": {"rates": (64, 4), "kernels": (64, 4)}}, r"decoder\.rates \(64, 4\) must be 3 or more and end with 2, 2"),
        ({"decoder": {"rates": (8, 8, 4), "kernels": (16, 16, 8)}}, r"\(8, 8, 4\) must be 3 or more and end with 2, 2"),
    ],
)
def test_impossible_layouts_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Layout.parse(changes, "layout")


# The parts


def test_the_wavenet_stack_is_the_one_of_the_papers() -> None:
    """In plain functions: gates of tanh and sigmoid, residual and skip, a last layer that has a skip only."""
    net = WaveNet(8, 3, 5, condition=6)
    enliven(net)
    x, condition = normal(2, 8, 11), normal(2, 6)
    assert net.cond is not None
    shift = F.conv1d(condition[:, :, None], net.cond.weight, net.cond.bias)
    current, total = x, torch.zeros_like(x)
    for index, (gate, output) in enumerate(zip(net.gates, net.outputs, strict=True)):
        y = F.conv1d(current, gate.weight, gate.bias, padding=2) + shift[:, 16 * index : 16 * (index + 1)]
        out = F.conv1d(y[:, :8].tanh() * y[:, 8:].sigmoid(), output.weight, output.bias)
        if index < 2:
            current, total = current + out[:, :8], total + out[:, 8:]
        else:
            total = total + out
    assert torch.allclose(net(x, condition), total, atol=1e-6)


def test_the_posterior_is_drawn_from_what_it_says() -> None:
    net, spectrum = lively(), normal(2, BINS, FRAMES).abs()
    z, mean, log_std = net.encode(spectrum, LABEL, draws(1))
    assert z.shape == mean.shape == log_std.shape == (2, 32, FRAMES)
    assert torch.allclose((z - mean) / log_std.exp(), normal(2, 32, FRAMES, seed=1), atol=1e-4)
    other = net.encode(spectrum, LABEL, draws(2))
    assert torch.equal(other.mean, mean) and not torch.equal(other.z, z)


def test_the_flow_is_inverted_exactly() -> None:
    flow = Flow(32, 4, 4, 5)
    enliven(flow)
    z, condition = normal(2, 32, FRAMES), normal(2, 32, seed=1)
    moved = flow(z, condition)
    assert (moved - z).abs().mean() > 0.1, "it is no identity"
    assert (flow.inverse(moved, condition) - z).abs().max() < 1e-5
    assert (flow.inverse(moved, -condition) - z).abs().max() > 1e-3, "the inverse needs the same class"


def test_a_fresh_flow_only_flips() -> None:
    z, condition = normal(2, 32, FRAMES), normal(2, 32)
    assert torch.equal(Flow(32, 4, 2, 5)(z, condition), z)
    assert torch.equal(Flow(32, 3, 2, 5)(z, condition), z.flip(1))


def test_the_flow_keeps_volumes() -> None:
    flow = Flow(4, 3, 2, 3)
    enliven(flow)
    flow.double()
    condition = normal(1, 4).double()
    jacobian = torch.autograd.functional.jacobian(
        lambda z: flow(z.view(1, 4, 5), condition).flatten(), normal(20).double(), vectorize=True
    )
    assert isinstance(jacobian, Tensor) and (jacobian - jacobian.diag().diag()).abs().sum() > 0.1
    assert torch.linalg.slogdet(jacobian).logabsdet.abs() < 1e-9


def test_pooling_weights_sum_to_one_over_time() -> None:
    pooling = SelfAttentivePooling(32)
    mean = normal(2, 32, FRAMES) * 5
    weights = pooling.weights(mean)
    assert torch.allclose(weights.sum(dim=2), torch.ones(2, 32)) and weights.min() > 0 and weights.std() > 1e-3
    constant = normal(2, 32, seed=1)
    assert torch.allclose(pooling(constant[:, :, None].expand(-1, -1, FRAMES), mean), constant, atol=1e-6)


def test_the_mean_attends_and_the_drawn_latents_are_pooled() -> None:
    net = lively()
    z, mean = normal(2, 32, FRAMES), normal(2, 32, FRAMES, seed=1)
    expected = (z * torch.tanh(net.pooling.attention(mean)).softmax(dim=2)).sum(dim=2)
    assert torch.allclose(net.pool(Posterior(z, mean, torch.zeros_like(z))), expected, atol=1e-6)


def test_the_prior_begins_without_positions_and_scales_the_vector_as_its_class_table() -> None:
    net = Synthesizer(SMALL, BINS, FRAMES, 400)
    encoder = net.prior.encoder
    assert not encoder.positions.any() and encoder.positions.shape == (1, 32, FRAMES)
    assert encoder.classes.weight.std().item() == pytest.approx(32**-0.5, rel=0.05)
    summary = normal(2, 32)
    apart = encoder.classes(LABEL) - encoder.classes(LABEL + 1)
    assert torch.allclose(encoder(summary, LABEL), encoder(summary + apart * 32**0.5, LABEL + 1), atol=1e-5)


def test_the_prior_differs_from_frame_to_frame_and_from_clip_to_clip() -> None:
    prior = lively().prior(normal(2, 32), torch.zeros(2, dtype=torch.long))
    for part in prior:
        assert part.shape == (2, 32, FRAMES) and part.std(dim=2).min() > 0 and not torch.allclose(part[0], part[1])


def test_the_frame_prior_is_residual() -> None:
    net = FramePrior(6, 2, 7)
    x = normal(2, 6, 20)
    expected = x
    for conv in net.convs:
        expected = expected + F.conv1d(torch.where(expected > 0, expected, 0.2 * expected), conv.weight, conv.bias, padding=3)
    assert torch.allclose(net(x), expected, atol=1e-6)
    assert torch.equal(FramePrior(6, 0, 7)(x), x)


# The whole


def test_a_gradient_reaches_every_parameter() -> None:
    net = lively()
    posterior = net.encode(normal(2, BINS, FRAMES).abs(), LABEL, draws())
    prior = net.prior(net.pool(posterior), LABEL)
    waves = net.decode(posterior.z[:, :, :8], LABEL)
    parts = [net.to_prior(posterior.z, LABEL), posterior.log_std, *prior, *waves]
    sum((part.square().mean() for part in parts), torch.zeros(())).backward()
    silent = [name for name, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not silent


def test_latents_stay_float32_under_autocast() -> None:
    net = lively()
    with torch.autocast("cpu", torch.bfloat16):
        posterior = net.encode(normal(2, BINS, FRAMES).abs(), LABEL, draws())
        summary = net.pool(posterior)
        parts = [*posterior, summary, *net.prior(summary, LABEL), net.to_prior(posterior.z, LABEL)]
        back = net.from_prior(parts[-1], LABEL)
    assert {part.dtype for part in parts} == {torch.float32}
    assert (back - posterior.z).abs().max() < 1e-2


@torch.no_grad()
def test_without_the_decoders_condition_a_class_is_heard_through_prior_and_flow_alone() -> None:
    net = lively()
    z, summary, label = normal(1, 32, FRAMES), normal(1, 32), LABEL[:1]
    assert not torch.equal(net.decode(z, label)[-1], net.decode(z, label + 1)[-1])
    assert net.decoder.cond is not None
    nn.init.zeros_(net.decoder.cond.weight)
    for one, other in zip(net.decode(z, label), net.decode(z, label + 1), strict=True):
        assert torch.equal(one, other)
    assert not torch.allclose(net.from_prior(z, label), net.from_prior(z, label + 1))
    before = net.prior(summary, label)
    assert not torch.allclose(before.mean, net.prior(summary, label + 1).mean)
    net.classes.weight.mul_(2)
    assert torch.equal(net.prior(summary, label).mean, before.mean), "the prior has a table of its own"


@torch.no_grad()
def test_without_noise_in_the_frames_the_vector_alone_decides() -> None:
    net, summary, label = lively(), normal(1, 32).expand(2, -1), torch.tensor([1, 1])
    noise = normal(2, 32, FRAMES)
    first, second = net.make(summary, noise, torch.zeros(2), label)
    assert torch.equal(first, second) and first.std() > 0
    mixed = net.make(summary, noise, torch.tensor([0.0, 1.0]), label)
    assert torch.allclose(mixed[0], first, atol=1e-6) and not torch.allclose(mixed[1], first, atol=1e-4)
    assert not torch.allclose(net.make(-summary, noise, torch.zeros(2), label)[0], first, atol=1e-4)


@torch.no_grad()
def test_noise_is_that_of_the_prior() -> None:
    net = lively()
    summary, noise = normal(2, 32), normal(2, 32, FRAMES)
    mean, log_std = net.prior(summary, LABEL)
    z = net.from_prior(mean + torch.tensor([0.5, 1.5])[:, None, None] * log_std.exp() * noise, LABEL)
    made = net.make(summary, noise, torch.tensor([0.5, 1.5]), LABEL)
    assert torch.allclose(made, net.decode(z, LABEL)[-1], atol=1e-5)


@torch.no_grad()
def test_more_noise_in_the_frames_makes_clips_differ_more() -> None:
    net, mel, label = lively(), Mel(MelSpec()), torch.zeros(6, dtype=torch.long)
    summary, noise = normal(1, 32).expand(6, -1), normal(6, 32, FRAMES)
    spreads = [
        mel(net.make(summary, noise, torch.full((6,), scale), label)).var(dim=0).mean() for scale in (0.0, 0.25, 0.5, 1.0)
    ]
    assert spreads[0] < 1e-6 and all(more > 1.1 * less for less, more in pairwise(spreads))


# For sampling


@pytest.mark.parametrize("layout", [SMALL, SMALL.model_copy(update={"frame_prior_kernel": 3, "flows": 1})])
def test_the_copy_for_sampling_sounds_alike(layout: Layout) -> None:
    net = lively(layout)
    maker = net.for_sampling()
    arguments = normal(2, 32), normal(2, 32, FRAMES), torch.tensor([0.5, 1.0]), LABEL
    with torch.no_grad():
        expected = net.make(*arguments)
        assert expected.abs().mean() > 1e-2
        assert torch.allclose(maker.make(*arguments), expected, atol=1e-5)
    assert not any(parametrize.is_parametrized(module) for module in maker.modules())
    assert not maker.training and not any(parameter.requires_grad for parameter in maker.parameters())
    assert not {"posterior", "pooling"} & {name for name, _ in maker.named_children()}
    assert net.training and all(parameter.requires_grad for parameter in net.parameters()), "the one that trains is as it was"
    assert parametrize.is_parametrized(net.prior.frame_prior.convs[0]) and parametrize.is_parametrized(net.decoder.ups[0])


def test_training_goes_on_after_a_copy_and_leaves_it_alone() -> None:
    net = lively()
    maker = net.for_sampling()
    arguments = normal(1, 32), normal(1, 32, FRAMES), torch.ones(1), LABEL[:1]
    before = maker.make(*arguments)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.1)
    assert torch.equal(maker.make(*arguments), before)
    assert not torch.allclose(net.make(*arguments), before, atol=1e-4)


@torch.inference_mode()
def test_clips_do_not_hear_one_another() -> None:
    maker = lively().for_sampling()
    arguments = normal(4, 32), normal(4, 32, FRAMES), torch.tensor([0.3, 0.6, 0.9, 1.2]), torch.tensor([0, 1, 2, 0])
    alone = [tuple(part[index : index + 1] for part in arguments) for index in range(4)]
    together = maker.make(*arguments)

    def make(clip: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        with torch.inference_mode():
            return maker.make(*clip)

    with single_threads(1) as threads:
        one_by_one = torch.cat(list(threads.map(make, alone)))
    with single_threads(2) as threads:
        at_once = torch.cat(list(threads.map(make, reversed(alone)))).flip(0)
    assert torch.equal(one_by_one, at_once)
    assert torch.allclose(one_by_one, together, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 15, 35])
@pytest.mark.parametrize("frames", [1, 40, 61, 344])
def test_a_long_convolution_is_a_convolution(kernel: int, frames: int) -> None:
    conv = nn.Conv1d(12, 12, kernel, padding=kernel // 2).requires_grad_(False)
    x = normal(3, 12, frames)
    long = LongConv1d(conv.weight, conv.bias)
    assert torch.allclose(long(x), conv(x), atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        in_autocast = long(x)
    assert torch.equal(in_autocast, long(x))
