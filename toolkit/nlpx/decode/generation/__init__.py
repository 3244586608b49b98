"""Generation: one interface over causal, prefix and encoder-decoder models; greedy, drawn, by beams, constrained."""

from nlpx.decode.generation.decoders import CausalDecoder, Decoder, PrefixDecoder, State
from nlpx.decode.generation.encoder_decoder import EncoderDecoderDecoder
from nlpx.decode.generation.generate import generate
from nlpx.decode.generation.hypothesis import Hypothesis
from nlpx.decode.generation.settings import GenerationSettings

__all__ = [
    "CausalDecoder",
    "Decoder",
    "EncoderDecoderDecoder",
    "GenerationSettings",
    "Hypothesis",
    "PrefixDecoder",
    "State",
    "generate",
]
