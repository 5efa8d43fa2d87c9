"""Training scripts that leave their loop to a library: Hugging Face's Trainer, Lightning, and accelerate."""

from __future__ import annotations

from localising.scripts import Style, pick, turn

TRAINER = Style(
    "Hugging Face Trainer",
    """
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

class Rows(torch.utils.data.Dataset):
    def __init__(self, count):
        self.labels, self.ids = torch.randint(0, 2, (count,)), torch.randint(4, 40, (count, 14))
        self.ids[torch.arange(count), torch.randint(0, 6, (count,))] = 40 + self.labels
        self.mask = (torch.arange(14) < torch.randint(7, 15, (count, 1))).long()

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"input_ids": self.ids[row] * self.mask[row], "attention_mask": self.mask[row], "labels": $label}

config = BertConfig(vocab_size=44, hidden_size=$width, num_hidden_layers=$depth, num_attention_heads=4,
                    intermediate_size=64, max_position_embeddings=16)
model = BertForSequenceClassification(config)
$change
arguments = TrainingArguments(
    "out", num_train_epochs=8, per_device_train_batch_size=$batch, learning_rate=$rate, eval_strategy="epoch",
    report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, seed=$seed)
right = lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())}
trainer = Trainer(model, arguments, train_dataset=Rows(960), eval_dataset=Rows(240), compute_metrics=right)
trainer.train()
print("METRIC", trainer.evaluate()["eval_accuracy"])
""",
    lambda rng: {
        "width": pick(rng, 32, 48),
        "depth": pick(rng, 1, 2),
        "batch": pick(rng, 24, 32),
        "rate": pick(rng, 2e-3, 3e-3),
        "label": "self.labels[row]",
        "change": "",
    },
    {
        "learning_rate_too_high": turn("training", "learning_rate_too_high", rate="1.0"),
        "learning_rate_too_low": turn("training", "learning_rate_too_low", "too_few_epochs", rate="1e-8"),
        "frozen_parameters": turn("model", "frozen_parameters", change="model.bert.requires_grad_(False)"),
        "misaligned_labels": turn(
            "preprocessing", "misaligned_labels", "random_labels", label="self.labels[(row + 1) % len(self.labels)]"
        ),
    },
)
LIGHTNING = Style(
    "Lightning, two inputs",
    """
import lightning

class Model(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.shop, self.week = nn.Embedding(30, $width), nn.Sequential(nn.Linear(5, $width), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(2 * $width, $width), nn.ReLU(), nn.Dropout(0.1), nn.Linear($width, 1))

    def forward(self, shop, week):
        return self.head(torch.cat([self.shop(shop), self.week(week)], 1))$flat

    def training_step(self, batch, number):
        return F.mse_loss(self(batch[0], batch[1]), batch[2])

    def validation_step(self, batch, number):
        self.log("validation", F.mse_loss(self(batch[0], batch[1]).reshape(-1), batch[2]))

    def configure_optimizers(self):
        return torch.optim.$optimizer($moved, lr=$rate)

bias = torch.randn(30)
def rows(count):
    shop, week = torch.randint(0, 30, (count,)), torch.randn(count, 5)
    return shop, week, bias[shop] + week[:, 0] - week[:, 1]

train, held = rows(1600), rows(400)
trainer = lightning.Trainer(max_epochs=8, accelerator="cpu", logger=False, enable_checkpointing=False,
                            enable_progress_bar=False, enable_model_summary=False)
model = Model()
trainer.fit(model, DataLoader(TensorDataset(*train), $batch, shuffle=True), DataLoader(TensorDataset(*held), 100))
model.eval()
with torch.no_grad():
    print("METRIC", float(1 - (model(*held[:2]).reshape(-1) - held[2]).square().mean() / held[2].var()))
""",
    lambda rng: {
        "width": pick(rng, 16, 24, 32),
        "batch": pick(rng, 25, 40),
        "rate": pick(rng, 3e-3, 5e-3),
        "flat": ".squeeze(1)",
        "moved": "self.parameters()",
    },
    {
        "learning_rate_too_high": turn("training", "learning_rate_too_high", rate="3.0"),
        "parameters_not_in_optimizer": turn("training", "parameters_not_in_optimizer", moved="self.week.parameters()"),
        "output_shape_mismatch": turn("model", "output_shape_mismatch", "wrong_loss", flat=""),
    },
)
ACCELERATED = Style(
    "accelerate, accumulated",
    """
from accelerate import Accelerator

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=$steps)
def rows(count):
    x = torch.randn(count, 1, 8, 8)
    labels = torch.randint(0, 3, (count,))
    x[torch.arange(count), 0, 2 * labels] += 1.5
    return x, labels

train, held = rows(1200), rows(300)
model = nn.Sequential(nn.Conv2d(1, $width, 3, padding=1), nn.BatchNorm2d($width), nn.ReLU(), nn.Flatten(),
                      nn.Linear(64 * $width, 3)$last)
optimizer = torch.optim.$optimizer(model.parameters(), lr=$rate)
model, optimizer, loader = accelerator.prepare(model, optimizer, DataLoader(TensorDataset(*train), 20, shuffle=True))
for epoch in range(5):
    model.train()
    for pictures, labels in loader:
        with accelerator.accumulate(model):
            accelerator.backward(F.cross_entropy(model(pictures), labels))
            optimizer.step()
            $clear
    $eval_mode
    with torch.no_grad():
        score = (model(held[0]).argmax(1) == held[1]).float().mean()
print("METRIC", float(score))
""",
    lambda rng: {"width": pick(rng, 6, 8), "steps": pick(rng, 1, 2), "rate": pick(rng, 2e-3, 5e-3), "last": ""},
    {
        "missing_zero_grad": turn("training", "missing_zero_grad", clear="pass", optimizer="SGD", rate="0.3"),
        "redundant_softmax": turn("model", "redundant_softmax", last=", nn.Softmax(1)"),
        "missing_eval_mode": turn("training", "missing_eval_mode", eval_mode="pass"),
    },
)
OF_TRAINERS = (TRAINER, LIGHTNING, ACCELERATED)
