"""What one process of `bench/pretrain.py` does: train one model with one library, with the clock running."""

from __future__ import annotations

import argparse
import json
import resource
from collections.abc import Callable
from typing import Any

from finetune_workers import Clock as TimingClock

LENGTH, RATE, SHARE = 128, 5e-4, 0.15
SHAPES: dict[str, dict[str, Any]] = {
    "small": {"num_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "vocab_size": 8000, "rows": 32},
    "base": {"num_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "vocab_size": 21128, "rows": 4},
}


class Clock(TimingClock):
    """Also says how much memory the process took at its peak."""

    def result(self, model: Any) -> dict[str, Any]:
        """What a worker prints."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return super().result(model) | {"peak_mebibytes": round(peak, 1)}


def shape(options: argparse.Namespace) -> dict[str, Any]:
    """The sizes of the model."""
    chosen = {key: value for key, value in SHAPES[options.shape].items() if key != "rows"}
    return chosen | {"intermediate_size": 4 * chosen["hidden_size"], "max_position_embeddings": LENGTH}


def train_nlpx(options: argparse.Namespace, clock: Clock) -> Any:
    """nlpx's own loop with the rows, the objective and the optimizer of `nlpx pretrain`."""
    import numpy as np

    from nlpx.data.batches.masking import SpecialIds, row_generator
    from nlpx.data.batches.packing import PackedRow
    from nlpx.models.config import ModelConfig
    from nlpx.models.transformer import Transformer
    from nlpx.objectives.mlm import Config, Objective
    from nlpx.optim.config import OptimConfig
    from nlpx.seed import seed_everything
    from nlpx.tokenizers.load import load_tokenizer
    from nlpx.train.config import TrainConfig
    from nlpx.train.loop import prepare, train

    seed_everything(options.seed)
    data = json.loads((options.data / "rows.json").read_text())
    special = SpecialIds.of(load_tokenizer(options.data))
    is_single = "one text a row" in options.worker
    token_ids = [np.array(row) for row in data["single" if is_single else "packed"]]
    special_ids = [np.isin(row, sorted(special.specials)) for row in token_ids]
    words = [~one for one in special_ids] if is_single else [np.array(row) for row in data["words"]]
    rows = [
        PackedRow(ids, starts, np.zeros_like(ids), one)
        for ids, starts, one in zip(token_ids, words, special_ids, strict=True)
    ]
    model = Transformer(ModelConfig(heads=("lm",), **(shape(options) | {"vocab_size": special.vocab_size})))
    config = TrainConfig(
        steps=clock.num_warmup + options.steps,
        batch_size=SHAPES[options.shape]["rows"],
        precision="bfloat16" if "bfloat16" in options.worker else "float32",
        collapse_window=None,
    )
    training = prepare(
        model,
        lengths=[len(row) for row in token_ids],
        config=config,
        optim=OptimConfig(learning_rate=RATE),
        seed=options.seed,
    )
    objective = Objective(Config(rate=SHARE), special)

    def collate(indices: list[int]) -> dict[str, Any]:
        generators = [row_generator(options.seed, training.batches.epoch, index, "mlm") for index in indices]
        return objective.batch([rows[index] for index in indices], generators)

    for info in train(training, objective=objective, collate=collate, config=config):
        clock.tick(info.num_tokens)
        clock.loss = info.loss
    return model


def train_trainer(options: argparse.Namespace, clock: Clock) -> Any:
    """transformers' Trainer with its own masking collator and its defaults: fused AdamW, linear decay."""
    from finetune_workers import Counting
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        BertTokenizerFast,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    set_seed(options.seed)
    rows = json.loads((options.data / "rows.json").read_text())["single"]
    tokenizer = BertTokenizerFast.from_pretrained(options.data)
    sizes = shape(options) | {"vocab_size": len(tokenizer)}
    sizes["num_hidden_layers"] = sizes.pop("num_layers")
    model = BertForMaskedLM(BertConfig(**sizes))
    counting = Counting(DataCollatorForLanguageModeling(tokenizer, mlm_probability=SHARE))

    class Ticking(TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            clock.tick(counting.tokens.pop(0))

    arguments = TrainingArguments(
        output_dir=str(options.data / "trainer"),
        use_cpu=True,
        bf16="bfloat16" in options.worker,
        max_steps=clock.num_warmup + options.steps,
        per_device_train_batch_size=SHAPES[options.shape]["rows"],
        learning_rate=RATE,
        seed=options.seed,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    dataset = [{"input_ids": row} for row in rows]
    trainer = Trainer(model, arguments, train_dataset=dataset, data_collator=counting, callbacks=[Ticking()])
    clock.loss = trainer.train().training_loss
    return model


WORKERS: dict[str, Callable[[argparse.Namespace, Clock], Any]] = {"nlpx": train_nlpx, "trainer": train_trainer}
