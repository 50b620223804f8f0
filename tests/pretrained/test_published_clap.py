"""A published CLAP: a small random one saved as the public one is, against transformers' own front end."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

from foleyray.config import UserError
from foleyray.pretrained.clap import PublishedClap, read_network, weights_file
from tests.pretrained.clap_models import RATE, WORDS, noise, save_model, small_config, tensors_of


def opened(folder: Path) -> PublishedClap:
    return PublishedClap.open(folder, weights_file(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_model(tmp_path_factory.mktemp("weights") / "clap")


@pytest.fixture(scope="module")
def clap(folder) -> PublishedClap:
    return opened(folder)


@pytest.mark.parametrize("samples", [4 * RATE, 10 * RATE, 3 * RATE + 17, 50])
def test_it_hears_what_transformers_hears(clap, folder, samples):
    wave = noise(2, samples)
    wave[1, samples // 3 :] = 0.0
    extractor = ClapFeatureExtractor.from_pretrained(folder)
    features = extractor(list(wave.numpy()), sampling_rate=RATE, return_tensors="pt").input_features
    network = ClapModel(small_config()).eval()
    network.load_state_dict(tensors_of(small_config()))
    with torch.inference_mode():
        expected = network.get_audio_features(features.float()).pooler_output
        torch.testing.assert_close(clap.front(clap.filled(wave)).float()[:, None], features.float(), rtol=1e-4, atol=1e-3)
    found = clap.embed_audio(wave)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    assert found.shape == (2, clap.dim) == (2, 24) and found.dtype == torch.float32
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_tensors_that_do_not_fit_are_named(tmp_path):
    folder = save_model(tmp_path / "clap")
    tensors = tensors_of(small_config())
    del tensors["audio_projection.linear1.bias"]
    torch.save(tensors, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"CLAP weights in .* lack 'audio_projection.linear1.bias' \[24\]"):
        read_network(folder, folder / "pytorch_model.bin")


def test_a_stub_of_a_tokenizer_is_refused(tmp_path):
    """A tokenizer of five tokens swallows every word; without a guard the score would be a number all the same."""
    folder = save_model(tmp_path / "clap")
    stub = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS[:5])}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=stub, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)
    with pytest.raises(UserError, match=r"knows 5 tokens, the network 17: it is not whole"):
        opened(folder).embed_text(["the sound of rain"])


def test_a_missing_tokenizer_is_refused(tmp_path):
    folder = save_model(tmp_path / "clap")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(UserError, match="tokenizer"):
        opened(folder).embed_text(["the sound of rain"])


def test_it_reads_what_transformers_reads(clap, folder):
    texts = ["the sound of rain", "a dog bark", ""]
    network = ClapModel(small_config()).eval()
    network.load_state_dict(tensors_of(small_config()))
    tokens = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        expected = network.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
    found = clap.embed_text(texts)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert len(torch.unique(found, dim=0)) == 3
    assert not found.is_inference()


@pytest.mark.parametrize("text", ["xylophone", " ", "!"])
def test_a_text_without_a_known_word_is_refused(clap, text):
    with pytest.raises(UserError, match=f"knows no word of '{text}'"):
        clap.embed_text(["rain", text])


def test_its_state_is_all_that_it_is_made_of(clap, tmp_path):
    state = clap.state_dict()
    copy = PublishedClap.blank(state["files"], "a copy")
    copy.load_state_dict(state)
    copy.eval()
    assert torch.equal(copy.embed_audio(noise(1)), clap.embed_audio(noise(1)))
    assert torch.equal(copy.embed_text(["rain", ""]), clap.embed_text(["rain", ""]))
    assert copy.weights_id == clap.weights_id and copy.texts == clap.texts


def test_a_front_end_that_cuts_at_random_is_refused(tmp_path):
    folder = save_model(tmp_path / "clap")
    ClapFeatureExtractor(truncation="fusion", padding="repeat").save_pretrained(folder)
    with pytest.raises(UserError, match="fills clips by 'repeat' and cuts them by 'fusion'"):
        opened(folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match="no readable preprocessor_config"):
        opened(folder)
