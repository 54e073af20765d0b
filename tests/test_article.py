"""The article's listings as printed: each fault shown by the smallest code that has it, and its repair in t2vlearn.

The printed attention is in test_attention.py, the printed reverse step in test_diffusion.py; that our own encoder minds its
captions alone, with or without padding, in test_text.py.
"""

import inspect
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from t2vlearn.denoiser import SpaceTimeDenoiser
from t2vlearn.diffusion import DiffusionModel, RectifiedFlow
from t2vlearn.pipeline import TextToVideoPipeline
from t2vlearn.text import Text, TextEncoder


def test_a_whole_transformer_needs_a_target_too():
    """Section 5.2, text encoder: nn.Transformer is an encoder and a decoder, and is given the source only."""
    with pytest.raises(TypeError, match="tgt"):
        nn.Transformer(d_model=16, nhead=8, num_encoder_layers=1, num_decoder_layers=1)(torch.zeros(3, 5, 16))


def test_mended_to_an_encoder_it_attends_across_the_batch():
    """Batch-first captions in a sequence-first module: a caption's vector depends on its neighbours, not on its own words."""
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(16, 8, dropout=0.0), 1, enable_nested_tensor=False
    ).eval()
    captions, others = torch.randn(3, 5, 16), torch.randn(3, 5, 16)
    neighbours = torch.cat([captions[:1], others[1:]])
    words = torch.cat([captions[:, :1], others[:, 1:]], dim=1)  # the same first word, all others changed
    first = encoder(captions)[:, 0]
    assert first.shape == (3, 16)  # as it should be: the shape does not tell
    assert (encoder(neighbours)[0, 0] - first[0]).abs().max() > 0.01
    torch.testing.assert_close(encoder(words)[:, 0], first)  # it reads nothing but the first word


def test_without_positions_the_order_of_words_is_lost():
    torch.manual_seed(0)
    embedding = nn.Embedding(10, 16)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 8, dropout=0.0, batch_first=True), 1).eval()
    ids = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(encoder(embedding(ids.flip(1))).mean(1), encoder(embedding(ids)).mean(1))
    ours = TextEncoder(dim=16, depth=1, num_heads=2).eval()
    there, back = ours.encode(["the star left the puppy"])[2], ours.encode(["the puppy left the star"])[2]
    assert (there - back).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "fits"), [(28, True), (32, False), (64, False)])
def test_the_visual_encoder_takes_one_size_only_and_gives_no_image(size, fits):
    """Section 5.2, visual encoder: two poolings and a linear layer from 128 x 7 x 7 want 28 x 28 pixels and give a vector."""
    features = nn.Sequential(nn.Conv2d(3, 128, 3, padding=1), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(128 * 7 * 7, 16))
    image = torch.zeros(1, 3, size, size)
    if fits:
        assert features(image).shape == (1, 16)
    else:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            features(image)
        pipe = TextToVideoPipeline(size=size, dim=16, depth=1, num_heads=2, text_depth=1, width=8, convs=1)
        codec = pipe.visual_encoder.codec
        assert codec.decode(codec.encode(image)).shape == image.shape
        text, null = pipe.encode_prompt(["a red star"])
        noise = torch.randn(1, 8, 4, size // 4, size // 4)
        with torch.no_grad():  # from words to pictures, which is what the text asks for
            drawn = codec.decode(pipe.visual_encoder.generate(pipe.diffusion, text, null, noise, 1, 3.0))
        assert drawn.shape == (1, 3, 4, size, size)


def test_the_video_generator_is_told_no_time_step():
    """Section 5.2, video generator: DiffusionModel(text, image) is nowhere defined, and nothing tells it the noise level.

    For the same x_t the best prediction depends on the level: for data N(0, 1) under rectified flow,
    E[x_0 | x_t] = (1 - tau) / ((1 - tau)^2 + tau^2) x_t. A network without tau cannot give both.
    """
    torch.manual_seed(0)
    flow, x_0, noise = RectifiedFlow(), torch.randn(200_000), torch.randn(200_000)
    best = []
    for level in (0.2, 0.8):
        tau = torch.full((200_000,), level)
        x_t = flow.add_noise(x_0, noise, tau)
        best.append(float(x_0[(x_t - 0.5).abs() < 0.05].mean()))
        assert best[-1] == pytest.approx((1 - level) / ((1 - level) ** 2 + level**2) * 0.5, abs=0.03)
    assert abs(best[0] - best[1]) > 0.2
    assert inspect.isabstract(DiffusionModel)
    assert {"tau", "times"} <= set(inspect.signature(SpaceTimeDenoiser.forward).parameters)
    with pytest.raises(NameError, match="DiffusionModel"):
        exec(
            "class VideoGenerator:\n    def __init__(self):\n        self.diffusion = DiffusionModel(8, 4)\nVideoGenerator()",
            {},
        )
    net = SpaceTimeDenoiser(2, 4, 16, 1, 2, width=8, convs=1)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, times = torch.randn(1, 2, 1, 4, 4), torch.zeros(1, 1)
    words = Text(torch.randn(1, 2, 16), torch.ones(1, 2, dtype=torch.bool), torch.randn(1, 16))
    noisy, clean = net(x, torch.full((1, 1), 0.8), times, words), net(x, torch.full((1, 1), 0.2), times, words)
    assert (noisy - clean).abs().max() > 1e-3


def test_without_a_mask_padding_changes_a_caption():
    torch.manual_seed(0)
    embedding = nn.Embedding(10, 16)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 8, dropout=0.0, batch_first=True), 1).eval()
    short, padded = torch.tensor([[1, 2, 3]]), torch.tensor([[1, 2, 3, 0, 0]])
    assert (encoder(embedding(short))[0, 0] - encoder(embedding(padded))[0, 0]).abs().max() > 1e-3


def test_the_bibliography_has_the_papers_own_titles():
    bib = (Path(__file__).parents[1] / "book" / "references.bib").read_text(encoding="utf-8")
    titles = re.sub(r"[{}]", "", bib)
    for printed, own in {
        "Imagen: Text-to-Image": "Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding",
        "Text-to-Video Generation with Diffusion Models": "Make-A-Video: Text-to-Video Generation without Text-Video Data",
        "Variational Autoencoders for Learning": "Auto-Encoding Variational Bayes",
    }.items():
        assert printed not in titles and own in titles
