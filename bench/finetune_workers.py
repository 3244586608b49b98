"""What one process of `bench/finetune.py` does: train one model with one library, with the clock running.

Heavy modules are imported by the worker that needs them, so that each process carries its own library only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MAX_LENGTH, ROWS, RATE = 512, 32, 5e-4
NUM_LAYERS = 4
SHAPE: dict[str, Any] = {
    "hidden_size": 256,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "max_position_embeddings": MAX_LENGTH,
}


class Clock:
    """CPU seconds and tokens from the end of the warm-up on; `tick` at the end of every step."""

    def __init__(self, num_warmup: int) -> None:
        self.num_warmup, self.num_steps, self.tokens, self.loss = num_warmup, 0, 0, 0.0
        self.start = self.seconds = 0.0

    def tick(self, tokens: int) -> None:
        self.num_steps += 1
        if self.num_steps <= self.num_warmup:
            self.start = time.process_time()
        else:
            self.tokens, self.seconds = self.tokens + tokens, time.process_time() - self.start

    def result(self, model: Any) -> dict[str, Any]:
        """What a worker prints."""
        return {
            "tokens_per_second": round(self.tokens / self.seconds, 1),
            "tokens": self.tokens,
            "cpu_seconds": round(self.seconds, 3),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        }


def read_data(folder: Path) -> tuple[int, list[list[Any]]]:
    """Vocabulary size and rows of (ids, start of the second text, variant, label)."""
    data = json.loads((folder / "items.json").read_text())
    return data["vocab_size"], data["items"]


def train_nlpx(options: argparse.Namespace, clock: Clock) -> Any:
    """nlpx's own loop with the batches, the objective and the optimizer of `nlpx finetune`."""
    from nlpx.models.config import ModelConfig
    from nlpx.models.transformer import Transformer
    from nlpx.optim.config import OptimConfig
    from nlpx.runs.objective import task_objective
    from nlpx.seed import seed_everything
    from nlpx.tasks import EncodedRows
    from nlpx.tasks.sohu import Config, EncodedPair, Task
    from nlpx.train.config import TrainConfig
    from nlpx.train.loop import prepare, train

    seed_everything(options.seed)
    vocab_size, rows = read_data(options.data)
    items = [EncodedPair(*row) for row in rows]
    encoded = EncodedRows(items, [len(item.token_ids) for item in items])
    task = Task(Config(conditional="conditional" in options.worker))
    choices = (
        {"heads": task.heads}
        | task.model_parts()
        | {
            "pooler": "tanh",
            "classification_pooling": "pooler",
        }
    )  # BERT's head, as the peers'
    model = Transformer(ModelConfig(vocab_size=vocab_size, num_layers=NUM_LAYERS, **SHAPE, **choices))
    config = TrainConfig(
        steps=clock.num_warmup + options.steps,
        batch_tokens=equal_budget(encoded.lengths),
        precision="bfloat16" if "bfloat16" in options.worker else "float32",
        collapse_window=None,
    )
    optim = OptimConfig(learning_rate=RATE)
    training = prepare(model, lengths=encoded.lengths, config=config, optim=optim, seed=options.seed)
    for info in train(
        training, objective=task_objective(task), collate=lambda rows: task.collate(encoded, rows, 0), config=config
    ):
        clock.tick(info.num_tokens)
        clock.loss = info.loss
    return model


def equal_budget(lengths: Sequence[int]) -> int:
    """Padded tokens a batch that give as many batches an epoch as batches of 32 rows do."""
    from nlpx.data.batches.bucketing import BucketedBatches

    budget = ROWS * sum(lengths) // len(lengths)
    return budget * len(BucketedBatches(lengths, batch_tokens=budget)) * ROWS // len(lengths)


def train_trainer(options: argparse.Namespace, clock: Clock) -> Any:
    """transformers' Trainer with its defaults: dynamic padding, fused AdamW, linear decay."""
    from transformers import (
        AutoTokenizer,
        BertConfig,
        BertForSequenceClassification,
        DataCollatorWithPadding,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        set_seed,
    )

    set_seed(options.seed)
    vocab_size, rows = read_data(options.data)
    model = BertForSequenceClassification(BertConfig(vocab_size=vocab_size, num_hidden_layers=NUM_LAYERS, **SHAPE))
    counting = Counting(DataCollatorWithPadding(AutoTokenizer.from_pretrained(options.data)))

    class Ticking(TrainerCallback):
        def on_step_end(self, *arguments: Any, **named: Any) -> None:
            clock.tick(counting.tokens.pop(0))

    arguments = TrainingArguments(
        output_dir=str(options.data / "trainer"),
        use_cpu=True,
        bf16="bfloat16" in options.worker,
        max_steps=clock.num_warmup + options.steps,
        per_device_train_batch_size=ROWS,
        learning_rate=RATE,
        train_sampling_strategy="group_by_length" if "grouped" in options.worker else "random",
        seed=options.seed,
        report_to=[],
        logging_strategy="no",
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = Trainer(
        model, arguments, train_dataset=[features(row) for row in rows], data_collator=counting, callbacks=[Ticking()]
    )
    clock.loss = trainer.train().training_loss
    return model


class Counting:
    """A collator that remembers the real tokens of its batches, which the Trainer fetches one step ahead."""

    def __init__(self, collate: Callable[[list[Any]], Any]) -> None:
        self.collate = collate
        self.tokens: list[int] = []

    def __call__(self, rows: list[Any]) -> Any:
        self.tokens.append(sum(len(row["input_ids"]) for row in rows))
        return self.collate(rows)


def features(row: Sequence[Any]) -> dict[str, Any]:
    """One row as transformers names its parts."""
    token_ids, start, _, label = row
    return {"input_ids": token_ids, "token_type_ids": [int(i >= start) for i in range(len(token_ids))], "labels": label}


def train_bert4torch(options: argparse.Namespace, clock: Clock) -> Any:
    """bert4torch's own `fit` over its BERT with the pooler, dropout and a linear layer, padded by its own function."""
    import torch
    from bert4torch.callbacks import Callback
    from bert4torch.models import BaseModel, build_transformer_model
    from bert4torch.snippets import seed_everything, sequence_padding
    from torch.utils.data import DataLoader

    seed_everything(options.seed)
    vocab_size, rows = read_data(options.data)
    config_path = options.data / "bert4torch_config.json"
    config_path.write_text(json.dumps(bert4torch_config(vocab_size)))
    tokens: list[int] = []

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.bert = build_transformer_model(config_path=str(config_path), with_pool=True)
            self.dropout = torch.nn.Dropout(0.1)
            self.dense = torch.nn.Linear(SHAPE["hidden_size"], 2)

        def forward(self, token_ids: Any, segment_ids: Any) -> Any:
            _, pooled = self.bert([token_ids, segment_ids])
            return self.dense(self.dropout(pooled))

    class Ticking(Callback):
        def on_batch_end(self, *arguments: Any, **named: Any) -> None:
            clock.tick(tokens[clock.num_steps])

    def collate(batch: list[Any]) -> Any:
        named = [features(row) for row in batch]
        tokens.append(sum(len(row["input_ids"]) for row in named))
        inputs = [sequence_padding([row[key] for row in named]) for key in ("input_ids", "token_type_ids")]
        return [torch.as_tensor(values) for values in inputs], torch.tensor([row["labels"] for row in named])

    model = Model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    model.compile(loss=torch.nn.CrossEntropyLoss(), optimizer=optimizer, clip_grad_norm=1.0)
    loader = DataLoader(rows, batch_size=ROWS, shuffle=True, collate_fn=collate)
    steps = clock.num_warmup + options.steps
    history = model.fit(loader, steps_per_epoch=steps, epochs=1, callbacks=[Ticking()], verbose=0)
    clock.loss = history.history["loss"][-1]
    return model


def bert4torch_config(vocab_size: int) -> dict[str, Any]:
    """The same shape in bert4torch's own names."""
    return SHAPE | {
        "model": "bert",
        "vocab_size": vocab_size,
        "num_hidden_layers": NUM_LAYERS,
        "max_position": MAX_LENGTH,
        "type_vocab_size": 2,
        "segment_vocab_size": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


WORKERS: dict[str, Callable[[argparse.Namespace, Clock], Any]] = {
    "nlpx": train_nlpx,
    "trainer": train_trainer,
    "bert4torch": train_bert4torch,
}
