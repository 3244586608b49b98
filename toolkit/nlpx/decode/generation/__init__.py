"""Generation: one decoder over causal and prefix models, greedy, drawn or by beams, with what constrains it."""

from nlpx.decode.generation.decoders import CausalDecoder, Decoder, PrefixDecoder, State
from nlpx.decode.generation.generate import generate
from nlpx.decode.generation.hypothesis import Hypothesis
from nlpx.decode.generation.settings import GenerationSettings

__all__ = [
    "CausalDecoder",
    "Decoder",
    "GenerationSettings",
    "Hypothesis",
    "PrefixDecoder",
    "State",
    "generate",
]
