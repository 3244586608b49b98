"""How much of a device's matrix peak does training use: our loop beside transformers' Trainer, on random rows.

The peak is what this device reaches on one large product in bfloat16, measured here and now; a step's operations are
those of `nlpx inspect` (forward and backward pass, the vocabulary at the predicted positions alone). Masked language
modelling with 15 % predicted, dropout 0.1, fused AdamW, gradients clipped to norm 1; no data is read, so that only the
step is measured. Needs `pip install -e '.[bench]'` for the peer.

    python bench/gpu.py [--device cuda] [--shapes tiny base] [--rows 512 64] [--steps 30] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from rounds import markdown, ratios, spread

LENGTH, SHARE = 128, 0.15
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"num_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "vocab_size": 8000},
    "base": {"num_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "vocab_size": 21128},
}
WARMUP = 5
SPECIAL = 5  # the first ids: [PAD] [UNK] [CLS] [SEP] [MASK]


def matrix_peak(device: Any) -> float:
    """FLOPs a second of the best of ten square products in bfloat16."""
    import torch

    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(12):
        start = _now(device)
        left @ right
        best = min(best, _now(device) - start)
    return float(2 * size**3 / best)


def flops_of_step(shape: dict[str, Any], rows: int) -> float:
    """Operations of a forward and a backward pass over `rows` full rows."""
    from nlpx.models.cost import flops_per_token

    states = flops_per_token(_config(shape, heads=()), LENGTH).training
    head = flops_per_token(_config(shape), LENGTH).training - states
    return rows * LENGTH * (states + SHARE * head)


def train_ours(shape: dict[str, Any], rows: int, steps: int, device: Any) -> list[float]:
    """Seconds of each step after the warm-up."""
    import numpy as np

    from nlpx.data.batches.masking import SpecialIds, row_generator
    from nlpx.data.batches.packing import PackedRow
    from nlpx.models.transformer import Transformer
    from nlpx.objectives.mlm import Config, Objective
    from nlpx.optim.config import OptimConfig
    from nlpx.seed import seed_everything
    from nlpx.train.config import TrainConfig
    from nlpx.train.loop import prepare, train

    seed_everything(0)
    ids = {"pad": 0, "unk": 1, "cls": 2, "sep": 3, "mask": 4}
    special = SpecialIds(**ids, vocab_size=shape["vocab_size"], specials=frozenset(ids.values()))
    is_special = np.isin(np.arange(LENGTH), (0, LENGTH - 1))
    packed = [PackedRow(row, ~is_special, np.zeros_like(row), is_special) for row in _random_rows(shape, rows * 4)]
    config = TrainConfig(steps=WARMUP + steps, batch_size=rows, precision="bfloat16", collapse_window=None)
    model = Transformer(_config(shape)).to(device)
    lengths = [LENGTH] * len(packed)
    training = prepare(model, lengths=lengths, config=config, optim=OptimConfig(learning_rate=1e-4), seed=0)
    objective = Objective(Config(rate=SHARE), special)

    def collate(indices: Sequence[int]) -> dict[str, Any]:
        generators = [row_generator(0, training.batches.epoch, index, "mlm") for index in indices]
        return objective.batch([packed[index] for index in indices], generators)

    steps_taken = train(training, objective=objective, collate=collate, config=config)
    return _steps([_now(device), *(_now(device) for _ in steps_taken)])


def train_trainer(shape: dict[str, Any], rows: int, steps: int, device: Any) -> list[float]:
    """The same by transformers' Trainer with its own masking."""
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertTokenizerFast,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    times: list[float] = []

    class Ticking(TrainerCallback):
        def on_step_begin(self, *arguments: Any, **named: Any) -> None:
            if not times:
                times.append(_now(device))

        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            times.append(_now(device))

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(shape["vocab_size"] - SPECIAL)]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = BertTokenizerFast(vocab={word: index for index, word in enumerate(words)})
        arguments = TrainingArguments(
            output_dir=folder,
            use_cpu=device.type == "cpu",
            bf16=True,
            max_steps=WARMUP + steps,
            per_device_train_batch_size=rows,
            learning_rate=1e-4,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            disable_tqdm=True,
        )
        sizes = {key: value for key, value in shape.items() if key != "num_layers"}
        config = BertConfig(num_hidden_layers=shape["num_layers"], intermediate_size=4 * shape["hidden_size"], **sizes)
        trainer = Trainer(
            BertForMaskedLM(config),
            arguments,
            train_dataset=[{"input_ids": row.tolist()} for row in _random_rows(shape, rows * 4)],
            data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=SHARE),
            callbacks=[Ticking()],
        )
        trainer.train()
    return _steps(times)


def _random_rows(shape: dict[str, Any], count: int) -> Any:
    import numpy as np

    rows = np.random.default_rng(0).integers(SPECIAL, shape["vocab_size"], size=(count, LENGTH))
    rows[:, 0], rows[:, -1] = 2, 3
    return rows


def _config(shape: dict[str, Any], heads: tuple[str, ...] = ("lm",)) -> Any:
    from nlpx.models.config import ModelConfig

    sizes = {"intermediate_size": 4 * shape["hidden_size"], "max_position_embeddings": LENGTH}
    return ModelConfig(heads=heads, **shape, **sizes)


def _now(device: Any) -> float:
    """Wall seconds once the device has done what it was told; CPU seconds on a CPU, which others use, too."""
    import torch

    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _steps(times: list[float]) -> list[float]:
    return [after - before for before, after in zip(times[WARMUP:], times[WARMUP + 1 :], strict=False)]


VARIANTS: dict[str, Callable[[dict[str, Any], int, int, Any], list[float]]] = {
    "nlpx": train_ours,
    "Trainer": train_trainer,
}


def main() -> int:
    """Measure every shape with every number of rows, ours and theirs in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rows", nargs="+", type=int, default=[512, 64], help="rows of a batch, one number a shape")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if len(options.rows) != len(options.shapes):
        parser.error("give --rows a number for each of --shapes")
    import torch

    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: name another with --device", file=sys.stderr)
        return 4
    if device.type == "cpu":
        torch.set_num_threads(1)
    peak = matrix_peak(device)
    print(f"matrix peak in bfloat16: {peak / 1e12:.1f} TFLOP/s\n")
    table = []
    for name, rows in zip(options.shapes, options.rows, strict=True):
        shape = SHAPES[name]
        seconds: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
        for _ in range(options.rounds):
            for variant, train in VARIANTS.items():
                seconds[variant].append(statistics.median(train(shape, rows, options.steps, device)))
        for variant, values in seconds.items():
            middle = statistics.median(values)
            share = flops_of_step(shape, rows) / middle / peak
            against = spread(ratios(seconds["Trainer"], values))
            table.append([f"{name}, {variant}", rows, f"{rows * LENGTH / middle:,.0f}", f"{share:.1%}", against])
    print(markdown(("model", "rows", "tokens a second", "share of the peak", "Trainer's time over it"), table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
